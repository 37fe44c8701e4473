//! Rate and cost in one round trip to Redis: what each axis is charged, and what an outage leaves.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::sync::Arc;
use std::time::Duration;

use tests::redis::{Cluster, Redis};
use tests::shared::Shared;
use throttlekit::store::Remote;
use throttlekit::{
    Admission, Admit, Ask, Axis, Consume, Decision, Gcra, Guard, Limiter, ManualClock, TokenBucket, Unified,
    UnifiedBuilder,
};
use throttlekit_redis::{RedisOptions, RedisStore};
use tokio::sync::Semaphore;

static SERVER: Shared<Redis> = Shared::new();

const FORMS: [Consume; 3] = [Consume::AllOrNothing, Consume::PerAxis, Consume::PerAxisAtOnce];

/// Judges at the time of the limiters. What they write stays for longer than any test.
fn remote(server: &Redis) -> Remote {
    let options = redis_support::patient(RedisOptions::single(server.url()).unwrap());
    let store = RedisStore::builder(&options).server_time(false).ttl_floor(Duration::from_secs(600));
    Remote::new(store.build().unwrap())
}

fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

fn bucket(capacity: f64, refill_per_sec: f64) -> TokenBucket {
    TokenBucket::builder().capacity(capacity).refill_per_sec(refill_per_sec).build().unwrap()
}

/// Rate and cost under prefixes that begin with `name`, on one store and by one clock.
fn builder(
    keys: &Remote,
    name: &str,
    clock: &ManualClock,
    rate: Gcra,
    cost: TokenBucket,
) -> UnifiedBuilder<ManualClock> {
    let rate = Limiter::builder(rate).keyspace(keys.clone()).prefix(format!("{name}-r")).clock(clock.clone());
    let cost = Limiter::builder(cost).keyspace(keys.clone()).prefix(format!("{name}-c")).clock(clock.clone());
    Unified::builder().rate(rate.build()).cost(cost.build()).clock(clock.clone())
}

async fn ask(unified: &Unified<ManualClock>, cost: f64) -> Admission {
    unified.admit(&Ask::new("k").cost(cost)).await.unwrap()
}

type Numbers = (u8, u64, u64, i64, u64);

fn numbers(decision: Decision) -> Numbers {
    let Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms } = decision;
    (u8::from(allowed), limit, remaining, reset_at_ms, retry_after_ms)
}

fn parts(admission: &Admission) -> (Numbers, Numbers, Numbers) {
    (numbers(admission.decision), numbers(admission.axes.rate.unwrap()), numbers(admission.axes.cost.unwrap()))
}

#[tokio::test]
async fn a_timeline_of_both_axes_has_these_numbers() {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(0.0);
    let keys = remote(&server);
    let unified = builder(&keys, "line", &clock, gcra(5.0, 60_000.0), bucket(100.0, 10.0));
    let unified = unified.consume(Consume::PerAxisAtOnce).build().unwrap();
    let rate = [(1, 5, 4, 2_012_000, 0), (1, 5, 3, 2_024_000, 0), (1, 5, 2, 2_036_000, 0)];
    // Time and cost, then the joint decision, the rate and the cost.
    let steps = [
        (2_000_000.0, 10.0, rate[0], rate[0], (1, 100, 90, 2_001_000, 0)),
        (2_000_100.0, 30.0, rate[1], rate[1], (1, 100, 61, 2_004_000, 0)),
        (2_000_300.0, 40.0, rate[2], rate[2], (1, 100, 23, 2_008_000, 0)),
        (2_000_400.0, 50.0, (0, 5, 1, 2_048_000, 2_600), (1, 5, 1, 2_048_000, 0), (0, 100, 24, 2_008_000, 2_600)),
        (2_060_400.0, 1.0, (1, 5, 4, 2_072_400, 0), (1, 5, 4, 2_072_400, 0), (1, 100, 99, 2_060_500, 0)),
    ];
    for (now_ms, cost, joint, rate, spent) in steps {
        clock.set(now_ms);
        assert_eq!(parts(&ask(&unified, cost).await), (joint, rate, spent), "at {now_ms}");
    }
}

