//! Leases on their way: dropped callers, late and failed answers, keys that go meanwhile, and work in the background.

use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use throttlekit::lease::{GrantForm, TwoTier};
use throttlekit::{DynLimiter, Fallback, Gcra, Limiter, ManualClock, Outage, SlidingWindowLog};

use crate::support::held::{Held, Task, done};
use crate::support::lease::{Node, debited, node, window};

/// Checks until nothing is admitted without asking the store; how many were.
fn drain(node: &Node) -> u64 {
    (0..1_000).take_while(|_| node.try_check("k", 1.0).unwrap().is_some_and(|decision| decision.allowed)).count() as u64
}

#[test]
fn callers_who_go_away_lose_no_units() {
    for leaving in 0..20_u64 {
        let (store, clock) = (Held::new(), ManualClock::new(0.0));
        let node = node(&store, &clock, |it| it);
        store.hold();
        let mut waiting: Vec<_> = (0..20).map(|_| Task::started(node.run_check("k", 1.0))).collect();
        // Those who came first leave, with the one who drove the lease.
        waiting.drain(..usize::try_from(leaving).unwrap());
        store.flow();
        store.release_oldest();
        let admitted = waiting.into_iter().map(|task| u64::from(task.answer().unwrap().allowed)).sum::<u64>();
        let held = drain(&node);
        assert_eq!(admitted, 20 - leaving);
        assert_eq!(admitted + held, debited(&store, 0.0), "{leaving} left");
    }
}

#[test]
fn a_lease_that_everybody_left_is_driven_on_by_the_next_caller() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    store.hold();
    drop(Task::started(node.run_check("k", 1.0)));
    store.release_oldest();
    // The units came, but nobody has looked.
    assert_eq!(node.stats().leases, 0);
    let decision = done(node.check("k")).unwrap();
    assert_eq!((decision.remaining, store.calls()), (9, 1));
}

#[test]
fn a_lease_that_everybody_left_is_driven_on_where_units_suffice() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    assert_eq!(done(node.check("k")).unwrap().remaining, 9);
    store.hold();
    drop(Task::started(node.run_check("k", 15.0)));
    store.release_oldest();
    assert_eq!(done(node.check("k")).unwrap().remaining, 8);
    assert_eq!((done(node.check("k")).unwrap().remaining, store.calls()), (22, 2));
}

#[test]
fn a_check_that_is_never_polled_does_nothing() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    drop(node.run_check("k", 1.0));
    assert_eq!((store.calls(), node.keys_held()), (0, 0));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(Mutex<u32>);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn who_waits_is_woken_though_another_one_drives() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    store.hold();
    let mut driver = Task::started(node.run_check("k", 1.0));
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut second = Box::pin(node.run_check("k", 1.0));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    store.release_oldest();
    assert!(*counter.0.lock().unwrap() >= 1, "the answer wakes all who wait");
    assert!(driver.poll().is_some());
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn units_whose_window_is_over_are_not_spent() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let (store, clock) = (Held::new(), ManualClock::new(990.0));
        let node = node(&store, &clock, |it| it.window_coupled(true).grant(form));
        store.hold();
        let mut check = Task::started(node.run_check("k", 1.0));
        // Ten milliseconds were left when it was asked for.
        clock.set(1_000.0);
        store.release_oldest();
        assert!(check.poll().is_none(), "it asks again");
        assert_eq!(node.stats().late, 10.0);
        store.flow();
        store.release_oldest();
        let decision = check.answer().unwrap();
        assert_eq!((decision.allowed, decision.remaining, decision.reset_at_ms), (true, 9, 2_000));
        assert_eq!(debited(&store, 1_000.0), 10);
    }
}

#[test]
fn a_store_that_is_slower_than_its_windows_admits_nothing() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    store.hold();
    let mut check = Task::started(node.run_check("k", 1.0));
    for window in 1..3_u8 {
        clock.set(f64::from(window) * 1_000.0);
        store.release_oldest();
        assert!(check.poll().is_none());
    }
    clock.set(3_000.0);
    store.release_oldest();
    let denied = check.answer().unwrap();
    assert!(!denied.allowed && denied.retry_after_ms > 0);
    assert_eq!((node.stats().late, drain(&node)), (30.0, 0));
}

#[test]
fn the_end_of_a_window_is_found_whatever_the_clocks_show() {
    // The store's clock is an hour behind, or ahead; 400 ms of its window are left.
    for offset in [-3_600_000.0, 0.0, 3_600_000.0, 7_777_777.0] {
        let (mine, theirs) = (ManualClock::new(1e9), ManualClock::new(1e9 + offset + 600.0 - (1e9 + offset) % 1_000.0));
        let store = Held::with_clock(&theirs);
        let node = node(&store, &mine, |it| it.window_coupled(true));
        assert!(done(node.check("k")).unwrap().allowed);
        let pass = |ms: f64| {
            mine.advance(ms);
            theirs.advance(ms);
        };
        pass(399.0);
        assert_eq!(done(node.check("k")).unwrap().remaining, 8);
        assert_eq!(store.calls(), 1);
        pass(1.0);
        assert_eq!(done(node.check("k")).unwrap().remaining, 9, "offset {offset}");
        assert_eq!(store.calls(), 2);
    }
}

