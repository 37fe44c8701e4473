//! The PostgreSQL store decides as memory does, atomically, in both modes.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod postgres_support;

use std::sync::Arc;

use fastrand::Rng;
use postgres_support::{MODES, SERVER, builder, gcra};
use throttlekit::store::Remote;
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    ExactGcra, FixedWindow, Gcra, LeakyBucket, Limiter, ManualClock, Multi, Project, Quota, Shaper, SlidingWindow,
    SlidingWindowLog, TokenBucket,
};
use throttlekit_postgres::{Mode, PostgresStore};

const N: f64 = 1_700_000_000_000.0;

/// Drives `strategy` in memory and over two stores on one table through the same random steps, and compares every answer.
async fn agrees<S: Project>(strategy: S, max_delta: f64, max_cost: f64, seed: u64, mode: Mode) {
    let postgres = SERVER.get(postgres_support::start);
    let name = strategy.name();
    let clock = ManualClock::new(N);
    let memory = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
    let remote = |_| {
        let store = builder(&postgres, "agrees", mode).server_time(false).build().unwrap();
        let prefix = format!("{seed}");
        Limiter::builder(strategy.clone()).keyspace(Remote::new(store)).clock(clock.clone()).prefix(prefix).build()
    };
    let remotes = [0, 1].map(remote);
    let mut random = Rng::with_seed(seed);
    let (mut allowed, mut denied) = (0, 0);
    for step in 0..40 {
        clock.advance((random.f64() * max_delta).floor());
        let key = ["a", "b"][usize::from(random.f64() > 0.7)];
        let cost = 1.0 + (random.f64() * max_cost).floor();
        let remote = &remotes[step % 2];
        let decision = memory.check_cost(key, cost).unwrap();
        *(if decision.allowed { &mut allowed } else { &mut denied }) += 1;
        assert_eq!(remote.check_cost(key, cost).await.unwrap(), decision, "{name} in mode {mode:?}, step {step}");
        if step % 5 == 0 {
            assert_eq!(remote.peek(key).await.unwrap(), memory.peek(key).unwrap(), "{name} step {step}");
            let forecast = memory.forecast(key, cost).unwrap();
            assert_eq!(remote.forecast(key, cost).await.unwrap(), forecast, "{name} step {step}");
        }
        if step % 20 == 19 {
            let batch = remote.check_many(&["a", "b", "a"], 1.0).await.unwrap();
            assert_eq!(batch, memory.check_many(&["a", "b", "a"], 1.0).unwrap(), "{name} step {step}");
            remote.reset(key).await.unwrap();
            memory.reset(key).unwrap();
        }
    }
    assert!(allowed > 3 && denied > 3, "{name}: {allowed} allowed, {denied} denied");
}

#[tokio::test]
async fn every_strategy_decides_as_in_memory() {
    for mode in MODES {
        let burst = Gcra::builder().limit(100.0).period_ms(60_000.0).burst(20.0).build().unwrap();
        agrees(burst, 400.0, 8.0, 1, mode).await;
        agrees(gcra(2.0, 1_000.0), 900.0, 2.0, 2, mode).await;
        agrees(gcra(3.0, 1_000.0), 400.0, 0.5, 3, mode).await;
        agrees(ExactGcra::builder().limit(7).period_ms(1_000).burst(7).build().unwrap(), 200.0, 3.0, 4, mode).await;
        agrees(TokenBucket::builder().capacity(20.0).refill_per_sec(3.5).build().unwrap(), 400.0, 6.0, 5, mode).await;
        agrees(FixedWindow::builder().limit(10.0).window_ms(250.0).build().unwrap(), 60.0, 4.0, 6, mode).await;
        let sliding = SlidingWindow::builder().limit(20.0).window_ms(1_000.0).buckets(3).build().unwrap();
        agrees(sliding, 120.0, 4.0, 7, mode).await;
        agrees(SlidingWindowLog::builder().limit(10.0).window_ms(500.0).build().unwrap(), 60.0, 4.0, 8, mode).await;
        let month = Quota::builder().limit(50.0).cadence(Cadence::CalendarMonth).build().unwrap();
        agrees(month, 86_400_000.0, 14.0, 9, mode).await;
    }
}

#[tokio::test]
async fn joint_checks_decide_as_in_memory() {
    let postgres = SERVER.get(postgres_support::start);
    for mode in MODES {
        for any in [false, true] {
            let clock = ManualClock::new(N);
            let new = || if any { Multi::any() } else { Multi::all() };
            let window = FixedWindow::builder().limit(4.0).window_ms(1_000.0).build().unwrap();
            let memory = new().dimension("ip", gcra(3.0, 1_000.0), 1.0).dimension("user", window, 2.0);
            let memory = memory.clock(clock.clone()).build().unwrap();
            let store = builder(&postgres, "joint", mode).server_time(false).build().unwrap();
            let remote = new().dimension("ip", gcra(3.0, 1_000.0), 1.0).dimension("user", window, 2.0);
            let remote =
                remote.prefix(format!("{any}")).store(Remote::new(store)).clock(clock.clone()).build().unwrap();
            let mut random = Rng::with_seed(77);
            let mut denied = 0;
            for step in 0..40 {
                clock.advance((random.f64() * 200.0).floor());
                let keys = [["a", "x"], ["b", "x"], ["a", "y"]][step % 3];
                let decision = memory.check(&keys).unwrap();
                denied += u32::from(!decision.allowed);
                assert_eq!(remote.check(&keys).await.unwrap(), decision, "{mode:?}, any: {any}, step {step}");
            }
            assert!(denied > 3, "{denied} denied");
        }
    }
}

