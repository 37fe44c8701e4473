//! The published vectors of the family: each suite is a sequence of checks with every field of every answer.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use serde_json::Value;
use throttlekit::budget::Budget;
use throttlekit::lease::LeaseSpender;
use throttlekit::store::memory::Table;
use throttlekit::{Decision, FixedWindow, Gcra, SlidingWindow, SlidingWindowLog, Strategy, TokenBucket};

fn vectors() -> Value {
    serde_json::from_str(&tests::golden_vectors()).expect("the golden vectors are JSON")
}

/// A member that must be there.
#[track_caller]
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or_else(|| panic!("no `{name}` in {value}"))
}

#[track_caller]
fn number(value: &Value, name: &str) -> f64 {
    member(value, name).as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {value}"))
}

#[track_caller]
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    member(value, name).as_str().unwrap_or_else(|| panic!("`{name}` is no text in {value}"))
}

/// Compares every field.
fn compare(context: &str, decision: &Decision, expected: &Value) {
    assert_eq!(decision.allowed, member(expected, "allowed").as_bool().unwrap(), "{context}: allowed");
    assert_eq!(decision.limit, member(expected, "limit").as_u64().unwrap(), "{context}: limit");
    assert_eq!(decision.remaining, member(expected, "remaining").as_u64().unwrap(), "{context}: remaining");
    assert_eq!(decision.reset_at_ms, member(expected, "resetAt").as_i64().unwrap(), "{context}: resetAt");
    let retry = member(expected, "retryAfterMs").as_u64().unwrap();
    assert_eq!(decision.retry_after_ms, retry, "{context}: retryAfterMs");
}

/// Runs one suite on a fresh table; how many checks it had.
fn replay<S: Strategy>(suite: &Value, strategy: &S, cost: &str) -> usize {
    let table = Table::<S::State>::new();
    // A budget of its own has no key.
    let (name, key) = (text(suite, "name"), suite.get("key").and_then(Value::as_str).unwrap_or("k"));
    let ops = member(suite, "ops").as_array().expect("`ops` is a list");
    for (at, op) in ops.iter().enumerate() {
        let decision = table.apply(key, number(op, "now"), strategy, &number(op, cost)).unwrap();
        compare(&format!("{name}, check {at}"), &decision, member(op, "expect"));
    }
    ops.len()
}

/// Runs one suite of a lease that a client holds; how many grants and spends it had.
fn lease(suite: &Value) -> usize {
    let mut spender = LeaseSpender::new(member(suite, "limit").as_u64().unwrap())
        .ttl_ms(number(suite, "ttlMs"))
        .window_coupled(member(suite, "windowCoupled").as_bool().unwrap());
    let events = member(suite, "events").as_array().expect("`events` is a list");
    for (at, event) in events.iter().enumerate() {
        match text(event, "op") {
            "grant" => spender.apply(number(event, "capacity"), number(event, "expiresAt")),
            "spend" => {
                let context = format!("{}, event {at}", text(suite, "name"));
                let spent = spender.spend(number(event, "now"), number(event, "cost")).unwrap();
                let expected = member(event, "expect");
                let refresh = member(expected, "needsRefresh").as_bool().unwrap();
                assert_eq!(spent.is_none(), refresh, "{context}: needsRefresh");
                if let Some(decision) = spent {
                    compare(&context, &decision, member(expected, "decision"));
                }
            }
            other => panic!("unknown event `{other}` of a lease in the golden vectors"),
        }
    }
    events.len()
}

/// What a check of a limit calls its cost.
const COST: &str = "cost";

fn token_budget(suite: &Value) -> usize {
    let options = member(suite, "options");
    let builder = Budget::builder().budget(number(options, "budget")).window_ms(number(options, "windowMs"));
    replay(suite, &builder.build().unwrap(), "tokens")
}

fn rate_limit(suite: &Value) -> usize {
    let strategy = member(suite, "strategy");
    let options = member(strategy, "options");
    let option = |name| number(options, name);
    match text(strategy, "kind") {
        "gcra" => {
            let builder = Gcra::builder().limit(option("limit")).period_ms(option("periodMs"));
            replay(suite, &builder.burst(option("burst")).build().unwrap(), COST)
        }
        "tokenBucket" => {
            let builder = TokenBucket::builder().capacity(option("capacity"));
            replay(suite, &builder.refill_per_sec(option("refillPerSec")).build().unwrap(), COST)
        }
        "fixedWindow" => {
            let builder = FixedWindow::builder().limit(option("limit"));
            replay(suite, &builder.window_ms(option("windowMs")).build().unwrap(), COST)
        }
        "slidingWindow" => {
            let buckets = u32::try_from(member(options, "buckets").as_u64().unwrap()).unwrap();
            let builder = SlidingWindow::builder().limit(option("limit")).window_ms(option("windowMs"));
            replay(suite, &builder.buckets(buckets).build().unwrap(), COST)
        }
        "slidingWindowLog" => {
            let builder = SlidingWindowLog::builder().limit(option("limit"));
            replay(suite, &builder.window_ms(option("windowMs")).build().unwrap(), COST)
        }
        other => panic!("unknown strategy `{other}` in the golden vectors"),
    }
}

#[test]
fn every_suite_of_a_strategy_passes() {
    let vectors = vectors();
    assert_eq!(text(&vectors, "contractVersion"), "1");
    let (mut suites, mut checks, mut leases) = (0, 0, 0);
    for suite in member(&vectors, "suites").as_array().expect("`suites` is a list") {
        match text(suite, "primitive") {
            "rateLimit" => {
                suites += 1;
                checks += rate_limit(suite);
            }
            "lease" => leases += lease(suite),
            "tokenBudget" => {
                suites += 1;
                checks += token_budget(suite);
            }
            other => panic!("unknown kind of suite `{other}` ({})", text(suite, "name")),
        }
    }
    assert!(leases >= 6 * 4, "only {leases} grants and spends ran");
    assert!(suites >= 12 && checks >= suites, "only {suites} suites with {checks} checks ran");
}
