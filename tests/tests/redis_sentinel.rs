//! A master that sentinels watch: the limits follow it to another server.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::sync::Arc;

use redis_support::{Counting, Load, RECOVERY, Tally, counting, recovers, used};
use tests::process::wait;
use tests::redis::{MASTER, Settings, Watched};
use throttlekit_redis::{RedisOptions, RedisStore};

fn limiter(watched: &Watched, limit: f64) -> Arc<Counting> {
    let options = RedisOptions::sentinel(MASTER, &watched.urls()).unwrap();
    Arc::new(counting(RedisStore::new(&options).unwrap(), limit))
}

/// Waits until the second server is what the sentinels call the master, and takes writes.
fn wait_for_second(watched: &Watched) {
    let second = &watched.servers()[1];
    let promoted = || watched.master() == Some(second.port()) && second.cli(&["ROLE"]).starts_with("master");
    assert!(wait(promoted), "the sentinels promote nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_follow_a_planned_failover() {
    let watched = Watched::start();
    let limiter = limiter(&watched, 1e9);
    let load = Load::start(&limiter, "k", 16);
    load.admits(500).await;
    watched.fail_over();
    tokio::task::block_in_place(|| wait_for_second(&watched));
    assert!(recovers(&limiter, "other").await < RECOVERY);
    load.admits(500).await;
    let tally: Tally = load.stop().await;
    // Replication does not wait for an answer, so that a failover may forget the latest writes; never does it double one.
    let counted = used(&watched.servers()[1].cli(&["HGET", "k", "c"]));
    assert!(counted <= tally.admitted + tally.lost, "the server counted {counted}, the clients {tally:?}");
    assert!(counted > 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_survive_a_killed_master() {
    let password = Some("s3cret".to_owned());
    let mut watched = Watched::with(&Settings { password, ..Settings::default() });
    let options = RedisOptions::sentinel(MASTER, &watched.urls()).unwrap().password("s3cret");
    let limiter = Arc::new(counting(RedisStore::new(&options).unwrap(), 1e9));
    let load = Load::start(&limiter, "k", 16);
    load.admits(500).await;
    watched.server_mut(0).kill();
    tokio::task::block_in_place(|| wait_for_second(&watched));
    assert!(recovers(&limiter, "other").await < RECOVERY);
    load.admits(500).await;
    let tally = load.stop().await;
    let counted = used(&watched.servers()[1].cli(&["HGET", "k", "c"]));
    assert!(counted <= tally.admitted + tally.lost, "the server counted {counted}, the clients {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_is_replaced() {
    let mut watched = Watched::start();
    let limiter = limiter(&watched, 1e9);
    assert!(limiter.check("k").await.unwrap().allowed);
    watched.server_mut(0).pause();
    tokio::task::block_in_place(|| wait_for_second(&watched));
    assert!(recovers(&limiter, "k").await < RECOVERY);
    assert!(used(&watched.servers()[1].cli(&["HGET", "k", "c"])) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sentinel_that_answers_is_enough() {
    let watched = Watched::start();
    let mut urls = watched.urls();
    urls.truncate(1);
    // Nothing listens on the port of the discard service.
    urls.insert(0, "redis://127.0.0.1:9".to_owned());
    let options = RedisOptions::sentinel(MASTER, &urls).unwrap();
    let limiter = counting(RedisStore::new(&options).unwrap(), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);

    let options = RedisOptions::sentinel("another", &urls).unwrap();
    let error = RedisStore::new(&options).unwrap().ready().await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
}
