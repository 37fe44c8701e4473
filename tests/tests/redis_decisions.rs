//! On Redis every limit decides as in memory, and leaves the state that other members of the family read.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod strategies;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use strategies::{bucket, exact, gcra, log};
use tests::redis::Redis;
use tests::shared::Shared;
use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::store::Remote;
use throttlekit::strategy::quota::Cadence;
use throttlekit::testkit::Mulberry;
use throttlekit::{
    FixedWindow, LeakyBucket, Limiter, MAX_SAFE, ManualClock, Multi, Project, Quota, Refund, Shaper, SlidingWindow,
};
use throttlekit_llm::{Account as _, MeterAccount};
use throttlekit_redis::{RedisOptions, RedisStore, scripts};

static SERVER: Shared<Redis> = Shared::new();

/// An instant of the year 2023.
const THEN: f64 = 1_700_000_000_000.0;

/// Judges at the time of the limiters. What they write stays for longer than any test.
fn store(server: &Redis) -> RedisStore {
    let options = RedisOptions::single(server.url()).unwrap();
    RedisStore::builder(&options).server_time(false).ttl_floor(Duration::from_secs(600)).build().unwrap()
}

/// 40 timelines of 25 steps each, all at once so that they share batches: checks, peeks and forecasts equal those in
/// memory.
async fn decides_as_in_memory<S: Project>(name: &'static str, strategy: S, longest_step_ms: f64) {
    let server = SERVER.get(Redis::start);
    let remote = Remote::new(store(&server));
    let timelines: Vec<_> = (0..40_u32)
        .map(|timeline| {
            let (strategy, remote) = (strategy.clone(), remote.clone());
            tokio::spawn(async move {
                let clock = ManualClock::new(THEN + 37.0 * f64::from(timeline));
                let here = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
                let there = Limiter::builder(strategy).clock(clock.clone()).prefix(name).keyspace(remote).build();
                let (key, mut draws) = (timeline.to_string(), Mulberry::new(7_000 + timeline));
                for step in 0..25 {
                    clock.advance(draws.below(longest_step_ms));
                    let cost = 1.0 + draws.below(4.0);
                    let at = format!("{name}, timeline {timeline}, step {step}, cost {cost}");
                    let check = there.check_cost(&key, cost).await.unwrap();
                    assert_eq!(check, here.check_cost(&key, cost).unwrap(), "check of {at}");
                    assert_eq!(there.peek(&key).await.unwrap(), here.peek(&key).unwrap(), "peek after {at}");
                    let ahead = there.forecast(&key, cost).await.unwrap();
                    assert_eq!(ahead, here.forecast(&key, cost).unwrap(), "forecast after {at}");
                }
            })
        })
        .collect();
    for timeline in timelines {
        timeline.await.unwrap();
    }
}

fn fixed(limit: f64, window_ms: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(window_ms).build().unwrap()
}

fn sliding(limit: f64, window_ms: f64, buckets: u32) -> SlidingWindow {
    SlidingWindow::builder().limit(limit).window_ms(window_ms).buckets(buckets).build().unwrap()
}

#[tokio::test]
async fn gcra_decides_as_in_memory() {
    decides_as_in_memory("g1", gcra(100.0, 60_000.0, 20.0), 900.0).await;
    decides_as_in_memory("g2", gcra(2.0, 1_000.0, 2.0), 900.0).await;
    decides_as_in_memory("g3", gcra(3.0, 1_000.0, 3.0), 900.0).await;
    decides_as_in_memory("g4", gcra(1_000.0, 60_000.0, 100.0), 900.0).await;
    decides_as_in_memory("g5", exact(243, 3_600_000, 50), 9_000.0).await;
    decides_as_in_memory("g6", exact(6, 1_000, 6), 900.0).await;
    decides_as_in_memory("g7", exact(3, 1 << 51, 3), 1e13).await;
}

#[tokio::test]
async fn buckets_decide_as_in_memory() {
    decides_as_in_memory("b1", bucket(50.0, 10.0), 900.0).await;
    decides_as_in_memory("b2", bucket(20.0, 3.5), 900.0).await;
}

