//! The store from a configuration file.

use throttlekit::config::{Config, StoreKind};
use throttlekit::policy::{Connect, LoadOptions, Policies};
use throttlekit_dynamodb::DynamoDbConnector;

use crate::support::Table;

fn file(table: &Table, extra: &str) -> String {
    format!(
        "store:
  dynamodb:
    table: {}
    endpoint: http://{}
    credentials: {{ accessKeyId: AKIDTEST, secretAccessKey: swordfish }}
    {extra}
  timeout: 30s
limiters:
  api: {{ strategy: gcra, limit: 2, period: 1h }}
",
        table.name,
        table.proxy.address()
    )
}

#[tokio::test]
async fn a_file_opens_the_store_that_it_describes() {
    let table = Table::new("from-file").await;
    let text = file(&table, "");
    let options = || LoadOptions::new().connector(DynamoDbConnector::new());
    let (ours, theirs) = (Policies::load(&text, options()).unwrap(), Policies::load(&text, options()).unwrap());
    // Two registries, as two processes would have them.
    for (policies, allowed) in [(&ours, true), (&theirs, true), (&ours, false)] {
        let decision = policies.get("api").unwrap().limiter().unwrap().check("u1", 1.0).await.unwrap();
        assert_eq!(decision.allowed, allowed);
    }
    assert!(table.text("api:u1").await.is_some());
}

#[tokio::test]
async fn options_of_a_file_reach_the_store() {
    let table = Table::new("file-options").await;
    let text = file(&table, "hashKey: id\n    autoCreate: true").replace("file-options", "file-options-made");
    let policies = Policies::load(&text, LoadOptions::new().connector(DynamoDbConnector::new())).unwrap();
    assert!(policies.get("api").unwrap().limiter().unwrap().check("u1", 1.0).await.unwrap().allowed);
    let made = table.client().describe_table().table_name("file-options-made").send().await.unwrap().table.unwrap();
    assert_eq!(made.key_schema()[0].attribute_name, "id");
}

#[test]
fn a_store_opens_without_a_server_and_without_a_runtime() {
    let text = "store: { dynamodb: { table: limits, region: eu-west-1 } }\nlimiters: {}";
    let spec = Config::from_yaml(text).unwrap().store;
    assert_eq!(DynamoDbConnector::new().kind(), StoreKind::DynamoDb);
    assert!(DynamoDbConnector::new().open(&spec).is_ok());
    let bad = Config::from_yaml("store: { dynamodb: { table: a b, region: eu-west-1 } }\nlimiters: {}").unwrap().store;
    let Err(error) = DynamoDbConnector::new().open(&bad) else { panic!("a table cannot be called that") };
    assert!(error.to_string().contains("\"a b\""), "{error}");
}
