//! The limiter in memory.

use std::sync::{Arc, Barrier};
use std::thread;

use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, Axis, DynLimiter, ErrorKind, FixedWindow, Forecast, Gcra, Limiter, ManualClock, Meter,
    SlidingWindowLog, Strategy,
};

use crate::support::{self, CountingClock, Recorder, Seen, allow, deny};

const BAD_COSTS: [f64; 6] = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 9_007_199_254_740_992.0];

fn gcra(limit: f64, period_ms: f64, burst: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

#[test]
fn checks_keys_apart() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(gcra(2.0, 1_000.0, 2.0)).clock(clock.clone()).build();
    assert_eq!(limiter.check("a").unwrap(), allow(2, 1, 500));
    assert_eq!(limiter.check("a").unwrap(), allow(2, 0, 1_000));
    assert_eq!(limiter.check("a").unwrap(), deny(2, 0, 1_000, 500));
    assert_eq!(limiter.check("").unwrap(), allow(2, 1, 500));
    clock.advance(499.0);
    assert_eq!(limiter.check("a").unwrap().retry_after_ms, 1);
    clock.advance(1.0);
    assert_eq!(limiter.check("a").unwrap(), allow(2, 0, 1_500));
}

/// And not one in so many seconds.
#[test]
fn a_number_per_second_is_so_many_in_each_second() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(Gcra::per_second(2).unwrap()).clock(clock.clone()).build();
    for second in 1..=5_u32 {
        let admitted = (0..10).filter(|_| limiter.check("a").unwrap().allowed).count();
        assert_eq!(admitted, 2, "in second {second}");
        clock.set(f64::from(second) * 1_000.0);
    }
    assert_eq!(limiter.check("a").unwrap(), allow(2, 1, 5_500));
    for (gcra, ms) in [(Gcra::per_minute(2).unwrap(), 30_000), (Gcra::per_hour(2).unwrap(), 1_800_000)] {
        let limiter = Limiter::builder(gcra).clock(ManualClock::new(0.0)).build();
        assert_eq!(limiter.check("a").unwrap(), allow(2, 1, ms));
    }
}

#[test]
fn costs_are_validated_before_the_clock_is_read() {
    let clock = CountingClock::default();
    let limiter = Limiter::builder(gcra(10.0, 1_000.0, 5.0)).clock(clock.clone()).build();
    for cost in BAD_COSTS {
        let errors = [
            limiter.check_cost("k", cost).unwrap_err(),
            limiter.check_many(&["k"], cost).unwrap_err(),
            limiter.forecast("k", cost).unwrap_err(),
            limiter.run_check("k", cost).now().unwrap().unwrap_err(),
            limiter.run_check_many(&["k"], cost).now().unwrap().unwrap_err(),
            limiter.run_forecast("k", cost).now().unwrap().unwrap_err(),
            limiter.check_timed("k", cost).1.now().unwrap().unwrap_err(),
            limiter.debit("k", cost).now().unwrap().unwrap_err(),
            limiter.admit(&Ask::new("k").cost(cost)).now().unwrap().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{cost}");
        }
    }
    assert_eq!(clock.take_readings(), 0);
    assert!(limiter.keyspace().is_empty());
    for cost in [0.5, 9_007_199_254_740_991.0] {
        assert!(limiter.check_cost("k", cost).is_ok(), "{cost}");
    }
}

#[test]
fn the_clock_is_read_once_for_each_operation() {
    let clock = CountingClock::default();
    let limiter = Limiter::builder(gcra(10.0, 1_000.0, 5.0)).clock(clock.clone()).build();
    limiter.check("k").unwrap();
    assert_eq!(clock.take_readings(), 1);
    limiter.check_cost("k", 2.0).unwrap();
    assert_eq!(clock.take_readings(), 1);
    limiter.check_many(&["a", "b", "c", "a"], 1.0).unwrap();
    assert_eq!(clock.take_readings(), 1);
    limiter.peek("k").unwrap();
    assert_eq!(clock.take_readings(), 1);
    limiter.forecast("k", 1.0).unwrap();
    assert_eq!(clock.take_readings(), 1);
    assert!(limiter.admit(&Ask::new("k")).now().is_ok());
    assert_eq!(clock.take_readings(), 1);
}

#[test]
fn a_batch_is_like_checks_one_after_another() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(gcra(2.0, 1_000.0, 2.0)).clock(clock).build();
    let decisions = limiter.check_many(&["a", "b", "a", "a"], 1.0).unwrap();
    assert_eq!(decisions, [allow(2, 1, 500), allow(2, 1, 500), allow(2, 0, 1_000), deny(2, 0, 1_000, 500)]);
    assert_eq!(limiter.check_many(&[], 1.0).unwrap(), []);
    assert_eq!(limiter.check_many(&["c"], 3.0).unwrap(), [deny(2, 2, 0, 500)]);
}

