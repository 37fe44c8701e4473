//! How many requests a call costs.

use futures_util::future::join_all;
use tests::dynamodb::Verdict;
use throttlekit::store::Remote;
use throttlekit::{FixedWindow, Limiter, ManualClock};
use throttlekit_dynamodb::DynamoDbStore;

use crate::support::{Table, add};

/// A limiter of two units in a second that stands still.
fn two(store: DynamoDbStore) -> Limiter<FixedWindow, Remote, ManualClock> {
    let strategy = FixedWindow::builder().limit(2.0).window_ms(1_000.0).build().unwrap();
    Limiter::builder(strategy).keyspace(Remote::new(store)).clock(ManualClock::new(0.0)).build()
}

#[tokio::test]
async fn one_in_the_warm_case_and_two_in_the_cold_one() {
    let table = Table::new("counts").await;
    let limiter = two(table.store());
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(table.proxy.take(), ["GetItem", "PutItem"]);
    assert!(limiter.check("k").await.unwrap().allowed);
    assert_eq!(table.proxy.take(), ["PutItem"]);
    // A denial is never answered by what this process remembers.
    for _ in 0..2 {
        assert!(!limiter.check("k").await.unwrap().allowed);
        assert_eq!(table.proxy.take(), ["GetItem"]);
    }
    limiter.peek("k").await.unwrap();
    assert_eq!(table.proxy.take(), ["GetItem"]);
    limiter.reset("k").await.unwrap();
    assert_eq!(table.proxy.take(), ["DeleteItem"]);
}

#[tokio::test]
async fn a_denial_that_is_out_of_date_is_not_given() {
    let table = Table::new("stale").await;
    let (ours, theirs) = (two(table.store()), two(table.store()));
    assert!(ours.check_cost("k", 2.0).await.unwrap().allowed);
    theirs.reset("k").await.unwrap();
    table.proxy.take();
    assert!(ours.check("k").await.unwrap().allowed);
    assert_eq!(table.proxy.take(), ["GetItem", "PutItem"]);
}

#[tokio::test]
async fn a_write_over_what_is_out_of_date_costs_one_more() {
    let table = Table::new("stale-write").await;
    let (ours, theirs) = (table.store(), table.store());
    add(&ours, "k", 0.0, 1.0).await.unwrap();
    add(&theirs, "k", 0.0, 1.0).await.unwrap();
    table.proxy.take();
    assert_eq!(add(&ours, "k", 0.0, 1.0).await.unwrap(), 3.0);
    // The failed condition tells what is there.
    assert_eq!(table.proxy.take(), ["PutItem", "PutItem"]);
}

#[tokio::test]
async fn without_memory_every_call_reads() {
    let table = Table::new("no-memory").await;
    let store = table.builder().remembered_keys(0).build().unwrap();
    for sum in [1.0, 2.0] {
        assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), sum);
        assert_eq!(table.proxy.take(), ["GetItem", "PutItem"]);
    }
}

#[tokio::test]
async fn calls_that_meet_on_a_key_go_as_one() {
    let table = Table::new("meet").await;
    let store = table.store();
    let sums = join_all((0..200).map(|_| add(&store, "k", 0.0, 1.0))).await;
    // In the order in which they came.
    let sums: Vec<_> = sums.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=200).map(f64::from).collect::<Vec<_>>());
    assert_eq!(table.proxy.take(), ["GetItem", "PutItem", "PutItem"]);
}

#[tokio::test]
async fn denials_that_meet_share_one_read() {
    let table = Table::new("meet-denied").await;
    let limiter = two(table.store());
    limiter.check_cost("k", 2.0).await.unwrap();
    table.proxy.take();
    let decisions = join_all((0..50).map(|_| limiter.check("k"))).await;
    assert!(decisions.into_iter().all(|decision| !decision.unwrap().allowed));
    assert_eq!(table.proxy.take(), ["GetItem", "GetItem"]);
}

