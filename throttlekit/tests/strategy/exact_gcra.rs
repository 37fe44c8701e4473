//! GCRA in whole numbers: nothing is rounded, at any instant.

use std::time::Duration;

use throttlekit::lease::TwoTier;
use throttlekit::sketch::Screened;
use throttlekit::strategy::exact_gcra::ExactTat;
use throttlekit::{DynLimiter, ExactGcra, Limiter, Project, State, Strategy};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn exact(limit: u64, period_ms: u64, burst: u64) -> ExactGcra {
    ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

#[test]
fn burst_passes_whole_at_todays_epoch() {
    Key::new(exact(6, 1_000, 6))
        .at(N, 1.0, A.rem(5).reset(N + 167.0).ttl(167.0))
        .holds("1700000000166:4")
        .at(N, 1.0, A.rem(4).reset(N + 334.0).ttl(334.0))
        .at(N, 1.0, A.rem(3).reset(N + 500.0).ttl(500.0))
        .holds("1700000000500:0")
        .at(N, 1.0, A.rem(2).reset(N + 667.0))
        .at(N, 1.0, A.rem(1).reset(N + 834.0))
        .at(N, 1.0, A.rem(0).reset(N + 1_000.0).ttl(1_000.0))
        .at(N, 1.0, D.rem(0).reset(N + 1_000.0).retry(167))
        .at(N + 166.0, 1.0, D.retry(1))
        .at(N + 167.0, 1.0, A.rem(0).reset(N + 1_167.0));
}

#[test]
fn fresh_key_shows_the_whole_burst() {
    for (limit, period_ms, burst) in [(243, 3_600_000, 243), (3, 1_000, 7), (6, 1_000, 6)] {
        for now in [0.0, 1.0, N, -N] {
            let peek = exact(limit, period_ms, burst).peek(None, now);
            assert_eq!((peek.allowed, peek.remaining), (true, burst), "{limit}/{period_ms}/{burst} at {now}");
        }
    }
}

#[test]
fn rate_above_one_unit_per_millisecond_is_counted() {
    // 7 per 2 ms: a unit takes 2/7 ms.
    Key::new(exact(7, 2, 7))
        .at(N, 7.0, A.rem(0).reset(N + 2.0))
        .at(N, 1.0, D.retry(1))
        .at(N + 1.0, 4.0, D.rem(3).retry(1))
        .at(N + 1.0, 3.0, A.rem(0).reset(N + 3.0))
        .holds("1700000000002:6");
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    Key::new(exact(3, 1_000, 3))
        .peeks(N, A.rem(3).reset(N))
        .forecasts(N, 2.0, 1, N, N)
        .at(N, 2.0, A.rem(1))
        .peeks(N, A.rem(1).reset(N + 667.0))
        .forecasts(N, 1.0, 1, N + 334.0, N + 667.0)
        .forecasts(N, 0.25, 4, N + 334.0, N + 667.0)
        .at(N, 1.0, A.rem(0))
        .peeks(N, D.rem(0).reset(N + 1_000.0).retry(334))
        .peeks(N + 333.0, D.rem(0).retry(1))
        .peeks(N + 334.0, A.rem(1))
        .forecasts(N + 334.0, 1.0, 1, N + 667.0, N + 1_000.0);
}

#[test]
fn a_forecast_refuses_what_a_check_does() {
    let limiters: [Box<dyn DynLimiter>; 3] = [
        Box::new(Limiter::new(exact(3, 1_000, 3))),
        Box::new(Screened::builder(exact(3, 1_000, 3)).build().unwrap()),
        Box::new(TwoTier::builder(exact(3, 1_000, 3)).batch(3.0).build().unwrap()),
    ];
    for limiter in limiters {
        for cost in [0.0, 0.5, 1.5, f64::NAN] {
            let check = limiter.check("k", cost).now().unwrap().unwrap_err();
            let forecast = limiter.forecast("k", cost).now().unwrap().unwrap_err();
            assert_eq!((check.code(), forecast.code()), ("invalid_argument", "invalid_argument"), "{cost}");
        }
        assert_eq!(limiter.forecast("k", 3.0).now().unwrap().unwrap().spendable_now, 1);
    }
    let error = Limiter::new(exact(3, 1_000, 3)).forecast("k", 0.5).unwrap_err().to_string();
    assert_eq!(error, "cost is 0.5: must be a whole number from 1 to 9007199254740991 for this limit");
}

#[test]
fn clock_that_goes_back_is_denied_until_it_has_caught_up() {
    Key::new(exact(5, 1_000, 5))
        .at(10_000.0, 2.0, A.rem(3).reset(10_400.0))
        .at(0.0, 1.0, D.rem(0).reset(10_400.0).retry(9_600))
        .at(-9e15, 1.0, D.rem(0).reset(10_400.0))
        .at(20_000.0, 1.0, A.rem(4).reset(20_200.0));
}

#[test]
fn cost_is_whole_and_may_be_above_the_burst() {
    let mut key = Key::new(exact(10, 1_000, 5));
    for cost in [0.5, 1.5, 1e-300, 4_503_599_627_370_495.5] {
        let error = key.try_check(N, cost).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().contains("whole number"), "{error}");
    }
    key.holds("").at(N, 6.0, D.rem(5).reset(N).retry(100)).at(N, 5.0, A.rem(0).reset(N + 500.0));
    // 2^53 - 1 units of 100 ms, of which 5 are tolerated and 5 are taken.
    key.at(N, 9_007_199_254_740_991.0, D.rem(0).retry(900_719_925_474_099_100));
}

