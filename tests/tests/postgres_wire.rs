//! How often the PostgreSQL store asks its server, and what it does when the wire between them breaks.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod postgres_support;

use std::time::Duration;

use postgres_support::proxy::Proxy;
use postgres_support::{MODES, SERVER, builder, gcra, patient, start};
use throttlekit::store::Remote;
use throttlekit::{ErrorKind, FixedWindow, Limiter, Multi};
use throttlekit_postgres::{Mode, PostgresStore, PostgresStoreBuilder};

fn through(proxy: &Proxy, table: &str, mode: Mode) -> PostgresStoreBuilder {
    patient(PostgresStore::builder(&proxy.url()).table(table).mode(mode)).pool_size(1)
}

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1e12).build().unwrap()
}

// One thread: what is sent at once leaves at once.
#[tokio::test]
async fn a_check_is_at_most_two_exchanges() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let proxy = Proxy::start(postgres.port()).await;
        let store = Remote::new(through(&proxy, "exchanges", mode).build().unwrap());
        let smooth = Limiter::builder(gcra(6.0, 1e12)).keyspace(store.clone()).prefix("smooth").build();
        let window = Limiter::builder(window(6.0)).keyspace(store.clone()).prefix("window").build();
        let joint = Multi::all().dimension("a", gcra(6.0, 1e12), 1.0).dimension("b", gcra(6.0, 1e12), 1.0);
        let joint = joint.store(store).build().unwrap();
        let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut used = Vec::new();
        for round in 0..3 {
            // What is sent behind an answer is over when the connection can be used for the next.
            let mut last = proxy.exchanges();
            let mut count = |used: &mut Vec<u32>| {
                let now = proxy.exchanges();
                used.push(now - last);
                last = now;
            };
            used.clear();
            smooth.check("k").await.unwrap();
            count(&mut used);
            window.check("k").await.unwrap();
            count(&mut used);
            joint.check(&["k", "k"]).await.unwrap();
            count(&mut used);
            window.check_many(&keys, 1.0).await.unwrap();
            count(&mut used);
            window.reset("k").await.unwrap();
            count(&mut used);
            window.peek("k").await.unwrap();
            count(&mut used);
            // The first round prepares statements.
            assert!(round == 0 || used.iter().all(|exchanges| *exchanges <= 2), "{mode:?}: {used:?}");
        }
        assert_eq!(used, [1, 2, 2, 2, 2, 1], "{mode:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_an_error_and_counts_at_most_once() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let proxy = Proxy::start(postgres.port()).await;
        let store = Remote::new(through(&proxy, "lost", mode).build().unwrap());
        let smooth = Limiter::builder(gcra(100.0, 1e12)).keyspace(store.clone()).prefix("smooth").build();
        let window = Limiter::builder(window(100.0)).keyspace(store).prefix("window").build();
        smooth.check("k").await.unwrap();
        window.check("k").await.unwrap();
        // The exchange that commits: the only one, and the one after the look.
        proxy.cut_answer_after(0);
        let error = smooth.check("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{mode:?}");
        // It was committed: the server heard it. It was not sent again.
        assert_eq!(smooth.peek("k").await.unwrap().remaining, 98, "{mode:?}");
        assert_eq!(smooth.check("k").await.unwrap().remaining, 97);
        // Prepares the statements of the new connection.
        window.check("k").await.unwrap();
        proxy.cut_answer_after(1);
        let error = window.check("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{mode:?}");
        assert_eq!(window.peek("k").await.unwrap().remaining, 97, "{mode:?}");
        assert_eq!(window.check("k").await.unwrap().remaining, 96);
    }
}

#[tokio::test]
async fn a_connection_cut_before_the_commit_is_replaced() {
    let postgres = SERVER.get(start);
    let proxy = Proxy::start(postgres.port()).await;
    let store = Remote::new(through(&proxy, "cut", Mode::Shared).build().unwrap());
    let limiter = Limiter::builder(window(100.0)).keyspace(store).build();
    limiter.check("k").await.unwrap();
    proxy.cut_answer_after(0);
    // Nothing was written, so it may be asked again, and is counted once.
    assert_eq!(limiter.check("k").await.unwrap().remaining, 98);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_falls_silent_under_the_lock_does_not_keep_it() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let proxy = Proxy::start(postgres.port()).await;
        let store = through(&proxy, "silent", mode).statement_timeout(Duration::from_millis(200)).build().unwrap();
        let joint = |store| {
            let joint = Multi::all().dimension("a", gcra(100.0, 1e12), 1.0).dimension("b", gcra(100.0, 1e12), 1.0);
            joint.store(Remote::new(store)).build().unwrap()
        };
        let silent = joint(store);
        silent.check(&["k", "k"]).await.unwrap();
        // It gets the locks, and is not heard of again.
        proxy.mute_after(1);
        assert_eq!(silent.check(&["k", "k"]).await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
        let other = joint(builder(&postgres, "silent", mode).build().unwrap());
        // Waits until the server ends the silent session: the locks are free, and nothing was counted.
        assert_eq!(other.check(&["k", "k"]).await.unwrap().remaining, 98, "{mode:?}");
    }
}