#[tokio::test]
async fn windows_decide_as_in_memory() {
    decides_as_in_memory("w1", fixed(50.0, 1_000.0), 100.0).await;
    decides_as_in_memory("w2", fixed(10.0, 250.0), 100.0).await;
    decides_as_in_memory("w3", fixed(5.0, 100.5), 60.0).await;
    decides_as_in_memory("w4", sliding(50.0, 1_000.0, 10), 150.0).await;
    decides_as_in_memory("w5", sliding(20.0, 1_000.0, 3), 150.0).await;
    decides_as_in_memory("w6", sliding(100.0, 60_000.0, 1), 3_000.0).await;
    decides_as_in_memory("w7", log(5.0, 1_000.0), 900.0).await;
    decides_as_in_memory("w8", log(10.0, 500.0), 200.0).await;
    decides_as_in_memory("w9", log(2.5, 500.0), 200.0).await;
}

/// What is lost beside a unit that was taken is refused, and changes nothing.
async fn refuses_as_in_memory<S: Project>(name: &'static str, strategy: S) {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(THEN);
    let here = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
    let there = Limiter::builder(strategy).clock(clock).prefix(name).keyspace(Remote::new(store(&server))).build();
    assert_eq!(there.check("k").await.unwrap(), here.check("k").unwrap(), "{name}");
    for cost in [1e-17, 5e-324] {
        let error = there.check_cost("k", cost).await.unwrap_err();
        assert_eq!(error.code(), "invalid_argument", "{name}: {error}");
        assert_eq!(error.to_string(), here.check_cost("k", cost).unwrap_err().to_string(), "{name}");
    }
    assert_eq!(there.check("k").await.unwrap(), here.check("k").unwrap(), "{name}");
    assert_eq!(there.check_cost("k", 0.5).await.unwrap(), here.check_cost("k", 0.5).unwrap(), "{name}");
}

#[tokio::test]
async fn costs_that_would_not_be_counted_are_refused_as_in_memory() {
    refuses_as_in_memory("v1", gcra(2.0, 1_000.0, 2.0)).await;
    refuses_as_in_memory("v2", bucket(2.0, 1.0)).await;
    refuses_as_in_memory("v3", fixed(2.0, 1_000.0)).await;
    refuses_as_in_memory("v4", sliding(2.0, 1_000.0, 10)).await;
    let day = Quota::builder().limit(2.0).cadence(Cadence::CalendarDay);
    refuses_as_in_memory("v5", day.build().unwrap()).await;
}

#[tokio::test]
async fn quotas_decide_as_in_memory() {
    let quota = |limit: f64, cadence| Quota::builder().limit(limit).cadence(cadence);
    decides_as_in_memory("q1", quota(20.0, Cadence::CalendarMonth).build().unwrap(), 900_000_000.0).await;
    let ahead = quota(50.0, Cadence::CalendarMonth).offset_minutes(330);
    decides_as_in_memory("q2", ahead.build().unwrap(), 400_000_000.0).await;
    decides_as_in_memory("q3", quota(20.0, Cadence::CalendarWeek).build().unwrap(), 100_000_000.0).await;
    let sunday = quota(20.0, Cadence::CalendarWeek).week_starts_on(0).offset_minutes(-840);
    decides_as_in_memory("q4", sunday.build().unwrap(), 100_000_000.0).await;
    let behind = quota(20.0, Cadence::CalendarDay).offset_minutes(-300);
    decides_as_in_memory("q5", behind.build().unwrap(), 20_000_000.0).await;
    let anchored = quota(50.0, Cadence::Fixed).period_ms(1_000.0).anchor_ms(250);
    decides_as_in_memory("q6", anchored.build().unwrap(), 100.0).await;
    decides_as_in_memory("q7", Quota::rolling().limit(50.0).window_ms(1_000.0).build().unwrap(), 100.0).await;
}

/// A century of months: the script finds the same first days as the calendar here, leap days included.
#[tokio::test]
async fn months_begin_as_in_memory() {
    let server = SERVER.get(Redis::start);
    let month = Quota::builder().limit(1_000.0).cadence(Cadence::CalendarMonth).build().unwrap();
    let clock = ManualClock::new(0.0);
    let here = Limiter::builder(month).clock(clock.clone()).build();
    let there =
        Limiter::builder(month).clock(clock.clone()).prefix("months").keyspace(Remote::new(store(&server))).build();
    for step in 0..2_200_u32 {
        // Twenty days each, from 1970 to 2090. An instant of 0 would mean the server's own.
        clock.set(f64::from(step) * 1_728_000_000.0 + 1.0);
        assert_eq!(there.check("k").await.unwrap(), here.check("k").unwrap(), "day {}", step * 20);
    }
}

