//! The meter: what it admits, what it counts, and when its windows turn.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers

use std::sync::Arc;

use throttlekit::budget::{Budget, Ledger, Served, TokenBudget};
use throttlekit::lease::{Grant, GrantForm, Granted, Wanted};
use throttlekit::store::memory::Table;
use throttlekit::store::{Keyspace, Remote};
use throttlekit::{
    Admit, Ask, Axis, Decision, Limiter, MAX_SAFE, ManualClock, Meter, Multi, Project, Refund, State, Strategy,
    TokenBucket,
};

use crate::support::{CasStore, CountingClock, DownStore, Recorder, allow, deny};

fn rule(budget: f64, window_ms: f64) -> Budget {
    Budget::builder().budget(budget).window_ms(window_ms).build().unwrap()
}

fn meter(budget: f64, window_ms: f64) -> (TokenBudget<Ledger<Served>, ManualClock>, ManualClock) {
    let clock = ManualClock::new(0.0);
    (TokenBudget::builder(rule(budget, window_ms)).clock(clock.clone()).build(), clock)
}

/// Budget and window; instants and debits with what is left, when the window ends, and how long to wait if denied.
type Suite = (f64, f64, &'static [(f64, u64, Result<(u64, i64), (u64, u64, i64)>)]);

const PER_TOKEN: Suite = (
    5.0,
    60_000.0,
    &[
        (0.0, 1, Ok((4, 60_000))),
        (0.0, 1, Ok((3, 60_000))),
        (0.0, 1, Ok((2, 60_000))),
        (0.0, 1, Ok((1, 60_000))),
        (0.0, 1, Ok((0, 60_000))),
        (0.0, 1, Err((0, 60_000, 60_000))),
    ],
);
const CROSSING: Suite =
    (100.0, 60_000.0, &[(0.0, 80, Ok((20, 60_000))), (0.0, 50, Ok((0, 60_000))), (0.0, 1, Err((0, 60_000, 60_000)))]);
const ROLL: Suite = (
    10.0,
    1_000.0,
    &[
        (0.0, 10, Ok((0, 1_000))),
        (500.0, 1, Err((0, 500, 1_000))),
        (1_000.0, 6, Ok((4, 2_000))),
        (1_999.0, 4, Ok((0, 2_000))),
        (2_000.0, 1, Ok((9, 3_000))),
    ],
);
const BACKWARD: Suite = (
    10.0,
    1_000.0,
    &[
        (2_500.0, 4, Ok((6, 3_000))),
        (2_600.0, 5, Ok((1, 3_000))),
        (2_999.0, 8, Ok((0, 3_000))),
        (2_999.0, 1, Err((0, 1, 3_000))),
        (2_400.0, 1, Err((0, 600, 3_000))),
        (3_000.0, 3, Ok((7, 4_000))),
        (1_000.0, 1, Ok((6, 4_000))),
    ],
);
const ONE_CROSSES: Suite = (
    10.0,
    1_000.0,
    &[
        (0.0, 7, Ok((3, 1_000))),
        (0.0, 7, Ok((0, 1_000))),
        (0.0, 1, Err((0, 1_000, 1_000))),
        (999.0, 1, Err((0, 1, 1_000))),
    ],
);

fn expected(limit: f64, answer: Result<(u64, i64), (u64, u64, i64)>) -> Decision {
    match answer {
        Ok((remaining, reset)) => allow(limit as u64, remaining, reset),
        Err((remaining, retry, reset)) => deny(limit as u64, remaining, reset, retry),
    }
}

async fn follows<K: Keyspace<Served>>(keys: K, suites: &[Suite]) {
    for (number, &(budget, window_ms, ops)) in suites.iter().enumerate() {
        let clock = ManualClock::new(0.0);
        let meter = TokenBudget::builder(rule(budget, window_ms)).keyspace(keys.clone());
        let meter = meter.prefix(number.to_string()).clock(clock.clone()).build();
        for (at, &(now, tokens, answer)) in ops.iter().enumerate() {
            clock.set(now);
            let decision = meter.run_debit("k", tokens).await.unwrap();
            assert_eq!(decision, expected(budget, answer), "suite {number}, debit {at}");
        }
    }
}

#[tokio::test]
async fn every_keyspace_follows_the_suites() {
    let suites = [PER_TOKEN, CROSSING, ROLL, BACKWARD, ONE_CROSSES];
    follows(Ledger::<Served>::new(), &suites).await;
    follows(Table::<Served>::new(), &suites).await;
    // The store drops what has expired by a clock that never went back there.
    follows(Remote::new(CasStore::default()), &suites).await;
}

#[test]
fn what_remains_rolls_with_the_window_and_counts_nothing() {
    let (meter, clock) = meter(10.0, 1_000.0);
    clock.set(2_500.0);
    meter.debit("k", 4).unwrap();
    assert_eq!(meter.remaining("k").unwrap(), 6);
    assert_eq!(meter.remaining("k").unwrap(), 6);
    clock.set(3_000.0);
    assert_eq!(meter.remaining("k").unwrap(), 10);
}

#[test]
fn the_largest_debit_bounds_what_goes_beyond() {
    let (meter, _) = meter(10.0, 1_000.0);
    for _ in 0..9 {
        assert!(meter.debit("k", 1).unwrap().allowed);
    }
    assert_eq!(meter.debit("k", 4).unwrap(), allow(10, 0, 1_000));
    assert!(!meter.debit("k", 1).unwrap().allowed);
    assert_eq!(meter.usage("k").unwrap().served, 13, "4 - 1 beyond");
}

#[test]
fn a_reset_forgets_one_key() {
    let (meter, clock) = meter(3.0, 1_000.0);
    clock.set(500.0);
    assert!(meter.debit("k", 3).unwrap().allowed);
    assert!(meter.debit("other", 3).unwrap().allowed);
    assert_eq!(meter.debit("k", 1).unwrap(), deny(3, 0, 1_000, 500));
    meter.reset("k").unwrap();
    assert_eq!(meter.remaining("k").unwrap(), 3);
    assert!(meter.debit("k", 1).unwrap().allowed);
    assert!(!meter.debit("other", 1).unwrap().allowed);
}

#[test]
fn a_budget_is_whole_units() {
    assert_eq!(rule(1.9, 1_000.0).units(), 1);
    for budget in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.5, 0.999] {
        let error = Budget::builder().budget(budget).window_ms(1.0).build().unwrap_err();
        assert_eq!(error.option(), "tokenBudget.budget", "{budget}");
        assert!(error.to_string().contains(">= 1"), "{error}");
    }
    for window_ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Budget::builder().budget(1.0).window_ms(window_ms).build().unwrap_err();
        assert_eq!(error.option(), "tokenBudget.windowMs", "{window_ms}");
    }
    for debt in [-1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_991.0] {
        let error = Budget::builder().budget(1.0).window_ms(1.0).max_debt(debt).build().unwrap_err();
        assert_eq!(error.option(), "tokenBudget.maxDebt", "{debt}");
    }
    assert_eq!(Budget::builder().build().unwrap_err().to_string(), "tokenBudget.budget: required");
    assert_eq!(Budget::builder().budget(1.0).build().unwrap_err().to_string(), "tokenBudget.windowMs: required");
}

