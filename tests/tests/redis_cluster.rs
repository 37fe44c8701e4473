//! A cluster: keys are found on whichever node holds them, also while slots move and nodes fail.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::sync::Arc;
use std::time::Duration;

use redis_support::{Counting, Load, RECOVERY, at_once, counting, patient, recovers, used};
use tests::redis::{Cluster, Settings};
use throttlekit::store::Remote;
use throttlekit::{ErrorKind, FixedWindow, Multi};
use throttlekit_redis::{RedisOptions, RedisStore};
use tokio::time::Instant;

fn store(cluster: &Cluster) -> RedisStore {
    RedisStore::new(&RedisOptions::cluster(&cluster.urls()).unwrap()).unwrap()
}

/// For tests in which nothing is lost.
fn patient_store(cluster: &Cluster) -> RedisStore {
    RedisStore::new(&patient(RedisOptions::cluster(&cluster.urls()).unwrap())).unwrap()
}

fn limiter(cluster: &Cluster) -> Arc<Counting> {
    Arc::new(counting(store(cluster), 1e9))
}

/// Nodes that go on with their slots while another is down.
fn partial() -> Settings {
    Settings { arguments: vec!["--cluster-require-full-coverage".into(), "no".into()], ..Settings::default() }
}

/// A key that another node holds.
fn key_elsewhere(cluster: &Cluster, node: usize) -> String {
    (0..100).map(|number| format!("other{number}")).find(|key| cluster.owner(key) != node).unwrap()
}

