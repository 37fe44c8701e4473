//! Calls on several keys.

use std::sync::Arc;

use futures_util::future::join_all;
use tests::dynamodb::Verdict;
use throttlekit::store::Remote;
use throttlekit::{ErrorKind, FixedWindow, Limiter, ManualClock, Multi};
use throttlekit_dynamodb::DynamoDbStore;

use crate::support::{Table, add};

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1_000.0).build().unwrap()
}

/// Two dimensions: five units for all, `user` for each user.
fn both(store: DynamoDbStore, user: f64) -> Multi<Remote, ManualClock> {
    let multi = Multi::all().dimension("all", window(5.0), 1.0).dimension("user", window(user), 1.0);
    multi.store(Remote::new(store)).clock(ManualClock::new(0.0)).build().unwrap()
}

/// How much a window has counted under `key`.
async fn count(table: &Table, key: &str) -> Option<String> {
    table.text(key).await
}

#[tokio::test]
async fn all_are_charged_or_none() {
    let table = Table::new("all-or-none").await;
    let limit = both(table.store(), 2.0);
    for remaining in [1, 0] {
        let decision = limit.check(&["", "u1"]).await.unwrap();
        assert_eq!((decision.allowed, decision.remaining), (true, remaining));
    }
    assert_eq!(table.proxy.take(), ["BatchGetItem", "TransactWriteItems", "TransactWriteItems"]);
    let before = (count(&table, "all:").await, count(&table, "user:u1").await);
    assert!(!limit.check(&["", "u1"]).await.unwrap().allowed);
    assert_eq!(table.proxy.take(), ["BatchGetItem"]);
    assert_eq!((count(&table, "all:").await, count(&table, "user:u1").await), before);
}