#[tokio::test]
async fn bad_arguments_are_answers_and_read_no_clock() {
    let clock = CountingClock::default();
    let meter = TokenBudget::builder(rule(5.0, 1_000.0)).clock(clock.clone()).build();
    for tokens in [0, 1 << 53, u64::MAX] {
        assert_eq!(meter.debit("k", tokens).unwrap_err().code(), "invalid_argument", "{tokens}");
        assert_eq!(meter.charge("k", tokens).unwrap_err().code(), "invalid_argument", "{tokens}");
        assert_eq!(meter.refund("k", Refund::new(tokens as f64)).unwrap_err().code(), "invalid_argument", "{tokens}");
    }
    for units in [0.5, -1.0, 0.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Meter::debit(&meter, "k", units).await.unwrap_err().code(), "invalid_argument", "{units}");
        assert_eq!(Meter::charge(&meter, "k", units).await.unwrap_err().code(), "invalid_argument", "{units}");
        assert_eq!(Meter::refund(&meter, "k", units).await.unwrap_err().code(), "invalid_argument", "{units}");
    }
    assert_eq!(clock.take_readings(), 0);
    assert_eq!(meter.usage("k").unwrap().served, 0);
    meter.debit("k", 1).unwrap();
    assert_eq!(clock.take_readings(), 2, "one for each operation");
}

