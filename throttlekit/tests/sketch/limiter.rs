//! The limiter over a sketch: windows, bounds, threads, traits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use throttlekit::sketch::{Accuracy, SketchHash, SketchLimiter, SketchLimiterBuilder};
use throttlekit::{Admit, Ask, Decision, DynLimiter, ManualClock, Meter};

use crate::support::{self, Mulberry};

fn builder(limit: f64, window_ms: f64) -> SketchLimiterBuilder {
    SketchLimiter::builder().limit(limit).window_ms(window_ms).hash(SketchHash::Keyed([1, 2]))
}

fn at(now_ms: f64) -> ManualClock {
    ManualClock::new(now_ms)
}

/// Allowed, remaining, reset and wait.
fn numbers(decision: Decision) -> (bool, u64, i64, u64) {
    (decision.allowed, decision.remaining, decision.reset_at_ms, decision.retry_after_ms)
}

#[test]
fn windows_begin_afresh() {
    let clock = at(0.0);
    let limiter = builder(2.0, 1_000.0).clock(clock.clone()).build().unwrap();
    let check = || numbers(limiter.check("k").unwrap());
    assert_eq!(check(), (true, 1, 1_000, 0));
    assert_eq!(check(), (true, 0, 1_000, 0));
    assert_eq!(check(), (false, 0, 1_000, 1_000));
    clock.set(999.0);
    assert_eq!(check(), (false, 0, 1_000, 1));
    clock.set(1_000.0);
    assert_eq!(check(), (true, 1, 2_000, 0));
}

#[test]
fn windows_are_aligned() {
    let limiter = builder(5.0, 1_000.0).clock(at(2_500.0)).build().unwrap();
    assert_eq!(numbers(limiter.check("k").unwrap()), (true, 4, 3_000, 0));
}

#[test]
fn a_clock_that_steps_back_keeps_the_window() {
    let clock = at(1_000.0);
    let limiter = builder(1.0, 1_000.0).clock(clock.clone()).build().unwrap();
    assert!(limiter.check("k").unwrap().allowed);
    clock.set(400.0);
    assert_eq!(numbers(limiter.check("k").unwrap()), (false, 0, 2_000, 1_600));
}

#[test]
fn costs_count() {
    let limiter = builder(5.0, 1_000.0).clock(at(0.0)).build().unwrap();
    let check = |cost| numbers(limiter.check_cost("k", cost).unwrap());
    assert_eq!((check(3.0).1, check(2.0).1), (2, 0));
    assert!(!check(1.0).0);

    let limiter = builder(3.0, 1_000.0).clock(at(0.0)).build().unwrap();
    let denied = limiter.check_cost("k", 4.0).unwrap();
    assert_eq!((denied.allowed, denied.remaining), (false, 3));
    assert_eq!(limiter.check_cost("k", 3.0).unwrap().remaining, 0);
}

#[test]
fn costs_that_are_refused() {
    let limiter = builder(5.0, 1_000.0).clock(at(0.0)).build().unwrap();
    for cost in [0.0, -1.0, 1.5, f64::INFINITY, f64::NAN, 9_007_199_254_740_992.0] {
        assert_eq!(limiter.check_cost("k", cost).unwrap_err().code(), "invalid_argument", "{cost}");
        assert_eq!(limiter.forecast("k", cost).unwrap_err().code(), "invalid_argument", "{cost}");
    }
    assert_eq!(limiter.peek("k").remaining, 5);
}

#[test]
fn a_limit_may_be_fractional() {
    let limiter = builder(2.5, 1_000.0).clock(at(0.0)).build().unwrap();
    let allowed: Vec<_> = (0..3).map(|_| limiter.check("k").unwrap().allowed).collect();
    assert_eq!(allowed, [true, true, false]);
}

#[test]
fn keys_that_meet_are_denied_early() {
    let accuracy = Accuracy::new(0.5, 0.5).unwrap();
    let limiter = SketchLimiter::builder().limit(3.0).window_ms(1_000.0).accuracy(accuracy);
    let limiter = limiter.hash(SketchHash::Fnv(7)).clock(at(0.0)).build().unwrap();
    let answers = ["b", "d", "f", "b"].map(|key| {
        let decision = limiter.check(key).unwrap();
        (decision.allowed, decision.remaining)
    });
    assert_eq!(answers, [(true, 2), (true, 1), (true, 0), (false, 0)]);
}

