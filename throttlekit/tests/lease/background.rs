//! What goes on while no caller waits: refills, leases without callers, units that go back.

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use throttlekit::lease::TwoTier;
use throttlekit::{BoxFuture, Gcra, ManualClock, Runtime, Strategy, TaskHandle};

use crate::support;
use crate::support::held::{Held, Task, done};
use crate::support::lease::{Node, debited, node};

/// Tasks that a test polls by hand.
#[derive(Clone, Default)]
struct ByHand {
    tasks: Arc<Mutex<Vec<Option<BoxFuture<()>>>>>,
    clock: ManualClock,
}

impl ByHand {
    fn poll(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        for task in &mut tasks {
            let over =
                |task: &mut BoxFuture<()>| task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            if task.as_mut().is_some_and(over) {
                *task = None;
            }
        }
        self.tasks.lock().unwrap().extend(tasks);
    }

    fn running(&self) -> usize {
        self.tasks.lock().unwrap().iter().flatten().count()
    }
}

impl Runtime for ByHand {
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle {
        let mut tasks = self.tasks.lock().unwrap();
        tasks.push(Some(task));
        let (tasks, at) = (Arc::clone(&self.tasks), tasks.len() - 1);
        TaskHandle::new(move || {
            if let Some(task) = tasks.lock().unwrap().get_mut(at) {
                *task = None;
            }
        })
    }

    fn sleep(&self, span: Duration) -> BoxFuture<()> {
        support::outage::ManualRuntime::new(&self.clock).sleep(span)
    }
}

fn closing(node: &Node) -> Task<()> {
    let node = node.clone();
    Task::new(async move { node.close().await })
}

#[test]
fn a_task_fetches_units_before_they_are_needed() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node = node(&store, &runtime.clock, |it| it.low_water(4.0).runtime(runtime.clone()));
    done(node.check_cost("k", 5.0)).unwrap();
    assert_eq!(store.calls(), 1);
    assert!(node.run_check("k", 1.0).now().is_ok(), "the caller does not wait");
    runtime.poll();
    assert_eq!(store.calls(), 2);
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 13);
}

#[test]
fn without_a_task_the_next_caller_fetches_them() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.low_water(4.0));
    done(node.check_cost("k", 5.0)).unwrap();
    assert_eq!(done(node.check("k")).unwrap().remaining, 4);
    assert_eq!(store.calls(), 2);
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 13);
}

#[test]
fn an_exhausted_store_is_not_asked_for_refills() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.batch(60.0).low_water(30.0).window_coupled(true));
    done(node.check_cost("k", 40.0)).unwrap();
    let calls = store.calls();
    assert_eq!(done(node.check_cost("k", 50.0)).unwrap().remaining, 10);
    (0..10).for_each(|_| assert!(done(node.check("k")).unwrap().allowed));
    assert!(!done(node.check("k")).unwrap().allowed);
    assert_eq!((calls, store.calls()), (2, 2));
}

#[test]
fn a_request_that_can_never_fit_stops_no_refills() {
    let gcra = Gcra::builder().limit(10.0).period_ms(1_000.0).burst(50.0).build().unwrap();
    refills_after_a_request_that_never_fits(gcra);
    refills_after_a_request_that_never_fits(support::lease::window(50.0, 1_000.0));
}

fn refills_after_a_request_that_never_fits(strategy: impl Strategy) {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node =
        TwoTier::builder(strategy).keyspace(store.clone()).clock(clock).batch(4.0).low_water(2.0).build().unwrap();
    assert_eq!(done(node.check("k")).unwrap().remaining, 3);
    assert!(!done(node.check_cost("k", 1e9)).unwrap().allowed);
    assert!(!done(node.check_cost("k", 1e9)).unwrap().allowed);
    assert_eq!(store.calls(), 2, "it is known by now");
    assert_eq!(done(node.check("k")).unwrap().remaining, 2);
    assert_eq!((store.calls(), node.try_check("k", 6.0).unwrap().map(|decision| decision.remaining)), (3, Some(0)));
}

#[test]
fn a_store_that_has_not_one_unit_is_asked_for_one_refill() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let gcra = Gcra::builder().limit(10.0).period_ms(1_000.0).burst(10.0).build().unwrap();
    let builder = TwoTier::builder(gcra).keyspace(store.clone()).clock(clock);
    let node = builder.batch(4.0).low_water(9.0).build().unwrap();
    done(node.check_cost("k", 2.0)).unwrap();
    assert!(!done(node.check_cost("k", 10.0)).unwrap().allowed);
    let calls = store.calls();
    (0..8).for_each(|_| assert!(done(node.check("k")).unwrap().allowed));
    assert_eq!(store.calls(), calls + 1, "less was lacking to a refill than to the request");
}

