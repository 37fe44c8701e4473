//! The limiter in two tiers: what each mode answers, and how often it asks the store.

use std::sync::{Arc, Mutex};

use throttlekit::budget::Budget;
use throttlekit::lease::{EoqOptions, GrantForm, Mode, TwoTier, TwoTierBuilder};
use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, Decision, DynLimiter, Error, Event, ExactGcra, FixedWindow, Gcra, LeaseEvent, ManualClock, Meter,
    Observer, Project, TokenBucket,
};

use crate::support::bed::{Builder, bed};
use crate::support::held::{Held, Task, done};
use crate::support::lease::window;

#[test]
fn whole_leases_leave_the_rest_of_a_window() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).window_coupled(true).grant(GrantForm::Whole));
    assert_eq!(
        bed.allows(0.0, 1.0, 3, 1),
        Decision { allowed: true, limit: 10, remaining: 3, reset_at_ms: 1_000, retry_after_ms: 0 }
    );
    bed.allows(10.0, 3.0, 0, 1);
    bed.allows(20.0, 1.0, 3, 2);
    assert_eq!(bed.denies(30.0, 5.0, 970, 3).remaining, 2);
    bed.allows(40.0, 3.0, 0, 3);
    assert_eq!(bed.denies(50.0, 1.0, 950, 4).remaining, 2);
    bed.denies(60.0, 1.0, 940, 5);
    bed.denies(999.0, 1.0, 1, 6);
    assert_eq!(bed.allows(1_000.0, 1.0, 3, 7).reset_at_ms, 2_000);
}

#[test]
fn partial_leases_take_the_rest_and_then_deny_without_a_trip() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).window_coupled(true));
    bed.allows(0.0, 1.0, 3, 1);
    bed.allows(10.0, 3.0, 0, 1);
    bed.allows(20.0, 1.0, 3, 2);
    // Three are held and two are left: together they are enough.
    bed.allows(30.0, 5.0, 0, 3);
    for (now, cost, retry) in [(40.0, 3.0, 960), (50.0, 1.0, 950), (60.0, 1.0, 940), (999.0, 1.0, 1)] {
        let denied = bed.denies(now, cost, retry, 3);
        assert_eq!((denied.limit, denied.remaining, denied.reset_at_ms), (10, 0, 1_000));
    }
    assert_eq!(bed.allows(1_000.0, 1.0, 3, 4).reset_at_ms, 2_000);
}

#[test]
fn units_are_carried_into_the_next_window_unless_coupled() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).grant(form));
        bed.allows(0.0, 1.0, 3, 1);
        for remaining in [2, 1, 0] {
            assert_eq!(bed.allows(1_000.0, 1.0, remaining, 1).reset_at_ms, 1_000);
        }
        assert_eq!(bed.allows(1_000.0, 1.0, 3, 2).reset_at_ms, 2_000);
        bed.allows(1_000.0, 1.0, 2, 2);
        bed.allows(1_000.0, 4.0, 2, 3);
        if form == GrantForm::Whole {
            let denied = bed.denies(1_000.0, 4.0, 1_000, 4);
            assert_eq!((denied.remaining, denied.reset_at_ms), (2, 2_000));
            bed.allows(1_000.0, 1.0, 1, 4);
        } else {
            bed.allows(1_000.0, 4.0, 0, 4);
            bed.denies(1_000.0, 1.0, 1_000, 4);
        }
    }
}

#[test]
fn a_batch_above_the_limit_takes_what_there_is() {
    let whole = bed(window(5.0, 1_000.0), |it| it.batch(10.0).grant(GrantForm::Whole));
    let denied = whole.denies(0.0, 1.0, 1_000, 1);
    assert_eq!((denied.limit, denied.remaining), (5, 5));
    let partial = bed(window(5.0, 1_000.0), |it| it.batch(10.0));
    partial.allows(0.0, 1.0, 4, 1);
}

#[test]
fn a_request_above_the_batch_leases_its_cost() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let bed = bed(window(100.0, 1_000.0), |it| it.batch(5.0).grant(form));
        bed.allows(0.0, 2.0, 3, 1);
        bed.allows(1.0, 9.0, 3, 2);
        bed.allows(2.0, 1.0, 2, 2);
        bed.allows(3.0, 12.0, 2, 3);
    }
}