#[test]
fn a_slow_answer_makes_the_end_early_and_never_late() {
    let (mine, theirs) = (ManualClock::new(50_000.0), ManualClock::new(0.0));
    let store = Held::with_clock(&theirs);
    let node = node(&store, &mine, |it| it.window_coupled(true));
    store.hold();
    let check = Task::started(node.run_check("k", 1.0));
    mine.advance(300.0);
    theirs.advance(300.0);
    store.flow();
    store.release_oldest();
    assert!(check.answer().unwrap().allowed);
    // The store granted when 1000 ms were left, which count from the moment it was asked.
    mine.set(50_999.0);
    assert!(node.try_check("k", 1.0).unwrap().is_some());
    mine.set(51_000.0);
    assert!(node.try_check("k", 1.0).unwrap().is_none());
}

#[test]
fn a_failure_reaches_all_who_wait_and_costs_no_units() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    assert!(done(node.check("k")).unwrap().allowed);
    store.hold();
    store.down(true);
    let waiting: Vec<_> = (0..3).map(|_| Task::started(node.run_check("k", 12.0))).collect();
    store.release_oldest();
    for task in waiting {
        assert!(task.answer().unwrap_err().is_store_unavailable());
    }
    assert_eq!(node.stats().failed, 1);
    // What is held is spent all the same.
    assert_eq!(drain(&node), 9);
    store.flow();
    store.down(false);
    assert!(done(node.check("k")).unwrap().allowed);
}

#[test]
fn units_that_are_held_do_not_end_an_outage() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let outage = Outage::new();
    let local = window(2.0, 1_000.0);
    let made = Arc::new(Mutex::new(0));
    let (count, local_clock) = (Arc::clone(&made), clock.clone());
    let node = node(&store, &clock, |it| it.window_coupled(true));
    let limiter = Fallback::new(node, &outage, move || {
        *count.lock().unwrap() += 1;
        Ok(Arc::new(Limiter::builder(local).clock(local_clock.clone()).build()))
    });
    assert!(done(limiter.check("k", 1.0)).unwrap().allowed);
    store.down(true);
    let mut admitted = 0;
    for _ in 0..5 {
        admitted += u8::from(done(limiter.check("other", 1.0)).unwrap().allowed);
        // From units that were paid for before.
        assert_eq!(done(limiter.check("k", 1.0)).unwrap().limit, 100);
    }
    assert_eq!((admitted, *made.lock().unwrap()), (2, 1));
    assert!(outage.is_on());
    store.down(false);
    assert_eq!(done(limiter.check("third", 1.0)).unwrap().limit, 100);
    assert!(!outage.is_on());
}

#[test]
fn units_fetched_beforehand_in_vain_do_not_end_an_outage() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let outage = Outage::new();
    let node = node(&store, &clock, |it| it.low_water(9.0).window_coupled(true));
    let limiter = Fallback::new(node, &outage, || Ok(Arc::new(Limiter::new(window(2.0, 1_000.0)))));
    assert!(done(limiter.check("k", 1.0)).unwrap().allowed);
    store.down(true);
    assert!(done(limiter.check("other", 1.0)).unwrap().allowed);
    // Each of these asks for a refill on the way, which fails.
    for _ in 0..5 {
        assert!(done(limiter.check("k", 1.0)).unwrap().allowed);
        assert!(outage.is_on());
    }
    store.down(false);
    assert!(done(limiter.check("third", 1.0)).unwrap().allowed);
    assert!(!outage.is_on());
}

#[test]
fn a_store_that_is_out_at_the_start_is_asked_again() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    store.down(true);
    let node = node(&store, &clock, |it| it);
    assert!(done(node.check("k")).unwrap_err().is_store_unavailable());
    store.down(false);
    assert!(done(node.check("k")).unwrap().allowed);
}

#[test]
fn a_reset_forgets_both_tiers_and_leases_on_their_way() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    assert_eq!(done(node.check("k")).unwrap().remaining, 9);
    store.hold();
    let mut check = Task::started(node.run_check("k", 12.0));
    store.flow();
    done(node.reset("k")).unwrap();
    assert_eq!((node.keys_held(), debited(&store, 0.0)), (0, 0));
    store.release_oldest();
    // It was granted before the reset, and leases anew.
    assert_eq!(check.poll().unwrap().unwrap().remaining, 0);
    assert_eq!((node.stats().lost, debited(&store, 0.0)), (12.0, 12));
}

#[test]
fn a_key_that_makes_room_gives_its_units_back() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.max_keys(2).window_coupled(true));
    for key in ["k", "a", "b"] {
        assert!(done(node.check(key)).unwrap().allowed);
    }
    assert_eq!((node.keys_held(), node.stats().evicted, node.stats().returned), (2, 1, 9.0));
    assert_eq!(debited(&store, 0.0), 1, "what was spent stays spent");
}

