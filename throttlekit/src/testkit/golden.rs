//! The golden vectors of the family: suites of checks with every field of every answer.

use serde_json::Value;

use super::agreement::together;
use super::case::{Context, Outcome, Running, done, same};
use super::limit::{Limit, with_strategy};
use crate::clock::ManualClock;
use crate::decision::Decision;
use crate::limiter::Limiter;
use crate::program::Strategy;

pub(super) async fn replay(cx: &Context<'_>) -> Outcome {
    let document: Value = serde_json::from_str(cx.harness.vectors().unwrap_or_default())
        .map_err(|error| format!("the golden vectors are no JSON: {error}"))?;
    let suites = list(&document, "suites")?.iter();
    let suites: Vec<&Value> =
        suites.filter(|suite| PRIMITIVES.iter().any(|name| suite["primitive"] == *name)).collect();
    if suites.is_empty() {
        return Err("the golden vectors hold no suite of a rate limit or a budget".to_owned());
    }
    let mut running: Vec<Running<'_>> = Vec::new();
    for (number, suite) in suites.into_iter().enumerate() {
        running.push(Box::pin(async move {
            let limit =
                if suite["primitive"] == BUDGET { budget(&suite["options"])? } else { limit(&suite["strategy"])? };
            with_strategy!(limit, strategy => follow(cx, suite, number, strategy).await)
        }));
    }
    together(running).await
}

async fn follow<S: Strategy>(cx: &Context<'_>, suite: &Value, number: usize, strategy: S) -> Outcome {
    let (name, key) = (text(suite, "name")?, suite["key"].as_str().unwrap_or("k"));
    let cost = if suite["primitive"] == BUDGET { "tokens" } else { "cost" };
    let clock = ManualClock::new(0.0);
    let limiter =
        Limiter::builder(strategy).keyspace(cx.keys()).prefix(number.to_string()).clock(clock.clone()).build();
    let checks = list(suite, "ops")?;
    // To some stores the instant 0 means their own time. Every suite that begins there comes to the same later.
    let later = if suite["primitive"] == BUDGET { BUDGET_LATER_MS } else { LATER_MS };
    let later = if checks.first().is_some_and(|check| check["now"] == 0) { later } else { 0 };
    for (at, check) in checks.iter().enumerate() {
        clock.set(number_of(check, "now")? + f64::from(later));
        let what = format!("{name}, check {at}");
        let decision = done(&what, limiter.check_cost(key, number_of(check, cost)?).await)?;
        let mut expected = expected(&check["expect"]).ok_or_else(|| format!("{name} expects no decision"))?;
        expected.reset_at_ms += i64::from(later);
        same(what, &decision, &expected)?;
    }
    Ok(())
}

/// By how much a suite is moved. A multiple of all windows, and short enough for the same roundings.
const LATER_MS: i32 = 1_000;
/// Likewise, for budgets, whose windows are longer.
const BUDGET_LATER_MS: i32 = 60_000;

/// The kinds of suites that are replayed.
const PRIMITIVES: [&str; 2] = ["rateLimit", BUDGET];
const BUDGET: &str = "tokenBudget";

fn expected(value: &Value) -> Option<Decision> {
    Some(Decision {
        allowed: value["allowed"].as_bool()?,
        limit: value["limit"].as_u64()?,
        remaining: value["remaining"].as_u64()?,
        reset_at_ms: value["resetAt"].as_i64()?,
        retry_after_ms: value["retryAfterMs"].as_u64()?,
    })
}

fn limit(strategy: &Value) -> Result<Limit, String> {
    let option = |name| number_of(&strategy["options"], name);
    Ok(match text(strategy, "kind")? {
        "gcra" => Limit::Gcra(option("limit")?, option("periodMs")?, option("burst")?),
        "tokenBucket" => Limit::TokenBucket(option("capacity")?, option("refillPerSec")?),
        "fixedWindow" => Limit::FixedWindow(option("limit")?, option("windowMs")?),
        "slidingWindow" => {
            let buckets = strategy["options"]["buckets"].as_u64().and_then(|buckets| u32::try_from(buckets).ok());
            let buckets = buckets.ok_or("a suite has no number of buckets")?;
            Limit::SlidingWindow(option("limit")?, option("windowMs")?, buckets)
        }
        "slidingWindowLog" => Limit::SlidingLog(option("limit")?, option("windowMs")?),
        other => return Err(format!("the golden vectors have a strategy that is not known: {other}")),
    })
}

fn budget(options: &Value) -> Result<Limit, String> {
    Ok(Limit::Budget(number_of(options, "budget")?, number_of(options, "windowMs")?, 0.0, false, false))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    value[name].as_array().ok_or_else(|| format!("the golden vectors have no list `{name}` where one must be"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value[name].as_str().ok_or_else(|| format!("the golden vectors have no text `{name}` where one must be"))
}

fn number_of(value: &Value, name: &str) -> Result<f64, String> {
    value[name].as_f64().ok_or_else(|| format!("the golden vectors have no number `{name}` where one must be"))
}
