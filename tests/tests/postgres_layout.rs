//! What the PostgreSQL store keeps where, which locks it takes, what it refuses, and what it cleans up.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod postgres_support;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Config, Pool, Runtime};
use postgres_support::{MODES, SERVER, builder, gcra, limiter, patient, session, start};
use tests::postgres::Postgres;
use throttlekit::store::Remote;
use throttlekit::{ErrorKind, FixedWindow, Gcra, Limiter, ManualClock, Multi};
use throttlekit_postgres::{Mode, PostgresStore, PostgresStoreBuilder};

const N: f64 = 1_700_000_000_000.0;

/// A limiter of 3 per second at a fixed time.
fn pinned(store: PostgresStoreBuilder, now_ms: f64) -> Limiter<Gcra, Remote, ManualClock> {
    let store = store.server_time(false).build().unwrap();
    let clock = ManualClock::new(now_ms);
    Limiter::builder(gcra(3.0, 1_000.0)).keyspace(Remote::new(store)).clock(clock).prefix("api").build()
}

/// Connections of the application itself.
fn pool(postgres: &Postgres, size: usize) -> Pool {
    let mut config = Config { url: Some(postgres.url()), ..Config::default() };
    config.pool = Some(deadpool_postgres::PoolConfig::new(size));
    config.create_pool(Some(Runtime::Tokio1), tokio_postgres::NoTls).unwrap()
}

#[tokio::test]
async fn rows_are_those_of_the_family() {
    let postgres = SERVER.get(start);
    let limiter = pinned(builder(&postgres, "layout", Mode::Shared).prefix("tk"), N);
    limiter.check("u1").await.unwrap();
    let row = "SELECT key, state, expires_at FROM layout";
    assert_eq!(postgres.sql(row), "tk:api:u1|1700000000333.3333|1700000000334");
    limiter.check_cost("u1", 2.0).await.unwrap();
    assert_eq!(postgres.sql(row), "tk:api:u1|1700000001000|1700000001000");
    // A denial writes nothing, and neither does a peek.
    let version = "SELECT xmin, ctid, key, state, expires_at FROM layout";
    let before = postgres.sql(version);
    assert!(!limiter.check("u1").await.unwrap().allowed);
    assert!(!limiter.peek("u1").await.unwrap().allowed);
    assert_eq!(postgres.sql(version), before);
    limiter.reset("u1").await.unwrap();
    assert_eq!(postgres.sql("SELECT count(*) FROM layout"), "0");

    let columns = "SELECT string_agg(column_name || ' ' || data_type || ' ' || is_nullable, ', ' ORDER BY ordinal_position) \
                   FROM information_schema.columns WHERE table_name = 'layout'";
    assert_eq!(postgres.sql(columns), "key text NO, state text NO, expires_at bigint NO");
    let indexes = "SELECT string_agg(indexname, ', ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'layout'";
    assert_eq!(postgres.sql(indexes), "layout_expires_idx, layout_pkey");
}

#[tokio::test]
async fn fast_mode_keeps_out_of_the_shared_table() {
    let postgres = SERVER.get(start);
    let limiters = MODES.map(|mode| pinned(builder(&postgres, "apart", mode), N));
    for limiter in &limiters {
        assert_eq!(limiter.check("u1").await.unwrap().remaining, 2);
    }
    assert_eq!(postgres.sql("SELECT key, state FROM apart"), postgres.sql("SELECT key, state FROM apart_fast"));
    assert!(limiters[1].check_cost("u1", 2.0).await.unwrap().allowed);
    let state = postgres.sql("SELECT state, expires_at FROM apart_fast");
    assert!(!limiters[1].check("u1").await.unwrap().allowed);
    assert_eq!(postgres.sql("SELECT state, expires_at FROM apart_fast"), state);
    // Denied once it is only read until it is admitted again.
    let version = "SELECT xmin, xmax FROM apart_fast";
    let before = postgres.sql(version);
    for _ in 0..3 {
        assert!(!limiters[1].check("u1").await.unwrap().allowed);
    }
    assert_eq!(postgres.sql(version), before, "a denial wrote or locked the row");
    limiters[1].clock().advance(1_000.0);
    assert_eq!(limiters[1].check("u1").await.unwrap().remaining, 2);
}

