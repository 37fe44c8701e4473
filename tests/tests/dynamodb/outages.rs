//! What happens when the server does not answer, and afterwards.

use std::time::Duration;

use tests::dynamodb::{DynamoDb, Proxy, SECRET, Verdict, client};
use throttlekit_dynamodb::DynamoDbStore;

use crate::support::{Table, add, patient};

/// Adds 1 to `k` for a minute of the stores' own time.
async fn one(store: &DynamoDbStore) -> Result<f64, throttlekit::Error> {
    add(store, "k", 0.0, 1.0).await
}

fn quick(client: aws_sdk_dynamodb::Client, table: &str) -> DynamoDbStore {
    DynamoDbStore::builder(client, table).timeout(Duration::from_millis(50)).build().unwrap()
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_holds_what_it_held() {
    let mut server = DynamoDb::start();
    let store = patient(server.client(), "killed").build().unwrap();
    store.create_table().await.unwrap();
    assert_eq!(one(&store).await.unwrap(), 1.0);
    server.kill();
    let error = one(&store).await.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert!(one(&store).await.unwrap_err().is_store_unavailable());
    server.restart();
    assert_eq!(one(&store).await.unwrap(), 2.0);
}

/// Every answered charge is stored, and every stored one was asked for: a crash makes some unknown, none twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_under_load_charges_nothing_twice() {
    let mut server = DynamoDb::start();
    let store = patient(server.client(), "crash").max_retries(100).build().unwrap();
    store.create_table().await.unwrap();
    let (mut answered, mut unknown) = (0_u32, 0_u32);
    for round in 0..4 {
        let others = patient(server.client(), "crash").max_retries(100).build().unwrap();
        let handles: Vec<_> = (0..40)
            .map(|n| {
                let store = if n % 2 == 0 { store.clone() } else { others.clone() };
                tokio::spawn(async move { one(&store).await })
            })
            .collect();
        if round % 2 == 0 {
            // Somewhere in the middle: after the first answers, which other tasks bring.
            tokio::task::yield_now().await;
            server.kill();
        }
        for handle in handles {
            match handle.await.unwrap() {
                Ok(_) => answered += 1,
                Err(error) if error.is_store_unavailable() => unknown += 1,
                Err(error) => panic!("{error}"),
            }
        }
        if round % 2 == 0 {
            server.restart();
        }
    }
    let stored = one(&store).await.unwrap() - 1.0;
    assert!(f64::from(answered) <= stored && stored <= f64::from(answered + unknown), "{answered} {stored} {unknown}");
    assert!(unknown > 0, "no call met a crash");
}

#[tokio::test]
async fn a_hung_server_is_unavailable_within_the_timeout() {
    let mut server = DynamoDb::start();
    let patiently = patient(server.client(), "hung").build().unwrap();
    patiently.create_table().await.unwrap();
    let store = quick(server.client(), "hung");
    server.pause();
    // Also for those that wait behind others.
    let errors = futures_util::future::join_all((0..10).map(|_| one(&store))).await;
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.is_store_unavailable());
        assert!(error.to_string().contains("within 50 ms") || error.to_string().contains("cut off"), "{error}");
    }
    server.resume();
    // Nobody who gave up is charged later by us, and the key is free.
    let sum = one(&patiently).await.unwrap();
    assert!((1.0..=11.0).contains(&sum), "{sum}");
    assert_eq!(one(&patiently).await.unwrap(), sum + 1.0);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_made_again() {
    let table = Table::new("cut").await;
    let store = table.store();
    one(&store).await.unwrap();
    table.proxy.set_rule(|operation, _| if operation == "PutItem" { Verdict::Cut } else { Verdict::Pass });
    assert!(one(&store).await.unwrap_err().is_store_unavailable());
    assert_eq!(table.proxy.take(), ["PutItem"]);
    table.proxy.set_rule(|_, _| Verdict::Pass);
    // It was made, and this one reads what it made.
    assert_eq!(one(&store).await.unwrap(), 3.0);
    assert_eq!(table.proxy.take(), ["GetItem", "PutItem"]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_with_the_timeout() {
    let table = Table::new("no-answer").await;
    table.proxy.set_rule(|operation, _| if operation == "PutItem" { Verdict::Hang } else { Verdict::Pass });
    let store = quick(client(table.proxy.address()), &table.name);
    assert!(one(&store).await.unwrap_err().is_store_unavailable());
    table.proxy.set_rule(|_, _| Verdict::Pass);
    let patiently = table.store();
    assert_eq!(one(&patiently).await.unwrap(), 2.0);
}

#[tokio::test]
async fn errors_and_debug_show_no_secret_and_no_key() {
    let nobody = Proxy::start("127.0.0.1:1".parse().unwrap());
    let address = nobody.address();
    drop(nobody);
    let store = patient(client(address), "secrets").prefix("shop").build().unwrap();
    let error = add(&store, "customer-7", 0.0, 1.0).await.unwrap_err();
    assert!(error.is_store_unavailable());
    assert!(error.to_string().contains("no connection"), "{error}");
    let table = Table::new("secrets").await;
    table.proxy.set_rule(|_, _| Verdict::Refuse("AccessDeniedException"));
    let denied = add(&table.store(), "customer-7", 0.0, 1.0).await.unwrap_err();
    assert!(denied.is_store_unavailable());
    assert!(denied.to_string().contains("AccessDenied"), "{denied}");
    let builder = patient(client(address), "secrets");
    for shown in [format!("{error:?} {error}"), format!("{denied:?}"), format!("{store:?}"), format!("{builder:?}")] {
        for hidden in [SECRET, "AKIDTEST", "customer-7"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
    }
}
