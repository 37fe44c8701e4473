//! What is stored, and how it comes and goes.

use aws_sdk_dynamodb::types::AttributeValue;
use tests::dynamodb::Verdict;
use throttlekit::store::Remote;
use throttlekit::{ErrorKind, FixedWindow, Gcra, Limiter, ManualClock, State};

use crate::support::{Add, Table, add, patient, run};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.to_owned())
}

#[tokio::test]
async fn an_item_has_the_layout_of_the_family() {
    let table = Table::new("layout").await;
    let store = table.builder().prefix("app").build().unwrap();
    let gcra = Gcra::builder().limit(3.0).period_ms(1_000.0).build().unwrap();
    let clock = ManualClock::new(1_700_000_000_000.0);
    let limiter = Limiter::builder(gcra).keyspace(Remote::new(store)).clock(clock).prefix("api").build();
    limiter.check("u1").await.unwrap();
    let item = table.item("app:api:u1").await.unwrap();
    let mut names: Vec<_> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["expires_at", "expires_at_ms", "pk", "state", "version"]);
    assert_eq!(item["state"], s("1700000000333.3333"));
    assert_eq!(item["expires_at_ms"], n("1700000000334"));
    assert_eq!(item["expires_at"], n("1700000001"));
    assert!(item["version"].as_n().unwrap().parse::<u64>().unwrap() < 1 << 52);
}