#[test]
fn a_debit_that_cannot_be_counted_in_full_is_denied() {
    let (meter, _) = meter(9_007_199_254_740_991.0, 1_000.0);
    assert_eq!(meter.debit("k", 9_007_199_254_740_990).unwrap().remaining, 1);
    assert_eq!(meter.debit("k", 2).unwrap(), deny(9_007_199_254_740_991, 1, 1_000, 1_000));
    assert_eq!(meter.debit("k", 9_007_199_254_740_991).unwrap().remaining, 1);
    assert_eq!(meter.debit("k", 1).unwrap().remaining, 0);
    assert_eq!(meter.usage("k").unwrap().served, 9_007_199_254_740_991);
}

#[test]
fn what_is_given_back_was_counted() {
    let (meter, _) = meter(100_000.0, 1_000.0);
    meter.debit("k", 99_000).unwrap();
    let most = MAX_SAFE - 99_000;
    assert!(!meter.debit("k", most + 1).unwrap().allowed);
    let ahead = |cost| Project::forecast(meter.budget(), Some(&Served { start: 0.0, units: 99_000.0 }), 0.0, cost);
    assert_eq!((ahead(most as f64).spendable_now, ahead(MAX_SAFE as f64).spendable_now), (1, 0));
    let debit = meter.debit("k", most).unwrap();
    assert!(debit.allowed);
    meter.refund("k", Refund::new(most as f64).of(&debit)).unwrap();
    assert_eq!(meter.usage("k").unwrap().served, 99_000);
}

#[test]
fn a_charge_counts_beyond_the_budget() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).max_debt(30.0).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    assert_eq!(meter.charge("k", 60).unwrap(), allow(100, 40, 1_000));
    assert_eq!(meter.charge("k", 60).unwrap(), allow(100, 0, 1_000));
    assert_eq!(meter.charge("k", 1).unwrap(), deny(100, 0, 1_000, 1_000));
    assert_eq!(meter.usage("k").unwrap().served, 121);
    let charged = meter.charge("k", 500).unwrap();
    assert_eq!(meter.usage("k").unwrap().served, 621, "also beyond the largest debt");
    meter.refund("k", Refund::new(500.0).of(&charged)).unwrap();
    assert_eq!(meter.usage("k").unwrap().served, 121, "what is given back was counted");
    let error = meter.charge("k", MAX_SAFE - 120).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tokens are 9007199254740871: with those that are counted they must be at most 9007199254740991"
    );
    assert_eq!((error.code(), meter.usage("k").unwrap().served), ("invalid_argument", 121));
    clock.advance(1_000.0);
    assert_eq!(meter.usage("k").unwrap().served, 0, "debt is not carried");
}

#[test]
fn a_refund_gives_back_in_its_own_window_only() {
    let (meter, clock) = meter(10.0, 1_000.0);
    meter.debit("k", 10).unwrap();
    assert_eq!(meter.refund("k", Refund::new(4.0)).unwrap(), allow(10, 4, 1_000));
    assert_eq!(meter.refund("k", Refund::new(100.0)).unwrap(), allow(10, 10, 1_000), "no more than was counted");
    let first = meter.debit("k", 10).unwrap();
    clock.set(1_000.0);
    let second = meter.debit("k", 10).unwrap();
    let late = meter.refund("k", Refund::new(5.0).of(&first)).unwrap();
    assert_eq!(late, deny(10, 0, 2_000, 1_000), "the window that goes on has not counted it");
    assert_eq!(meter.refund("k", Refund::new(5.0).of(&second)).unwrap(), allow(10, 5, 2_000));
}

#[test]
fn whole_debits_never_cross_the_budget() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).whole_debits(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    assert_eq!(meter.debit("k", 80).unwrap(), allow(100, 20, 1_000));
    assert_eq!(meter.debit("k", 21).unwrap(), deny(100, 20, 1_000, 1_000));
    assert_eq!(meter.debit("k", 20).unwrap(), allow(100, 0, 1_000), "what is left is left to smaller ones");
    assert!(!meter.charge("k", 1).unwrap().allowed);
    assert_eq!(meter.usage("k").unwrap().served, 101, "a charge counts all the same");
    let limiter = Limiter::builder(budget).clock(clock).build();
    assert_eq!(limiter.forecast("k", 30.0).unwrap().spendable_now, 3);
}