#[tokio::test]
async fn a_shaper_departs_as_in_memory() {
    let postgres = SERVER.get(postgres_support::start);
    for mode in MODES {
        let clock = ManualClock::new(N);
        let bucket = LeakyBucket::builder().rate_per_sec(3.0).max_queue_ms(900.0).build().unwrap();
        let memory = Shaper::builder(bucket).clock(clock.clone()).build();
        let store = builder(&postgres, "shaper", mode).server_time(false).build().unwrap();
        let remote = Shaper::builder(bucket).keyspace(Remote::new(store)).clock(clock.clone()).build();
        for _ in 0..10 {
            clock.advance(100.0);
            assert_eq!(remote.reserve("k", 1.0).await.unwrap(), memory.reserve("k", 1.0).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_on_two_stores_share_a_limit_of_50() {
    let postgres = SERVER.get(postgres_support::start);
    for mode in MODES {
        // Pinned, so that the window does not turn.
        let clock = ManualClock::new(N);
        let window = FixedWindow::builder().limit(50.0).window_ms(60_000.0).build().unwrap();
        let limiter = |pool_size| {
            let store = builder(&postgres, "fifty", mode).server_time(false).pool_size(pool_size).build().unwrap();
            Limiter::builder(window).keyspace(Remote::new(store)).clock(clock.clone()).build()
        };
        let limiters = [limiter(25), limiter(3)];
        let check = |index: usize| {
            let limiter = limiters[index % 2].clone();
            tokio::spawn(async move { limiter.check("k").await.unwrap().allowed })
        };
        let tasks: Vec<_> = (0..200).map(check).collect();
        let mut allowed = 0;
        for task in tasks {
            allowed += u32::from(task.await.unwrap());
        }
        assert_eq!(allowed, 50, "{mode:?}");
        assert_eq!(limiters[0].peek("k").await.unwrap().remaining, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joint_checks_in_opposite_orders_do_not_deadlock() {
    let postgres = SERVER.get(postgres_support::start);
    for mode in MODES {
        let deadlocks = || postgres.sql("SELECT sum(deadlocks) FROM pg_stat_database");
        let before = deadlocks();
        let multi = |names: [&'static str; 2]| {
            let store = builder(&postgres, "opposite", mode).build().unwrap();
            let limit = || gcra(1_000.0, 3_600_000_000.0);
            let multi = Multi::all().dimension(names[0], limit(), 1.0).dimension(names[1], limit(), 1.0);
            Arc::new(multi.store(Remote::new(store)).build().unwrap())
        };
        // On stores of their own, so that they meet in the database only.
        let multis = [multi(["a", "b"]), multi(["b", "a"])];
        let check = |index: usize| {
            let multi = Arc::clone(&multis[index % 2]);
            tokio::spawn(async move { multi.check(&["k", "k"]).await.unwrap().allowed })
        };
        let tasks: Vec<_> = (0..100).map(check).collect();
        for task in tasks {
            assert!(task.await.unwrap());
        }
        assert_eq!(multis[0].check(&["k", "k"]).await.unwrap().remaining, 899, "{mode:?}");
        assert_eq!(deadlocks(), before);
    }
}

#[tokio::test]
async fn the_servers_clock_wins_over_clocks_that_differ() {
    let postgres = SERVER.get(postgres_support::start);
    for mode in MODES {
        let window = FixedWindow::builder().limit(3.0).window_ms(1e12).build().unwrap();
        let limiter = |now_ms| {
            let store = builder(&postgres, "skew", mode).build().unwrap();
            Limiter::builder(window).keyspace(Remote::new(store)).clock(ManualClock::new(now_ms)).build()
        };
        let limiters = [limiter(0.0), limiter(5e12), limiter(N)];
        let mut remaining = Vec::new();
        for limiter in &limiters {
            let decision = limiter.check("k").await.unwrap();
            assert!(decision.allowed);
            remaining.push(decision.remaining);
        }
        assert_eq!(remaining, [2, 1, 0], "{mode:?}");
        for limiter in &limiters {
            assert!(!limiter.check("k").await.unwrap().allowed);
            let peek = limiter.peek("k").await.unwrap();
            assert_eq!((peek.allowed, peek.reset_at_ms), (false, 2_000_000_000_000));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stricter_default_isolation_loses_no_update() {
    let postgres = SERVER.get(postgres_support::start);
    postgres.sql("CREATE ROLE strict SUPERUSER LOGIN");
    postgres.sql("ALTER ROLE strict SET default_transaction_isolation = 'serializable'");
    let url = postgres.url().replace("postgres@", "strict@");
    for mode in MODES {
        let stores = [0, 1].map(|_| {
            let pool = deadpool_postgres::Config { url: Some(url.clone()), ..Default::default() };
            let pool = pool.create_pool(Some(deadpool_postgres::Runtime::Tokio1), tokio_postgres::NoTls).unwrap();
            let store = PostgresStore::with_pool(pool).mode(mode).table("strict");
            postgres_support::patient(store).build().unwrap()
        });
        let window = FixedWindow::builder().limit(40.0).window_ms(1e12).build().unwrap();
        let limiters = stores.map(|store| Limiter::builder(window).keyspace(Remote::new(store)).build());
        let check = |index: usize| {
            let limiter = limiters[index % 2].clone();
            tokio::spawn(async move { limiter.check("k").await.unwrap().allowed })
        };
        let tasks: Vec<_> = (0..100).map(check).collect();
        let mut allowed = 0;
        for task in tasks {
            allowed += u32::from(task.await.unwrap());
        }
        assert_eq!(allowed, 40, "{mode:?}");
    }
}