#[test]
fn peek_and_forecast_take_nothing() {
    let clock = ManualClock::new(1_000.0);
    let limiter = Limiter::builder(gcra(10.0, 1_000.0, 5.0)).clock(clock).build();
    for _ in 0..3 {
        assert_eq!(limiter.peek("k").unwrap(), allow(5, 5, 1_000));
        let full = Forecast { spendable_now: 2, next_replenish_at_ms: 1_000, full_at_ms: 1_000 };
        assert_eq!(limiter.forecast("k", 2.0).unwrap(), full);
    }
    assert!(limiter.keyspace().is_empty());
    assert_eq!(limiter.check_cost("k", 3.0).unwrap(), allow(5, 2, 1_300));
    for _ in 0..3 {
        assert_eq!(limiter.peek("k").unwrap(), allow(5, 2, 1_300));
        let some = Forecast { spendable_now: 1, next_replenish_at_ms: 1_100, full_at_ms: 1_300 };
        assert_eq!(limiter.forecast("k", 2.0).unwrap(), some);
    }
    assert_eq!(limiter.check_cost("k", 2.0).unwrap(), allow(5, 0, 1_500));
    assert_eq!(limiter.peek("k").unwrap(), deny(5, 0, 1_500, 100));
}

#[test]
fn reset_forgets_one_key() {
    let limiter = Limiter::builder(gcra(1.0, 1_000.0, 1.0)).clock(ManualClock::new(0.0)).build();
    limiter.check_many(&["a", "b"], 1.0).unwrap();
    limiter.reset("a").unwrap();
    limiter.reset("never seen").unwrap();
    assert!(limiter.check("a").unwrap().allowed);
    assert!(!limiter.check("b").unwrap().allowed);
}

