//! Limits whose file says `store: { redis: ... }`.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

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
    limiter.limiter().check("k", 1.0).await.unwrap().remaining
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
