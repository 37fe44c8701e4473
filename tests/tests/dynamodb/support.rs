//! What the tests of this store share.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use tests::dynamodb::{DynamoDb, Proxy, client};
use tests::shared::Shared;
use throttlekit::store::memory::Boxed;
use throttlekit::store::{Keyspace, Remote};
use throttlekit::{Error, Program, State, Step};
use throttlekit_dynamodb::{DynamoDbStore, DynamoDbStoreBuilder};

/// The server of all tests that do not harm it.
static SERVER: Shared<DynamoDb> = Shared::new();

/// A table of its own on the common server, reached through a proxy.
pub(crate) struct Table {
    server: Arc<DynamoDb>,
    pub(crate) proxy: Proxy,
    pub(crate) name: String,
}

impl Table {
    /// Makes a table called `name`, which no other test may use.
    pub(crate) async fn new(name: &str) -> Self {
        let server = SERVER.get(DynamoDb::start);
        DynamoDbStore::new(server.client(), name).unwrap().create_table().await.unwrap();
        Self { proxy: Proxy::start(server.address()), server, name: name.to_owned() }
    }

    /// A store as another process would have it, with patience for a busy machine.
    pub(crate) fn store(&self) -> DynamoDbStore {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> DynamoDbStoreBuilder {
        patient(client(self.proxy.address()), &self.name)
    }

    /// A client beside the proxy.
    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    /// The item under `key`.
    pub(crate) async fn item(&self, key: &str) -> Option<HashMap<String, AttributeValue>> {
        let request = self.client().get_item().table_name(&self.name).consistent_read(true);
        request.key("pk", AttributeValue::S(key.to_owned())).send().await.unwrap().item
    }

    /// A number of the item under `key`, as it is stored.
    pub(crate) async fn number(&self, key: &str, name: &str) -> String {
        self.item(key).await.unwrap()[name].as_n().unwrap().clone()
    }

    /// The state under `key`, as it is stored.
    pub(crate) async fn text(&self, key: &str) -> Option<String> {
        Some(self.item(key).await?["state"].as_s().unwrap().clone())
    }

    pub(crate) async fn put(&self, key: &str, attributes: &[(&str, AttributeValue)]) {
        let mut request = self.client().put_item().table_name(&self.name);
        for (name, value) in attributes {
            request = request.item(*name, value.clone());
        }
        request.item("pk", AttributeValue::S(key.to_owned())).send().await.unwrap();
    }
}

/// A store that no busy machine is too slow for.
pub(crate) fn patient(client: Client, table: &str) -> DynamoDbStoreBuilder {
    DynamoDbStore::builder(client, table).timeout(std::time::Duration::from_secs(60))
}

/// Adds to a number, which is forgotten after a while.
#[derive(Clone)]
pub(crate) struct Add {
    pub(crate) ttl_ms: f64,
}

impl Program for Add {
    type State = f64;
    type Change = f64;
    type Request = f64;
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, state: Option<&f64>, _now_ms: f64, request: &f64) -> Step<f64, f64> {
        let sum = state.copied().unwrap_or(0.0) + request;
        Step::Write { change: sum, ttl_ms: self.ttl_ms, outcome: sum }
    }

    fn reply(&self, _now_ms: f64, _request: &f64, outcome: f64) -> f64 {
        outcome
    }
}

/// Adds `amount` to `key` at `now_ms`, for a minute, and says what that makes.
pub(crate) async fn add(store: &DynamoDbStore, key: &str, now_ms: f64, amount: f64) -> Result<f64, Error> {
    run(store, key, now_ms, &Add { ttl_ms: 60_000.0 }, &amount).await
}

pub(crate) async fn run<P: Program>(
    store: &DynamoDbStore,
    key: &str,
    now_ms: f64,
    program: &P,
    request: &P::Request,
) -> Result<P::Reply, Error> {
    Keyspace::<P::State>::run(&Remote::new(store.clone()), key, now_ms, program, request).await
}

/// A text that grows by a number of bytes and answers its length.
#[derive(Clone)]
pub(crate) struct Grow;

/// Its state.
pub(crate) struct Text(String);

impl State for Text {
    type Layout = Boxed;

    fn encode(&self) -> String {
        self.0.clone()
    }

    fn decode(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

impl Program for Grow {
    type State = Text;
    type Change = Text;
    type Request = usize;
    type Outcome = usize;
    type Reply = usize;

    fn step(&self, state: Option<&Text>, _now_ms: f64, request: &usize) -> Step<Text, usize> {
        let length = state.map_or(0, |text| text.0.len()) + request;
        Step::Write { change: Text("x".repeat(length)), ttl_ms: 60_000.0, outcome: length }
    }

    fn reply(&self, _now_ms: f64, _request: &usize, outcome: usize) -> usize {
        outcome
    }
}