/// Nodes that lease from a budget, and others that debit it, share it.
#[test]
fn leases_take_what_is_left() {
    let budget = Budget::builder().budget(10.0).window_ms(1_000.0).whole_debits(true).build().unwrap();
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(budget).clock(clock.clone()).build();
    let keys = limiter.keyspace();
    let lease = |now_ms, units| {
        keys.apply("k", now_ms, &Grant::new(budget, GrantForm::Partial), &Wanted::new(units, 1.0)).unwrap()
    };
    let grant = |now_ms, units| {
        let granted = lease(now_ms, units);
        (granted.units, granted.lasts_ms())
    };
    assert_eq!(keys.apply("k", 0.0, &budget, &7.0).unwrap().remaining, 3);
    assert_eq!(grant(100.0, 5.0), (3.0, Some(900.0)));
    assert_eq!(grant(100.0, 5.0), (0.0, Some(900.0)));
    let back = |now_ms, granted: &Granted, units| {
        clock.set(now_ms);
        limiter.run_refund("k", granted.refund(units)).now().unwrap().unwrap().remaining
    };
    let old = lease(150.0, 5.0);
    assert_eq!(back(200.0, &old, 2.0), 2);
    assert_eq!(grant(200.0, 5.0), (2.0, Some(800.0)));
    let new = lease(1_000.0, 4.0);
    assert_eq!((new.units, new.lasts_ms()), (4.0, Some(1_000.0)));
    assert_eq!(back(1_000.0, &old, 4.0), 6, "of a window that is over nothing comes back");
    assert_eq!(back(999.0, &old, 4.0), 6, "nor into one that has begun");
    assert_eq!(back(1_000.0, &new, 4.0), 10);
}

#[test]
fn what_is_counted_can_be_set() {
    let (meter, _) = meter(10.0, 1_000.0);
    assert_eq!(meter.set("k", 7).unwrap(), allow(10, 3, 1_000));
    assert_eq!(meter.set("k", 12).unwrap(), deny(10, 0, 1_000, 1_000));
    assert_eq!(meter.usage("k").unwrap().served, 12);
    assert_eq!(meter.set("k", 0).unwrap(), allow(10, 10, 1_000));
    assert_eq!(meter.set("k", u64::MAX).unwrap_err().code(), "invalid_argument");
}

#[test]
fn windows_may_be_fractions_of_a_millisecond_long() {
    let (meter, clock) = meter(2.0, 1_000.5);
    clock.set(1_000.0);
    assert_eq!(meter.debit("k", 2).unwrap(), allow(2, 0, 1_001));
    clock.set(1_001.0);
    assert_eq!(meter.debit("k", 1).unwrap(), allow(2, 1, 2_001));
}