/// Each of `nodes` checks once in a window, and then they take turns at the beginning of the next: how many pass there.
fn boundary(form: GrantForm, coupled: bool, nodes: usize, batch: f64, limit: f64) -> usize {
    let (clock, store) = (ManualClock::new(0.0), Held::new());
    let node = |_| {
        let builder = TwoTier::builder(window(limit, 1_000.0)).keyspace(store.clone()).clock(clock.clone());
        builder.batch(batch).grant(form).window_coupled(coupled).build().unwrap()
    };
    let nodes: Vec<_> = (0..nodes).map(node).collect();
    for node in &nodes {
        done(node.check("k")).unwrap();
    }
    clock.set(1_000.0);
    (0..1_000).filter(|turn| done(nodes[turn % nodes.len()].check("k")).unwrap().allowed).count()
}

#[test]
fn coupling_keeps_the_limit_across_a_boundary() {
    use GrantForm::{Partial, Whole};
    for (form, nodes, batch, limit, carried, coupled) in [
        (Whole, 4, 10.0, 100.0, 136, 100),
        (Whole, 3, 7.0, 50.0, 67, 49),
        (Whole, 5, 6.0, 20.0, 33, 18),
        (Partial, 4, 10.0, 100.0, 136, 100),
        (Partial, 3, 7.0, 50.0, 68, 50),
        (Partial, 5, 6.0, 20.0, 36, 20),
    ] {
        let admitted = |coupled| boundary(form, coupled, nodes, batch, limit);
        assert_eq!((admitted(false), admitted(true)), (carried, coupled), "{form:?}, {nodes} nodes");
    }
}

#[test]
fn callers_who_need_units_at_the_same_time_share_a_lease() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let (clock, store) = (ManualClock::new(0.0), Held::new());
        let gcra = Gcra::builder().limit(10_000.0).period_ms(60_000.0).burst(500.0).build().unwrap();
        let builder = TwoTier::builder(gcra).keyspace(store.clone()).clock(clock);
        let limiter = builder.batch(10.0).grant(form).build().unwrap();
        store.hold();
        let mut waiting: Vec<_> = (0..3).map(|_| Task::started(limiter.run_check("k", 1.0))).collect();
        assert_eq!(store.calls(), 1);
        store.flow();
        store.release_oldest();
        let remaining = waiting.drain(..).map(|task| task.answer().unwrap().remaining);
        assert_eq!(remaining.collect::<Vec<_>>(), [9, 8, 7]);
        (0..7).for_each(|_| assert!(done(limiter.check("k")).unwrap().allowed));
        assert_eq!(store.calls(), 1);
        assert!(done(limiter.check("k")).unwrap().allowed);
        assert_eq!(store.calls(), 2);
    }
}

#[test]
fn a_refill_that_comes_late_is_not_spent() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let configure = |it: Builder| it.batch(4.0).low_water(2.0).window_coupled(true).grant(form);
        let bed = bed(window(1_000.0, 1_000.0), configure);
        bed.allows(0.0, 1.0, 3, 1);
        bed.store.hold();
        bed.allows(0.0, 1.0, 2, 2);
        let refill = bed.store.held()[0];
        bed.clock.set(1_000.0);
        let check = Task::started(bed.limiter.run_check("k", 1.0));
        assert_eq!(bed.store.calls(), 3);
        bed.store.release(refill);
        bed.store.flow();
        bed.store.release_oldest();
        let decision = check.answer().unwrap();
        assert_eq!((decision.allowed, decision.reset_at_ms, decision.remaining), (true, 2_000, 3));
        // It is driven on by the next caller, and its units are of no use.
        bed.allows(1_000.0, 1.0, 2, 3);
        assert_eq!(bed.limiter.stats().late, 4.0);
    }
}

#[test]
fn remembered_denials_take_no_trips() {
    let (clock, store) = (ManualClock::new(0.0), Held::new());
    let gcra = Gcra::builder().limit(1.0).period_ms(10_000.0).build().unwrap();
    let builder = TwoTier::builder(gcra).keyspace(store.clone()).clock(clock.clone()).mode(Mode::CachedDeny);
    let limiter = builder.build().unwrap();
    assert!(done(limiter.check("k")).unwrap().allowed);
    for after in 0..51_u64 {
        clock.set(f64::from(u32::try_from(after).unwrap()));
        let denied = done(limiter.check("k")).unwrap();
        assert_eq!((denied.allowed, denied.retry_after_ms, denied.remaining), (false, 10_000 - after, 0));
    }
    assert_eq!(store.calls(), 2);
    clock.set(10_000.0);
    assert!(done(limiter.check("k")).unwrap().allowed);
    done(limiter.check("k")).unwrap();
    done(limiter.reset("k")).unwrap();
    assert!(done(limiter.check("k")).unwrap().allowed, "the denial is forgotten with the key");
}