#[tokio::test]
async fn an_expired_row_counts_as_none() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let name = if mode == Mode::Fast { "expired_fast" } else { "expired" };
        let limiter = pinned(builder(&postgres, "expired", mode), N);
        limiter.check("u1").await.unwrap();
        // Alive until after the deadline's millisecond; the state would deny, whatever it is worth by then.
        for (expires_at, remaining) in [(N, 2), (N + 1.0, 0)] {
            postgres.sql(&format!("UPDATE {name} SET state = '1700000000666.6666', expires_at = {expires_at}"));
            assert_eq!(limiter.check("u1").await.unwrap().remaining, remaining, "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_is_the_one_that_other_languages_take() {
    let postgres = SERVER.get(start);
    // The table is there before the clock of the test runs.
    let store = |millis| {
        let store = builder(&postgres, "lock", Mode::Shared).prefix("p");
        store.statement_timeout(Duration::from_millis(millis)).pool_size(1).build().unwrap()
    };
    limiter(store(30_000), 10.0).check("free").await.unwrap();

    let other = session(&postgres).await;
    other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('p:k', 0))").await.unwrap();
    let impatient = limiter(store(300), 10.0);
    let error = impatient.check("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    // Neither a read nor another key waits for it.
    assert_eq!(impatient.peek("k").await.unwrap().remaining, 10);
    assert_eq!(impatient.check("free").await.unwrap().remaining, 8);

    let patient = limiter(store(30_000), 10.0);
    let waiting = tokio::spawn(async move { patient.check("k").await });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    assert!(tests::process::wait(|| postgres.sql(waits) == "1"));
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().remaining, 9, "the refused call was counted");
}

#[tokio::test]
async fn one_key_that_is_held_does_not_fail_its_neighbours() {
    let postgres = SERVER.get(start);
    let store = builder(&postgres, "held", Mode::Shared).pool_size(1);
    let limiter = limiter(store.statement_timeout(Duration::from_millis(400)).build().unwrap(), 10.0);
    limiter.check("free").await.unwrap();
    let other = session(&postgres).await;
    other.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('held', 0))").await.unwrap();
    // All go in one batch, behind the one that keeps the only connection busy.
    let checks = ["first", "held", "free", "other"].map(|key| {
        let limiter = limiter.clone();
        tokio::spawn(async move { limiter.check(key).await.map(|decision| decision.allowed) })
    });
    let mut allowed = Vec::new();
    for check in checks {
        allowed.push(check.await.unwrap().ok());
    }
    assert_eq!(allowed, [Some(true), None, Some(true), Some(true)]);
}

#[tokio::test]
async fn a_text_that_does_not_parse_is_an_error_and_can_be_reset() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let name = if mode == Mode::Fast { "broken_fast" } else { "broken" };
        let limiter = limiter(builder(&postgres, "broken", mode).pool_size(1).build().unwrap(), 10.0);
        limiter.check("good").await.unwrap();
        for text in ["not a number", "{}", "\"1\"", "", "NaN"] {
            postgres.sql(&format!("INSERT INTO {name} (key, state, expires_at) VALUES ('bad', '{text}', 9e15)"));
            for result in [limiter.check("bad").await, limiter.peek("bad").await] {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::StateInvalid, "{mode:?}: {text:?}");
            }
            // Those that are in one batch with it are not touched by it.
            let together = ["good", "bad", "good"].map(|key| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.check(key).await.is_ok() })
            });
            let mut decided = Vec::new();
            for check in together {
                decided.push(check.await.unwrap());
            }
            assert_eq!(decided, [true, false, true], "{mode:?}: {text:?}");
            limiter.reset("bad").await.unwrap();
            limiter.reset("good").await.unwrap();
            assert_eq!(limiter.check("bad").await.unwrap().remaining, 9);
            limiter.reset("bad").await.unwrap();
        }
    }
}

#[tokio::test]
async fn keys_that_the_server_cannot_keep_are_bad_arguments() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let limiter = limiter(builder(&postgres, "keys", mode).build().unwrap(), 10.0);
        let mut random = fastrand::Rng::with_seed(5);
        // It does not compress to what an index takes.
        let long: String = (0..20_000).map(|_| random.alphanumeric()).collect();
        for key in ["a\0b", &long] {
            let error = limiter.check(key).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().starts_with("key "), "{error}");
        }
        let odd = "'; DROP TABLE keys; -- \u{1f980} \\ \" $1 %";
        assert_eq!(limiter.check(odd).await.unwrap().remaining, 9);
        assert_eq!(limiter.check(odd).await.unwrap().remaining, 8);
    }
}

