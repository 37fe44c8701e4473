//! The fixed window: decisions, states, times to live, and what it refuses.

use std::time::Duration;

use throttlekit::strategy::fixed_window::Count;
use throttlekit::{FixedWindow, State, Strategy};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn window(limit: f64, window_ms: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(window_ms).build().unwrap()
}

fn key(limit: f64, window_ms: f64) -> Key<FixedWindow> {
    Key::new(window(limit, window_ms))
}

#[test]
fn each_aligned_window_has_its_limit() {
    key(3.0, 1_000.0)
        .at(900.0, 1.0, A.rem(2).reset(1_000.0).ttl(100.0))
        .at(900.0, 2.0, A.rem(0))
        .at(900.0, 1.0, D.reset(1_000.0).retry(100))
        .at(1_000.0, 3.0, A.rem(0).reset(2_000.0))
        .at(1_000.0, 1.0, D.retry(1_000))
        .forecasts(1_000.0, 1.0, 0, 2_000.0, 2_000.0);
}

#[test]
fn cost_above_the_limit_is_denied() {
    key(3.0, 1_000.0).at(0.0, 4.0, D.rem(3).reset(1_000.0).retry(1_000)).holds("").at(0.0, 3.0, A.rem(0));
}

#[test]
fn fractional_costs_add_up() {
    key(1.0, 1_000.0)
        .at(5_000.0, 0.25, A.rem(0))
        .at(5_000.0, 0.5, A.rem(0))
        .at(5_000.0, 0.5, D.retry(1_000))
        .at(5_000.0, 0.25, A.rem(0))
        .holds(r#"{"start":5000,"count":1}"#);
}

#[test]
fn clock_that_goes_back_opens_the_other_window_afresh() {
    key(3.0, 1_000.0)
        .at(1_000.0, 3.0, A)
        .at(999.0, 3.0, A.reset(1_000.0).ttl(1.0))
        .at(1_000.0, 3.0, A)
        .at(1_000.0, 1.0, D);
}

#[test]
fn fractional_window_and_limit_are_shown_whole() {
    key(5.0, 100.5).at(1_700_000_000_123.0, 1.0, A.rem(4).reset(1_700_000_000_144.0));
    let mut key = key(2.5, 1_000.0);
    key.at(0.0, 1.0, A.rem(1)).at(0.0, 1.0, A.rem(0)).at(0.0, 1.0, D.rem(0)).at(0.0, 0.5, A.rem(0));
    assert_eq!(key.strategy.limit(), 2);
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    key(3.0, 1_000.0)
        .peeks(N, A.rem(3).reset(N + 1_000.0))
        .forecasts(N, 2.0, 1, N + 1_000.0, N + 1_000.0)
        .at(N, 2.0, A.rem(1))
        .peeks(N, A.rem(1))
        .forecasts(N, 0.25, 4, N + 1_000.0, N + 1_000.0)
        .at(N, 1.0, A.rem(0))
        .peeks(N + 250.0, D.rem(0).reset(N + 1_000.0).retry(750))
        .peeks(N + 1_000.0, A.rem(3));
}

#[test]
fn state_text_is_start_and_count() {
    key(5.0, 1_000.0)
        .at(N + 123.0, 2.0, A.rem(3).reset(N + 1_000.0).ttl(877.0))
        .holds(r#"{"start":1700000000000,"count":2}"#);
    key(5.0, 1_000.0)
        .at(N + 123.0, 0.1, A.rem(4))
        .at(N + 123.0, 0.2, A.rem(4))
        .holds(r#"{"start":1700000000000,"count":0.30000000000000004}"#);
    let text = "{\"count\" : 3.0,\t\"start\" : 1.7e12}\n";
    Key::with_text(window(5.0, 1_000.0), text).at(N, 2.0, A.rem(0)).at(N, 1.0, D);
    // A later window, like an earlier one, is another window.
    for start in [N - 1_000.0, N + 1_000.0] {
        Key::with_text(window(5.0, 1_000.0), &format!(r#"{{"start":{start},"count":5}}"#)).at(N, 1.0, A.rem(4));
    }
    for bad in ["", "{}", r#"{"start":0}"#, r#"{"count":0}"#, "[0,0]", r#"{"start":0,"count":NaN}"#] {
        assert_eq!(Count::decode(bad), None, "{bad}");
    }
}

#[test]
fn describes_itself() {
    let window = window(3.5, 1_500.5);
    assert_eq!((window.name(), window.limit()), ("fixedWindow", 3));
    assert_eq!((window.window_ms(), window.ttl_ms(), window.key_space()), (Some(1_500.5), 1_500.5, ""));
    let span = FixedWindow::builder().limit(1.0).window(Duration::from_micros(1_500)).build().unwrap();
    assert_eq!(span.window_ms(), Some(1.5));
}

#[test]
fn refuses_what_would_not_limit() {
    let build = |limit, window_ms| FixedWindow::builder().limit(limit).window_ms(window_ms).build();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert_eq!(refused(build(bad, 1_000.0)), "fixedWindow.limit", "{bad}");
        assert_eq!(refused(build(1.0, bad)), "fixedWindow.windowMs", "{bad}");
    }
    for short in [5e-324, 1e-300] {
        assert_eq!(refused(build(1.0, short)), "fixedWindow.windowMs", "{short}");
    }
    assert_eq!(refused(FixedWindow::builder().window_ms(1.0).build()), "fixedWindow.limit");
    assert_eq!(refused(FixedWindow::builder().limit(1.0).build()), "fixedWindow.windowMs");
}