#[tokio::test]
async fn a_shaper_answers_as_in_memory() {
    let server = SERVER.get(Redis::start);
    let bucket = LeakyBucket::builder().rate_per_sec(7.0).max_queue_ms(1_500.0).build().unwrap();
    let clock = ManualClock::new(THEN);
    let here = Shaper::builder(bucket).clock(clock.clone()).build();
    let there =
        Shaper::builder(bucket).clock(clock.clone()).prefix("leaky").keyspace(Remote::new(store(&server))).build();
    let mut draws = Mulberry::new(6_001);
    let mut accepted = 0;
    for step in 0..1_000 {
        clock.advance(draws.below(400.0));
        let cost = 1.0 + draws.below(3.0);
        let expected = here.reserve("k", cost).unwrap();
        assert_eq!(there.reserve("k", cost).await.unwrap(), expected, "step {step}");
        accepted += u32::from(expected.accepted);
    }
    assert_eq!(accepted, 689);
}

/// Joint checks over every strategy at once, on their own and beside each other.
#[tokio::test]
async fn joint_checks_decide_as_in_memory() {
    let server = SERVER.get(Redis::start);
    let remote = Remote::new(store(&server));
    for (mode, build) in [("all", Multi::all as fn() -> _), ("any", Multi::any)] {
        for timeline in 0..25_u32 {
            let clock = ManualClock::new(THEN + 37.0 * f64::from(timeline));
            let dimensions = || {
                build()
                    .dimension("gcra", gcra(100.0, 10_000.0, 40.0), 1.0)
                    .dimension("exact", exact(100, 10_000, 40), 1.0)
                    .dimension("bucket", bucket(40.0, 8.0), 1.0)
                    .dimension("fixed", fixed(30.0, 2_000.0), 1.0)
                    .dimension("sliding", sliding(30.0, 2_000.0, 5), 1.0)
                    .dimension("log", log(30.0, 2_000.0), 1.0)
                    .dimension("day", Quota::builder().limit(90.0).cadence(Cadence::CalendarDay).build().unwrap(), 1.0)
                    .clock(clock.clone())
            };
            let here = dimensions().build().unwrap();
            let there = dimensions().prefix(format!("{mode}{timeline}")).store(remote.clone()).build().unwrap();
            let mut draws = Mulberry::new(5_001 + timeline);
            for step in 0..25 {
                clock.advance(draws.below(400.0));
                let cost = 1.0 + draws.below(9.0);
                let keys = ["a", "b", "c", "d", "e", "f", "g"];
                let expected = here.check_cost(&keys, cost).unwrap();
                let at = format!("{mode}, timeline {timeline}, step {step}, cost {cost}");
                assert_eq!(there.check_cost(&keys, cost).await.unwrap(), expected, "{at}");
            }
        }
    }
}