#[tokio::test]
async fn seconds_are_for_the_table_and_milliseconds_for_us() {
    let table = Table::new("seconds").await;
    let store = table.store();
    assert_eq!(add(&store, "a", 1_700_000_000_000.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(table.number("a", "expires_at").await, "1700000060");
    let short = Add { ttl_ms: 500.0 };
    assert_eq!(run(&store, "b", 1_000.0, &short, &1.0).await.unwrap(), 1.0);
    assert_eq!(table.number("b", "expires_at").await, "2");
    // The rounded second is not over yet.
    assert_eq!(run(&store, "b", 1_600.0, &short, &1.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn an_expired_item_is_overwritten_in_place() {
    let table = Table::new("expired").await;
    for store in [table.store(), table.builder().remembered_keys(0).build().unwrap()] {
        let second = Add { ttl_ms: 1_000.0 };
        assert_eq!(run(&store, "k", 0.0, &second, &1.0).await.unwrap(), 1.0);
        let first: u64 = table.number("k", "version").await.parse().unwrap();
        assert_eq!(run(&store, "k", 999.0, &second, &1.0).await.unwrap(), 2.0);
        assert_eq!(run(&store, "k", 1_999.0, &second, &1.0).await.unwrap(), 1.0);
        assert_eq!(table.number("k", "version").await, (first + 2).to_string());
        store_reset(&store, "k").await;
    }
}

async fn store_reset(store: &throttlekit_dynamodb::DynamoDbStore, key: &str) {
    let any = Gcra::builder().limit(1.0).period_ms(1_000.0).build().unwrap();
    Limiter::builder(any).keyspace(Remote::new(store.clone())).prefix("").build().reset(key).await.unwrap();
}

#[tokio::test]
async fn an_item_that_has_only_seconds_is_read() {
    let table = Table::new("old-items").await;
    let old = [("state", s("41")), ("expires_at", n("2")), ("version", n("0"))];
    table.put("live", &old).await;
    assert_eq!(add(&table.store(), "live", 1_999.0, 1.0).await.unwrap(), 42.0);
    assert_eq!(table.number("live", "version").await, "1");
    table.put("dead", &old).await;
    assert_eq!(add(&table.store(), "dead", 2_000.0, 1.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn the_key_may_have_another_name() {
    let table = Table::new("other-name").await;
    let client = table.client();
    let store = patient(client.clone(), "by-id").hash_key("id").build().unwrap();
    store.create_table().await.unwrap();
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 2.0);
    let found = client.get_item().table_name("by-id").key("id", s("k")).send().await.unwrap().item.unwrap();
    assert_eq!(found["state"], s("2"));
}

#[tokio::test]
async fn numbers_come_back_to_the_last_bit() {
    let table = Table::new("numbers").await;
    let store = table.store();
    for (key, number) in [("a", 1_700_000_000_333.333_3), ("b", 0.1 + 0.2), ("c", 5e-324), ("d", f64::MAX)] {
        assert_eq!(add(&store, key, 0.0, number).await.unwrap(), number);
        assert_eq!(f64::decode(&table.text(key).await.unwrap()), Some(number));
        // Read by another process.
        assert_eq!(add(&table.store(), key, 0.0, 0.0).await.unwrap(), number);
    }
}

#[tokio::test]
async fn prefixes_keep_stores_apart() {
    let table = Table::new("prefixes").await;
    let (a, b) = (table.builder().prefix("a").build().unwrap(), table.builder().prefix("b").build().unwrap());
    assert_eq!(add(&a, "k", 0.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(add(&b, "k", 0.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(add(&table.store(), "a:k", 0.0, 1.0).await.unwrap(), 2.0);
}

/// A item made again must not be taken for the one before: its version is new.
#[tokio::test]
async fn an_item_that_was_deleted_and_made_again_is_not_overwritten_unseen() {
    let table = Table::new("made-again").await;
    let (ours, theirs) = (table.store(), table.store());
    assert_eq!(add(&ours, "k", 0.0, 10.0).await.unwrap(), 10.0);
    store_reset(&theirs, "k").await;
    assert_eq!(add(&theirs, "k", 0.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(add(&ours, "k", 0.0, 10.0).await.unwrap(), 11.0);
}

#[tokio::test]
async fn what_is_not_ours_is_an_error_and_can_be_reset() {
    let table = Table::new("not-ours").await;
    let store = table.store();
    let far = n("9000000000");
    let cases: [(&str, &[(&str, AttributeValue)]); 4] = [
        ("text", &[("state", s("{}")), ("expires_at", far.clone()), ("version", n("1"))]),
        ("type", &[("state", n("1")), ("expires_at", far.clone()), ("version", n("1"))]),
        ("version", &[("state", s("1")), ("expires_at", far.clone()), ("version", n("1.5"))]),
        ("deadline", &[("state", s("1")), ("version", n("1"))]),
    ];
    let strategy = FixedWindow::builder().limit(5.0).window_ms(1_000.0).build().unwrap();
    let clock = ManualClock::new(1_000.0);
    let limiter =
        Limiter::builder(strategy).keyspace(Remote::new(store.clone())).clock(clock.clone()).prefix("").build();
    for (key, attributes) in cases {
        table.put(key, attributes).await;
        let before = table.item(key).await;
        assert_eq!(limiter.check(key).await.unwrap_err().kind(), ErrorKind::StateInvalid, "{key}");
        assert_eq!(limiter.peek(key).await.unwrap_err().kind(), ErrorKind::StateInvalid, "{key}");
        assert_eq!(table.item(key).await, before, "{key}");
        limiter.reset(key).await.unwrap();
        assert!(limiter.check(key).await.unwrap().allowed, "{key}");
    }
}

#[tokio::test]
async fn keys_that_the_table_cannot_have_are_refused() {
    let table = Table::new("keys").await;
    let store = table.store();
    for key in [String::new(), "k".repeat(2_049)] {
        let error = add(&store, &key, 0.0, 1.0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(&format!("{} bytes", key.len())), "{error}");
    }
    assert_eq!(table.proxy.take(), [""; 0]);
    assert_eq!(add(&store, &"k".repeat(2_048), 0.0, 1.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_state_that_fits_no_item_is_refused() {
    let table = Table::new("long-states").await;
    let store = table.store();
    let error = run(&store, "k", 0.0, &crate::support::Grow, &(420 * 1024)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("400 KB"), "{error}");
    assert_eq!(table.item("k").await, None);
    run(&store, "k", 0.0, &crate::support::Grow, &(390 * 1024)).await.unwrap();
    assert_eq!(run(&table.store(), "k", 0.0, &crate::support::Grow, &1).await.unwrap(), 390 * 1024 + 1);
}

#[tokio::test]
async fn lost_races_are_tried_again_up_to_a_number() {
    let table = Table::new("lost").await;
    let store = table.builder().max_retries(2).build().unwrap();
    table.proxy.set_rule(|operation, _| match operation {
        "PutItem" => Verdict::Refuse("ConditionalCheckFailedException"),
        _ => Verdict::Pass,
    });
    let error = add(&store, "k", 0.0, 1.0).await.unwrap_err();
    assert!(error.is_store_unavailable());
    assert!(error.to_string().contains("3 lost races"), "{error}");
    // Told nothing of what is there, it reads again.
    assert_eq!(table.proxy.take(), ["GetItem", "PutItem", "GetItem", "PutItem", "GetItem", "PutItem"]);
}

#[tokio::test]
async fn nothing_else_is_tried_again() {
    let table = Table::new("throttled").await;
    let store = table.store();
    for name in ["ProvisionedThroughputExceededException", "ThrottlingException", "InternalServerError"] {
        table.proxy.set_rule(move |operation, _| match operation {
            "PutItem" => Verdict::Refuse(name),
            _ => Verdict::Pass,
        });
        let error = add(&store, "k", 0.0, 1.0).await.unwrap_err();
        assert!(error.is_store_unavailable());
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(table.proxy.take(), ["GetItem", "PutItem"]);
        table.proxy.set_rule(move |_, _| Verdict::Refuse(name));
        assert!(add(&store, "k", 0.0, 1.0).await.unwrap_err().is_store_unavailable());
        assert_eq!(table.proxy.take(), ["GetItem"]);
    }
    assert_eq!(table.item("k").await, None);
}
