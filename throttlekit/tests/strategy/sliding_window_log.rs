//! The sliding window log: decisions, states, times to live, and what it refuses.

use std::time::Duration;

use throttlekit::strategy::sliding_window_log::Log;
use throttlekit::{SlidingWindowLog, State, Strategy};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn log(limit: f64, window_ms: f64) -> SlidingWindowLog {
    SlidingWindowLog::builder().limit(limit).window_ms(window_ms).build().unwrap()
}

/// A key at which one unit was admitted at each instant.
fn key(limit: f64, window_ms: f64, instants: &[f64]) -> Key<SlidingWindowLog> {
    let mut key = Key::new(log(limit, window_ms));
    for &now in instants {
        key.at(now, 1.0, A.ttl(window_ms));
    }
    key
}

#[test]
fn unit_leaves_when_it_is_a_window_old() {
    key(3.0, 1_000.0, &[])
        .at(0.0, 1.0, A.rem(2).reset(1_000.0))
        .at(100.0, 1.0, A.rem(1).reset(1_000.0))
        .at(200.0, 1.0, A.rem(0).reset(1_000.0).ttl(1_000.0))
        .holds("[0,100,200]")
        .at(300.0, 1.0, D.reset(1_000.0).retry(700))
        .at(1_000.0, 1.0, A.rem(0).reset(1_100.0))
        .holds("[100,200,1000]")
        .at(1_000.0, 1.0, D.retry(100))
        .forecasts(1_000.0, 1.0, 0, 1_100.0, 2_000.0);
    key(2.0, 1_000.0, &[0.0, 500.0]).at(999.0, 1.0, D.retry(1)).at(1_000.0, 1.0, A);
}

#[test]
fn wait_counts_the_units_that_have_to_leave() {
    key(5.0, 1_000.0, &[0.0, 100.0, 200.0, 300.0, 400.0]).at(450.0, 3.0, D.rem(0).reset(1_000.0).retry(750));
    key(3.0, 1_000.0, &[0.0, 100.0]).at(200.0, 5.0, D.rem(1).reset(1_000.0).retry(900));
    key(3.0, 1_000.0, &[]).at(0.0, 5.0, D.rem(3).reset(1_000.0).retry(1_000));
    key(3.0, 1_000.0, &[0.0]).at(2_000.0, 5.0, D.rem(3).retry(1_000).reset(3_000.0)).holds("[0]");
}

#[test]
fn fractional_cost_takes_whole_units() {
    key(5.0, 1_000.0, &[])
        .at(1_000.0, 1.5, A.rem(3))
        .at(1_000.0, 0.5, A.rem(2))
        .at(1_000.0, 2.5, D.rem(2).retry(1_000))
        .at(1_000.0, 1.0, A.rem(1))
        .holds("[1000,1000,1000,1000]");
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    Key::with_text(log(2.0, 1_000.0), "[0,500]").peeks(1_000.0, A.rem(1).reset(1_500.0));
    Key::with_text(log(3.0, 1_000.0), "[100,200,300]").peeks(400.0, D.rem(0).reset(1_100.0).retry(700));
    key(5.0, 1_000.0, &[])
        .peeks(N, A.rem(5).reset(N + 1_000.0))
        .forecasts(N, 1.0, 5, N, N)
        .at(N, 2.0, A.rem(3))
        .at(N + 400.0, 1.0, A.rem(2))
        .forecasts(N + 400.0, 1.0, 2, N + 1_000.0, N + 1_400.0)
        .forecasts(N + 400.0, 0.5, 4, N + 1_000.0, N + 1_400.0)
        .forecasts(N + 1_400.0, 1.0, 5, N + 1_400.0, N + 1_400.0);
}

#[test]
fn state_text_is_the_flat_list() {
    key(3.0, 1_000.0, &[])
        .at(N, 2.0, A.rem(1).reset(N + 1_000.0))
        .holds("[1700000000000,1700000000000]")
        .at(N + 400.0, 2.0, D.rem(1).reset(N + 1_000.0).retry(600))
        .holds("[1700000000000,1700000000000]")
        .at(N + 1_000.0, 1.0, A.rem(2).reset(N + 2_000.0).ttl(1_000.0))
        .holds("[1700000001000]");
    Key::with_text(log(3.0, 1_000.0), "[]").at(N, 3.0, A.rem(0));
    // In any order and notation it holds the same instants.
    Key::with_text(log(3.0, 1_000.0), " [ 1.7e12 , 1699999999500.0,1700000000000 ] ")
        .holds("[1699999999500,1700000000000,1700000000000]")
        .at(N, 1.0, D.reset(N + 500.0).retry(500));
    for bad in ["", "0", "{}", "[0", "[0,]", "[,0]", "[\"0\"]", "[0] 0", "[1e999]", "[01]", "[.5]", "[+1]", "[null]"] {
        assert_eq!(Log::decode(bad), None, "{bad}");
    }
}

#[test]
fn list_longer_than_the_limit_shows_nothing_left() {
    Key::with_text(log(2.0, 1_000.0), "[0,100,200,300]")
        .peeks(400.0, D.rem(0).reset(1_000.0).retry(800))
        .forecasts(400.0, 1.0, 0, 1_000.0, 1_300.0)
        .at(400.0, 2.0, D.rem(0).retry(900))
        .at(1_200.0, 1.0, A.rem(0));
}

#[test]
fn clock_that_goes_back_keeps_the_order() {
    key(3.0, 1_000.0, &[1_000.0, 500.0])
        .holds("[500,1000]")
        .at(500.0, 1.0, A.rem(0).reset(1_500.0))
        .holds("[500,500,1000]")
        .at(1_200.0, 1.0, D.reset(1_500.0).retry(300))
        .at(1_500.0, 2.0, A.rem(0).reset(2_000.0))
        .holds("[1000,1500,1500]");
}

#[test]
fn describes_itself() {
    let log = log(3.5, 1_500.5);
    assert_eq!((log.name(), log.limit()), ("slidingWindowLog", 3));
    assert_eq!((log.window_ms(), log.ttl_ms(), log.key_space()), (Some(1_500.5), 1_500.5, ""));
    let span = SlidingWindowLog::builder().limit(1.0).window(Duration::from_micros(1_500)).build().unwrap();
    assert_eq!(span.window_ms(), Some(1.5));
}

#[test]
fn refuses_what_would_not_limit() {
    let build = |limit, window_ms| SlidingWindowLog::builder().limit(limit).window_ms(window_ms).build();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert_eq!(refused(build(bad, 1_000.0)), "slidingWindowLog.limit", "{bad}");
        assert_eq!(refused(build(1.0, bad)), "slidingWindowLog.windowMs", "{bad}");
    }
    assert_eq!(refused(SlidingWindowLog::builder().window_ms(1.0).build()), "slidingWindowLog.limit");
    assert_eq!(refused(SlidingWindowLog::builder().limit(1.0).build()), "slidingWindowLog.windowMs");
}

#[test]
fn limit_is_bounded_unless_told_otherwise() {
    let builder = SlidingWindowLog::builder().window_ms(1_000.0);
    assert!(builder.limit(100_000.0).build().is_ok());
    assert_eq!(refused(builder.limit(100_001.0).build()), "slidingWindowLog.limit");
    assert!(builder.limit(100_001.0).max_limit(200_000).build().is_ok());
    assert_eq!(refused(builder.limit(6.0).max_limit(5).build()), "slidingWindowLog.limit");
}
