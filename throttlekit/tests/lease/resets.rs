//! A key that is reset while it is asked for.

use throttlekit::lease::{Mode, TwoTier};
use throttlekit::store::Remote;
use throttlekit::{Decision, Error, ManualClock, Run};

use crate::support::held::{Held, Task, done};
use crate::support::lease::{node, window};
use crate::support::{CasStore, polled};

fn now(run: Run<Result<Decision, Error>>) -> Decision {
    polled(run, 20).expect("an answer").unwrap()
}

#[test]
fn a_denial_while_the_reset_is_on_its_way_is_forgotten() {
    for mode in [Mode::Leased, Mode::CachedDeny] {
        for cost in [1.0, 500.0] {
            // The store does what is asked when it is polled.
            let builder = TwoTier::builder(window(100.0, 1_000.0)).keyspace(Remote::new(CasStore::default()));
            let limiter = builder.clock(ManualClock::new(0.0)).mode(mode).batch(10.0).build().unwrap();
            assert!(now(limiter.run_check("k", 100.0)).allowed);
            let reset = limiter.run_reset("k");
            assert!(!now(limiter.run_check("k", cost)).allowed);
            polled(reset, 20).expect("an answer").unwrap();
            assert!(now(limiter.run_check("k", 1.0)).allowed, "{mode:?} after a denial of {cost}");
        }
    }
}

#[test]
fn a_denial_that_was_asked_for_before_and_lands_after_the_reset_is_not_remembered() {
    for mode in [Mode::Leased, Mode::CachedDeny] {
        for cost in [1.0, 500.0] {
            let (store, clock) = (Held::new(), ManualClock::new(0.0));
            let node = node(&store, &clock, |it| it.mode(mode));
            assert!(done(node.check_cost("k", 100.0)).unwrap().allowed);
            store.hold();
            let mut denied = Task::started(node.run_check("k", cost));
            store.flow();
            done(node.reset("k")).unwrap();
            assert!(done(node.check("k")).unwrap().allowed);
            store.release_oldest();
            assert!(denied.poll().is_some());
            assert!(done(node.check_cost("k", 10.0)).unwrap().allowed, "{mode:?} after a denial of {cost}");
        }
    }
}