#[tokio::test]
async fn what_a_denial_takes_depends_on_the_form() {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(1_000_000.0);
    let keys = remote(&server);
    for (name, consume, left) in
        [("each", Consume::PerAxisAtOnce, 600), ("none", Consume::AllOrNothing, 700), ("order", Consume::PerAxis, 700)]
    {
        let unified = builder(&keys, name, &clock, gcra(3.0, 60_000.0), bucket(1_000.0, 100.0));
        let unified = unified.consume(consume).build().unwrap();
        for remaining in [2, 1, 0] {
            assert_eq!(ask(&unified, 100.0).await.decision.remaining, remaining);
        }
        let denied = ask(&unified, 100.0).await;
        assert_eq!(
            (numbers(denied.decision), denied.binding),
            ((0, 3, 0, 1_060_000, 20_000), Some(Axis::Rate)),
            "{name}"
        );
        let cost = match consume {
            Consume::PerAxisAtOnce => Some((1, 1_000, 600, 1_004_000, 0)),
            Consume::AllOrNothing => Some((1, 1_000, 700, 1_003_000, 0)),
            _ => None,
        };
        let joint = cost.map_or((0, 3, 0, 1_060_000, 20_000), |_| numbers(denied.axes.combined()));
        assert_eq!((denied.axes.cost.map(numbers), numbers(denied.decision)), (cost, joint), "{name}");
        let bucket = Limiter::builder(bucket(1_000.0, 100.0)).keyspace(keys.clone()).prefix(format!("{name}-c"));
        assert_eq!(bucket.clock(clock.clone()).build().peek("k").await.unwrap().remaining, left, "{name}");
    }
}