fn count(cluster: &Cluster, key: &str) -> u64 {
    used(&cluster.cli(key, &["HGET", key, "c"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_spread_over_the_nodes() {
    let cluster = Cluster::start();
    // One node is enough to find the others.
    let options = RedisOptions::cluster(&cluster.urls()[..1]).unwrap();
    let store = RedisStore::new(&patient(options)).unwrap();
    store.ready().await.unwrap();
    let limiter = counting(store, 10.0);
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    for decision in limiter.check_many(&names, 1.0).await.unwrap() {
        assert_eq!(decision.remaining, 9);
    }
    for node in cluster.nodes() {
        let held: u64 = node.cli(&["DBSIZE"]).parse().unwrap();
        assert!((1..60).contains(&held), "{held}");
    }
    assert!(keys.iter().all(|key| count(&cluster, key) == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_cost_no_check() {
    let cluster = Cluster::start();
    let limiter = Arc::new(counting(patient_store(&cluster), 1e9));
    let keys = ["a", "b", "c", "d"];
    let loads: Vec<Load> = keys.iter().map(|key| Load::start(&limiter, key, 8)).collect();
    for _ in 0..3 {
        for (key, load) in keys.iter().zip(&loads) {
            load.admits(50).await;
            let (slot, from) = (cluster.slot(key), cluster.owner(key));
            let to = (from + 1) % 3;
            cluster.begin_move(slot, from, to);
            load.admits(20).await;
            cluster.move_key(key, from, to);
            // The key is with the new node, the slot with the old one.
            load.admits(20).await;
            cluster.end_move(slot, from, to);
            load.admits(20).await;
        }
    }
    for (key, load) in keys.iter().zip(loads) {
        let tally = load.stop().await;
        assert_eq!((tally.lost, tally.denied), (0, 0), "{key}");
        assert_eq!(count(&cluster, key), tally.admitted, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_takes_only_its_keys_along() {
    let settings = Settings { durable: true, ..partial() };
    let mut cluster = Cluster::with(&settings);
    let limiter = Arc::new(counting(patient_store(&cluster), 1e9));
    let lost = cluster.owner("k");
    let other = key_elsewhere(&cluster, lost);
    let load = Load::start(&limiter, "k", 16);
    load.admits(300).await;
    assert!(limiter.check(&other).await.unwrap().allowed);
    cluster.node_mut(lost).kill();
    for _ in 0..100 {
        assert!(limiter.check(&other).await.unwrap().allowed);
    }
    cluster.node_mut(lost).restart();
    let whole = || cluster.nodes()[lost].cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    assert!(redis_support::until(whole).await);
    assert!(recovers(&limiter, "k").await < RECOVERY);
    load.admits(300).await;
    let mut tally = load.stop().await;
    tally.admitted += 1;
    tally.assert_counted_once(count(&cluster, "k"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_node_is_followed_by_its_replica() {
    let settings = Settings::default();
    let mut cluster = Cluster::start();
    let failed = cluster.owner("k");
    cluster.add_replica(failed, &settings);
    let limiter = limiter(&cluster);
    let load = Load::start(&limiter, "k", 8);
    load.admits(300).await;
    cluster.node_mut(failed).kill();
    let replica = &cluster.nodes()[3];
    let promoted = || {
        let leads = replica.cli(&["ROLE"]).starts_with("master");
        leads
            && cluster.nodes().iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.is_empty() || info.contains("cluster_state:ok")
            })
    };
    assert!(tokio::task::block_in_place(|| tests::process::wait(promoted)));
    assert!(recovers(&limiter, "k").await < RECOVERY);
    load.admits(300).await;
    let tally = load.stop().await;
    let counted = used(&replica.cli(&["HGET", "k", "c"]));
    // The replica may not have had the latest writes; none is there twice.
    assert!(counted <= tally.admitted + tally.lost + 1, "the server counted {counted}, the clients {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_slot_has_gone_is_remembered() {
    let mut cluster = Cluster::with(&partial());
    let limiter = limiter(&cluster);
    assert!(limiter.check("k").await.unwrap().allowed);
    let (slot, from) = (cluster.slot("k"), cluster.owner("k"));
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.end_move(slot, from, to);
    assert!(limiter.check("k").await.unwrap().allowed);
    // Who would ask the old node first gets no answer any more.
    cluster.node_mut(from).kill();
    assert!(recovers(&limiter, "k").await < RECOVERY);
    assert_eq!(used(&cluster.nodes()[to].cli(&["HGET", "k", "c"])), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_holds_up_nobody_elses_keys() {
    let mut cluster = Cluster::start();
    let limiter = limiter(&cluster);
    let hung = cluster.owner("k");
    let other = key_elsewhere(&cluster, hung);
    let before = limiter.check("k").await.unwrap();
    assert!(limiter.check(&other).await.unwrap().allowed);
    cluster.node_mut(hung).pause();
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(limiter.check(&other).await.unwrap().allowed);
    cluster.node_mut(hung).resume();
    assert!(recovers(&limiter, "k").await < RECOVERY);
    assert!(limiter.check("k").await.unwrap().remaining < before.remaining);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_wait_for_a_node_that_hangs_hold_up_no_others() {
    let mut cluster = Cluster::with(&partial());
    let limiter = limiter(&cluster);
    let hung = cluster.owner("k");
    let other = key_elsewhere(&cluster, hung);
    let load = Load::start(&limiter, "k", 16);
    load.admits(100).await;
    cluster.node_mut(hung).pause();
    // From here on the connection is known to be silent.
    load.loses(100).await;
    // Each window is longer than an attempt to connect and the pause after it, so that who waits for the other node shows
    // in all of them. A busy machine shows in some.
    let mut slowest = Vec::new();
    for _ in 0..5 {
        let (start, mut worst) = (Instant::now(), Duration::ZERO);
        while start.elapsed() < Duration::from_secs(1) {
            let begun = Instant::now();
            assert!(limiter.check(&other).await.unwrap().allowed);
            worst = worst.max(begun.elapsed());
        }
        slowest.push(worst);
    }
    assert!(slowest.iter().any(|worst| *worst < Duration::from_millis(300)), "{slowest:?}");
    cluster.node_mut(hung).resume();
    let tally = load.stop().await;
    tally.assert_counted_once(count(&cluster, "k"));
}

#[tokio::test]
async fn a_cluster_that_is_not_there_at_first() {
    let mut cluster = Cluster::start();
    for node in 0..3 {
        cluster.node_mut(node).kill();
    }
    let limiter = limiter(&cluster);
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    for node in 0..3 {
        cluster.node_mut(node).restart();
    }
    let whole = || cluster.nodes().iter().all(|node| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    assert!(redis_support::until(whole).await);
    assert!(recovers(&limiter, "k").await < RECOVERY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joint_check_needs_its_keys_in_one_slot() {
    let cluster = Cluster::start();
    let strategy = || FixedWindow::builder().limit(5.0).window_ms(1e12).build().unwrap();
    let joint = |prefix: &str| {
        let builder = Multi::all().store(Remote::new(patient_store(&cluster))).prefix(prefix);
        builder.dimension("a", strategy(), 1.0).dimension("b", strategy(), 1.0).build().unwrap()
    };
    assert_ne!(cluster.slot("a:x"), cluster.slot("b:y"));
    let error = joint("").check(&["x", "y"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");

    let together = joint("{t}");
    assert!(together.check(&["x", "y"]).await.unwrap().allowed);
    let (one, two) = ("{t}:a:x", "{t}:b:y");
    assert_eq!((count(&cluster, one), count(&cluster, two)), (1, 1));

    // One of two keys goes ahead: neither node can run the check until the other follows.
    let (slot, from) = (cluster.slot(one), cluster.owner(one));
    let to = (from + 1) % 3;
    cluster.begin_move(slot, from, to);
    cluster.move_key(one, from, to);
    let error = together.check(&["x", "y"]).await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    cluster.end_move(slot, from, to);
    assert!(together.check(&["x", "y"]).await.unwrap().allowed);
    assert_eq!((count(&cluster, one), count(&cluster, two)), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_checks_at_once_admit_exactly_the_limit() {
    let cluster = Cluster::start();
    let limiter = Arc::new(counting(patient_store(&cluster), 50.0));
    let tally = at_once(&limiter, "k", 200).await;
    assert_eq!((tally.admitted, tally.denied, tally.lost), (50, 150, 0));
    assert_eq!(count(&cluster, "k"), 50);
}