#[test]
fn a_state_has_the_text_that_the_family_shares() {
    let served = Served { start: 60_000.0, units: 5.0 };
    assert_eq!(served.encode(), r#"{"w":60000,"s":5}"#);
    assert_eq!(Served::decode(r#" {"s": 5, "w": 6e4} "#), Some(served));
    for text in ["", "{}", r#"{"w":1}"#, r#"{"s":1}"#, r#"{"w":[1],"s":1}"#, "5"] {
        assert_eq!(Served::decode(text), None, "{text}");
    }
}

#[tokio::test]
async fn gateways_share_a_budget_by_store_and_key() {
    let store = CasStore::default();
    let clock = ManualClock::new(0.0);
    let remote = Remote::new(store.clone());
    let gateway =
        || TokenBudget::builder(rule(10.0, 1_000.0)).keyspace(remote.clone()).prefix("b").clock(clock.clone()).build();
    let gateways = [gateway(), gateway()];
    let mut allowed = 0;
    for step in 0..20 {
        allowed += u32::from(gateways[step % 2].debit("k", 1).await.unwrap().allowed);
    }
    assert_eq!(allowed, 10);
    assert_eq!(store.text("b:k").as_deref(), Some(r#"{"w":0,"s":10}"#));
    assert!(gateways[0].debit("other", 1).await.unwrap().allowed);
    assert_eq!(gateways[1].remaining("k").await.unwrap(), 0);
    gateways[0].reset("k").await.unwrap();
    assert_eq!(gateways[1].remaining("k").await.unwrap(), 10);
}

#[tokio::test]
async fn concurrent_debits_over_a_store_stop_at_the_budget() {
    let meter = TokenBudget::builder(rule(100.0, 60_000.0));
    let meter = meter.keyspace(Remote::new(CasStore::default())).clock(ManualClock::new(0.0)).build();
    let tasks: Vec<_> = (0..250)
        .map(|_| {
            let meter = meter.clone();
            tokio::spawn(async move { meter.debit("k", 1).await.unwrap().allowed })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += u32::from(task.await.unwrap());
    }
    assert_eq!(allowed, 100);
}

#[test]
fn threads_pass_a_budget_by_less_than_a_debit() {
    for chunk in [1_u64, 8] {
        let (meter, _) = meter(1_000.0, 60_000.0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while meter.debit("k", chunk).unwrap().allowed {});
            }
        });
        let served = meter.usage("k").unwrap().served;
        assert!((1_000..1_000 + chunk).contains(&served), "{served} in debits of {chunk}");
    }
}

#[tokio::test]
async fn a_store_that_is_out_counts_nothing() {
    let meter = TokenBudget::builder(rule(5.0, 1_000.0)).keyspace(Remote::new(DownStore)).build();
    assert!(meter.debit("k", 1).await.unwrap_err().is_store_unavailable());
    assert!(meter.remaining("k").await.unwrap_err().is_store_unavailable());
}

#[test]
fn observers_see_debits_and_charges_on_the_cost_axis() {
    let recorder = Arc::new(Recorder::default());
    let meter = TokenBudget::builder(rule(5.0, 1_000.0)).clock(ManualClock::new(7.0)).observer(Arc::clone(&recorder));
    let meter = meter.name("tokens").build();
    meter.debit("k", 4).unwrap();
    meter.charge("k", 2).unwrap();
    meter.usage("k").unwrap();
    meter.refund("k", Refund::new(1.0)).unwrap();
    let seen: Vec<_> = recorder.take().into_iter().map(|seen| (seen.policy, seen.cost, seen.result)).collect();
    let expected =
        [("tokens".to_owned(), 4.0, Ok(allow(5, 1, 1_000))), ("tokens".to_owned(), 2.0, Ok(allow(5, 0, 1_000)))];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn doors_ask_it_on_the_cost_axis() {
    let (meter, _) = meter(5.0, 1_000.0);
    let admission = meter.admit(&Ask::new("k").cost(5.0)).await.unwrap();
    assert!(admission.decision.allowed && admission.axes.cost.is_some() && admission.axes.rate.is_none());
    let admission = meter.admit(&Ask::new("k")).await.unwrap();
    assert_eq!(admission.binding, Some(Axis::Cost));
    assert!(!admission.permit.is_held());
}

#[test]
fn a_limiter_runs_the_same_rule() {
    let clock = ManualClock::new(500.0);
    let budget = rule(10.0, 1_000.0);
    assert_eq!((budget.name(), Strategy::limit(&budget), budget.ttl_ms()), ("tokenBudget", 10, 1_000.0));
    let limiter = Limiter::builder(budget).clock(clock).build();
    assert_eq!(limiter.check_cost("k", 7.0).unwrap(), allow(10, 3, 1_000));
    let forecast = limiter.forecast("k", 2.0).unwrap();
    assert_eq!((forecast.spendable_now, forecast.next_replenish_at_ms, forecast.full_at_ms), (2, 1_000, 1_000));
    assert!(limiter.check_cost("k", 2.0).unwrap().allowed);
    assert!(limiter.check_cost("k", 2.0).unwrap().allowed);
    assert_eq!(limiter.peek("k").unwrap(), deny(10, 0, 1_000, 500));
    assert_eq!(limiter.check_cost("k", 0.5).unwrap_err().code(), "invalid_argument");
}

#[test]
fn it_is_a_dimension_of_joint_limits() {
    let bucket = TokenBucket::builder().capacity(100.0).refill_per_sec(1.0).build().unwrap();
    let joint = Multi::all().dimension("budget", rule(3.0, 1_000.0), 1.0).dimension("bucket", bucket, 1.0);
    let joint = joint.clock(ManualClock::new(0.0)).build().unwrap();
    assert!(joint.check_cost(&["k", "k"], 3.0).unwrap().allowed);
    assert!(!joint.check_cost(&["k", "k"], 1.0).unwrap().allowed);
}
