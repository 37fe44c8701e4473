//! The sliding window: decisions, states, times to live, and what it refuses.

use std::time::Duration;

use throttlekit::strategy::sliding_window::Ring;
use throttlekit::{Quota, SlidingWindow, State, Strategy};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn window(limit: f64, window_ms: f64, buckets: u32) -> SlidingWindow {
    SlidingWindow::builder().limit(limit).window_ms(window_ms).buckets(buckets).build().unwrap()
}

fn key(limit: f64, window_ms: f64, buckets: u32) -> Key<SlidingWindow> {
    Key::new(window(limit, window_ms, buckets))
}

#[test]
fn oldest_bucket_leaves_gradually() {
    key(10.0, 1_000.0, 10)
        .at(1_000.0, 6.0, A.rem(4).reset(2_100.0).ttl(1_100.0))
        .at(1_500.0, 4.0, A.rem(0).reset(2_600.0))
        .at(1_500.0, 1.0, D.reset(2_600.0).retry(100))
        .at(2_000.0, 5.0, D.rem(0).reset(3_100.0).retry(84))
        .at(2_500.0, 5.0, A.rem(1).reset(3_600.0))
        .peeks(2_500.0, A.rem(1))
        .forecasts(2_500.0, 2.0, 0, 2_600.0, 3_600.0);
}

#[test]
fn buckets_may_have_a_fractional_length() {
    key(20.0, 1_000.0, 3)
        .at(N + 123.0, 12.0, A.rem(8).reset(N + 1_334.0))
        .at(N + 523.0, 8.0, A.rem(0).reset(N + 1_667.0))
        .at(N + 700.0, 1.0, D.rem(0).reset(N + 2_000.0).retry(300))
        .at(N + 1_150.0, 4.0, A.rem(1).reset(N + 2_334.0))
        .at(N + 1_150.0, 3.0, D.rem(1).retry(45))
        .forecasts(N + 1_150.0, 1.0, 1, N + 1_334.0, N + 2_334.0);
}

#[test]
fn one_bucket_is_the_estimate_from_two_counters() {
    key(10.0, 1_000.0, 1)
        .at(0.0, 10.0, A.rem(0).reset(2_000.0))
        .at(1_000.0, 1.0, D.reset(3_000.0).retry(100))
        .at(1_500.0, 5.0, A.rem(0))
        .at(1_500.0, 1.0, D.retry(100))
        .at(1_999.0, 4.0, A.rem(0));
    // 42 before, 18 so far, a quarter into the window: 42 * 0.75 + 18 = 49.5 of 50.
    key(50.0, 1_000.0, 1)
        .at(0.0, 42.0, A)
        .at(1_250.0, 18.0, A.rem(0))
        .at(1_250.0, 1.0, D.rem(0).retry(12))
        .at(1_250.0, 0.5, A.rem(0))
        .at(1_250.0, 0.25, D);
}

#[test]
fn boundary_does_not_double_the_limit() {
    let mut key = key(10.0, 1_000.0, 10);
    for now in 900..910 {
        key.at(f64::from(now), 1.0, A);
    }
    key.at(1_000.0, 1.0, D).at(2_000.0, 1.0, A);
}

#[test]
fn clock_that_goes_back_may_lose_a_bucket() {
    key(10.0, 1_000.0, 10).at(1_500.0, 10.0, A.rem(0)).at(400.0, 1.0, A.rem(9).reset(1_500.0)).at(
        1_500.0,
        1.0,
        A.rem(9),
    );
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    key(10.0, 1_000.0, 10)
        .peeks(N, A.rem(10).reset(N + 1_100.0))
        .forecasts(N, 3.0, 3, N + 100.0, N + 1_100.0)
        .at(N, 10.0, A.rem(0))
        .peeks(N + 50.0, D.rem(0).reset(N + 1_100.0).retry(50))
        .peeks(N + 1_000.0, D.rem(0).reset(N + 2_100.0).retry(10))
        .peeks(N + 1_010.0, A.rem(1))
        .peeks(N + 1_100.0, A.rem(10));
}