#[test]
fn a_remembered_denial_says_nothing_about_smaller_requests() {
    let bed = bed(window(10.0, 1_000.0), |it| it.mode(Mode::CachedDeny));
    bed.allows(0.0, 6.0, 4, 1);
    bed.denies(0.0, 5.0, 1_000, 2);
    bed.denies(1.0, 7.0, 999, 2);
    bed.allows(2.0, 4.0, 0, 3);
    bed.denies(3.0, 1.0, 997, 4);
    // The smaller denial is what is remembered now.
    bed.denies(4.0, 5.0, 996, 4);
    bed.denies(4.0, 1.0, 996, 4);
    bed.allows(1_000.0, 5.0, 5, 5);
}

#[test]
fn a_strict_limiter_asks_each_time() {
    let bed = bed(window(2.0, 1_000.0), |it| it.mode(Mode::Strict));
    bed.allows(0.0, 1.0, 1, 1);
    bed.allows(0.0, 1.0, 0, 2);
    bed.denies(0.0, 1.0, 1_000, 3);
    bed.denies(0.0, 1.0, 1_000, 4);
    assert_eq!((bed.limiter.mode(), bed.limiter.keys_held()), (Mode::Strict, 0));
}

#[test]
fn what_is_too_small_for_a_request_stays_for_smaller_ones() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).window_coupled(true));
    bed.allows(0.0, 4.0, 0, 1);
    let denied = bed.denies(1.0, 8.0, 999, 2);
    assert_eq!(denied.remaining, 6);
    bed.allows(2.0, 2.0, 4, 2);
    bed.denies(3.0, 5.0, 997, 2);
    bed.allows(4.0, 4.0, 0, 2);
}

#[test]
fn a_request_above_the_limit_takes_nothing_from_others() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).window_coupled(true));
    assert_eq!(bed.denies(0.0, 11.0, 1_000, 1).remaining, 10);
    bed.denies(1.0, 11.0, 999, 1);
    bed.denies(1.0, 500.0, 999, 1);
    bed.allows(2.0, 1.0, 3, 2);
    bed.allows(3.0, 9.0, 0, 3);
}

#[test]
fn without_a_window_a_denial_holds_until_units_are_there() {
    let (clock, store) = (ManualClock::new(0.0), Held::new());
    let bucket = TokenBucket::builder().capacity(10.0).refill_per_sec(10.0).build().unwrap();
    let builder = TwoTier::builder(bucket).keyspace(store.clone()).clock(clock.clone());
    let limiter = builder.batch(8.0).build().unwrap();
    let check = |now: f64, cost: f64| {
        clock.set(now);
        let decision = done(limiter.check_cost("k", cost)).unwrap();
        (decision.allowed, decision.remaining, decision.retry_after_ms, store.calls())
    };
    assert_eq!(check(0.0, 1.0), (true, 7, 0, 1));
    assert_eq!(check(0.0, 7.0), (true, 0, 0, 1));
    // Two are left: they are held, and one more is due in 100 ms.
    assert_eq!(check(0.0, 3.0), (false, 2, 100, 2));
    assert_eq!(check(40.0, 3.0), (false, 2, 60, 2));
    assert_eq!(check(40.0, 4.0), (false, 2, 60, 2));
    assert_eq!(check(50.0, 1.0), (true, 1, 0, 2));
    // By then it lacks less than what was denied.
    assert_eq!(check(60.0, 1.0), (true, 0, 0, 2));
    assert_eq!(check(100.0, 1.0), (true, 0, 0, 3));
}

#[test]
fn a_check_that_need_not_wait_can_be_made_anywhere() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0));
    assert_eq!(bed.limiter.try_check("k", 1.0).unwrap(), None);
    bed.allows(0.0, 1.0, 3, 1);
    assert_eq!(bed.limiter.try_check("k", 2.0).unwrap().map(|decision| decision.remaining), Some(1));
    assert_eq!(bed.limiter.try_check("k", 2.0).unwrap(), None);
    assert!(bed.limiter.run_check("k", 1.0).now().is_ok(), "what is held needs no waiting");
    assert_eq!(bed.store.calls(), 1);
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert_eq!(bed.limiter.try_check("k", cost).unwrap_err().code(), "invalid_argument");
        assert_eq!(done(bed.limiter.check_cost("k", cost)).unwrap_err().code(), "invalid_argument");
    }
}

