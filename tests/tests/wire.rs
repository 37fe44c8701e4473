//! What other programs may rely on is written down in `wire/`, and is what this version does: the scripts that run on
//! Redis, and the answers to suites that the family's golden vectors do not have.
//!
//! `THROTTLEKIT_WIRE=write cargo test -p tests --test wire` writes both anew.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod strategies;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strategies::{bucket, exact, gcra, log};
use tests::redis::Redis;
use throttlekit::budget::Budget;
use throttlekit::store::Remote;
use throttlekit::store::memory::Table;
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Decision, FixedWindow, LeakyBucket, Limiter, ManualClock, Program, Quota, Shaper, SlidingWindow, Strategy,
};
use throttlekit_redis::{RedisOptions, RedisStore, scripts};

/// Only an answer that changes changes this.
const CONTRACT_VERSION: &str = "1";
const FIELDS: [&str; 5] = ["allowed", "limit", "remaining", "resetAt", "retryAfterMs"];
/// An instant of the year 2023.
const THEN: f64 = 1_700_000_000_000.0;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire")
}

/// Compares a file with what it should hold, or writes it.
fn check(file: &str, expected: &str) {
    let path = folder().join(file);
    if std::env::var_os("THROTTLEKIT_WIRE").is_some_and(|mode| mode == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
    assert!(found == expected, "{file} is not what this version does; THROTTLEKIT_WIRE=write brings it up to date");
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text
}

fn generated_from() -> String {
    format!("throttlekit@{}", env!("CARGO_PKG_VERSION"))
}

fn lua<P: Program>(program: &P) -> &'static str {
    program.twin().expect("every built-in program has a twin").lua()
}

/// The built-in programs: name, strategies, twin, the names of its numbers.
fn programs() -> Vec<(&'static str, &'static [&'static str], &'static str, &'static [&'static str])> {
    vec![
        ("gcra", &["gcra"], lua(&gcra(1.0, 1_000.0, 1.0)), &["intervalMs", "toleranceMs"]),
        ("exactGcra", &["gcra"], lua(&exact(1, 1_000, 1)), &["limit", "periodMs", "burst"]),
        ("tokenBucket", &["tokenBucket"], lua(&bucket(1.0, 1.0)), &["capacity", "refillPerMs", "msToFill"]),
        (
            "count",
            &["fixedWindow", "quota"],
            lua(&FixedWindow::builder().limit(1.0).window_ms(1.0).build().unwrap()),
            &["limit", "mode", "periodMs", "anchor", "offsetMs", "weekStartsOn"],
        ),
        (
            "slidingWindow",
            &["slidingWindow", "quota"],
            lua(&SlidingWindow::builder().limit(1.0).window_ms(1_000.0).build().unwrap()),
            &["limit", "windowMs", "buckets", "bucketMs"],
        ),
        ("slidingWindowLog", &["slidingWindowLog"], lua(&log(1.0, 1.0)), &["limit", "windowMs"]),
        ("leakyBucket", &["leakyBucket"], lua(&leaky(1.0, 1.0)), &["intervalMs", "maxQueueMs"]),
        (
            "tokenBudget",
            &["tokenBudget"],
            lua(&Budget::builder().budget(1.0).window_ms(1_000.0).build().unwrap()),
            &["budget", "windowMs", "maxDebt", "carryDebt", "wholeDebits"],
        ),
    ]
}