#[test]
fn state_text_is_two_arrays() {
    key(10.0, 1_000.0, 10)
        .at(N + 123.0, 2.0, A.rem(8).reset(N + 1_200.0))
        .at(N + 323.0, 3.0, A.rem(5).reset(N + 1_400.0).ttl(1_100.0))
        .holds(r#"{"i":[-1,-1,-1,-1,-1,-1,17000000001,-1,17000000003,-1,-1],"n":[0,0,0,0,0,0,2,0,3,0,0]}"#);
    key(20.0, 1_000.0, 3)
        .at(N + 123.0, 2.0, A.rem(18).reset(N + 1_334.0).ttl(1_334.0))
        .holds(r#"{"i":[5100000000,-1,-1,-1],"n":[2,0,0,0]}"#);
    let text = " { \"n\" : [ 2.0 , 0, 0,0], \"i\":[5.1e9,-1,-1,-1.0] } ";
    Key::with_text(window(20.0, 1_000.0, 3), text).at(N + 123.0, 1.0, A.rem(17));
    for bad in ["", "{}", "[]", r#"{"i":[1],"n":[1,2]}"#, r#"{"i":[1]}"#, r#"{"i":1,"n":1}"#, r#"{"i":[1,],"n":[1,2]}"#]
    {
        assert_eq!(Ring::decode(bad), None, "{bad}");
    }
}

#[test]
fn ring_of_other_options_counts_as_none() {
    for text in [r#"{"i":[],"n":[]}"#, r#"{"i":[17000000000,17000000001],"n":[10,10]}"#] {
        Key::with_text(window(10.0, 1_000.0, 3), text)
            .peeks(N, A.rem(10))
            .at(N, 10.0, A.rem(0))
            .holds(r#"{"i":[5100000000,-1,-1,-1],"n":[10,0,0,0]}"#);
    }
}

#[test]
fn describes_itself() {
    let window = window(20.5, 1_000.0, 3);
    assert_eq!((window.name(), window.limit()), ("slidingWindow", 20));
    assert_eq!((window.window_ms(), window.ttl_ms(), window.key_space()), (Some(1_000.0), 1_334.0, ""));
    let span = SlidingWindow::builder().limit(1.0).window(Duration::from_micros(1_500)).build().unwrap();
    assert_eq!((span.window_ms(), span.ttl_ms()), (Some(1.5), 2.0));
}

#[test]
fn rolling_quota_is_a_sliding_window_by_another_name() {
    let rolling = Quota::rolling().limit(20.0).window_ms(1_000.0).buckets(3).build().unwrap();
    assert_eq!((rolling.name(), rolling.window_ms(), rolling.ttl_ms()), ("quota", Some(1_000.0), 1_334.0));
    Key::new(rolling)
        .at(N + 123.0, 12.0, A.rem(8).reset(N + 1_334.0))
        .at(N + 523.0, 8.0, A.rem(0).reset(N + 1_667.0))
        .at(N + 700.0, 1.0, D.rem(0).reset(N + 2_000.0).retry(300));
    assert_eq!(refused(Quota::rolling().limit(0.0).window_ms(1_000.0).build()), "quota.limit");
    assert_eq!(refused(Quota::rolling().limit(1.0).build()), "quota.periodMs");
    assert_eq!(refused(Quota::rolling().limit(1.0).window_ms(1e3).buckets(0).build()), "quota.buckets");
    assert_eq!(refused(Quota::rolling().limit(1.0).window_ms(1e3).max_buckets(0).build()), "quota.maxBuckets");
}

#[test]
fn refuses_what_would_not_limit() {
    let build = |limit, window_ms| SlidingWindow::builder().limit(limit).window_ms(window_ms).build();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert_eq!(refused(build(bad, 1_000.0)), "slidingWindow.limit", "{bad}");
        assert_eq!(refused(build(1.0, bad)), "slidingWindow.windowMs", "{bad}");
    }
    assert_eq!(refused(SlidingWindow::builder().window_ms(1.0).build()), "slidingWindow.limit");
    assert_eq!(refused(SlidingWindow::builder().limit(1.0).build()), "slidingWindow.windowMs");
    // The least length of a bucket is 0.05 ms.
    for short in [5e-324, 1e-300, 0.49] {
        assert_eq!(refused(build(1.0, short)), "slidingWindow.windowMs", "{short}");
    }
    assert!(build(1.0, 0.5).is_ok());
}

#[test]
fn buckets_are_bounded() {
    let builder = SlidingWindow::builder().limit(1.0).window_ms(60_000.0);
    assert_eq!(refused(builder.buckets(0).build()), "slidingWindow.buckets");
    assert!(builder.buckets(1_000).build().is_ok());
    assert_eq!(refused(builder.buckets(1_001).build()), "slidingWindow.buckets");
    assert!(builder.buckets(100_000).max_buckets(100_000).build().is_ok());
    assert_eq!(refused(builder.buckets(100_001).max_buckets(100_000).build()), "slidingWindow.buckets");
    for most in [0, 100_001] {
        assert_eq!(refused(builder.max_buckets(most).build()), "slidingWindow.maxBuckets");
    }
}
