//! A store that panics: the request at hand fails, and the next one asks again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use throttlekit::{DynLimiter, Fallback, Limiter, ManualClock, Outage};

use crate::support::held::{Held, Task, done};
use crate::support::lease::{Builder, Node, debited, node, window};

/// A node of which one check of `key` met a store that panicked.
fn after_a_panic(
    configure: impl FnOnce(Builder) -> Builder,
) -> (Node, Held<throttlekit::strategy::fixed_window::Count>) {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, configure);
    store.panic_once();
    assert!(catch_unwind(AssertUnwindSafe(|| done(node.check("k")))).is_err());
    (node, store)
}

#[test]
fn the_next_check_asks_again() {
    let (node, store) = after_a_panic(|it| it);
    assert_eq!(done(node.check("k")).unwrap().remaining, 9);
    assert_eq!(store.calls(), 2);
}

#[test]
fn all_who_wait_for_the_same_lease_fail() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    store.hold();
    store.panic_once();
    let (mut driver, other) = (Task::started(node.run_check("k", 1.0)), Task::started(node.run_check("k", 1.0)));
    store.flow();
    store.release_oldest();
    assert!(catch_unwind(AssertUnwindSafe(|| driver.poll())).is_err());
    assert_eq!(other.answer().unwrap_err().code(), "state_invalid");
    assert_eq!(done(node.check("k")).unwrap().remaining, 9);
}

#[test]
fn it_does_not_end_an_outage_for_those_who_wait() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let outage = Outage::new();
    let limiter =
        Fallback::new(node(&store, &clock, |it| it), &outage, || Ok(Arc::new(Limiter::new(window(2.0, 1_000.0)))));
    store.down(true);
    assert_eq!(done(limiter.check("k", 1.0)).unwrap().limit, 2);
    store.hold();
    store.panic_once();
    let (mut driver, other) = (Task::started(limiter.check("k", 1.0)), Task::started(limiter.check("k", 1.0)));
    store.release_oldest();
    assert!(catch_unwind(AssertUnwindSafe(|| driver.poll())).is_err());
    assert_eq!(other.answer().unwrap_err().to_string(), "stored state is invalid: a lease panicked");
    assert!(outage.is_on());
}

#[test]
fn closing_and_making_room_do_not_wait_for_it() {
    let (node, _) = after_a_panic(|it| it);
    done(node.close());
    assert_eq!(node.keys_held(), 0);

    let (node, _) = after_a_panic(|it| it.max_keys(1));
    assert_eq!(done(node.check("a")).unwrap().remaining, 9);
    assert_eq!((node.keys_held(), node.stats().evicted), (1, 1));
}

#[test]
fn the_next_refill_is_asked_for() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.low_water(4.0));
    done(node.check_cost("k", 5.0)).unwrap();
    store.panic_once();
    assert!(catch_unwind(AssertUnwindSafe(|| done(node.check("k")))).is_err());
    assert_eq!(done(node.check("k")).unwrap().remaining, 3);
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 12);
    assert_eq!((store.calls(), debited(&store, 0.0)), (3, 30));
}
