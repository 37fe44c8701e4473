//! The published figures of admission by prices.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use bench::regret::{Policy, regret};

/// In percent, rounded to two digits.
fn percent(policy: Policy, large_value: f64, correlation: f64) -> f64 {
    (regret(policy, large_value, correlation).unwrap() * 10_000.0).round() / 100.0
}

#[test]
fn prices_beside_whoever_comes_first() {
    let expected = [(-1.0, 40.0, 0.0), (-0.5, 40.0, 0.7), (0.0, 40.5, 1.01), (0.5, 41.5, 1.16), (1.0, 32.5, 65.0)];
    let mut advantage = 0.0;
    for (correlation, first_come, prices) in expected {
        assert_eq!(percent(Policy::Marginal, 50.0, correlation), first_come, "first come at {correlation}");
        assert_eq!(percent(Policy::Prices(0.0, 0.01), 50.0, correlation), prices, "prices at {correlation}");
        assert_eq!(percent(Policy::Expecting(50.0), 50.0, correlation), prices, "solved, at {correlation}");
        advantage += regret(Policy::Marginal, 50.0, correlation).unwrap();
        advantage -= regret(Policy::Prices(0.0, 0.01), 50.0, correlation).unwrap();
    }
    assert_eq!((advantage / 5.0 * 10_000.0).round() / 100.0, 25.33);
}

#[test]
fn a_sample_corrects_wrong_expectations() {
    for (correlation, learning) in [(-0.5, 25.16), (0.0, 28.72), (0.5, 30.09)] {
        assert_eq!(percent(Policy::Expecting(200.0), 50.0, correlation), 100.0);
        assert_eq!(percent(Policy::Learning(200.0, 200), 50.0, correlation), learning);
        let right = percent(Policy::Expecting(50.0), 50.0, correlation);
        assert_eq!(percent(Policy::Learning(50.0, 200), 50.0, correlation), right);
    }
    assert_eq!(percent(Policy::Learning(200.0, 200), 50.0, 1.0), 32.5);
    assert_eq!(
        (percent(Policy::Expecting(2.0), 80.0, 0.5), percent(Policy::Learning(2.0, 200), 80.0, 0.5)),
        (1.16, 1.95)
    );
}

/// Where prices for life fail, solving again does not; where they are good, it costs little.
#[test]
fn solving_again_holds_where_one_kind_comes_for_ever() {
    let again = |correlation| percent(Policy::Resolving(50.0, 50), 50.0, correlation);
    assert!(again(1.0) <= percent(Policy::Marginal, 50.0, 1.0), "{} %", again(1.0));
    for correlation in [-1.0, -0.5, 0.0, 0.5] {
        assert!(again(correlation) < 5.0, "{} % at {correlation}", again(correlation));
        let wrong = percent(Policy::Resolving(200.0, 50), 50.0, correlation);
        assert!(wrong < 10.0, "expecting wrongly, {wrong} % at {correlation}");
    }
}
