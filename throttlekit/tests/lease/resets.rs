//! A key that is reset while it is asked for.

use throttlekit::lease::{Mode, TwoTier};
use throttlekit::store::Remote;
use throttlekit::{Decision, Error, ManualClock, Run};

use crate::support::held::{Held, Task, done};
use crate::support::lease::{debited, node, window};
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

#[test]
fn units_that_are_leased_while_the_reset_is_on_its_way_are_not_lost() {
    for coupled in [false, true] {
        for lands_first in [true, false] {
            let (store, clock) = (Held::new(), ManualClock::new(0.0));
            let node = node(&store, &clock, |it| it.batch(100.0).window_coupled(coupled));
            assert!(done(node.check_cost("k", 100.0)).unwrap().allowed);
            store.hold();
            // The store has forgotten the key, and the answer is on its way.
            let mut reset = Task::started(node.run_reset("k"));
            let mut check = Task::started(node.run_check("k", 1.0));
            store.flow();
            let [forgotten, leased] = store.held()[..] else { panic!("both answers are held") };
            if lands_first {
                store.release(leased);
                assert_eq!(check.poll().unwrap().unwrap().remaining, 99);
            }
            store.release(forgotten);
            reset.poll().unwrap().unwrap();
            if !lands_first {
                store.release(leased);
                assert_eq!(check.poll().unwrap().unwrap().remaining, 99);
            }
            assert_eq!(done(node.check_cost("k", 99.0)).unwrap().remaining, 0);
            assert!(!done(node.check("k")).unwrap().allowed);
            assert_eq!((node.stats().lost, debited(&store, 0.0)), (0.0, 100));
        }
    }
}

#[test]
fn a_lease_of_the_old_state_that_lands_after_the_reset_says_nothing_of_the_new_one() {
    // The store does what is asked when it is polled.
    let builder = TwoTier::builder(window(100.0, 1_000.0)).keyspace(Remote::new(CasStore::default()));
    let limiter = builder.clock(ManualClock::new(0.0)).batch(10.0).build().unwrap();
    assert!(now(limiter.run_check("k", 100.0)).allowed);
    let reset = limiter.run_reset("k");
    // Given up when the store has judged it by the old state, and before it has answered.
    assert!(polled(limiter.run_check("k", 1.0), 3).is_none());
    polled(reset, 20).expect("an answer").unwrap();
    assert!(now(limiter.run_check("k", 1.0)).allowed);
    assert!(now(limiter.run_check("k", 1.0)).allowed);
}
