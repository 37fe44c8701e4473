//! A Redis server that fails, in each way that servers and networks do: nothing is charged twice, nothing is admitted
//! beyond the limit, and the limits are back when the server is.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use redis_support::{Load, RECOVERY, at_once, counting, patient, recovers, store, used};
use tests::proxy::{Mode, Proxy};
use tests::redis::{Redis, Settings};
use throttlekit::ErrorKind;
use throttlekit_redis::{RedisOptions, RedisStore};

fn durable() -> Redis {
    Redis::with(Settings { durable: true, ..Settings::default() })
}

/// For tests in which nothing is lost.
fn patient_store(server: &Redis) -> RedisStore {
    RedisStore::new(&patient(RedisOptions::single(server.url()).unwrap())).unwrap()
}

fn count(server: &Redis, key: &str) -> u64 {
    used(&server.cli(&["HGET", key, "c"]))
}

/// A store that reaches the server through the relay.
fn through(proxy: &Proxy) -> RedisStore {
    let options = RedisOptions::single(format!("redis://{}", proxy.address())).unwrap();
    RedisStore::new(&options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_under_load() {
    let mut server = durable();
    let limiter = Arc::new(counting(store(&server), 1e9));
    let load = Load::start(&limiter, "k", 64);
    for _ in 0..3 {
        load.admits(500).await;
        server.kill();
        server.restart();
        assert!(recovers(&limiter, "other").await < RECOVERY);
    }
    load.admits(500).await;
    let tally = load.stop().await;
    tally.assert_counted_once(count(&server, "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_admits_no_more_than_the_limit() {
    let mut server = durable();
    let limiter = Arc::new(counting(store(&server), 2_000.0));
    let load = Load::start(&limiter, "k", 64);
    load.admits(500).await;
    server.kill();
    server.restart();
    // Whether the rest is admitted depends on how many were lost.
    assert!(recovers(&limiter, "k").await < RECOVERY);
    while limiter.check("k").await.unwrap().allowed {}
    let tally = load.stop().await;
    assert!(tally.admitted <= 2_000, "{tally:?}");
    assert_eq!(count(&server, "k"), 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_not_there() {
    let mut server = Redis::start();
    let limiter = Arc::new(counting(store(&server), 1e9));
    assert!(limiter.check("k").await.unwrap().allowed);
    server.pause();
    let start = tokio::time::Instant::now();
    let lost = at_once(&limiter, "k", 10).await;
    assert_eq!(lost.lost, 10);
    // Waits for the answer, at most for another batch before it and for a connection.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    server.resume();
    assert!(recovers(&limiter, "k").await < RECOVERY);
    let mut tally = at_once(&limiter, "k", 100).await;
    assert_eq!(tally.admitted, 100);
    tally.admitted += 2;
    tally.lost += lost.lost;
    tally.assert_counted_once(count(&server, "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_though_every_caller_gives_up() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let limiter = counting(through(&proxy), 1e9);
    assert!(limiter.check("k").await.unwrap().allowed);
    // As a network does that loses every packet: only a new connection helps.
    proxy.set(Mode::Mute);
    let patience = Duration::from_millis(100);
    for _ in 0..5 {
        assert!(!matches!(tokio::time::timeout(patience, limiter.check("k")).await, Ok(Ok(_))));
    }
    assert!(proxy.accepted() > 1, "no new connection was tried");
    proxy.set(Mode::Pass);
    let answered = redis_support::until_answered(patience, || limiter.check("k")).await;
    assert!(answered < RECOVERY, "{answered:?}");
}

/// Who asks for a sign of life and leaves before it comes leaves no doubt behind about the connection.
#[tokio::test]
async fn a_question_that_is_dropped_costs_no_connection() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let store = through(&proxy);
    store.ready().await.unwrap();
    let mut asked = Box::pin(store.ready());
    assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(asked);
    let left = tokio::time::Instant::now();
    // Longer than a server may be silent by default.
    assert!(redis_support::until(|| left.elapsed() > Duration::from_millis(300)).await);
    assert!(counting(store, 10.0).check("k").await.unwrap().allowed);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_only_what_was_under_way() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let limiter = Arc::new(counting(through(&proxy), 1e9));
    let load = Load::start(&limiter, "k", 64);
    for _ in 0..10 {
        load.admits(300).await;
        proxy.cut();
    }
    load.admits(300).await;
    let tally = load.stop().await;
    tally.assert_counted_once(count(&server, "k"));
    // Two batches can be under way, and all callers can be in them.
    assert!(tally.lost <= 10 * 64, "{tally:?}");
}

#[tokio::test]
async fn a_connection_that_broke_while_idle_costs_no_check() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let limiter = counting(through(&proxy), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    // The store has noticed when it has closed its own side.
    assert!(redis_support::until(|| proxy.open() == 0).await);
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(count(&server, "k"), 2);
}

#[tokio::test]
async fn a_server_that_serves_nobody_is_not_stormed() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let limiter = counting(through(&proxy), 10.0);
    proxy.set(Mode::Refuse);
    let start = tokio::time::Instant::now();
    let mut checks = 0_u32;
    while start.elapsed() < Duration::from_millis(500) {
        assert!(limiter.check("k").await.is_err());
        checks += 1;
    }
    // The pauses double from 10 to 200 ms, or what the jitter leaves of them: 5, 10, 20, 40, 80, then 100 each.
    assert!(proxy.accepted() <= 10, "{} connections for {checks} checks", proxy.accepted());
    proxy.set(Mode::Pass);
    assert!(recovers(&limiter, "k").await < RECOVERY);
}

#[tokio::test]
async fn a_check_whose_answer_is_lost_is_not_repeated() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let limiter = counting(through(&proxy), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);
    proxy.set(Mode::CutAnswers);
    let error = limiter.check("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
    proxy.set(Mode::Pass);
    assert!(recovers(&limiter, "other").await < RECOVERY);
    assert_eq!(count(&server, "k"), 2);
    assert_eq!(limiter.check("k").await.unwrap().remaining, 7);
}

#[tokio::test]
async fn a_server_that_lost_its_role_is_left() {
    let (old, new) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(old.address()).await.unwrap();
    let limiter = counting(through(&proxy), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);
    // As an address does that always leads to the master: the connection to the old one stays open.
    old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    proxy.lead_to(new.address());
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(count(&new, "k"), 1);
}

#[tokio::test]
async fn no_server_is_an_outage_and_no_more() {
    let mut server = Redis::start();
    server.kill();
    let limiter = counting(store(&server), 10.0);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    server.restart();
    assert!(recovers(&limiter, "k").await < RECOVERY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_the_server_forgot_run_once() {
    let server = Redis::start();
    let limiter = Arc::new(counting(patient_store(&server), 1e9));
    let load = Load::start(&limiter, "k", 64);
    for _ in 0..20 {
        load.admits(100).await;
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    }
    let tally = load.stop().await;
    assert_eq!((tally.lost, tally.denied), (0, 0));
    assert_eq!(count(&server, "k"), tally.admitted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_dropped_at_any_time_leave_the_others_alone() {
    let server = Redis::start();
    let limiter = Arc::new(counting(patient_store(&server), 1e9));
    let load = Load::start(&limiter, "k", 8);
    load.admits(10).await;
    for round in 0..400_u64 {
        let dropped = limiter.check("dropped");
        let patience = Duration::from_micros(round * 3);
        // Either way is fine: what counts is what becomes of the others.
        let _ = tokio::time::timeout(patience, dropped).await;
    }
    load.admits(100).await;
    let tally = load.stop().await;
    assert_eq!((tally.lost, tally.denied), (0, 0));
    assert_eq!(count(&server, "k"), tally.admitted);
    assert!(count(&server, "dropped") <= 400);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_apart() {
    let server = Redis::start();
    let limiter = counting(store(&server), 10.0);
    assert!(limiter.check("k").await.unwrap().allowed);

    server.cli(&["SET", "text", "v"]);
    let error = limiter.check("text").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateInvalid, "{error}");

    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    assert!(recovers(&limiter, "k").await < RECOVERY);

    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.to_string().contains("NOREPLICAS"), "{error}");
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);

    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);

    server.cli(&["ACL", "SETUSER", "default", "-eval", "-evalsha"]);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(error.to_string().contains("NOPERM"), "{error}");
    server.cli(&["ACL", "SETUSER", "default", "+eval", "+evalsha"]);

    // None of them counted.
    assert_eq!(count(&server, "k"), 2);
}

/// A runtime that ends takes its batches along, and neither the store nor callers on another runtime.
#[test]
fn a_runtime_that_ends_leaves_the_store_to_others() {
    let mut server = Redis::start();
    let limiter = Arc::new(counting(patient_store(&server), 1e9));
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stays = runtime();
    for round in 0..3 {
        let ends = runtime();
        let load = ends.block_on(async { Load::start(&limiter, "k", 64) });
        ends.block_on(load.admits(100));
        server.pause();
        // It waits behind batches that will never come back.
        let waiting = Arc::clone(&limiter);
        let waits = stays.spawn(async move { waiting.check("other").await });
        ends.shutdown_background();
        server.resume();
        let answer = stays.block_on(async { tokio::time::timeout(Duration::from_secs(30), waits).await });
        assert!(answer.is_ok(), "a caller of round {round} waits for ever");
        assert!(stays.block_on(recovers(&limiter, "other")) < RECOVERY, "round {round}");
    }
}