#[test]
fn state_text_is_milliseconds_and_a_remainder() {
    assert_eq!(ExactTat::decode("1700000000166:4"), Some(ExactTat { ms: 1_700_000_000_166, rest: 4 }));
    assert_eq!(ExactTat::decode("-5:0"), Some(ExactTat { ms: -5, rest: 0 }));
    for bad in ["", ":", "1", "1:", ":1", "1:2:3", "1.5:0", "1:-2", "+1:2", "1:+2", " 1:2", "1e3:0", "\"1:2\"", "{}"] {
        assert_eq!(ExactTat::decode(bad), None, "{bad:?}");
    }
    for state in [ExactTat { ms: i64::MIN, rest: u64::MAX }, ExactTat { ms: i64::MAX, rest: 0 }] {
        assert_eq!(ExactTat::decode(&state.encode()), Some(state));
        // However it came about, it is judged without overflow.
        let mut key = Key { state: Some(state), ..Key::new(exact(6, 1_000, 6)) };
        assert_eq!(key.check(N, 1.0).allowed, state.ms < 0);
    }
}

#[test]
fn describes_itself() {
    let exact = exact(7, 1_000, 3);
    assert_eq!((exact.name(), exact.limit(), exact.window_ms(), exact.ttl_ms()), ("gcra", 3, Some(1_000.0), 429.0));
    assert_eq!(exact.key_space(), "exact");
}

#[test]
fn refuses_what_is_not_whole_or_too_wide() {
    let build = |limit, period_ms, burst| ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst).build();
    assert_eq!(refused(build(0, 1_000, 1)), "gcra.limit");
    assert_eq!(refused(build(1 << 53, 1_000, 1)), "gcra.limit");
    assert_eq!(refused(build(1, 0, 1)), "gcra.periodMs");
    assert_eq!(refused(build(1, 1 << 53, 1)), "gcra.periodMs");
    assert_eq!(refused(build(1, 1_000, 0)), "gcra.burst");
    assert!(build(1, 1 << 43, 1 << 10).is_ok(), "2^53 is accepted");
    assert_eq!(refused(build(1, (1 << 43) + 1, 1 << 10)), "gcra.burst");
    assert_eq!(refused(build(1, u64::from(u32::MAX), u64::MAX)), "gcra.burst");
    let uneven = ExactGcra::builder().limit(1).period(Duration::from_micros(1_500)).build();
    assert_eq!(refused(uneven), "gcra.periodMs");
    assert_eq!(refused(ExactGcra::builder().period_ms(1).build()), "gcra.limit");
    assert_eq!(refused(ExactGcra::builder().limit(1).build()), "gcra.periodMs");
    assert_eq!(ExactGcra::builder().limit(9).period_ms(1).build().unwrap().limit(), 9, "the burst is the limit");
}