/// What a direct reader of the keys finds.
#[tokio::test]
async fn the_stored_states_are_those_of_the_family() {
    let server = SERVER.get(Redis::start);
    let options = RedisOptions::single(server.url()).unwrap();
    let store = RedisStore::builder(&options).server_time(false).prefix("state").build().unwrap();
    let remote = Remote::new(store);
    let clock = ManualClock::new(THEN);
    macro_rules! limiter {
        ($strategy:expr, $prefix:expr) => {
            Limiter::builder($strategy).clock(clock.clone()).prefix($prefix).keyspace(remote.clone()).build()
        };
    }
    let shown = |decision: throttlekit::Decision| {
        let reset = decision.reset_at_ms - 1_700_000_000_000;
        (u8::from(decision.allowed), decision.limit, decision.remaining, reset, decision.retry_after_ms)
    };
    // How long the key lives, given that the test may have taken a while since.
    let lives = |key: &str, ms: i64| {
        let left: i64 = server.cli(&["PTTL", key]).trim().parse().unwrap();
        assert!(left <= ms && left > ms - 5_000, "{key} lives for {left} of {ms} ms");
    };
    let cli = |command: &[&str]| server.cli(command).split_whitespace().map(str::to_owned).collect::<Vec<_>>();

    // Long periods, so that nothing expires while this runs.
    let limiter = limiter!(gcra(3.0, 1_000_000.0, 3.0), "gcra");
    assert_eq!(shown(limiter.check("k").await.unwrap()), (1, 3, 2, 333_334, 0));
    assert_eq!(cli(&["GET", "state:gcra:k"]), ["1700000333333.3333"]);
    lives("state:gcra:k", 333_334);
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (1, 3, 0, 1_000_000, 0));
    assert_eq!(cli(&["GET", "state:gcra:k"]), ["1700001000000"]);

    let limiter = limiter!(exact(3, 1_000_000, 3), "gcra");
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(cli(&["GET", "state:gcra:exact:k"]), ["1700000333333:1"]);

    let limiter = limiter!(bucket(20.0, 3.5), "bucket");
    assert_eq!(shown(limiter.check_cost("k", 3.0).await.unwrap()), (1, 20, 17, 858, 0));
    clock.advance(100.0);
    assert_eq!(shown(limiter.check("k").await.unwrap()), (1, 20, 16, 1_143, 0));
    assert_eq!(cli(&["HMGET", "state:bucket:k", "t", "l"]), ["16.350000000000001", "1700000000100"]);
    lives("state:bucket:k", 5_715);

    clock.set(THEN + 123.0);
    let limiter = limiter!(fixed(5.0, 100_000.0), "fixed");
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (1, 5, 3, 100_000, 0));
    assert_eq!(cli(&["HMGET", "state:fixed:k", "s", "c"]), ["1700000000000", "2"]);
    lives("state:fixed:k", 99_877);
    assert_eq!(limiter.check_cost("f", 0.1).await.unwrap().remaining, 4);
    assert_eq!(limiter.check_cost("f", 0.2).await.unwrap().remaining, 4);
    assert_eq!(cli(&["HGET", "state:fixed:f", "c"]), ["0.30000000000000004"]);

    let limiter = limiter!(sliding(10.0, 1_000.0, 10), "sliding");
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (1, 10, 8, 1_200, 0));
    clock.set(THEN + 323.0);
    assert_eq!(shown(limiter.check_cost("k", 3.0).await.unwrap()), (1, 10, 5, 1_400, 0));
    assert_eq!(cli(&["HMGET", "state:sliding:k", "6", "8"]), ["17000000001:2", "17000000003:3"]);
    let limiter = limiter!(sliding(20.0, 1_000.0, 3), "sliding3");
    clock.set(THEN + 123.0);
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (1, 20, 18, 1_334, 0));
    assert_eq!(cli(&["HGETALL", "state:sliding3:k"]), ["0", "5100000000:2"]);

    let limiter = limiter!(log(3.0, 100_000.0), "log");
    clock.set(THEN);
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (1, 3, 1, 100_000, 0));
    let scores = || cli(&["ZRANGE", "state:log:k", "0", "-1", "WITHSCORES"]).into_iter().skip(1).step_by(2);
    assert_eq!(scores().collect::<Vec<_>>(), ["1700000000000", "1700000000000"]);
    lives("state:log:k", 100_000);
    clock.advance(40_000.0);
    assert_eq!(shown(limiter.check_cost("k", 2.0).await.unwrap()), (0, 3, 1, 100_000, 60_000));
    clock.advance(60_000.0);
    assert_eq!(shown(limiter.check("k").await.unwrap()), (1, 3, 2, 200_000, 0));
    assert_eq!(scores().collect::<Vec<_>>(), ["1700000100000"]);

    let leaky = LeakyBucket::builder().rate_per_sec(0.007).max_queue_ms(1_500.0).build().unwrap();
    let shaper = Shaper::builder(leaky).clock(clock.clone()).prefix("leaky").keyspace(remote.clone()).build();
    clock.set(THEN);
    assert!(shaper.reserve("k", 1.0).await.unwrap().accepted);
    assert_eq!(cli(&["GET", "state:leaky:k"]), ["1700000142857.1428"]);
}

/// Many checks at once, of few keys, at one cost or several: each decision is that of one after the other.
async fn meets_as_in_memory<S: Project>(name: &'static str, strategy: S, costs: f64) {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(THEN);
    let here = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
    let there = Limiter::builder(strategy).clock(clock.clone()).prefix(name).keyspace(Remote::new(store(&server)));
    let (there, mut draws) = (there.build(), Mulberry::new(4_711));
    // Batches that wait for the connection itself may go out in any order.
    there.peek("first").await.unwrap();
    for round in 0..25 {
        clock.advance(draws.below(400.0).floor());
        let mut ask = || (draws.below(12.0).floor().to_string(), 1.0 + draws.below(costs).floor());
        let asks: Vec<_> = (0..50).map(|_| ask()).collect();
        let found = join_all(asks.iter().map(|(key, cost)| there.check_cost(key, *cost))).await;
        for ((key, cost), found) in asks.iter().zip(found) {
            let expected = here.check_cost(key, *cost).unwrap();
            assert_eq!(found.unwrap(), expected, "{name}, round {round}, key {key}, cost {cost}");
        }
        for key in (0..12).map(|key| key.to_string()) {
            assert_eq!(there.peek(&key).await.unwrap(), here.peek(&key).unwrap(), "{name}, after round {round}, {key}");
        }
    }
}

