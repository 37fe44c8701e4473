//! GCRA: decisions, states, times to live, and what it refuses.

use std::time::Duration;

use throttlekit::strategy::gcra::Tat;
use throttlekit::{Formula, Gcra, Program, Project, Step, Strategy};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn gcra(limit: f64, period_ms: f64, burst: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap()
}

fn key(limit: f64, period_ms: f64, burst: f64) -> Key<Gcra> {
    Key::new(gcra(limit, period_ms, burst))
}

#[test]
fn capacity_comes_back_unit_by_unit() {
    key(2.0, 1_000.0, 2.0)
        .at(0.0, 1.0, A.rem(1).reset(500.0))
        .at(0.0, 1.0, A.rem(0).reset(1_000.0))
        .at(0.0, 1.0, D.rem(0).reset(1_000.0).retry(500))
        .at(499.0, 1.0, D.retry(1))
        .at(500.0, 1.0, A.rem(0).reset(1_500.0))
        .at(500.0, 1.0, D.retry(500));
}

#[test]
fn burst_is_not_the_rate() {
    key(100.0, 60_000.0, 5.0)
        .at(0.0, 1.0, A.rem(4).reset(600.0))
        .at(0.0, 1.0, A.rem(3).reset(1_200.0))
        .at(0.0, 1.0, A.rem(2).reset(1_800.0))
        .at(0.0, 1.0, A.rem(1).reset(2_400.0))
        .at(0.0, 1.0, A.rem(0).reset(3_000.0))
        .at(0.0, 1.0, D.retry(600))
        .at(599.0, 1.0, D.retry(1))
        .at(600.0, 1.0, A.rem(0).reset(3_600.0).ttl(3_000.0));
}

#[test]
fn rounding_at_todays_epoch_is_that_of_f64() {
    key(6.0, 1_000.0, 6.0)
        .at(N, 1.0, A.rem(4).reset(N + 167.0).ttl(167.0))
        .at(N, 1.0, A.rem(3).reset(N + 334.0).ttl(334.0))
        .at(N, 1.0, A.rem(2).reset(N + 501.0).ttl(501.0))
        .at(N, 1.0, A.rem(1).reset(N + 667.0).ttl(667.0))
        .at(N, 1.0, A.rem(0).reset(N + 834.0).ttl(834.0))
        .at(N, 1.0, D.rem(0).reset(N + 834.0).retry(1))
        .at(N + 1.0, 1.0, A.rem(0).reset(N + 1_001.0))
        .holds("1700000001000.0005");
}

#[test]
fn state_is_a_bare_number() {
    key(3.0, 1_000.0, 3.0)
        .holds("")
        .at(N, 1.0, A.rem(2).reset(N + 334.0).ttl(334.0))
        .holds("1700000000333.3333")
        .at(N, 1.0, A.rem(1).reset(N + 667.0))
        .at(N, 1.0, A.rem(0).reset(N + 1_000.0))
        .at(N, 1.0, D.reset(N + 1_000.0).retry(334))
        .at(N + 334.0, 1.0, A.rem(0).reset(N + 1_334.0));
    key(3.0, 1_000.0, 3.0)
        .at(N, 1.0, A.rem(2))
        .at(N, 2.0, A.rem(0).reset(N + 1_000.0).ttl(1_000.0))
        .holds("1700000001000");
    for text in ["1700000000333.3333", " 1700000000333.3333\n", "1.7000000003333333e12", "17000000003333333E-4"] {
        Key::with_text(gcra(3.0, 1_000.0, 3.0), text).holds("1700000000333.3333").at(N, 1.0, A.rem(1));
    }
}

#[test]
fn clock_that_goes_back_is_denied_until_it_has_caught_up() {
    key(5.0, 1_000.0, 5.0)
        .at(10_000.0, 1.0, A.rem(4))
        .at(10_000.0, 1.0, A.rem(3).reset(10_400.0))
        .at(0.0, 1.0, D.rem(0).reset(10_400.0).retry(9_600))
        .at(20_000.0, 1.0, A.rem(4).reset(20_200.0));
}

#[test]
fn cost_may_be_above_the_burst_or_a_fraction() {
    key(10.0, 1_000.0, 5.0)
        .at(1_000.0, 6.0, D.rem(5).reset(1_000.0).retry(100))
        .at(1_000.0, 5.0, A.rem(0).reset(1_500.0))
        .at(1_000.0, 0.5, D.retry(50));
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    key(10.0, 1_000.0, 5.0)
        .peeks(1_000.0, A.rem(5).reset(1_000.0))
        .forecasts(1_000.0, 2.0, 2, 1_000.0, 1_000.0)
        .at(1_000.0, 3.0, A.rem(2))
        .peeks(1_000.0, A.rem(2).reset(1_300.0))
        .forecasts(1_000.0, 1.0, 2, 1_100.0, 1_300.0)
        .forecasts(1_000.0, 2.0, 1, 1_100.0, 1_300.0)
        .at(1_000.0, 2.0, A.rem(0))
        .peeks(1_000.0, D.rem(0).reset(1_500.0).retry(100))
        .forecasts(1_000.0, 1.0, 0, 1_100.0, 1_500.0)
        .peeks(1_050.0, D.retry(50));
}

