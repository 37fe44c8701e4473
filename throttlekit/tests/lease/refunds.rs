//! Units that were taken from leases and not used.

use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::lease::{Mode, TwoTier};
use throttlekit::store::Remote;
use throttlekit::{Decision, DynLimiter, Gcra, ManualClock, Meter, Refund, SlidingWindowLog};

use crate::support::held::{Held, Task, done};
use crate::support::lease::{Node, debited, node, window};
use crate::support::{CasStore, polled};

fn take(node: &Node, cost: f64) -> Decision {
    let decision = done(node.check_cost("k", cost)).unwrap();
    assert!(decision.allowed);
    decision
}

fn give_back(node: &Node, units: f64, taken: &Decision) -> Decision {
    done(node.refund_of("k", Refund::new(units).of(taken))).unwrap()
}

#[test]
fn a_leased_budget_counts_what_was_used() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let budget = Budget::builder().budget(1_000_000.0).window_ms(60_000.0).build().unwrap();
    let gateway = budget.leased().batch(5_000.0).keyspace(store.clone()).clock(clock.clone()).build().unwrap();
    assert!(gateway.refunds());
    for _ in 0..300 {
        let reserved = done(gateway.debit("k", 4_100.0)).unwrap();
        assert!(reserved.allowed);
        done(gateway.refund_of("k", Refund::new(4_050.0).of(&reserved))).unwrap();
    }
    assert_eq!(store.calls(), 4, "units that came back are spent again");
    done(gateway.close());
    let meter = TokenBudget::builder(budget).keyspace(store).clock(clock).build();
    assert_eq!(done(meter.run_usage("k")).unwrap().served, 300 * 50);
}

#[test]
fn coupled_units_return_to_what_is_held_of_their_window() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    let taken = take(&node, 8.0);
    assert_eq!(give_back(&node, 5.0, &taken).remaining, 7);
    assert_eq!((take(&node, 7.0).remaining, store.calls()), (0, 1));
    // Without knowing whose they are.
    assert_eq!(done(node.refund("k", 2.0)).unwrap().remaining, 2);
    // More than was taken here is for the store to judge.
    assert_eq!(give_back(&node, 11.0, &taken).remaining, 93);
    assert_eq!((store.calls(), debited(&store, 0.0)), (2, 7));
}

#[test]
fn units_of_a_window_that_is_over_are_not_given_back() {
    for coupled in [true, false] {
        let (store, clock) = (Held::new(), ManualClock::new(0.0));
        let node = node(&store, &clock, |it| it.window_coupled(coupled));
        let taken = take(&node, 10.0);
        clock.set(1_000.0);
        assert_eq!(give_back(&node, 5.0, &taken).remaining, 0);
        take(&node, 6.0);
        assert_eq!(give_back(&node, 5.0, &taken).remaining, 4, "nor into the next one");
        assert_eq!((store.calls(), debited(&store, 1_000.0)), (2, 10));
    }
}

#[test]
fn carried_units_return_up_to_what_a_lease_leaves() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it);
    let taken = take(&node, 25.0);
    take(&node, 3.0);
    // Of 25 units 17 are held again, which makes 24; the store gets 8.
    give_back(&node, 25.0, &taken);
    assert_eq!((node.try_check("k", 24.0).unwrap().map(|decision| decision.remaining), store.calls()), (Some(0), 3));
    assert_eq!(debited(&store, 0.0), 27);
}

/// Else a holder would carry what came back and what a lease leaves into the next window.
#[test]
fn carried_units_go_back_to_the_store_while_a_lease_is_under_way() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.low_water(4.0));
    let taken = take(&node, 5.0);
    store.hold();
    assert_eq!(take(&node, 1.0).remaining, 4);
    store.flow();
    assert_eq!((store.held().len(), debited(&store, 0.0)), (1, 20));
    give_back(&node, 5.0, &taken);
    assert_eq!(debited(&store, 0.0), 15);
    store.release_oldest();
    // Drives the refill, and then finds it.
    assert_eq!((take(&node, 1.0).remaining, take(&node, 1.0).remaining), (3, 12));
}

#[test]
fn what_is_not_held_here_goes_back_to_the_store() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    let taken = take(&node, 8.0);
    done(node.close());
    assert_eq!(debited(&store, 0.0), 8);
    assert_eq!(give_back(&node, 5.0, &taken).remaining, 97);
    assert_eq!(debited(&store, 0.0), 3);
}

/// A holder whose unspent units went back has no room that a refund could fill: the store may have given them to others.
#[test]
fn a_lease_whose_rest_was_returned_holds_nothing_again() {
    for coupled in [true, false] {
        let (store, clock) = (Held::new(), ManualClock::new(0.0));
        let node = node(&store, &clock, |it| it.window_coupled(coupled));
        let taken = take(&node, 4.0);
        clock.set(2.0);
        done(node.return_idle(std::time::Duration::from_millis(1)));
        assert_eq!((debited(&store, 2.0), node.keys_held()), (4, 0));
        give_back(&node, 4.0, &taken);
        assert_eq!((debited(&store, 2.0), node.try_check("k", 1.0).unwrap()), (0, None), "coupled: {coupled}");
    }
}

#[test]
fn a_denial_while_a_rest_is_on_its_way_back_is_forgotten() {
    // The store does what is asked when it is polled.
    let builder = TwoTier::builder(window(10.0, 1_000.0)).keyspace(Remote::new(CasStore::default()));
    let clock = ManualClock::new(0.0);
    let limiter = builder.clock(clock.clone()).batch(10.0).window_coupled(true).build().unwrap();
    let check = || polled(limiter.check("k"), 20).expect("an answer").unwrap().allowed;
    assert!(check());
    clock.set(2.0);
    let mut returning = Box::pin(limiter.return_idle(std::time::Duration::from_millis(1)));
    assert!(polled(&mut returning, 1).is_none());
    assert!(!check());
    polled(returning, 20).expect("an answer");
    assert!(check());
}

