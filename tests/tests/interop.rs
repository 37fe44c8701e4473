//! Limits that are shared with the published Python client, which runs scripts of its own straight on Redis: both count on
//! the same keys, and every decision of either is the one that memory comes to.
//!
//! The client offers five strategies. A rolling quota is one of them under another name, and so is a fixed quota whose
//! periods begin with the epoch; the other quotas it does not have.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod strategies;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use strategies::{gcra, log};
use tests::installed;
use tests::redis::Redis;
use tests::shared::Shared;
use throttlekit::store::Remote;
use throttlekit::strategy::quota::Cadence;
use throttlekit::testkit::Mulberry;
use throttlekit::{Clock, Decision, FixedWindow, Limiter, ManualClock, Project, Quota, SlidingWindow, TokenBucket};
use throttlekit_redis::{RedisOptions, RedisStore};

static SERVER: Shared<Redis> = Shared::new();

/// The Python client as a process.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start(server: &Redis) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/redis_client.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(server.port().to_string());
        command.env("PYTHONPATH", installed("python")).env("PYTHONDONTWRITEBYTECODE", "1");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("python3: {error}; run `cargo xtask services`"));
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// Checks `key` of the limit at `now`, or at the time of the server.
    fn check(&mut self, limit: &Limit, key: &str, cost: f64, now: Option<f64>) -> Decision {
        // To the client most numbers are integers.
        #[allow(clippy::cast_possible_truncation)] // of a whole number far below 2^53
        let number = |number: f64| if number.fract() == 0.0 { json!(number as i64) } else { json!(number) };
        let line = json!({
            "kind": limit.kind,
            "options": limit.options,
            "prefix": limit.prefix,
            "key": key,
            "cost": number(cost),
            "now": now.map(number),
        });
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).expect("the Python client says above what went wrong");
        Decision {
            allowed: answer["allowed"].as_bool().unwrap(),
            limit: answer["limit"].as_u64().unwrap(),
            remaining: answer["remaining"].as_u64().unwrap(),
            reset_at_ms: answer["resetAt"].as_i64().unwrap(),
            retry_after_ms: answer["retryAfterMs"].as_u64().unwrap(),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A limit as the client knows it.
struct Limit {
    prefix: &'static str,
    kind: &'static str,
    options: Value,
}

fn limit(prefix: &'static str, kind: &'static str, options: Value) -> Limit {
    Limit { prefix, kind, options }
}

/// Judges at the time of the limiters. What it writes outlives any test.
fn store(server: &Redis) -> RedisStore {
    let options = RedisOptions::single(server.url()).unwrap().response_timeout(Duration::from_secs(60)).unwrap();
    RedisStore::builder(&options).server_time(false).ttl_floor(Duration::from_secs(3_600)).build().unwrap()
}

/// 40 timelines of 25 steps, in half of which the client has the first turn; how many checks were denied.
async fn agree<S: Project>(strategy: S, shared: &Limit, costs: impl Fn(&mut Mulberry) -> f64) -> u32 {
    let server = SERVER.get(Redis::start);
    let mut python = Python::start(&server);
    let remote = Remote::new(store(&server));
    let mut denied = 0;
    for timeline in 0..40_u32 {
        let clock = ManualClock::new(1_700_000_000_000.0 + 37.0 * f64::from(timeline));
        let here = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
        let there = Limiter::builder(strategy.clone()).clock(clock.clone()).prefix(shared.prefix);
        let there = there.keyspace(remote.clone()).build();
        let (key, mut draws) = (timeline.to_string(), Mulberry::new(9_000 + timeline));
        for step in 0..25_u32 {
            clock.advance(draws.below(900.0));
            let cost = costs(&mut draws);
            let expected = here.check_cost(&key, cost).unwrap();
            denied += u32::from(!expected.allowed);
            let by_python = (timeline + step) % 2 == 0;
            let decision = if by_python {
                let now = clock.now_ms();
                python.check(shared, &key, cost, Some(now))
            } else {
                there.check_cost(&key, cost).await.unwrap()
            };
            let who = if by_python { "Python" } else { "Rust" };
            assert_eq!(decision, expected, "{}, timeline {timeline}, step {step}, cost {cost}, {who}", shared.prefix);
        }
        assert_eq!(there.peek(&key).await.unwrap(), here.peek(&key).unwrap(), "{}, {timeline}", shared.prefix);
    }
    denied
}

/// Whole numbers from 1 to 4.
fn whole(draws: &mut Mulberry) -> f64 {
    1.0 + draws.below(4.0)
}

/// Quarters up to 3: the client's scripts write some numbers with 14 digits, which hold them.
fn quarters(draws: &mut Mulberry) -> f64 {
    (1.0 + draws.below(12.0)) / 4.0
}

#[tokio::test]
async fn gcra_is_shared() {
    let mut denied = 0;
    for (prefix, most, period_ms, burst) in [("g1", 100, 60_000, 20), ("g2", 2, 1_000, 2), ("g3", 1_000, 60_000, 100)] {
        let options = json!({ "limit": most, "periodMs": period_ms, "burst": burst });
        let strategy = gcra(f64::from(most), f64::from(period_ms), f64::from(burst));
        denied += agree(strategy, &limit(prefix, "gcra", options), whole).await;
    }
    let options = json!({ "limit": 3, "periodMs": 1_000, "burst": 3 });
    denied += agree(gcra(3.0, 1_000.0, 3.0), &limit("g4", "gcra", options), quarters).await;
    assert!(denied > 100, "only {denied} checks were denied");
}

#[tokio::test]
async fn token_buckets_are_shared() {
    let bucket = |capacity, refill| TokenBucket::builder().capacity(capacity).refill_per_sec(refill).build().unwrap();
    let mut denied = 0;
    for (prefix, capacity, refill) in [("b1", 50.0, 10.0), ("b2", 20.0, 3.5)] {
        let options = json!({ "capacity": capacity, "refillPerSec": refill });
        let costs = |draws: &mut Mulberry| 4.0 * whole(draws);
        denied += agree(bucket(capacity, refill), &limit(prefix, "tokenBucket", options), costs).await;
    }
    let options = json!({ "capacity": 6, "refillPerSec": 2 });
    denied += agree(bucket(6.0, 2.0), &limit("b3", "tokenBucket", options), quarters).await;
    assert!(denied > 100, "only {denied} checks were denied");
}

#[tokio::test]
async fn fixed_windows_are_shared() {
    let window = |limit, window_ms| FixedWindow::builder().limit(limit).window_ms(window_ms).build().unwrap();
    let mut denied = 0;
    for (prefix, most, window_ms) in [("f1", 50, 1_000), ("f2", 10, 250), ("f3", 4, 1_000)] {
        let options = json!({ "limit": most, "windowMs": window_ms });
        let strategy = window(f64::from(most), f64::from(window_ms));
        denied += agree(strategy, &limit(prefix, "fixedWindow", options), whole).await;
    }
    let options = json!({ "limit": 4, "windowMs": 1_000 });
    denied += agree(window(4.0, 1_000.0), &limit("f4", "fixedWindow", options.clone()), quarters).await;
    let quota = Quota::builder().limit(4.0).cadence(Cadence::Fixed).period_ms(1_000.0).build().unwrap();
    denied += agree(quota, &limit("f5", "fixedWindow", options), whole).await;
    assert!(denied > 100, "only {denied} checks were denied");
}

#[tokio::test]
async fn sliding_windows_are_shared() {
    let window = |limit, window_ms, buckets| {
        SlidingWindow::builder().limit(limit).window_ms(window_ms).buckets(buckets).build().unwrap()
    };
    let mut denied = 0;
    let windows = [("s1", 50, 1_000, 10), ("s2", 20, 1_000, 3), ("s3", 100, 60_000, 1), ("s4", 5, 1_000, 7)];
    for (prefix, most, window_ms, buckets) in windows {
        let options = json!({ "limit": most, "windowMs": window_ms, "buckets": buckets });
        let strategy = window(f64::from(most), f64::from(window_ms), buckets);
        denied += agree(strategy, &limit(prefix, "slidingWindow", options), whole).await;
    }
    let options = json!({ "limit": 5, "windowMs": 1_000, "buckets": 10 });
    denied += agree(window(5.0, 1_000.0, 10), &limit("s5", "slidingWindow", options.clone()), quarters).await;
    let quota = Quota::rolling().limit(5.0).window_ms(1_000.0).buckets(10).build().unwrap();
    denied += agree(quota, &limit("s6", "slidingWindow", options), whole).await;
    assert!(denied > 100, "only {denied} checks were denied");
}

#[tokio::test]
async fn sliding_logs_are_shared() {
    let mut denied = 0;
    for (prefix, most, window_ms) in [("l1", 5, 1_000), ("l2", 10, 500)] {
        let options = json!({ "limit": most, "windowMs": window_ms });
        let strategy = log(f64::from(most), f64::from(window_ms));
        denied += agree(strategy, &limit(prefix, "slidingWindowLog", options), whole).await;
    }
    assert!(denied > 100, "only {denied} checks were denied");
}

/// The one known difference: the client's script charges a log the cost as it is, not the whole units that it takes, and
/// stores nothing for less than one. So its checks of a half are admitted for ever, where ours take one each.
#[tokio::test]
async fn halves_in_a_log_are_free_to_the_client() {
    let server = SERVER.get(Redis::start);
    let mut python = Python::start(&server);
    let clock = ManualClock::new(1_700_000_000_000.0);
    let ours = Limiter::builder(log(5.0, 1_000.0)).clock(clock).prefix("lh").keyspace(Remote::new(store(&server)));
    let ours = ours.build();
    let theirs = limit("lh", "slidingWindowLog", json!({ "limit": 5, "windowMs": 1_000 }));
    for _ in 0..20 {
        assert!(python.check(&theirs, "k", 0.5, Some(1_700_000_000_000.0)).allowed);
    }
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += u32::from(ours.check_cost("k", 0.5).await.unwrap().allowed);
    }
    assert_eq!(admitted, 5);
}

/// At the server's time, from several processes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_50_is_one_limit_to_both() {
    let server = SERVER.get(Redis::start);
    let options = RedisOptions::single(server.url()).unwrap().response_timeout(Duration::from_secs(60)).unwrap();
    let keys = Remote::new(RedisStore::new(&options).unwrap());
    // It does not refill while the test runs.
    let ours = Limiter::builder(gcra(50.0, 1e9, 50.0)).prefix("both").keyspace(keys).build();
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let mut python = Python::start(&server);
            tokio::task::spawn_blocking(move || {
                let options = json!({ "limit": 50, "periodMs": 1_000_000_000, "burst": 50 });
                let theirs = limit("both", "gcra", options);
                (0..50).filter(|_| python.check(&theirs, "k", 1.0, None).allowed).count()
            })
        })
        .collect();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let ours = ours.clone();
            tokio::spawn(async move { ours.check("k").await.unwrap().allowed })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap());
    }
    for process in processes {
        admitted += process.await.unwrap();
    }
    assert_eq!(admitted, 50);
}
