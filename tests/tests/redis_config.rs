//! Limits whose file says `store: { redis: ... }`.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::time::Duration;

use redis_support::RECOVERY;
use tests::proxy::{Mode, Proxy};
use tests::redis::{Cluster, MASTER, Redis, Settings, Watched};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_redis::RedisConnector;

fn load(store: &str) -> Policies {
    let limiters = "limiters:\n  api: { strategy: fixedWindow, limit: 5, windowMs: 1000000000000 }\n";
    let text = format!("store:\n  redis:\n{store}{limiters}");
    Policies::load(&text, LoadOptions::new().connector(RedisConnector)).unwrap()
}

async fn remaining(policies: &Policies) -> u64 {
    let limiter = policies.get("api").unwrap();
    limiter.limiter().unwrap().check("k", 1.0).await.unwrap().remaining
}

#[tokio::test]
async fn one_server() {
    let server = Redis::with(Settings { password: Some("s3cret".into()), ..Settings::default() });
    let store = format!("    url: 'redis://{}/2'\n    password: s3cret\n    resp3: true\n", server.address());
    let (one, two) = (load(&store), load(&store));
    assert_eq!((remaining(&one).await, remaining(&two).await), (4, 3));
    assert_eq!(server.cli(&["-n", "2", "DBSIZE"]), "1");
}

#[tokio::test]
async fn one_server_with_tls() {
    let server = Redis::with(Settings { tls: true, ..Settings::default() });
    let authority = server.folder().join("authority.pem");
    let store = format!("    url: '{}'\n    tls: {{ caFile: '{}' }}\n", server.url(), authority.display());
    assert_eq!(remaining(&load(&store)).await, 4);
}

#[tokio::test]
async fn a_cluster() {
    let cluster = Cluster::start();
    let urls = cluster.urls();
    let store = format!("    urls: ['{}', '{}']\n    cluster: true\n", urls[0], urls[1]);
    let (one, two) = (load(&store), load(&store));
    assert_eq!((remaining(&one).await, remaining(&two).await), (4, 3));
}

#[tokio::test]
async fn a_master_under_sentinels() {
    let watched = Watched::start();
    let store = format!("    urls: ['{}']\n    sentinel: {{ master: {MASTER} }}\n", watched.urls()[0]);
    assert_eq!(remaining(&load(&store)).await, 4);
}

/// Checks until the limits are back, as the breaker in front of the store has it; how long that took.
async fn recovers(policies: &Policies) -> Duration {
    let limiter = policies.get("api").unwrap();
    redis_support::until_answered(Duration::from_secs(60), || limiter.limiter().unwrap().check("other", 1.0)).await
}

async fn fails(policies: &Policies) {
    let limiter = policies.get("api").unwrap();
    // More than the breaker takes until it leaves the store alone.
    for _ in 0..10 {
        let error = limiter.limiter().unwrap().check("k", 1.0).await.unwrap_err();
        assert!(error.is_store_unavailable(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_breaker_the_limits_are_back_with_a_killed_server() {
    let mut server = Redis::start();
    let policies = load(&format!("    url: '{}'\n", server.url()));
    assert_eq!(remaining(&policies).await, 4);
    server.kill();
    fails(&policies).await;
    server.restart();
    let span = recovers(&policies).await;
    assert!(span < RECOVERY, "{span:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_breaker_the_limits_are_back_with_a_server_that_hung() {
    let mut server = Redis::start();
    let policies = load(&format!("    url: '{}'\n", server.url()));
    assert_eq!(remaining(&policies).await, 4);
    server.pause();
    fails(&policies).await;
    server.resume();
    let span = recovers(&policies).await;
    assert!(span < RECOVERY, "{span:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_breaker_the_limits_are_back_with_the_network() {
    let server = Redis::start();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let policies = load(&format!("    url: 'redis://{}'\n", proxy.address()));
    assert_eq!(remaining(&policies).await, 4);
    // Whatever is sent is lost, and no connection ends.
    proxy.set(Mode::Mute);
    fails(&policies).await;
    proxy.set(Mode::Pass);
    let span = recovers(&policies).await;
    assert!(span < RECOVERY, "{span:?}");
}