#[test]
fn prefixes_keep_limiters_on_one_table_apart() {
    let table = Table::new();
    let scoped = |prefix: &str| {
        Limiter::builder(gcra(1.0, 1_000.0, 1.0))
            .keyspace(table.clone())
            .clock(ManualClock::new(0.0))
            .prefix(prefix)
            .build()
    };
    let (api, web, same) = (scoped("api"), scoped("web"), scoped("api"));
    assert!(api.check("u1").unwrap().allowed);
    assert!(web.check("u1").unwrap().allowed);
    assert!(scoped("").check("u1").unwrap().allowed);
    assert!(!same.check("u1").unwrap().allowed);
    web.reset("u1").unwrap();
    assert!(!api.check("u1").unwrap().allowed);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_clone_is_a_handle_to_the_same_keys() {
    let limiter = Limiter::builder(gcra(1.0, 1_000.0, 1.0)).clock(ManualClock::new(0.0)).build();
    assert!(limiter.clone().check("k").unwrap().allowed);
    assert!(!limiter.check("k").unwrap().allowed);
}

#[test]
fn an_observer_sees_one_event_for_each_decision() {
    let recorder = Arc::new(Recorder::default());
    let limiter = Limiter::builder(gcra(2.0, 1_000.0, 2.0))
        .clock(ManualClock::new(0.0))
        .observer(Arc::clone(&recorder))
        .name("login")
        .build();
    let seen = |cost, result| Seen { policy: "login".into(), strategy: "gcra", cost, now_ms: 0.0, result };

    limiter.check("a").unwrap();
    assert_eq!(recorder.take(), [seen(1.0, Ok(allow(2, 1, 500)))]);
    limiter.check_cost("a", 2.0).unwrap();
    assert_eq!(recorder.take(), [seen(2.0, Ok(deny(2, 1, 500, 500)))]);
    limiter.check_many(&["b", "b"], 1.0).unwrap();
    assert_eq!(recorder.take(), [seen(1.0, Ok(allow(2, 1, 500))), seen(1.0, Ok(allow(2, 0, 1_000)))]);
    assert!(limiter.admit(&Ask::new("c")).now().is_ok());
    assert!(limiter.debit("c", 1.0).now().is_ok());
    assert!(DynLimiter::check(&limiter, "c", 1.0).now().is_ok());
    assert_eq!(recorder.take().len(), 3);

    limiter.peek("a").unwrap();
    limiter.forecast("a", 1.0).unwrap();
    limiter.reset("a").unwrap();
    assert_eq!(recorder.take(), []);
}

#[test]
fn an_observer_sees_a_check_that_cannot_be_judged() {
    let recorder = Arc::new(Recorder::default());
    let limiter = Limiter::builder(gcra(1_000.0, 1_000.0, 1_000.0))
        .clock(ManualClock::new(support::N))
        .observer(Arc::clone(&recorder))
        .build();
    // Too small to move an instant of today.
    let error = limiter.check_cost("k", 1e-9).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let seen = Seen {
        policy: "gcra".into(),
        strategy: "gcra",
        cost: 1e-9,
        now_ms: support::N,
        result: Err("invalid_argument"),
    };
    assert_eq!(recorder.take(), std::slice::from_ref(&seen));
    limiter.check_many(&["a", "b"], 1e-9).unwrap_err();
    assert_eq!(recorder.take(), [seen.clone(), seen]);
}

#[test]
fn an_admission_is_one_of_the_rate_axis_without_a_slot() {
    let limiter = Limiter::builder(gcra(1.0, 1_000.0, 1.0)).clock(ManualClock::new(0.0)).build();
    let admission = limiter.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert_eq!(admission.decision, allow(1, 0, 1_000));
    assert_eq!(admission.axes.rate, Some(admission.decision));
    assert_eq!((admission.axes.concurrency, admission.axes.cost, admission.binding), (None, None, None));
    assert!(!admission.permit.is_held());

    let admission = limiter.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert_eq!(admission.decision, deny(1, 0, 1_000, 1_000));
    assert_eq!(admission.binding, Some(Axis::Rate));
    assert!(!admission.permit.is_held());
}

#[test]
fn a_meter_debits_and_refuses_what_it_cannot_do() {
    let limiter = Limiter::builder(gcra(5.0, 1_000.0, 5.0)).clock(ManualClock::new(0.0)).build();
    assert_eq!(limiter.debit("k", 2.0).now().unwrap().unwrap().remaining, 3);
    assert_eq!(limiter.refund("k", 1.0).now().unwrap().unwrap().remaining, 4);
    assert_eq!(limiter.charge("k", 1.0).now().unwrap().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_limiter_without_types_is_the_same_limiter() {
    let clock = ManualClock::new(0.0);
    let typed = Limiter::builder(gcra(5.0, 1_000.0, 5.0)).clock(clock.clone()).build();
    let limiter: Arc<dyn DynLimiter> = Arc::new(typed.clone());
    assert_eq!(limiter.check("k", 2.0).now().unwrap().unwrap(), allow(5, 3, 400));
    assert_eq!(limiter.check_many(&["k", "k"], 1.0).now().unwrap().unwrap(), [allow(5, 2, 600), allow(5, 1, 800)]);
    assert_eq!(limiter.peek("k").now().unwrap().unwrap(), typed.peek("k").unwrap());
    assert_eq!(limiter.forecast("k", 1.0).now().unwrap().unwrap(), typed.forecast("k", 1.0).unwrap());
    limiter.reset("k").now().unwrap().unwrap();
    assert_eq!(typed.peek("k").unwrap().remaining, 5);
    clock.set(7.0);
    assert_eq!(limiter.now_ms(), 7.0);
    let (now_ms, timed) = limiter.check_timed("k", 2.0);
    assert_eq!((now_ms, timed.now().unwrap().unwrap()), (7.0, allow(5, 3, 407)));
    assert_eq!((limiter.strategy_name(), limiter.limit(), limiter.window_ms()), ("gcra", 5, Some(1_000.0)));
}

/// 200 threads meet on one key: exactly the ceiling passes.
fn admits_exactly_50<S: Strategy>(strategy: S) {
    let limiter = Limiter::builder(strategy).clock(ManualClock::new(0.0)).build();
    let start = Barrier::new(200);
    let allowed: usize = thread::scope(|scope| {
        let check = || {
            start.wait();
            usize::from(limiter.check("k").unwrap().allowed)
        };
        let threads: Vec<_> = (0..200).map(|_| scope.spawn(check)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 50, "{}", limiter.strategy().name());
}

#[test]
fn two_hundred_threads_share_a_limit_of_50() {
    const HOUR: f64 = 3_600_000.0;
    admits_exactly_50(gcra(50.0, HOUR, 50.0));
    admits_exactly_50(FixedWindow::builder().limit(50.0).window_ms(HOUR).build().unwrap());
    admits_exactly_50(SlidingWindowLog::builder().limit(50.0).window_ms(HOUR).build().unwrap());
}

#[test]
fn debug_shows_no_keys() {
    let limiter = Limiter::builder(gcra(5.0, 1_000.0, 5.0)).prefix("scope").name("login").build();
    limiter.check("secret-key").unwrap();
    let text = format!("{limiter:?}");
    assert!(text.starts_with("Limiter { name: \"login\", strategy: Gcra"), "{text}");
    assert!(!text.contains("secret-key"));
}