#[test]
fn a_task_drives_leases_that_everybody_left() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node = node(&store, &runtime.clock, |it| it.runtime(runtime.clone()));
    store.hold();
    drop(Task::started(node.run_check("k", 1.0)));
    store.release_oldest();
    runtime.poll();
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 9);
}

#[test]
fn a_task_returns_idle_units_and_ends_with_its_limiter() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node =
        node(&store, &runtime.clock, |it| it.window_coupled(true).return_idle_after_ms(100.0).runtime(runtime.clone()));
    runtime.poll();
    done(node.check("k")).unwrap();
    runtime.clock.set(100.0);
    runtime.poll();
    assert_eq!(node.stats().returned, 0.0, "it was used 100 ms ago, and not longer");
    runtime.clock.set(200.0);
    runtime.poll();
    assert_eq!((node.stats().returned, debited(&store, 200.0), node.keys_held()), (9.0, 1, 0));
    assert_eq!(runtime.running(), 1);
    drop(node);
    assert_eq!(runtime.running(), 0);
}

#[test]
fn a_task_gives_back_what_makes_room() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node = node(&store, &runtime.clock, |it| it.max_keys(1).window_coupled(true).runtime(runtime.clone()));
    done(node.check("k")).unwrap();
    store.hold();
    let check = Task::started(node.run_check("a", 1.0));
    runtime.poll();
    store.flow();
    assert_eq!(store.held().len(), 2);
    store.release_oldest();
    assert!(check.answer().unwrap().allowed, "who came for the other key does not wait for it");
    store.release_oldest();
    runtime.poll();
    assert_eq!(debited(&store, 0.0), 1);
}

#[test]
fn a_task_outlives_a_store_that_panics() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node = node(&store, &runtime.clock, |it| it.low_water(4.0).runtime(runtime.clone()));
    done(node.check_cost("k", 5.0)).unwrap();
    store.panic_once();
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 4);
    runtime.poll();
    assert_eq!((store.calls(), runtime.running()), (2, 1));
    assert_eq!(node.run_check("k", 1.0).now().ok().unwrap().unwrap().remaining, 3);
    runtime.poll();
    assert_eq!(node.try_check("k", 1.0).unwrap().unwrap().remaining, 12);
}

#[test]
fn nothing_is_fetched_beforehand_once_closed() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.low_water(4.0));
    done(node.check_cost("k", 5.0)).unwrap();
    store.hold();
    done(node.check("k")).unwrap();
    let waiting = Task::started(node.run_check("k", 5.0));
    let mut closing = closing(&node);
    assert!(closing.poll().is_none());
    store.flow();
    store.release_oldest();
    assert!(waiting.answer().unwrap().allowed, "asked for at the store");
    assert_eq!((store.calls(), node.try_check("k", 12.0).unwrap().unwrap().remaining), (3, 2));
    assert!(closing.poll().is_some());
    assert_eq!((store.calls(), debited(&store, 0.0)), (4, 5 + 1 + 5 + 12));
}

#[test]
fn what_a_task_was_given_arrives_before_all_is_closed() {
    for polled in [false, true] {
        let (store, runtime) = (Held::new(), ByHand::default());
        let node = node(&store, &runtime.clock, |it| it.max_keys(1).window_coupled(true).runtime(runtime.clone()));
        runtime.poll();
        done(node.check("k")).unwrap();
        done(node.check("a")).unwrap();
        if polled {
            store.hold();
            runtime.poll();
            store.flow();
        }
        let mut closing = closing(&node);
        if polled {
            assert!(closing.poll().is_none());
            store.release_oldest();
        }
        assert!(closing.poll().is_some());
        assert_eq!((debited(&store, 0.0), runtime.running()), (1, 0));
    }
}

#[test]
fn without_its_task_a_closed_limiter_lets_callers_give_back() {
    let (store, runtime) = (Held::new(), ByHand::default());
    let node = node(&store, &runtime.clock, |it| it.max_keys(1).window_coupled(true).runtime(runtime.clone()));
    store.hold();
    let waiting = Task::started(node.run_check("k", 1.0));
    let mut closing = closing(&node);
    assert!(closing.poll().is_none());
    store.flow();
    store.release_oldest();
    assert!(waiting.answer().unwrap().allowed);
    assert_eq!(debited(&store, 0.0), 11, "units of a lease that landed, and what was asked for at the store");
    // Another key makes them go.
    assert!(done(node.check("a")).unwrap().allowed);
    assert_eq!(debited(&store, 0.0), 1);
    assert!(closing.poll().is_some());
}