#[tokio::test]
async fn a_refused_one_is_seen_as_it_is() {
    let table = Table::new("seen").await;
    let (ours, theirs) = (both(table.store(), 2.0), both(table.store(), 2.0));
    ours.check(&["", "u1"]).await.unwrap();
    theirs.check(&["", "u1"]).await.unwrap();
    // What we remember of `u1` would admit one more.
    assert!(!ours.check(&["", "u1"]).await.unwrap().allowed);
    assert_eq!(table.text("all:").await.as_deref(), Some(r#"{"start":0,"count":2}"#));
}

#[tokio::test]
async fn a_transaction_that_lost_is_stepped_again() {
    let table = Table::new("lost-joint").await;
    let (ours, theirs) = (both(table.store(), 9.0), both(table.store(), 9.0));
    ours.check(&["", "u1"]).await.unwrap();
    theirs.check(&["", "u2"]).await.unwrap();
    table.proxy.take();
    assert_eq!(ours.check(&["", "u1"]).await.unwrap().remaining, 2);
    // The canceled transaction tells what is there.
    assert_eq!(table.proxy.take(), ["TransactWriteItems"; 2]);
    // Somebody is in the middle of a transaction on one of the keys.
    table.proxy.set_rule(|operation, before| match (operation, before) {
        ("TransactWriteItems", 0) => Verdict::Refuse("TransactionInProgressException"),
        _ => Verdict::Pass,
    });
    let error = ours.check(&["", "u1"]).await.unwrap_err();
    assert!(error.is_store_unavailable() && error.to_string().contains("TransactionInProgress"), "{error}");
}

#[tokio::test]
async fn any_charges_those_that_admit_at_once() {
    let table = Table::new("any").await;
    let multi = Multi::any().dimension("a", window(1.0), 1.0).dimension("b", window(3.0), 1.0);
    let limit = multi.store(Remote::new(table.store())).clock(ManualClock::new(0.0)).build().unwrap();
    for allowed in [true, true, true, false] {
        assert_eq!(limit.check(&["x", "x"]).await.unwrap().allowed, allowed);
    }
    assert_eq!(
        table.proxy.take(),
        ["BatchGetItem", "TransactWriteItems", "TransactWriteItems", "TransactWriteItems", "BatchGetItem"]
    );
    assert_eq!(table.text("a:x").await.as_deref(), Some(r#"{"start":0,"count":1}"#));
    assert_eq!(table.text("b:x").await.as_deref(), Some(r#"{"start":0,"count":3}"#));
}

#[tokio::test]
async fn calls_that_share_a_key_go_together() {
    let table = Table::new("share-a-key").await;
    let limit = both(table.store(), 1.0);
    let users: Vec<_> = (0..20).map(|n| format!("u{n}")).collect();
    let keys: Vec<_> = users.iter().map(|user| ["", user]).collect();
    let decisions = join_all(keys.iter().map(|keys| limit.check(keys))).await;
    let allowed: Vec<_> = decisions.into_iter().map(|decision| decision.unwrap().allowed).collect();
    assert_eq!(allowed, [[true; 5].as_slice(), &[false; 15]].concat());
    // The first alone, then the other nineteen.
    let taken = table.proxy.take();
    assert!(taken.len() <= 4, "{taken:?}");
    assert_eq!(table.text("all:").await.as_deref(), Some(r#"{"start":0,"count":5}"#));
    for (n, user) in users.iter().enumerate() {
        assert_eq!(table.text(&format!("user:{user}")).await.is_some(), n < 5, "{user}");
    }
}

/// Plain writes by another process between joint ones: the service refuses the one that meets the other.
#[tokio::test]
async fn joint_and_plain_calls_of_several_processes_lose_nothing() {
    let table = Table::new("joint-plain").await;
    let handles: Vec<_> = (0..4).map(|_| table.builder().max_retries(200).build().unwrap()).collect();
    let all = |store: &DynamoDbStore| {
        let multi = Multi::all().dimension("a", window(1e6), 1.0).dimension("b", window(1e6), 1.0);
        multi.store(Remote::new(store.clone())).clock(ManualClock::new(0.0)).build().unwrap()
    };
    let limits: Vec<_> = handles.iter().map(all).collect();
    let strategy = window(1e6);
    let plain: Vec<_> = handles
        .iter()
        .map(|store| {
            let limiter = Limiter::builder(strategy).keyspace(Remote::new(store.clone()));
            limiter.clock(ManualClock::new(0.0)).prefix("a").build()
        })
        .collect();
    let work = limits.iter().zip(&plain).map(|(limit, plain)| async move {
        for _ in 0..10 {
            assert!(limit.check(&["x", "x"]).await.unwrap().allowed);
            assert!(plain.check("x").await.unwrap().allowed);
        }
    });
    join_all(work).await;
    assert_eq!(table.text("a:x").await.as_deref(), Some(r#"{"start":0,"count":80}"#));
    assert_eq!(table.text("b:x").await.as_deref(), Some(r#"{"start":0,"count":40}"#));
}

#[tokio::test]
async fn more_keys_than_a_transaction_takes_are_refused() {
    let table = Table::new("too-many").await;
    let store = table.store();
    let error = run_all(&store, 101).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("101 keys") && error.to_string().contains("100"), "{error}");
    assert_eq!(table.proxy.take(), [""; 0]);
    run_all(&store, 100).await.unwrap();
    assert_eq!(add(&store, "k99", 0.0, 1.0).await.unwrap(), 2.0);
}

/// Adds 1 to each of `keys` keys, in all or in none.
async fn run_all(store: &DynamoDbStore, keys: usize) -> Result<(), throttlekit::Error> {
    use throttlekit::store::{Call, DynStore, Rule};
    let mut call = Call::new(0.0, Rule::All);
    for n in 0..keys {
        call.push(format!("k{n}"), crate::support::Add { ttl_ms: 60_000.0 }, 1.0);
    }
    Arc::new(store.clone()).run_boxed(call).await.map(drop)
}
