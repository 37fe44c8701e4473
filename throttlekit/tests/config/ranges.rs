//! The numbers of a strategy: what each may be, and that all of them are judged.

use throttlekit::config::Format;

use super::errors::{assert_lines, errors, limiter, paths};

#[test]
fn every_number_of_a_strategy_is_judged_whatever_the_others_are() {
    for (fields, values) in [
        ("strategy: gcra, limit: 1e300, period: 0, burst: 0.5", vec!["burst", "limit", "period"]),
        ("strategy: gcra, limit: x, period: 1e300, burst: 0.5", vec!["burst", "limit", "period"]),
        ("strategy: gcra, limit: 1, periodMs: 1e300, windowMs: -1, burst: -1", vec!["burst", "periodMs", "windowMs"]),
        ("strategy: gcra, exact: true, limit: 1.5, period: 0.5ms, burst: 0", vec!["burst", "limit", "period"]),
        ("strategy: tokenBucket, capacity: 1e300, refillPerSec: 0", vec!["capacity", "refillPerSec"]),
        ("strategy: tokenBucket, capacity: 1e300", vec!["capacity", "refillPerSec"]),
        ("strategy: fixedWindow, limit: -1, period: 1e-300", vec!["limit", "period"]),
        ("strategy: slidingWindow, limit: 0, windowMs: 1e300, buckets: 1001", vec!["buckets", "limit", "windowMs"]),
        ("strategy: slidingWindowLog, limit: 100001, period: -1", vec!["limit", "period"]),
        ("strategy: quota, limit: 1e300, resetCadence: fixed, period: 1e-300", vec!["limit", "period"]),
        (
            "strategy: quota, limit: -1, resetCadence: rolling, period: 1e300, buckets: 0",
            vec!["buckets", "limit", "period"],
        ),
        ("strategy: quota, limit: 0, resetCadence: calendar-week, weekStartsOn: 7", vec!["limit", "weekStartsOn"]),
    ] {
        assert_eq!(paths(fields), values, "{fields}");
    }
    // Nor does one of them hide what is wrong with the limiter otherwise.
    let collision = "limiters:\n  a: { strategy: fixedWindow, limit: 0, period: 1s }\n  \
                     b: { strategy: fixedWindow, limit: 1, period: 1s, prefix: a }";
    assert_lines(
        collision,
        Format::Yaml,
        &[
            "2:38: config.limiters[a].limit: must be a finite number above 0 (found 0)",
            "3:61: config.limiters[b].prefix: the prefix \"a\" of the stored keys collides with \"a\" of limiter \"a\": one \
             must not equal the other or continue it with a colon, and an empty one must be alone",
        ],
    );
}

#[test]
fn ranges_are_those_of_the_strategies() {
    for (fields, expected) in [
        (
            "strategy: gcra, limit: 1, period: 1s, burst: 0.5",
            "burst: must be a finite number of at least 1 (found 0.5)",
        ),
        (
            "strategy: gcra, limit: 0.5, period: 1s",
            "limit: must be a finite number of at least 1 (found 0.5 as the burst, which is the limit unless given)",
        ),
        (
            "strategy: gcra, exact: true, limit: 200000000, period: 200000000",
            "limit: periodMs * burst must be at most 9007199254740992 (found 200000000 as the burst, which is the limit \
             unless given)",
        ),
        (
            "strategy: gcra, limit: 1, period: 9007199254740992",
            "period: must be at most 9007199254740991 (found 9007199254740992)",
        ),
        (
            "strategy: tokenBucket, capacity: 1e300, refillPerSec: 1",
            "capacity: must be at most 9007199254740991 (found 1e300)",
        ),
        (
            "strategy: slidingWindow, limit: 1, period: 1s, buckets: 1001",
            "buckets: must be a whole number from 1 to 1000 (found 1001)",
        ),
        (
            "strategy: slidingWindow, limit: 1, period: 1s, buckets: 2.5",
            "buckets: must be a whole number from 1 to 1000 (found 2.5)",
        ),
        ("strategy: slidingWindowLog, limit: 1e6, period: 1s", "limit: must be at most 100000 (found 1000000)"),
        (
            "strategy: gcra, exact: true, limit: 1.5, period: 1s",
            "limit: must be a whole number from 1 to 9007199254740991 where `exact` is true (found 1.5)",
        ),
        (
            "strategy: gcra, exact: true, limit: 1, period: 0.5ms",
            "period: must be a whole number from 1 to 9007199254740991 where `exact` is true (found 0.5)",
        ),
        (
            "strategy: quota, limit: 1, resetCadence: calendar-day, offsetMinutes: 841",
            "offsetMinutes: must be a whole number from -840 to 840 (found 841)",
        ),
        (
            "strategy: quota, limit: 1, resetCadence: calendar-week, weekStartsOn: 7",
            "weekStartsOn: must be a whole number from 0 to 6 (found 7)",
        ),
        (
            "strategy: quota, limit: 1, resetCadence: fixed, period: 1s, anchor: 0.5",
            "anchor: must be a whole number from -9007199254740991 to 9007199254740991 (found 0.5)",
        ),
    ] {
        let text = errors(&limiter(fields), Format::Yaml);
        assert!(text.ends_with(&format!(": config.limiters[x].{expected}")), "{fields}\n{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn what_a_limiter_needs_is_asked_for() {
    for (fields, expected) in [
        ("strategy: gcra", vec!["limit: required", "period: required: a duration such as 30s or 1m"]),
        ("strategy: tokenBucket", vec!["capacity: required", "refillPerSec: required"]),
        ("strategy: tokenBucket, capacity: ~, refillPerSec: 1", vec!["capacity: required"]),
        ("strategy: quota, limit: 1", vec!["resetCadence: required"]),
        ("strategy: quota, limit: 1, resetCadence: fixed", vec!["period: required: a duration such as 30s or 1m"]),
        ("limit: 1, period: 1s", vec!["strategy: required"]),
    ] {
        let expected: Vec<String> = expected.iter().map(|line| format!("1:13: config.limiters[x].{line}")).collect();
        assert_eq!(errors(&limiter(fields), Format::Yaml), expected.join("\n"), "{fields}");
    }
}