#[test]
fn a_batch_of_keys_is_answered_in_order_and_shares_leases() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0));
    bed.store.hold();
    let mut batch = Task::started(bed.limiter.run_check_many(&["a", "b", "a", "a"], 2.0));
    assert_eq!(bed.store.held().len(), 2);
    bed.store.flow();
    bed.store.release_oldest();
    assert!(batch.poll().is_none());
    bed.store.release_oldest();
    let remaining: Vec<u64> = batch.answer().unwrap().iter().map(|decision| decision.remaining).collect();
    assert_eq!(remaining, [2, 2, 0, 2]);
    assert_eq!(bed.store.calls(), 3);
    assert!(bed.limiter.run_check_many(&["a", "b"], 1.0).now().is_ok_and(|decisions| decisions.is_ok()));
}

#[test]
fn options_are_refused_by_name() {
    let builder = || TwoTier::builder(window(10.0, 1_000.0));
    let refused = |builder: TwoTierBuilder<FixedWindow, _>| builder.build().unwrap_err().to_string();
    for (builder, starts) in [
        (builder(), "twoTier.batch: required in mode leased, unless `adaptive`"),
        (builder().batch(0.5), "twoTier.batch is 0.5: must be"),
        (builder().batch(f64::NAN), "twoTier.batch is NaN"),
        (builder().batch(f64::INFINITY), "twoTier.batch is inf"),
        (builder().adaptive(EoqOptions::new(0.0, 1.0)), "adaptive.orderCost is 0"),
        (builder().batch(1.0).low_water(-1.0), "twoTier.lowWater is -1"),
        (builder().batch(1.0).low_water(f64::NAN), "twoTier.lowWater is NaN"),
        (builder().batch(1.0).max_keys(0), "twoTier.maxKeys is 0"),
        (builder().batch(1.0).return_idle_after_ms(0.0), "twoTier.returnIdleAfterMs is 0"),
        (builder().batch(1.0).return_idle_after_ms(5.0), "twoTier.returnIdleAfterMs is 5: must have a runtime"),
    ] {
        let error = refused(builder);
        assert!(error.starts_with(starts), "{error}");
    }
    let gcra = TwoTier::builder(Gcra::per_second(5).unwrap()).batch(2.0).window_coupled(true);
    let error = gcra.build().unwrap_err();
    assert_eq!((error.option(), error.value()), ("twoTier.windowCoupled", Some("true")));
    let exact = ExactGcra::builder().limit(5).period_ms(1_000).build().unwrap();
    let error = TwoTier::builder(exact).batch(2.5).build().unwrap_err().to_string();
    assert_eq!(error, "twoTier.batch is 2.5: must be a whole number, since nothing less than a unit is counted");
    // What only leases need is not asked of the others.
    assert!(builder().mode(Mode::Strict).build().is_ok());
    assert!(builder().mode(Mode::CachedDeny).build().is_ok());
    let names = [Mode::Strict, Mode::CachedDeny, Mode::Leased].map(Mode::as_str);
    assert_eq!(names, ["strict", "cached-deny", "leased"]);
    assert_eq!([GrantForm::Partial, GrantForm::Whole].map(GrantForm::as_str), ["partial", "whole"]);
}

#[test]
fn it_is_a_meter_and_a_door_can_ask_it() {
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0));
    let admission = done(bed.limiter.admit(&Ask::new("k").cost(3.0))).unwrap();
    assert_eq!((admission.decision.allowed, admission.decision.remaining), (true, 1));
    assert_eq!(done(bed.limiter.debit("k", 1.0)).unwrap().remaining, 0);
    let dynamic: &dyn DynLimiter = &bed.limiter;
    assert_eq!((dynamic.strategy_name(), dynamic.limit(), dynamic.window_ms()), ("fixedWindow", 10, Some(1_000.0)));
    assert_eq!(done(dynamic.peek("k")).unwrap().remaining, 6, "what is left in the store");
    done(dynamic.check("k", 1.0)).unwrap();
    assert_eq!(done(dynamic.peek("k")).unwrap().remaining, 3, "what is held");
    assert_eq!(done(dynamic.forecast("k", 1.0)).unwrap().spendable_now, 2);
    assert!(dynamic.dimension().is_err());
    assert_eq!(dynamic.store_answers(), Some(2));
}