#[test]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole numbers below 2000
fn no_key_gets_more_than_the_limit() {
    for conservative in [true, false] {
        let accuracy = Accuracy::new(0.05, 0.001).unwrap();
        let limiter = builder(50.0, 60_000.0).accuracy(accuracy).conservative(conservative);
        let limiter = limiter.clock(at(0.0)).build().unwrap();
        let mut random = Mulberry::new(7);
        let mut admitted = HashMap::<u32, u32>::new();
        for _ in 0..300_000 {
            let id = random.below(2_000.0) as u32;
            if limiter.check(&format!("k{id}")).unwrap().allowed {
                *admitted.entry(id).or_default() += 1;
            }
        }
        assert!(admitted.values().all(|count| *count <= 50));
    }
}

#[test]
fn few_light_keys_are_denied_early() {
    // The first 5,000 of 50,000 keys with one request each: N stays at 5,000, and epsilon * N at 5.
    let accuracy = Accuracy::new(0.001, 0.01).unwrap();
    let limiter = builder(6.0, 60_000.0).accuracy(accuracy).clock(at(0.0)).build().unwrap();
    let denied = (0..5_000).filter(|id| !limiter.check(&format!("k{id}")).unwrap().allowed).count();
    assert!(denied <= 50, "{denied}");
}

#[test]
fn memory_does_not_grow() {
    let limiter = builder(5.0, 1_000.0).clock(at(0.0)).build().unwrap();
    assert_eq!(limiter.capacity(), 1_904);
    let used = allocation_counter::measure(|| {
        for id in 0_u32..100_000 {
            // Keys without an allocation of the test's own.
            let bytes = id.to_le_bytes().map(|byte| byte & 0x7f);
            limiter.check(std::str::from_utf8(&bytes).unwrap()).unwrap();
        }
    });
    assert_eq!((used.count_total, limiter.capacity()), (0, 1_904));
    let larger = builder(5.0, 1_000.0).sliding().shards(3).build().unwrap();
    assert_eq!(larger.capacity(), 1_904 * 3 * 4);
}

/// Half windows: what was admitted in any span of the window's length is within the limit.
#[test]
fn a_sliding_window_bounds_every_span() {
    let clock = at(0.0);
    let limiter = builder(10.0, 1_000.0).sliding().clock(clock.clone()).build().unwrap();
    let mut random = Mulberry::new(3);
    let mut admitted: Vec<f64> = Vec::new();
    for _ in 0..20_000 {
        clock.advance(random.below(60.0));
        let now_ms = throttlekit::Clock::now_ms(&clock);
        if limiter.check("k").unwrap().allowed {
            admitted.push(now_ms);
            let in_span = admitted.iter().rev().take_while(|when| now_ms - **when < 1_000.0).count();
            assert!(in_span <= 10, "{in_span} units in one second");
        }
    }
    // Everything is back after one and a half windows at the latest.
    #[allow(clippy::cast_precision_loss)] // counts of a test
    let rate = admitted.len() as f64 / throttlekit::Clock::now_ms(&clock) * 1_500.0;
    assert!(rate > 9.0, "{rate} units in one and a half windows");
}

#[test]
fn a_sliding_denial_says_when_there_is_room() {
    let clock = at(0.0);
    let limiter = builder(3.0, 1_000.0).sliding().clock(clock.clone()).build().unwrap();
    assert_eq!(numbers(limiter.check_cost("k", 2.0).unwrap()), (true, 1, 1_500, 0));
    clock.set(600.0);
    assert_eq!(numbers(limiter.check("k").unwrap()), (true, 0, 2_000, 0));
    // The two of the first half leave at 1500, the one of the second at 2000.
    let denied = |cost| limiter.check_cost("k", cost).unwrap().retry_after_ms;
    assert_eq!((denied(1.0), denied(2.0), denied(3.0)), (900, 900, 1_400));
    clock.set(1_499.0);
    assert!(!limiter.check_cost("k", 2.0).unwrap().allowed);
    clock.set(1_500.0);
    assert!(!limiter.check_cost("k", 3.0).unwrap().allowed);
    assert!(limiter.check_cost("k", 2.0).unwrap().allowed);
}