#[test]
fn a_key_with_a_lease_on_its_way_stays() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.max_keys(1));
    store.hold();
    let check = Task::started(node.run_check("k", 1.0));
    store.flow();
    // There is no room for another key: the store decides.
    let decision = done(node.check("a")).unwrap();
    assert_eq!((decision.remaining, node.keys_held(), node.stats().evicted), (99, 1, 0));
    store.release_oldest();
    assert_eq!(check.answer().unwrap().remaining, 9);
    assert!(done(node.check("a")).unwrap().allowed);
    assert_eq!((node.stats().evicted, debited(&store, 0.0)), (1, 1));
}

#[test]
fn a_million_keys_take_the_room_of_a_few() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.max_keys(50));
    for key in 0..5_000 {
        done(node.check(&key.to_string())).unwrap();
    }
    assert_eq!((node.keys_held(), node.stats().evicted), (50, 4_950));
}

#[test]
fn idle_units_go_back_where_the_store_takes_them() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    for key in ["k", "busy"] {
        done(node.check_cost(key, 3.0)).unwrap();
    }
    clock.set(500.0);
    done(node.check("busy")).unwrap();
    done(node.return_idle(Duration::from_millis(400)));
    assert_eq!((node.keys_held(), node.stats().returned, debited(&store, 500.0)), (1, 7.0, 3));
    // A window that is over takes nothing back.
    clock.set(1_000.0);
    done(node.return_idle(Duration::ZERO));
    assert_eq!((node.keys_held(), node.stats().returned, store.calls()), (0, 7.0, 4));

    let gcra = Gcra::builder().limit(10.0).period_ms(1_000.0).burst(50.0).build().unwrap();
    let clock = ManualClock::new(0.0);
    let limiter = TwoTier::builder(gcra).keyspace(Held::new()).clock(clock.clone()).batch(20.0).build().unwrap();
    done(limiter.check("k")).unwrap();
    done(limiter.close());
    assert_eq!(done(limiter.check("k")).unwrap().remaining, 48);

    let log = SlidingWindowLog::builder().limit(30.0).window_ms(1_000.0).build().unwrap();
    let store = Held::new();
    let limiter = TwoTier::builder(log).keyspace(store.clone()).clock(clock).batch(20.0).build().unwrap();
    done(limiter.check("k")).unwrap();
    done(limiter.close());
    assert_eq!((store.calls(), limiter.stats().returned), (1, 0.0), "nor is it asked to");
    assert_eq!(done(limiter.check("k")).unwrap().remaining, 9, "a log takes nothing back");
}

#[test]
fn closing_gives_all_back_and_waits_for_what_is_on_its_way() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    done(node.check("k")).unwrap();
    store.hold();
    drop(Task::started(node.run_check("k", 15.0)));
    let handle = node.clone();
    let mut closing = Task::started(async move { handle.close().await });
    store.flow();
    store.release_oldest();
    assert!(closing.poll().is_some());
    assert_eq!((node.stats().returned, debited(&store, 0.0), node.keys_held()), (24.0, 1, 0));
    // From now on the store decides.
    let calls = store.calls();
    assert_eq!(done(node.check("k")).unwrap().remaining, 98);
    assert_eq!(done(node.check("k")).unwrap().remaining, 97);
    assert_eq!(store.calls(), calls + 2);
}

#[test]
fn a_closed_limiter_remembers_no_denials() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    assert!(done(node.check_cost("k", 100.0)).unwrap().allowed);
    done(node.close());
    let calls = store.calls();
    for _ in 0..3 {
        assert!(!done(node.check("k")).unwrap().allowed);
    }
    assert_eq!(store.calls(), calls + 3);
}

#[test]
fn a_lease_stays_whole_wherever_its_callers_are_dropped() {
    // Each caller is polled so often and then dropped, while the store answers between the polls.
    for polls in 0..6 {
        for release_after in 0..6 {
            let (store, clock) = (Held::new(), ManualClock::new(0.0));
            let node = node(&store, &clock, |it| it.low_water(3.0).window_coupled(true));
            store.hold();
            let mut admitted = 0.0;
            for cost in [1.0, 12.0, 7.0, 3.0, 25.0] {
                let mut check = Box::pin(node.run_check("k", cost));
                let mut context = Context::from_waker(Waker::noop());
                for poll in 0..polls {
                    if poll == release_after && !store.held().is_empty() {
                        store.release_oldest();
                    }
                    if let std::task::Poll::Ready(decision) = check.as_mut().poll(&mut context) {
                        admitted += if decision.unwrap().allowed { cost } else { 0.0 };
                        break;
                    }
                }
            }
            store.flow();
            while !store.held().is_empty() {
                store.release_oldest();
            }
            // The next callers drive on what is left.
            for _ in 0..3 {
                admitted += if done(node.check("k")).unwrap().allowed { 1.0 } else { 0.0 };
            }
            done(node.close());
            #[allow(clippy::cast_precision_loss)] // at most the limit
            let debited = debited(&store, 0.0) as f64;
            assert_eq!(debited, admitted, "{polls} polls, answers after {release_after}");
        }
    }
}
