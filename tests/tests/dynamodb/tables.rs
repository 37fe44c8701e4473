//! Making tables, and options.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveStatus};
use throttlekit::{ErrorKind, ManualClock};
use throttlekit_dynamodb::DynamoDbStore;

use crate::support::{Table, add, patient};

#[tokio::test]
async fn a_table_is_billed_by_request_and_expires_items() {
    let table = Table::new("made").await;
    let client = table.client();
    let made = client.describe_table().table_name("made").send().await.unwrap().table.unwrap();
    assert_eq!(made.key_schema().len(), 1);
    assert_eq!(made.key_schema()[0].attribute_name, "pk");
    assert_eq!(made.billing_mode_summary.unwrap().billing_mode.unwrap().as_str(), "PAY_PER_REQUEST");
    let expiry = client.describe_time_to_live().table_name("made").send().await.unwrap();
    let expiry = expiry.time_to_live_description.unwrap();
    assert_eq!(expiry.time_to_live_status, Some(TimeToLiveStatus::Enabled));
    assert_eq!(expiry.attribute_name.as_deref(), Some("expires_at"));
}

#[tokio::test]
async fn making_a_table_again_changes_nothing() {
    let table = Table::new("made-twice").await;
    let store = table.store();
    add(&store, "k", 0.0, 1.0).await.unwrap();
    table.proxy.take();
    let (a, b) = tokio::join!(store.create_table(), store.create_table());
    a.unwrap();
    b.unwrap();
    assert!(!table.proxy.take().contains(&"UpdateTimeToLive".to_owned()));
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn a_table_with_other_keys_is_refused() {
    let table = Table::new("any").await;
    let client = table.client();
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let request = client.create_table().table_name("sorted").billing_mode("PAY_PER_REQUEST".into());
    let request = request.attribute_definitions(attribute("pk")).attribute_definitions(attribute("sk"));
    let request = request.key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range));
    request.send().await.unwrap();
    let error = patient(client, "sorted").build().unwrap().create_table().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains(r#"["pk", "sk"]"#), "{error}");
    let other = table.builder().hash_key("id").build().unwrap().create_table().await.unwrap_err();
    assert!(other.to_string().contains(r#""id""#), "{other}");
}

#[tokio::test]
async fn a_missing_table_is_unavailable_unless_it_is_made() {
    let table = Table::new("beside").await;
    let client = table.client();
    let store = patient(client.clone(), "missing").build().unwrap();
    let error = add(&store, "k", 0.0, 1.0).await.unwrap_err();
    assert!(error.is_store_unavailable());
    assert!(error.to_string().contains("ResourceNotFound"), "{error}");
    let making = patient(client, "missing").auto_create(true).build().unwrap();
    let sums = futures_util::future::join_all((0..4).map(|_| add(&making, "k", 0.0, 1.0))).await;
    assert_eq!(sums.into_iter().map(Result::unwrap).fold(0.0, f64::max), 4.0);
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 5.0);
}

#[tokio::test]
async fn a_table_that_could_not_be_made_is_tried_again() {
    let table = Table::new("beside-too").await;
    let store = patient(tests::dynamodb::client(table.proxy.address()), "later").auto_create(true).build().unwrap();
    table.proxy.set_rule(|_, _| tests::dynamodb::Verdict::Refuse("AccessDeniedException"));
    assert!(add(&store, "k", 0.0, 1.0).await.unwrap_err().is_store_unavailable());
    table.proxy.set_rule(|_, _| tests::dynamodb::Verdict::Pass);
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 1.0);
    assert!(table.proxy.take().contains(&"CreateTable".to_owned()));
    // It is not asked for again.
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 2.0);
    assert_eq!(table.proxy.take(), ["PutItem"]);
}

#[tokio::test]
async fn options_that_make_no_store_are_refused() {
    let table = Table::new("options").await;
    let client = table.client();
    let refused = |builder: throttlekit_dynamodb::DynamoDbStoreBuilder| {
        let error = builder.build().unwrap_err();
        (error.option(), error.value().unwrap().to_owned())
    };
    for name in ["", "ab", "a b", &"x".repeat(256)] {
        let error = DynamoDbStore::new(client.clone(), name).unwrap_err();
        assert_eq!((error.option(), error.value()), ("dynamodb.table_name", Some(format!("{name:?}").as_str())));
    }
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/throttlekit";
    assert!(DynamoDbStore::new(client, arn).is_ok());
    assert_eq!(refused(table.builder().hash_key("")), ("dynamodb.hash_key", r#""""#.to_owned()));
    assert_eq!(refused(table.builder().hash_key("state")), ("dynamodb.hash_key", r#""state""#.to_owned()));
    assert_eq!(refused(table.builder().timeout(Duration::ZERO)), ("dynamodb.timeout", "0ns".to_owned()));
}

#[tokio::test]
async fn a_clock_of_its_own_replaces_the_callers() {
    let table = Table::new("own-clock").await;
    let clock = ManualClock::new(1_000_000.0);
    let store = table.builder().clock(clock.clone()).build().unwrap();
    assert_eq!(add(&store, "k", 5.0, 1.0).await.unwrap(), 1.0);
    assert_eq!(table.number("k", "expires_at_ms").await, "1060000");
    clock.advance(59_999.0);
    assert_eq!(add(&store, "k", 5.0, 1.0).await.unwrap(), 2.0);
    clock.advance(60_000.0);
    assert_eq!(add(&store, "k", 5.0, 1.0).await.unwrap(), 1.0);
}