#[tokio::test]
async fn the_table_is_created_once_found_missing_and_only_if_asked() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let name = if mode == Mode::Fast { "made_fast" } else { "made" };
        let without = builder(&postgres, "made", mode).auto_create(false).build().unwrap();
        let ddl = without.ddl().to_owned();
        let without = limiter(without, 10.0);
        let error = without.check("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        assert!(error.to_string().contains(name), "{error}");
        // By hand, twice: it may be run again.
        postgres.sql(&ddl);
        postgres.sql(&ddl);
        assert_eq!(without.check("k").await.unwrap().remaining, 9);
        let with = limiter(builder(&postgres, "made", mode).build().unwrap(), 10.0);
        assert_eq!(with.check("k").await.unwrap().remaining, 8);
        postgres.sql(&format!("DROP TABLE {name}"));
        assert_eq!(with.check("k").await.unwrap().remaining, 9, "it was made again");
        assert_eq!(without.check("k").await.unwrap().remaining, 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stores_create_one_table_at_the_same_time() {
    let postgres = SERVER.get(start);
    postgres.sql("CREATE SCHEMA other");
    for mode in MODES {
        let first = |_| {
            let limiter = limiter(builder(&postgres, "other.Mixed_1", mode).build().unwrap(), 100.0);
            tokio::spawn(async move { limiter.check("k").await.map(|decision| decision.allowed) })
        };
        let stores: Vec<_> = (0..12).map(first).collect();
        for store in stores {
            assert!(store.await.unwrap().unwrap());
        }
    }
    let tables = "SELECT string_agg(tablename, ', ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'other'";
    assert_eq!(postgres.sql(tables), "mixed_1, mixed_1_fast");
}

#[tokio::test]
async fn sweeps_delete_what_expired_and_nothing_else() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let name = if mode == Mode::Fast { "swept_fast" } else { "swept" };
        let store = builder(&postgres, "swept", mode).sweep_interval(Duration::ZERO).build().unwrap();
        let store = Arc::new(store);
        let limiter = Limiter::builder(gcra(10.0, 3_600_000_000.0)).keyspace(Remote::from_dyn(store.clone())).build();
        limiter.check("alive").await.unwrap();
        let old = format!(
            "INSERT INTO {name} (key, state, expires_at) SELECT 'old-' || n, '1', 1000 FROM generate_series(1, 12000) AS n"
        );
        postgres.sql(&old);
        // A row that somebody else is at is left alone and not waited for.
        let other = session(&postgres).await;
        other.batch_execute(&format!("BEGIN; SELECT 1 FROM {name} WHERE key = 'old-7' FOR UPDATE")).await.unwrap();
        assert_eq!(store.sweep().await.unwrap(), 11_999, "{mode:?}");
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(store.sweep().await.unwrap(), 1);
        assert_eq!(postgres.sql(&format!("SELECT key FROM {name}")), "alive");
        assert_eq!((store.stats().swept, store.stats().sweep_failures), (12_000, 0));
        assert_eq!(limiter.check("alive").await.unwrap().remaining, 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_sweep_by_themselves_at_their_own_time() {
    let postgres = SERVER.get(start);
    let clock = ManualClock::new(5_000.0);
    let store = builder(&postgres, "by_itself", Mode::Shared).server_time(false);
    let store = Arc::new(store.sweep_interval(Duration::from_nanos(1)).build().unwrap());
    let limiter = Limiter::builder(FixedWindow::builder().limit(3.0).window_ms(1_000.0).build().unwrap());
    let limiter = limiter.keyspace(Remote::from_dyn(store.clone())).clock(clock.clone()).build();
    limiter.check("a").await.unwrap();
    limiter.check("b").await.unwrap();
    // Long ago by the clock on the wall, alive by the limiter's.
    assert_eq!(postgres.sql("SELECT count(*) FROM by_itself"), "2");
    clock.set(6_000.0);
    limiter.check("b").await.unwrap();
    assert!(tests::process::wait(|| postgres.sql("SELECT string_agg(key, ',') FROM by_itself") == "b"));
}

#[tokio::test]
async fn a_failed_sweep_is_counted_and_disturbs_nobody() {
    let postgres = SERVER.get(start);
    let store = builder(&postgres, "unswept", Mode::Shared).auto_create(false).build().unwrap();
    assert_eq!(store.sweep().await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert_eq!(store.stats().sweep_failures, 1);
}

#[tokio::test]
async fn a_pool_of_the_application_gets_its_connections_back_clean() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let pool = pool(&postgres, 1);
        let store = patient(PostgresStore::with_pool(pool.clone()).mode(mode).table("theirs"));
        let limiter = limiter(store.build().unwrap(), 1.0);
        for _ in 0..3 {
            limiter.check("k").await.unwrap();
            limiter.peek("k").await.unwrap();
            let client = pool.get().await.unwrap();
            let id: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
            let state = postgres.sql(&format!("SELECT state FROM pg_stat_activity WHERE pid = {id}"));
            assert_eq!(state, "idle", "{mode:?}");
        }
        assert!(!pool.is_closed());
    }
}

#[tokio::test]
async fn a_joint_check_on_one_table_is_all_or_nothing() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let store = builder(&postgres, "whole", mode).build().unwrap();
        let limit = |limit| gcra(limit, 3_600_000_000.0);
        let multi = Multi::all().dimension("wide", limit(100.0), 1.0).dimension("narrow", limit(5.0), 1.0);
        let multi = multi.store(Remote::new(store)).build().unwrap();
        let mut allowed = 0;
        for _ in 0..10 {
            allowed += u32::from(multi.check(&["k", "k"]).await.unwrap().allowed);
        }
        let wide = limiter(builder(&postgres, "whole", mode).prefix("wide").build().unwrap(), 100.0);
        assert_eq!((allowed, wide.peek("k").await.unwrap().remaining), (5, 95), "{mode:?}");
    }
}