#[test]
fn a_store_that_got_units_back_is_asked_again() {
    for mode in [Mode::Leased, Mode::CachedDeny, Mode::Strict] {
        let (store, clock) = (Held::new(), ManualClock::new(0.0));
        let node = node(&store, &clock, |it| it.mode(mode).batch(1.0));
        let taken = take(&node, 100.0);
        let denied = || !done(node.check("k")).unwrap().allowed;
        assert!(denied() && denied());
        let refund = node.give_back("k", Refund::new(200.0).of(&taken));
        done(refund).unwrap();
        assert!(!denied(), "{mode:?}");
    }
}

#[test]
fn a_denial_that_was_asked_for_before_a_refund_is_not_remembered() {
    for mode in [Mode::Leased, Mode::CachedDeny] {
        for (cost, given_up) in [(1.0, false), (1.0, true), (500.0, false)] {
            let (store, clock) = (Held::new(), ManualClock::new(0.0));
            let node = node(&store, &clock, |it| it.mode(mode));
            let taken = take(&node, 100.0);
            store.hold();
            let denied = Task::started(node.run_check("k", cost));
            store.flow();
            // Nobody may look at the answer before the next check does.
            let denied = (!given_up).then_some(denied);
            give_back(&node, 5.0, &taken);
            store.release_oldest();
            if let Some(denied) = denied {
                assert!(!denied.answer().unwrap().allowed);
            }
            assert_eq!(take(&node, 5.0).remaining, 0, "{mode:?} after a denial of {cost}, given up: {given_up}");
            assert_eq!(debited(&store, 0.0), 100);
        }
    }
}

/// Few keys share what says that a denial on its way is old, so of many of them most are remembered.
#[test]
fn a_refund_leaves_denials_of_other_keys_that_are_on_their_way() {
    for (mode, cost) in [(Mode::CachedDeny, 1.0), (Mode::Leased, 500.0)] {
        let (store, clock) = (Held::new(), ManualClock::new(0.0));
        let node = node(&store, &clock, |it| it.mode(mode));
        let keys: Vec<_> = (0..16).map(|at| format!("k{at}")).collect();
        for key in &keys {
            assert!(done(node.check_cost(key, 100.0)).unwrap().allowed);
        }
        store.hold();
        let waiting: Vec<_> = keys.iter().map(|key| Task::started(node.run_check(key, cost))).collect();
        store.flow();
        // Of a key that is not known here: all of it goes to the store.
        done(node.refund("other", 5.0)).unwrap();
        for task in waiting {
            store.release_oldest();
            assert!(!task.answer().unwrap().allowed);
        }
        let remembered = keys.iter().filter(|key| node.try_check(key, cost).unwrap().is_some()).count();
        assert!(remembered > 8, "{mode:?}: {remembered} of 16");
    }
}

#[test]
fn units_without_windows_return_too() {
    let gcra = Gcra::builder().limit(10.0).period_ms(1_000.0).burst(50.0).build().unwrap();
    let limiter =
        TwoTier::builder(gcra).keyspace(Held::new()).clock(ManualClock::new(0.0)).batch(20.0).build().unwrap();
    let taken = done(limiter.check_cost("k", 5.0)).unwrap();
    assert_eq!(done(limiter.refund_of("k", Refund::new(3.0).of(&taken))).unwrap().remaining, 18);

    let log = SlidingWindowLog::builder().limit(30.0).window_ms(1_000.0).build().unwrap();
    let limiter = TwoTier::builder(log).keyspace(Held::new()).batch(20.0).build().unwrap();
    let taken = done(limiter.check_cost("k", 5.0)).unwrap();
    let error = done(limiter.refund_of("k", Refund::new(3.0).of(&taken))).unwrap_err();
    assert_eq!((error.code(), limiter.refunds()), ("throttlekit_error", false));
}

#[test]
fn what_is_no_number_of_units_is_refused() {
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).build().unwrap();
    let gateway = budget.leased().batch(10.0).clock(ManualClock::new(0.0)).build().unwrap();
    assert!(done(gateway.debit("k", 5.0)).unwrap().allowed);
    for units in [0.0, -1.0, 0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(done(gateway.refund("k", units)).unwrap_err().code(), "invalid_argument", "{units}");
    }
    assert_eq!(gateway.try_check("k", 5.0).unwrap().map(|decision| decision.remaining), Some(0));
}

#[test]
fn a_charge_beyond_what_is_left_is_not_possible() {
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).build().unwrap();
    let gateway = budget.leased().batch(10.0).clock(ManualClock::new(0.0)).build().unwrap();
    assert_eq!(done(gateway.charge("k", 5.0)).unwrap_err().code(), "throttlekit_error");
}

/// Units that come back while a lease is under way are there for who waits for it.
#[test]
fn who_waits_for_a_lease_finds_what_came_back() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let node = node(&store, &clock, |it| it.window_coupled(true));
    let taken = take(&node, 100.0);
    store.hold();
    let waiting = Task::started(node.run_check("k", 1.0));
    assert_eq!(give_back(&node, 3.0, &taken).remaining, 3);
    store.flow();
    store.release_oldest();
    assert_eq!(waiting.answer().unwrap().remaining, 2);
}