#[test]
fn looking_takes_nothing() {
    let limiter = builder(5.0, 1_000.0).clock(at(100.0)).build().unwrap();
    limiter.check_cost("k", 2.0).unwrap();
    assert_eq!(numbers(limiter.peek("k")), (true, 3, 1_000, 0));
    let forecast = limiter.forecast("k", 2.0).unwrap();
    assert_eq!((forecast.spendable_now, forecast.next_replenish_at_ms, forecast.full_at_ms), (1, 1_000, 1_000));
    limiter.check_cost("k", 3.0).unwrap();
    assert_eq!(numbers(limiter.peek("k")), (false, 0, 1_000, 900));
    limiter.reset();
    assert_eq!(limiter.peek("k").remaining, 5);
}

#[test]
fn threads_share_the_limit_exactly() {
    let limiter = builder(10_000.0, 60_000.0).shards(4).clock(at(0.0)).build().unwrap();
    let admitted: [AtomicU32; 3] = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    for (id, admitted) in admitted.iter().enumerate() {
                        if limiter.check(["a", "b", "c"][id]).unwrap().allowed {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert!(admitted.iter().all(|count| count.load(Ordering::Relaxed) == 10_000), "{admitted:?}");
}

#[test]
fn options_that_are_refused() {
    let option = |builder: SketchLimiterBuilder| builder.build().unwrap_err().option();
    assert_eq!(option(SketchLimiter::builder().window_ms(1.0)), "sketch.limit");
    assert_eq!(option(SketchLimiter::builder().limit(1.0)), "sketch.windowMs");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(option(builder(bad, 1_000.0)), "sketch.limit");
        assert_eq!(option(builder(1.0, bad)), "sketch.windowMs");
    }
    assert_eq!(option(builder(4_294_967_296.0, 1_000.0)), "sketch.limit");
    assert!(builder(4_294_967_295.0, 1_000.0).build().is_ok());
    assert_eq!(option(builder(1.0, 1_000.0).shards(0)), "sketch.shards");
    assert_eq!(option(builder(1.0, 1_000.0).shards(1_025)), "sketch.shards");
    // Each fits by itself.
    let large = Accuracy::of_table(1 << 20, 64).unwrap();
    assert_eq!(option(builder(1.0, 1_000.0).accuracy(large).shards(5)), "sketch.counters");
    assert_eq!(option(builder(1.0, 1_000.0).accuracy(large).shards(2).sliding()), "sketch.counters");
}

/// At the end of the counters nothing more is admitted.
#[test]
fn the_largest_limit_holds() {
    let limiter = builder(4_294_967_295.0, 1_000.0).clock(at(0.0)).build().unwrap();
    assert!(limiter.check_cost("k", 4_294_967_294.0).unwrap().allowed);
    assert!(limiter.check("k").unwrap().allowed);
    assert!(!limiter.check("k").unwrap().allowed);
}

#[test]
fn doors_can_use_it() {
    let recorder = Arc::new(support::Recorder::default());
    let limiter = builder(2.0, 1_000.0).clock(at(0.0)).observer(Arc::clone(&recorder)).name("api").build().unwrap();
    let limiter: Arc<dyn DynLimiter> = Arc::new(limiter);
    assert_eq!((limiter.strategy_name(), limiter.limit(), limiter.window_ms()), ("sketch", 2, Some(1_000.0)));
    let admission = limiter.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert!(admission.decision.allowed);
    assert!(limiter.debit("k", 1.0).now().unwrap().unwrap().allowed);
    let denied = limiter.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert_eq!((denied.decision.allowed, denied.binding), (false, Some(throttlekit::Axis::Rate)));
    let many = limiter.check_many(&["k", "a", "a", "a"], 1.0).now().unwrap().unwrap();
    assert_eq!(many.iter().map(|decision| decision.allowed).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(limiter.reset("k").now().unwrap().unwrap_err().code(), "throttlekit_error");
    assert!(limiter.dimension().is_err());
    let seen = recorder.take();
    assert_eq!(seen.len(), 7);
    assert!(seen.iter().all(|seen| (seen.policy.as_str(), seen.strategy) == ("api", "sketch")));
}