/// Keeps what it sees of decisions and leases.
#[derive(Default)]
struct Watcher {
    decisions: Mutex<Vec<(f64, bool, bool)>>,
    leases: Mutex<Vec<(f64, f64, bool)>>,
}

impl Observer for Watcher {
    fn observe(&self, event: &Event<'_>) {
        let allowed = event.result.is_ok_and(|decision| decision.allowed);
        self.decisions.lock().unwrap().push((event.now_ms, allowed, event.local));
    }

    fn leased(&self, event: &LeaseEvent<'_>) {
        let granted = event.granted.as_ref().copied().unwrap_or(f64::NAN);
        self.leases.lock().unwrap().push((event.asked, granted, event.spendable));
    }
}

#[test]
fn observers_see_every_decision_where_it_was_made_and_every_lease() {
    let (clock, store, watcher) = (ManualClock::new(5.0), Held::new(), Arc::new(Watcher::default()));
    let builder = TwoTier::builder(window(5.0, 1_000.0)).keyspace(store).clock(clock.clone());
    let limiter = builder.observer(Arc::clone(&watcher)).batch(4.0).window_coupled(true).build().unwrap();
    for now in [5.0, 6.0, 7.0] {
        clock.set(now);
        done(limiter.check_cost("k", 2.0)).unwrap();
    }
    assert_eq!(*watcher.decisions.lock().unwrap(), [(5.0, true, false), (6.0, true, true), (7.0, false, false)]);
    assert_eq!(*watcher.leases.lock().unwrap(), [(4.0, 4.0, true), (4.0, 1.0, true)]);
}

#[test]
fn handles_are_shared_and_cross_threads() {
    fn shared<T: Clone + Send + Sync + std::fmt::Debug>(_: &T) {}
    let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0));
    shared(&bed.limiter);
    bed.allows(0.0, 1.0, 3, 1);
    let other = bed.limiter.clone();
    assert_eq!(done(other.check("k")).unwrap().remaining, 2);
    assert!(!format!("{:?}", bed.limiter).contains("\"k\""));
    let run: Result<_, Error> = done(other.check("k"));
    assert!(run.is_ok());
}

/// It would pass without end.
#[test]
fn a_cost_that_is_lost_beside_what_is_held_is_refused() {
    for coupled in [true, false] {
        let bed = bed(window(10.0, 1_000.0), |it| it.batch(4.0).window_coupled(coupled));
        bed.allows(0.0, 1.0, 3, 1);
        for cost in [1e-17, 5e-324] {
            let error = done(bed.limiter.check_cost("k", cost)).unwrap_err();
            assert_eq!(error.code(), "invalid_argument");
            assert!(error.to_string().contains("too small to be counted"), "{error}");
            assert_eq!(bed.limiter.try_check("k", cost).unwrap(), None, "nothing is decided without waiting");
        }
        bed.allows(0.0, 3.0, 0, 1);
    }
}

/// A part of a unit that is left could not be given back.
#[test]
fn fractions_are_refused_where_units_are_whole() {
    let exact = ExactGcra::builder().limit(100).period_ms(1_000).burst(10).build().unwrap();
    let budget = Budget::builder().budget(10.0).window_ms(1_000.0).build().unwrap();
    refuses_fractions(TwoTier::builder(exact));
    refuses_fractions(budget.leased());
}

fn refuses_fractions<S: Project>(builder: TwoTierBuilder<S, Table<S::State>>) {
    let limiter = builder.batch(4.0).clock(ManualClock::new(0.0)).build().unwrap();
    let refused = || {
        for error in [
            done(limiter.check_cost("k", 1.5)).unwrap_err(),
            limiter.try_check("k", 0.5).unwrap_err(),
            done(limiter.check_many(&["k"], 4.5)).unwrap_err(),
        ] {
            assert_eq!(error.code(), "invalid_argument");
            assert!(error.to_string().contains("must be a whole number"), "{error}");
        }
    };
    // Cold and warm.
    refused();
    assert_eq!(done(limiter.check_cost("k", 1.0)).unwrap().remaining, 3);
    refused();
    done(limiter.close());
    assert_eq!((limiter.stats().returned, done(limiter.check("k")).unwrap().remaining), (3.0, 8));
}