#[test]
fn fresh_key_may_seem_to_lack_a_unit() {
    for (limit, period_ms, burst, shown) in [(3.0, 1_000.0, 7.0, 6), (243.0, 3_600_000.0, 243.0, 242)] {
        assert_eq!(gcra(limit, period_ms, burst).peek(None, 0.0).remaining, shown);
    }
}

#[test]
fn denied_peek_waits_at_least_one_millisecond() {
    // The quotient that counts units falls short of 1, although by the instants nothing is missing.
    Key::with_text(gcra(6.0, 10.0, 2.0), "6.666666666666667").peeks(5.0, D.rem(0).retry(1)).at(5.0, 1.0, A);
}

#[test]
fn cost_that_would_not_be_counted_is_an_argument_error() {
    let mut key = key(100.0, 1.0, 100.0);
    for cost in [0.001, 1e-300] {
        let error = key.try_check(N, cost).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().contains("cost is 0.0"), "{error}");
        key.holds("");
    }
    assert!(key.try_check(N, 0.1).unwrap().allowed);
}

#[test]
fn describes_itself() {
    let gcra = gcra(3.0, 1_000.0, 7.5);
    assert_eq!((gcra.name(), gcra.limit(), gcra.window_ms(), gcra.ttl_ms()), ("gcra", 7, Some(1_000.0), 2_500.0));
    assert_eq!(gcra.key_space(), "");
    let whole = |gcra: Gcra| (gcra.limit(), gcra.window_ms());
    assert_eq!(whole(Gcra::per_second(7).unwrap()), (7, Some(1_000.0)));
    assert_eq!(whole(Gcra::per_minute(7).unwrap()), (7, Some(60_000.0)));
    assert_eq!(whole(Gcra::per_hour(7).unwrap()), (7, Some(3_600_000.0)));
    let span = Gcra::builder().limit(1.0).period(Duration::from_micros(1_500)).build().unwrap();
    assert_eq!(span.window_ms(), Some(1.5));
}

#[test]
fn refuses_what_would_not_limit() {
    let build = |limit, period_ms, burst| Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build();
    let no_burst = |limit| Gcra::builder().limit(limit).period_ms(1_000.0).build();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused(build(bad, 1_000.0, 1.0)), "gcra.limit", "{bad}");
        assert_eq!(refused(build(1.0, bad, 1.0)), "gcra.periodMs", "{bad}");
        assert_eq!(refused(build(1.0, 1_000.0, bad)), "gcra.burst", "{bad}");
    }
    assert_eq!(refused(build(1.0, 1_000.0, 0.5)), "gcra.burst");
    assert_eq!(refused(no_burst(0.5)), "gcra.burst");
    assert_eq!(refused(build(5e-324, 1_000.0, 1.0)), "gcra.limit");
    assert_eq!(refused(build(1e-300, 1_000.0, 1.0)), "gcra.limit");
    assert_eq!(refused(build(1.0, 9_007_199_254_740_992.0, 1.0)), "gcra.periodMs");
    assert_eq!(refused(build(1.0, 1_000.0, 9_007_199_254_740_992.0)), "gcra.burst");
    assert_eq!(refused(build(1.0, 9_007_199_254_740_991.0, 2.0)), "gcra.burst");
    assert_eq!(refused(Gcra::builder().period_ms(1_000.0).build()), "gcra.limit");
    assert_eq!(refused(Gcra::builder().limit(1.0).build()), "gcra.periodMs");
    assert_eq!(refused(Gcra::per_second(0)), "gcra.limit");
}

#[test]
fn refuses_a_rate_that_f64_cannot_count() {
    let build = |limit| Gcra::builder().limit(limit).period_ms(1_000.0).build();
    let error = build(100_001.0).unwrap_err();
    assert_eq!(error.option(), "gcra.limit");
    assert!(error.to_string().contains("exact: true") && error.to_string().contains("token bucket"), "{error}");
    // The fastest that is accepted still limits at today's epoch.
    let mut key = Key::new(build(100_000.0).unwrap());
    assert!(!(0..110_000).all(|_| key.check_allows(N)));
}

#[test]
fn the_formula_is_the_step() {
    let gcra = Gcra::builder().limit(3.0).period_ms(1_000.0).burst(3.0).build().unwrap();
    let now = 1_700_000_000_000.0;
    let mut state = None;
    for (ms, cost) in [(0.0, 1.0), (0.0, 1.5), (0.0, 1.0), (100.0, 0.1), (333.0, 1.0), (5_000.0, 3.0), (5_000.0, 4.0)] {
        let now = now + ms;
        let Some(Formula::Gcra { increment_ms, tolerance_ms }) = gcra.formula(&cost) else { panic!("no formula") };
        let tat = state.map_or(now, |state: Tat| state.as_ms().max(now));
        let new = tat + increment_ms;
        let refused = new <= tat || now < new - tolerance_ms;
        match gcra.step(state.as_ref(), now, &cost) {
            Step::Write { change, ttl_ms, .. } => {
                assert!(!refused);
                assert_eq!((change.as_ms(), ttl_ms), (new, (new - now).ceil().max(1.0)));
                state = Some(change);
            }
            _ => assert!(refused),
        }
    }
}
