//! The numbers of a strategy: what each may be, and that all of them are judged.

use throttlekit::config::{Config, Format};

use super::errors::{assert_lines, errors, limiter, paths};

#[test]
fn every_number_of_a_strategy_is_judged_whatever_the_others_are() {
    for (fields, values) in [
        ("strategy: gcra, limit: 1e300, period: 0, burst: 0.5", vec!["burst", "limit", "period"]),
        ("strategy: gcra, limit: 1, period: 1s, burst: 1e300", vec!["burst"]),
        ("strategy: gcra, limit: 1, period: 1s, burst: 9007199254740993", vec!["burst"]),
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

/// What is wrong with a rule that has these fields: below its path.
fn of_a_rule(fields: &str) -> String {
    let limiters = "
  exact: { strategy: gcra, limit: 6, period: 1s, exact: true }
  tiers: { strategy: gcra, limit: 6, period: 1s, exact: true, twoTier: { batch: 2 } }
  screen: { strategy: gcra, limit: 6, period: 1s, exact: true, screen: {} }
  fine: { strategy: gcra, limit: 1000, period: 1s }
  long: { strategy: gcra, limit: 1000, period: 1s, burst: 5e12 }
  leased: { strategy: gcra, limit: 1000, period: 1s, twoTier: { batch: 2 } }
  window: { strategy: fixedWindow, limit: 5, period: 1s }
  log: { strategy: slidingWindowLog, limit: 5, period: 1s }
  fair: { fairEscrow: { limit: 5, windowMs: 1000 } }
  bucket: { strategy: tokenBucket, capacity: 5, refillPerSec: 1 }";
    match Config::from_yaml(&format!("limiters:{limiters}\nhttp: {{ rules: [{{ path: /, {fields} }}] }}")) {
        Ok(_) => String::new(),
        Err(errors) => {
            assert!(errors.problems().iter().all(|problem| problem.position.is_some()), "{errors}");
            let lines = errors.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message));
            lines.collect::<Vec<_>>().join("\n").replace("config.http.rules[0].", "")
        }
    }
}

#[test]
fn a_cost_is_one_that_the_limiter_counts() {
    let whole = |kind: &str, found: f64| format!("must be a whole number for the {kind} (found {found})");
    let large = |kind: &str, found: &str| format!("must be large enough to be counted by the {kind} (found {found})");
    for (fields, path, message) in [
        ("policy: exact, cost: 0.5", "cost", whole("gcra \"exact\"", 0.5)),
        ("policy: exact, cost: 7.5", "cost", whole("gcra \"exact\"", 7.5)),
        ("policy: tiers, cost: 0.5", "cost", whole("twoTier \"tiers\"", 0.5)),
        ("policy: screen, cost: 0.5", "cost", whole("screen \"screen\"", 0.5)),
        ("policies: [bucket, exact], costs: { exact: 1.5 }", "costs.exact", whole("gcra \"exact\"", 1.5)),
        ("policy: fine, cost: 1e-6", "cost", large("gcra \"fine\"", "0.000001")),
        ("policies: [fine, bucket], costs: { fine: 1e-9 }", "costs.fine", large("gcra \"fine\"", "1e-9")),
        // An arrival time that is further away is coarser.
        ("policy: long, cost: 0.0002", "cost", large("gcra \"long\"", "0.0002")),
        ("policy: leased, cost: 1e-14", "cost", large("twoTier \"leased\"", "1e-14")),
        ("policy: fair, cost: 1e-17", "cost", large("fairEscrow \"fair\"", "1e-17")),
        ("policy: window, cost: 1e-17", "cost", large("fixedWindow \"window\"", "1e-17")),
        ("policy: bucket, cost: 1e-300", "cost", large("tokenBucket \"bucket\"", "1e-300")),
        (
            "policy: bucket, plans: { from: { claim: plan }, table: { pro: { policy: exact, cost: 0.5 } } }",
            "plans.table.pro.cost",
            whole("gcra \"exact\"", 0.5),
        ),
    ] {
        assert_eq!(of_a_rule(fields), format!("{path}: {message}"), "{fields}");
    }
    for fields in [
        "policy: exact, cost: 100",
        "policies: [exact, bucket], cost: 0.5, costs: { exact: 1 }",
        "policy: fine, cost: 0.001",
        "policy: fine, cost: 0.0002",
        "policy: leased, cost: 1e-6",
        "policy: log, cost: 1e-300",
        "policies: [fair, window], cost: 1e-15",
    ] {
        assert_eq!(of_a_rule(fields), "", "{fields}");
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