#[tokio::test]
async fn checks_that_meet_decide_as_one_after_the_other() {
    for (costs, names) in [(1.0, ["mg1", "mb1", "ml1", "mf1", "ms1"]), (3.0, ["mg3", "mb3", "ml3", "mf3", "ms3"])] {
        let [gcra_of, bucket_of, log_of, fixed_of, sliding_of] = names;
        tokio::join!(
            meets_as_in_memory(gcra_of, gcra(11.0, 1_000.0, 17.0), costs),
            meets_as_in_memory(bucket_of, bucket(15.0, 9.0), costs),
            meets_as_in_memory(log_of, log(20.0, 1_000.0), costs),
            meets_as_in_memory(fixed_of, fixed(20.0, 1_000.0), costs),
            meets_as_in_memory(sliding_of, sliding(20.0, 1_000.0, 10), costs),
        );
    }
}

/// Many keys in one run, each asked once: those that hold nothing, those that hold the same, and one that holds a list.
async fn keys_meet_as_in_memory<S: Project>(name: &'static str, strategy: S) {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(THEN);
    let here = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
    let there = Limiter::builder(strategy).clock(clock.clone()).prefix(name).keyspace(Remote::new(store(&server)));
    let (there, mut draws) = (there.build(), Mulberry::new(815));
    there.peek("first").await.unwrap();
    server.cli(&["RPUSH", &format!("{name}:17"), "not a state of any limit"]);
    for round in 0..25 {
        clock.advance(draws.below(300.0).floor());
        let keys: Vec<_> = (0..40).filter(|_| draws.below(2.0) < 1.0).map(|key| key.to_string()).collect();
        let found = join_all(keys.iter().map(|key| there.check(key))).await;
        for (key, found) in keys.iter().zip(found) {
            let at = format!("{name}, round {round}, key {key}");
            match found {
                Ok(decision) => assert_eq!(decision, here.check(key).unwrap(), "{at}"),
                Err(error) => assert_eq!((key.as_str(), error.code()), ("17", "state_invalid"), "{at}"),
            }
        }
        assert_eq!(server.cli(&["TYPE", &format!("{name}:17")]), "list", "{name}, after round {round}");
    }
}

#[tokio::test]
async fn keys_that_meet_decide_each_for_itself() {
    tokio::join!(
        keys_meet_as_in_memory("kg", gcra(3.0, 1_000.0, 4.0)),
        keys_meet_as_in_memory("ke", exact(3, 1_000, 4)),
        keys_meet_as_in_memory("kb", bucket(4.0, 3.0)),
        keys_meet_as_in_memory("kl", log(4.0, 1_000.0)),
        keys_meet_as_in_memory("kf", fixed(4.0, 1_000.0)),
    );
}

/// What scripts write is what the server's own `%.17g` gives, digit for digit, since others read it.
#[test]
fn numbers_are_written_with_seventeen_digits() {
    let server = SERVER.get(Redis::start);
    let [_, any] = scripts(&[]);
    let (helpers, _) = any.split_once("local twins").unwrap();
    let script = format!(
        "{helpers}\nlocal wrong = {{}}\nfor i = 3, #ARGV do\n\
         local x = tonumber(ARGV[i])\n\
         if text(x) ~= format('%.17g', x) then wrong[#wrong + 1] = text(x) end\nend\nreturn wrong"
    );
    let mut draws = Mulberry::new(99);
    let mut numbers: Vec<f64> = vec![0.0, -0.0, 0.3, 1e12, 1e13, 2_147_483_647.0, 2_147_483_648.0, f64::MIN_POSITIVE];
    // All that is between two milliseconds, so ties too, and what ends with zeros.
    numbers.extend((0..4_096).map(|place| THEN + f64::from(place) / 4_096.0));
    numbers.extend((0..1_000).map(|place| THEN + f64::from(place) / 1_000.0));
    for scale in [1.0, 1e3, 1e9, 1e12, 9e12, 1e15] {
        numbers.extend((0..200).map(|_| draws.below(scale)));
        numbers.extend((0..50).map(|_| -draws.below(scale).floor()));
        numbers.extend((0..50).map(|_| 1e12 + draws.below(scale).floor()));
    }
    for some in numbers.chunks(500) {
        let words: Vec<_> = some.iter().map(|number| format!("{number:?}")).collect();
        let mut command = vec!["EVAL", &script, "0", "1", "1"];
        command.extend(words.iter().map(String::as_str));
        assert_eq!(server.cli(&command), "", "written otherwise");
    }
}