#[tokio::test]
async fn a_cost_that_denies_leaves_the_rate_its_own_verdict() {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(1_000_000.0);
    let keys = remote(&server);
    let unified = builder(&keys, "own", &clock, gcra(10.0, 60_000.0), bucket(100.0, 1.0));
    let unified = unified.consume(Consume::PerAxisAtOnce).build().unwrap();
    assert!(ask(&unified, 40.0).await.decision.allowed && ask(&unified, 40.0).await.decision.allowed);
    let denied = ask(&unified, 40.0).await;
    assert_eq!((denied.binding, denied.axes.rate.unwrap().remaining), (Some(Axis::Cost), 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_never_take_more_than_there_is() {
    let server = SERVER.get(Redis::start);
    let clock = ManualClock::new(1_000_000.0);
    let keys = remote(&server);
    for (consume, name) in FORMS.into_iter().zip(["all", "seq", "fused"]) {
        let guard = Guard::fixed(1_000).unwrap();
        let unified = builder(&keys, name, &clock, gcra(500.0, 3_600_000.0), bucket(40.0, 1e-6));
        let unified = unified.concurrency(guard.clone()).consume(consume).build().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let unified = unified.clone();
            tasks.spawn(async move { ask(&unified, 1.0).await.decision.allowed });
        }
        let mut admitted = 0;
        while let Some(allowed) = tasks.join_next().await {
            admitted += u32::from(allowed.unwrap());
        }
        assert_eq!((admitted, guard.in_flight()), (40, 0), "{consume:?}");
    }
}

/// The generator of the family's streams.
struct Draws(u32);

impl Draws {
    fn below(&mut self, end: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let a = self.0;
        let mut t = (a ^ (a >> 15)).wrapping_mul(1 | a);
        t = t.wrapping_add((t ^ (t >> 7)).wrapping_mul(0x3d | t)) ^ t;
        (f64::from(t ^ (t >> 14)) / 4_294_967_296.0 * end).floor()
    }
}

/// 300 timelines of 30 steps: at once is what both limiters alone decide, field by field; all forms decide as in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_is_what_both_decide_alone() {
    let server = SERVER.get(Redis::start);
    let keys = remote(&server);
    let mut tasks = tokio::task::JoinSet::new();
    let turns = Arc::new(Semaphore::new(40));
    for timeline in 0..300_u32 {
        let (keys, turns) = (keys.clone(), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let clock = ManualClock::new(1_700_000_000_000.0 + 37.0 * f64::from(timeline));
            let mut draws = Draws(9_000 + timeline);
            let (rate, cost) = (gcra(2.0 + draws.below(9.0), 10_000.0), bucket(20.0 + draws.below(50.0), 3.5));
            let consume = FORMS[timeline as usize % 3];
            let name = format!("t{timeline}");
            let there = builder(&keys, &name, &clock, rate, cost).consume(consume).build().unwrap();
            let alone_rate = Limiter::builder(rate).clock(clock.clone()).build();
            let alone_cost = Limiter::builder(cost).clock(clock.clone()).build();
            let here = Unified::builder().clock(clock.clone()).consume(consume);
            let local = |strategy| Limiter::builder(strategy).clock(clock.clone()).build();
            let here =
                here.rate(local(rate)).cost(Limiter::builder(cost).clock(clock.clone()).build()).build().unwrap();
            for step in 0..30 {
                clock.advance(draws.below(900.0));
                let units = 1.0 + draws.below(25.0);
                let at = format!("{consume:?}, timeline {timeline}, step {step}");
                let (there, here) = (ask(&there, units).await, ask(&here, units).await);
                assert_eq!(
                    (there.axes, there.binding, there.decision),
                    (here.axes, here.binding, here.decision),
                    "{at}"
                );
                if consume == Consume::PerAxisAtOnce {
                    let alone = (alone_rate.check("k").unwrap(), alone_cost.check_cost("k", units).unwrap());
                    assert_eq!((there.axes.rate, there.axes.cost), (Some(alone.0), Some(alone.1)), "{at}");
                    assert_eq!(there.decision, alone.0.combine(alone.1), "{at}");
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn two_servers_share_no_step_and_give_back() {
    let (one, other) = (SERVER.get(Redis::start), Redis::start());
    let clock = ManualClock::new(1_000_000.0);
    let rate =
        Limiter::builder(gcra(10.0, 60_000.0)).keyspace(remote(&one)).prefix("two-r").clock(clock.clone()).build();
    let cost =
        Limiter::builder(bucket(50.0, 1.0)).keyspace(remote(&other)).prefix("two-c").clock(clock.clone()).build();
    let guard = Guard::fixed(5).unwrap();
    let unified = Unified::builder().concurrency(guard.clone()).rate(rate.clone()).cost(cost.clone());
    let unified = unified.clock(clock.clone()).build().unwrap();
    assert!(ask(&unified, 40.0).await.decision.allowed);
    let denied = ask(&unified, 40.0).await;
    assert_eq!((denied.binding, numbers(denied.axes.rate.unwrap())), (Some(Axis::Cost), (1, 10, 9, 1_006_000, 0)));
    assert_eq!((rate.peek("k").await.unwrap().remaining, cost.peek("k").await.unwrap().remaining), (9, 10));
    assert_eq!(guard.in_flight(), 0);
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_no_slot_taken() {
    let mut server = Redis::start();
    let clock = ManualClock::new(1_000_000.0);
    let options = RedisOptions::single(server.url()).unwrap();
    let keys = Remote::new(RedisStore::new(&options).unwrap());
    let guard = Guard::fixed(5).unwrap();
    let unified = FORMS.map(|consume| {
        let unified = builder(&keys, "gone", &clock, gcra(100.0, 60_000.0), bucket(100.0, 1.0));
        unified.concurrency(guard.clone()).consume(consume).build().unwrap()
    });
    assert!(ask(&unified[0], 1.0).await.decision.allowed);
    server.kill();
    for unified in unified {
        let error = unified.admit(&Ask::new("k")).await.unwrap_err();
        assert!(error.is_store_unavailable());
        assert_eq!(guard.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_hash_tag_brings_both_axes_into_one_slot() {
    let cluster = Cluster::start();
    let options = redis_support::patient(RedisOptions::cluster(&cluster.urls()).unwrap());
    let keys = RedisStore::builder(&options).server_time(false).ttl_floor(Duration::from_secs(600));
    let keys = Remote::new(keys.build().unwrap());
    let clock = ManualClock::new(1_000_000.0);
    let build = |tag| {
        let unified = builder(&keys, "tag", &clock, gcra(100.0, 60_000.0), bucket(100.0, 1.0));
        unified.hash_tag(tag).build().unwrap()
    };
    // Keys whose two names are on different nodes there are many of.
    let mut apart = 0;
    for key in (0..20).map(|number| format!("user-{number}")) {
        assert!(build(true).admit(&Ask::new(&key).cost(5.0)).await.unwrap().decision.allowed, "{key}");
        apart += u32::from(build(false).admit(&Ask::new(&key)).await.is_err());
    }
    assert!(apart > 0);
    for key in ["", "}", "}}x", "a}b"] {
        assert!(build(true).admit(&Ask::new(key).cost(5.0)).await.unwrap().decision.allowed, "{key:?}");
    }
    assert_ne!(cluster.cli("tag-r:{user-0}", &["GET", "tag-r:{user-0}"]), "");
}