fn sha256(text: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Name, strategies, role, keys, arguments and text of every script.
fn all_scripts() -> Vec<(String, Value, &'static str, Value, Value, String)> {
    let programs = programs();
    let mut all = Vec::new();
    for (name, strategies, lua, numbers) in &programs {
        let [one, _] = scripts(&[lua]);
        let argv = ["now", "ttlFloorMs", "numbers"].iter().chain(*numbers).chain(&["cost"]).collect::<Vec<_>>();
        all.push((format!("{name}.check"), json!(strategies), "check", json!(["key"]), json!(argv), one));
    }
    let mut twins: Vec<_> = programs.iter().map(|(_, _, lua, _)| *lua).collect();
    twins.sort_unstable();
    let [_, any] = scripts(&twins);
    let strategies = [
        "gcra",
        "tokenBucket",
        "fixedWindow",
        "slidingWindow",
        "slidingWindowLog",
        "quota",
        "leakyBucket",
        "tokenBudget",
    ];
    let argv = ["now", "ttlFloorMs", "spans...", "groups..."];
    all.push(("batch".to_owned(), json!(strategies), "batch", json!(["key..."]), json!(argv), any));
    all
}

#[test]
fn the_manifest_names_the_scripts_that_run() {
    let mut entries = Vec::new();
    for (name, strategies, role, keys, argv, text) in all_scripts() {
        let file = format!("redis/{name}.lua");
        check(&file, &text);
        let sha256 = sha256(&text);
        entries.push(json!({
            "name": name, "strategies": strategies, "role": role, "file": file, "keys": keys, "argv": argv, "sha256": sha256,
        }));
    }
    let manifest = json!({
        "contractVersion": CONTRACT_VERSION,
        "generatedFrom": generated_from(),
        "frozen": false,
        "decisionFields": FIELDS,
        "nowArgv": "milliseconds since the Unix epoch, or 0 for the server's clock",
        "reply": "a value for each key as it was found, the instant, and how many changes were made",
        "scripts": entries,
    });
    check("redis/manifest.json", &pretty(&manifest));
}

#[test]
fn every_check_takes_the_instant_first_and_a_cost() {
    let checks: Vec<_> = all_scripts().into_iter().filter(|(_, _, role, ..)| *role == "check").collect();
    assert_eq!(checks.len(), 8);
    for (name, _, _, _, argv, _) in checks {
        let argv: Vec<_> = argv.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!((argv.first(), argv.last()), (Some(&"now"), Some(&"cost")), "{name}");
    }
}

fn leaky(rate_per_sec: f64, max_queue_ms: f64) -> LeakyBucket {
    LeakyBucket::builder().rate_per_sec(rate_per_sec).max_queue_ms(max_queue_ms).build().unwrap()
}

/// Runs suites: in memory, where the expected answers come from, and on a server, which has to give the same.
struct Suites {
    suites: Vec<Value>,
    remote: Remote,
}

impl Suites {
    /// `ops` are instants and costs.
    async fn limit<S: Strategy>(&mut self, name: &str, options: Value, strategy: S, ops: &[(f64, f64)]) {
        let (table, clock) = (Table::<S::State>::new(), ManualClock::new(THEN));
        let there = Limiter::builder(strategy.clone()).prefix(name).clock(clock.clone()).keyspace(self.remote.clone());
        let there = there.build();
        let mut written = Vec::new();
        for (at, &(now, cost)) in ops.iter().enumerate() {
            let decision = table.apply("k", now, &strategy, &cost).unwrap();
            clock.set(now);
            assert_eq!(there.check_cost("k", cost).await.unwrap(), decision, "{name}, check {at}");
            written.push(json!({ "now": whole(now), "cost": plain(cost), "expect": shown(&decision) }));
        }
        self.suites.push(json!({
            "name": name,
            "primitive": "rateLimit",
            "strategy": { "kind": strategy.name(), "options": options },
            "key": "k",
            "ops": written,
        }));
    }

    async fn shaper(&mut self, name: &str, options: Value, bucket: LeakyBucket, ops: &[(f64, f64)]) {
        let (table, clock) = (Table::new(), ManualClock::new(THEN));
        let there = Shaper::builder(bucket).prefix(name).clock(clock.clone()).keyspace(self.remote.clone()).build();
        let mut written = Vec::new();
        for (at, &(now, cost)) in ops.iter().enumerate() {
            let reservation = table.apply("k", now, &bucket, &cost).unwrap();
            clock.set(now);
            assert_eq!(there.reserve("k", cost).await.unwrap(), reservation, "{name}, reservation {at}");
            let expect = json!({ "accepted": reservation.accepted, "delayMs": reservation.delay_ms });
            written.push(json!({ "now": whole(now), "cost": plain(cost), "expect": expect }));
        }
        let strategy = json!({ "kind": "leakyBucket", "options": options });
        self.suites
            .push(json!({ "name": name, "primitive": "shaper", "strategy": strategy, "key": "k", "ops": written }));
    }
}

/// A whole number without a point.
#[allow(clippy::cast_possible_truncation)] // an instant
fn whole(number: f64) -> i64 {
    number as i64
}

fn plain(number: f64) -> Value {
    if number.fract() == 0.0 { json!(whole(number)) } else { json!(number) }
}

fn shown(decision: &Decision) -> Value {
    json!({
        "allowed": decision.allowed,
        "limit": decision.limit,
        "remaining": decision.remaining,
        "resetAt": decision.reset_at_ms,
        "retryAfterMs": decision.retry_after_ms,
    })
}

#[tokio::test]
async fn the_vectors_are_what_memory_and_redis_answer() {
    let server = Redis::start();
    let options = RedisOptions::single(server.url()).unwrap().response_timeout(Duration::from_secs(60)).unwrap();
    let store = RedisStore::builder(&options).server_time(false).ttl_floor(Duration::from_secs(600)).build().unwrap();
    let mut suites = Suites { suites: Vec::new(), remote: Remote::new(store) };

    let burst: Vec<_> = std::iter::repeat_n((THEN, 1.0), 6).chain([(THEN + 1.0, 1.0)]).collect();
    let six = json!({ "limit": 6, "periodMs": 1_000, "burst": 6 });
    suites.limit("gcra/epoch-cold-burst-6", six, gcra(6.0, 1_000.0, 6.0), &burst).await;
    let six = json!({ "limit": 6, "periodMs": 1_000, "burst": 6, "exact": true });
    let burst: Vec<_> = std::iter::repeat_n((THEN, 1.0), 7).chain([(THEN + 167.0, 1.0)]).collect();
    suites.limit("gcra/exact-epoch-cold-burst-6", six, exact(6, 1_000, 6), &burst).await;
    let fractions = [(1_000.0, 1.5), (1_000.0, 0.5), (1_000.0, 2.5), (1_000.0, 1.0)];
    let five = json!({ "limit": 5, "windowMs": 1_000 });
    suites.limit("slidingWindowLog/fractional-cost", five.clone(), log(5.0, 1_000.0), &fractions).await;
    let window = FixedWindow::builder().limit(5.0).window_ms(1_000.0).build().unwrap();
    suites.limit("fixedWindow/fractional-cost", five, window, &fractions).await;
    let fractions = [(THEN, 3.0), (THEN + 100.0, 1.0), (THEN + 100.0, 17.0), (THEN + 600.0, 0.25)];
    let refill = json!({ "capacity": 20, "refillPerSec": 3.5 });
    suites.limit("tokenBucket/epoch-fractional", refill, bucket(20.0, 3.5), &fractions).await;
    let window = SlidingWindow::builder().limit(20.0).window_ms(1_000.0).buckets(3).build().unwrap();
    let ops =
        [(123.0, 12.0), (523.0, 8.0), (700.0, 1.0), (1_150.0, 4.0), (1_150.0, 3.0)].map(|(ms, cost)| (THEN + ms, cost));
    let three = json!({ "limit": 20, "windowMs": 1_000, "buckets": 3 });
    suites.limit("slidingWindow/epoch-3-buckets", three, window, &ops).await;

    let may = 1_779_969_600_000.0;
    let month = Quota::builder().limit(3.0).cadence(Cadence::CalendarMonth).build().unwrap();
    let june = 1_780_272_000_000.0;
    let ops = [(may, 1.0), (may, 2.0), (may, 1.0), (june - 1.0, 1.0), (june, 1.0)];
    suites.limit("quota/calendar-month", json!({ "limit": 3, "resetCadence": "calendar-month" }), month, &ops).await;
    let week = Quota::builder().limit(3.0).cadence(Cadence::CalendarWeek).week_starts_on(0).offset_minutes(330);
    let options = json!({ "limit": 3, "resetCadence": "calendar-week", "weekStartsOn": 0, "offsetMinutes": 330 });
    suites.limit("quota/calendar-week-sunday", options, week.build().unwrap(), &ops).await;
    let day = Quota::builder().limit(3.0).cadence(Cadence::CalendarDay).offset_minutes(-300).build().unwrap();
    let options = json!({ "limit": 3, "resetCadence": "calendar-day", "offsetMinutes": -300 });
    suites.limit("quota/calendar-day", options, day, &ops).await;
    let fixed = Quota::builder().limit(2.0).cadence(Cadence::Fixed).period_ms(1_000.0).anchor_ms(500).build().unwrap();
    let options = json!({ "limit": 2, "resetCadence": "fixed", "periodMs": 1_000, "anchor": 500 });
    let ops = [(600.0, 1.0), (600.0, 1.0), (1_499.0, 1.0), (1_500.0, 1.0)];
    suites.limit("quota/fixed-anchor", options, fixed, &ops).await;

    let ops = [(0.0, 1.0), (0.0, 2.0), (50.0, 8.0), (50.0, 1.0), (100.0, 1.0)].map(|(ms, cost)| (THEN + ms, cost));
    let options = json!({ "ratePerSec": 7, "maxQueueMs": 1_500 });
    suites.shaper("leakyBucket/epoch-rate-7", options, leaky(7.0, 1_500.0), &ops).await;

    let document = json!({
        "contractVersion": CONTRACT_VERSION,
        "generatedFrom": generated_from(),
        "frozen": false,
        "decisionFields": FIELDS,
        "suites": suites.suites,
    });
    check("vectors.json", &pretty(&document));
}