/// What an answer did not need goes back, and nothing else, however much its request asked for.
#[tokio::test]
async fn a_reservation_of_any_size_gives_back_what_it_took() {
    let server = SERVER.get(Redis::start);
    let budget = Budget::builder().budget(100_000.0).window_ms(60_000.0).build().unwrap();
    let meter = TokenBudget::builder(budget).keyspace(Remote::new(store(&server))).prefix("reserved");
    let meter = Arc::new(meter.clock(ManualClock::new(THEN)).build());
    meter.debit("k", 99_000).await.unwrap();
    for most in [MAX_SAFE - 1, MAX_SAFE, u64::MAX] {
        let opened = MeterAccount::reserve(meter.clone(), "k", most).await.unwrap();
        Box::new(opened.account.unwrap()).settle(0).await.unwrap();
        assert_eq!(meter.usage("k").await.unwrap().served, 99_000, "of {most}");
        let whole = meter.debit("k", most.min(MAX_SAFE)).await.unwrap();
        assert!(!whole.allowed, "{most} cannot be counted in full");
        assert_eq!(meter.usage("k").await.unwrap().served, 99_000, "of {most}");
    }
}

/// A key that holds something else is of no use until it is reset, and is at once where both come together.
#[tokio::test]
async fn a_reset_frees_a_key_of_another_type_for_the_check_behind_it() {
    let server = SERVER.get(Redis::start);
    let remote = Remote::new(store(&server));
    server.cli(&["RPUSH", "list", "1"]);
    let limiter = Limiter::builder(log(3.0, 1_000_000.0)).clock(ManualClock::new(THEN)).keyspace(remote).build();
    assert_eq!(limiter.check("list").await.unwrap_err().code(), "state_invalid");
    // Of four that wait, the first two are one batch.
    let (reset, check, ..) =
        tokio::join!(limiter.reset("list"), limiter.check_cost("list", 2.0), limiter.peek("a"), limiter.peek("b"));
    reset.unwrap();
    assert_eq!(check.unwrap().remaining, 1);
    assert_eq!(limiter.peek("list").await.unwrap().remaining, 1);
    assert_eq!(server.cli(&["TYPE", "list"]), "zset");
}

/// The state lies beyond the tolerance then, by less than a millisecond.
#[tokio::test]
async fn an_exact_refund_by_a_clock_that_is_behind_is_kept_as_in_memory() {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(THEN);
    let remote = Remote::new(store(&server));
    let limiter = Limiter::builder(exact(6, 1_000, 6)).clock(clock.clone()).prefix("behind").keyspace(remote).build();
    assert!(limiter.check_cost("k", 6.0).await.unwrap().allowed);
    clock.advance(167.0);
    assert!(limiter.check("k").await.unwrap().allowed);
    clock.set(THEN + 166.0);
    let kept = limiter.run_refund("k", Refund::new(1.0)).await.unwrap();
    assert_eq!((kept.remaining, kept.reset_at_ms), (0, 1_700_000_001_167));
    assert_eq!(server.cli(&["GET", "behind:exact:k"]), "1700000001166:4");
}

/// One round trip and one run of a script for many checks of a key, and the decisions of one after the other.
#[tokio::test]
async fn checks_that_wait_for_one_key_share_a_run() {
    let server = Redis::start();
    let limiter = Limiter::builder(gcra(100.0, 3_600_000.0, 50.0))
        .keyspace(Remote::new(RedisStore::new(&RedisOptions::single(server.url()).unwrap()).unwrap()))
        .build();
    let limiter = Arc::new(limiter);
    limiter.check("warm").await.unwrap();
    let runs = || {
        let stats = server.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default().to_owned();
        line.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u32>().ok()).unwrap_or(0)
    };
    let before = runs();
    let checks: Vec<_> = (0..200)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move { limiter.check("hot").await.unwrap() })
        })
        .collect();
    let mut remaining = Vec::new();
    for check in checks {
        let decision = check.await.unwrap();
        if decision.allowed {
            remaining.push(decision.remaining);
        }
    }
    remaining.sort_unstable();
    assert_eq!(remaining, (0..50).collect::<Vec<_>>());
    // Two go out at once, the others together once one of them is back.
    assert!(runs() - before <= 6, "{} runs for 200 checks", runs() - before);
}
