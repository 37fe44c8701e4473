//! The token bucket: decisions, states, times to live, and what it refuses.

use throttlekit::strategy::token_bucket::Level;
use throttlekit::{State, Strategy, TokenBucket};

use crate::support::N;
use crate::support::key::{A, D, Key, refused};

fn bucket(capacity: f64, refill_per_sec: f64) -> TokenBucket {
    TokenBucket::builder().capacity(capacity).refill_per_sec(refill_per_sec).build().unwrap()
}

fn key(capacity: f64, refill_per_sec: f64) -> Key<TokenBucket> {
    Key::new(bucket(capacity, refill_per_sec))
}

#[test]
fn tokens_come_back_one_by_one() {
    key(5.0, 10.0)
        .at(0.0, 1.0, A.rem(4).reset(100.0).ttl(500.0))
        .at(0.0, 1.0, A.rem(3).reset(200.0))
        .at(0.0, 1.0, A.rem(2).reset(300.0))
        .at(0.0, 1.0, A.rem(1).reset(400.0))
        .at(0.0, 1.0, A.rem(0).reset(500.0))
        .at(0.0, 1.0, D.reset(500.0).retry(100))
        // 0.01 / 0.01 is slightly above 1 here.
        .at(99.0, 1.0, D.retry(2))
        .at(100.0, 1.0, A.rem(0).reset(600.0))
        .at(100.0, 1.0, D.retry(100));
}

#[test]
fn cost_above_the_capacity_is_denied() {
    key(3.0, 1.0)
        .at(0.0, 5.0, D.rem(3).reset(0.0).retry(2_000))
        .at(0.0, 3.0, A.rem(0).reset(3_000.0))
        .at(500.0, 1.0, D.reset(3_000.0).retry(500))
        .at(1_000.0, 1.0, A.rem(0).reset(4_000.0));
}

#[test]
fn fractional_tokens_are_kept() {
    key(20.0, 3.5)
        .at(N, 3.0, A.rem(17).reset(N + 858.0).ttl(5_715.0))
        .at(N + 100.0, 1.0, A.rem(16).reset(N + 1_143.0).ttl(5_715.0))
        .holds(r#"{"tokens":16.35,"last":1700000000100}"#)
        .at(N + 100.0, 17.0, D.rem(16).retry(186))
        .at(N + 600.0, 1.0, A.rem(17).reset(N + 1_429.0));
}

#[test]
fn clock_that_goes_back_is_credited_twice() {
    key(5.0, 10.0)
        .at(10_000.0, 4.0, A.rem(1).reset(10_400.0))
        .at(9_900.0, 1.0, A.rem(0).reset(10_400.0))
        .at(10_000.0, 1.0, A.rem(0).reset(10_500.0))
        .at(10_000.0, 1.0, D.retry(100));
}

#[test]
fn peek_and_forecast_tell_what_comes() {
    key(5.0, 1.0)
        .forecasts(N, 2.0, 2, N, N)
        .at(N, 5.0, A.rem(0))
        .peeks(N, D.rem(0).reset(N + 5_000.0).retry(1_000))
        .forecasts(N, 1.0, 0, N + 1_000.0, N + 5_000.0)
        .peeks(N + 1_500.0, A.rem(1))
        .forecasts(N + 1_500.0, 1.0, 1, N + 2_000.0, N + 5_000.0);
}

#[test]
fn idle_bucket_is_full_and_no_fuller() {
    key(5.0, 10.0).at(0.0, 1.0, A.rem(4)).at(1_000_000.0, 1.0, A.rem(4));
}

#[test]
fn state_text_may_lack_a_member_or_order() {
    let drained = r#"{"tokens":0,"last":1700000000000}"#;
    for text in [drained, r#" { "last" : 1.7e12 , "seen" : [1,2], "tokens" : 0.0 } "#] {
        Key::with_text(bucket(5.0, 10.0), text).holds(drained).at(N, 1.0, D.rem(0).retry(100));
    }
    // Without one of its members it is as if there was none.
    for text in ["{}", r#"{"tokens":0}"#, r#"{"last":1700000000000}"#, r#"{"t":0,"l":0}"#] {
        Key::with_text(bucket(5.0, 10.0), text).peeks(N, A.rem(5).reset(N)).at(N, 1.0, A.rem(4).reset(N + 100.0));
    }
    for bad in ["", "0", "[]", "{", r#"{"tokens":"0","last":1}"#, r#"{"tokens":0,"last":[1]}"#, r#"{"tokens":0,}"#] {
        assert_eq!(Level::decode(bad), None, "{bad}");
    }
}

#[test]
fn describes_itself() {
    let bucket = bucket(20.5, 3.5);
    assert_eq!((bucket.name(), bucket.limit()), ("tokenBucket", 20));
    assert_eq!((bucket.window_ms(), bucket.ttl_ms(), bucket.key_space()), (Some(5_858.0), 5_858.0, ""));
}

#[test]
fn refuses_what_would_not_limit() {
    let build = |capacity, refill| TokenBucket::builder().capacity(capacity).refill_per_sec(refill).build();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert_eq!(refused(build(bad, 1.0)), "tokenBucket.capacity", "{bad}");
        assert_eq!(refused(build(1.0, bad)), "tokenBucket.refillPerSec", "{bad}");
    }
    // It would take longer to fill than any clock can tell.
    assert_eq!(refused(build(5.0, 1e-300)), "tokenBucket.refillPerSec");
    assert_eq!(refused(build(5.0, 5e-324)), "tokenBucket.refillPerSec");
    assert_eq!(refused(TokenBucket::builder().refill_per_sec(1.0).build()), "tokenBucket.capacity");
    assert_eq!(refused(TokenBucket::builder().capacity(1.0).build()), "tokenBucket.refillPerSec");
}