#[tokio::test]
async fn a_batch_reads_by_the_hundred_and_writes_each_key() {
    let table = Table::new("batches").await;
    let limiter = two(table.store());
    let keys: Vec<_> = (0..250).map(|n| format!("k{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    assert!(limiter.check_many(&keys, 2.0).await.unwrap().iter().all(|decision| decision.allowed));
    let taken = table.proxy.take();
    let count = |name: &str| taken.iter().filter(|taken| *taken == name).count();
    assert_eq!((count("BatchGetItem"), count("PutItem"), taken.len()), (3, 250, 253));
    // All denied: what is remembered has to be read.
    assert!(limiter.check_many(&keys, 1.0).await.unwrap().iter().all(|decision| !decision.allowed));
    assert_eq!(table.proxy.take(), ["BatchGetItem"; 3]);
}

#[tokio::test]
async fn a_small_batch_is_one_transaction() {
    let table = Table::new("small-batches").await;
    let limiter = two(table.store());
    assert!(limiter.check_many(&["a", "b", "a"], 1.0).await.unwrap().iter().all(|decision| decision.allowed));
    assert_eq!(table.proxy.take(), ["BatchGetItem", "TransactWriteItems"]);
    let allowed: Vec<_> = limiter.check_many(&["a", "b", "c"], 1.0).await.unwrap().iter().map(|d| d.allowed).collect();
    assert_eq!(allowed, [false, true, true]);
    // `c` is new; the refusal of `a` is proven by a condition.
    assert_eq!(table.proxy.take(), ["GetItem", "TransactWriteItems"]);
}

#[tokio::test]
async fn a_large_batch_tries_again_only_what_was_lost() {
    let table = Table::new("lost-part").await;
    let (ours, theirs) = (two(table.store()), two(table.store()));
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    ours.check_many(&keys, 1.0).await.unwrap();
    theirs.check("k7").await.unwrap();
    table.proxy.take();
    let decisions = ours.check_many(&keys, 1.0).await.unwrap();
    let denied: Vec<_> = (0..30).filter(|n| !decisions[*n].allowed).collect();
    assert_eq!(denied, [7]);
    // What the failed condition told is enough for a denial.
    assert_eq!(table.proxy.take(), ["PutItem"; 30]);
}

#[tokio::test]
async fn keys_left_out_of_a_batch_are_asked_for_again() {
    let table = Table::new("left-out").await;
    let limiter = two(table.builder().max_retries(1).build().unwrap());
    let left_out = r#"{"Responses":{},"UnprocessedKeys":{"left-out":{"Keys":[{"pk":{"S":"a"}},{"pk":{"S":"b"}}]}}}"#;
    table.proxy.set_rule(|operation, before| match (operation, before) {
        ("BatchGetItem", 0) => Verdict::Answer(left_out.to_owned()),
        _ => Verdict::Pass,
    });
    assert!(limiter.check_many(&["a", "b"], 2.0).await.unwrap().iter().all(|decision| decision.allowed));
    assert_eq!(table.proxy.take(), ["BatchGetItem", "BatchGetItem", "TransactWriteItems"]);
    table.proxy.set_rule(|_, _| Verdict::Answer(left_out.to_owned()));
    let error = limiter.check_many(&["a", "b"], 1.0).await.unwrap_err();
    assert!(error.is_store_unavailable() && error.to_string().contains("BatchGetItem"), "{error}");
    assert_eq!(table.proxy.take(), ["BatchGetItem"; 2]);
}

#[tokio::test]
async fn a_throttled_batch_is_not_tried_again() {
    let table = Table::new("throttled-batch").await;
    table.proxy.set_rule(|_, _| Verdict::Refuse("ProvisionedThroughputExceededException"));
    let error = two(table.store()).check_many(&["a", "b"], 1.0).await.unwrap_err();
    assert!(error.is_store_unavailable() && error.to_string().contains("Throughput"), "{error}");
    assert_eq!(table.proxy.take(), ["BatchGetItem"]);
}
