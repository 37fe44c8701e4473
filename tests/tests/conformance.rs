//! Every store passes the kit, on a real server.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::sync::Arc;
use std::time::Duration;

use tests::dynamodb::DynamoDb;
use tests::postgres::Postgres;
use tests::redis::Redis;
use tests::shared::Shared;
use throttlekit::store::DynStore;
use throttlekit::testkit::{Harness, Time, conformance};
use throttlekit::{BoxFuture, SystemClock, TokioRuntime};
use throttlekit_dynamodb::{DynamoDbStore, DynamoDbStoreBuilder};
use throttlekit_postgres::{Mode, PostgresStore};
use throttlekit_redis::{RedisOptions, RedisStore, RedisStoreBuilder};

static REDIS: Shared<Redis> = Shared::new();
static POSTGRES: Shared<Postgres> = Shared::new();
static DYNAMODB: Shared<DynamoDb> = Shared::new();

/// For as long as a case takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// Lets the time of a server pass, which nobody can move.
fn pass(span: Duration) -> BoxFuture<()> {
    Box::pin(tokio::time::sleep(span))
}

async fn passes(open: impl Fn() -> Arc<dyn DynStore> + Send + Sync + 'static, time: Time) {
    run(Harness::new(open, time)).await;
}

async fn run(harness: Harness) {
    let harness = harness.wait_with(pass).golden(tests::golden_vectors());
    conformance(&harness.time_limit(TokioRuntime, PATIENCE)).await.unwrap();
}

/// With time limits that end only a test that hangs.
fn redis(server: &Redis) -> RedisOptions {
    RedisOptions::single(server.url()).unwrap().response_timeout(Duration::from_secs(60)).unwrap()
}

/// Programs without a script lose more races here than the default allows for: the kit lets a hundred joint calls of two
/// handles meet on two keys.
fn patient(options: &RedisOptions) -> RedisStoreBuilder {
    RedisStore::builder(options).max_retries(100)
}

#[tokio::test]
async fn redis_at_the_servers_time() {
    let server = REDIS.get(Redis::start);
    let options = redis(&server);
    passes(move || Arc::new(patient(&options).build().unwrap()), Time::Store).await;
}

#[tokio::test]
async fn redis_at_the_callers_time() {
    let server = REDIS.get(Redis::start);
    let options = redis(&server);
    // The server lets entries expire by its own time all the same.
    let open = move || -> Arc<dyn DynStore> {
        let store = patient(&options).server_time(false).ttl_floor(Duration::from_secs(3_600));
        Arc::new(store.build().unwrap())
    };
    passes(open, Time::Caller { expires: false }).await;
}

async fn postgres(mode: Mode, table: &'static str, server_time: bool) {
    let server = POSTGRES.get(Postgres::start);
    let url = server.url();
    let open = move || -> Arc<dyn DynStore> {
        let store = PostgresStore::builder(&url).mode(mode).table(table).server_time(server_time);
        let store = store.timeout(PATIENCE).statement_timeout(PATIENCE).connect_timeout(PATIENCE);
        // A sweep goes by the time of the server.
        Arc::new(store.acquire_timeout(PATIENCE).sweep_interval(Duration::ZERO).build().unwrap())
    };
    passes(open, if server_time { Time::Store } else { Time::Caller { expires: true } }).await;
}

#[tokio::test]
async fn postgres_at_the_servers_time() {
    postgres(Mode::Shared, "at_servers", true).await;
}

#[tokio::test]
async fn postgres_at_the_callers_time() {
    postgres(Mode::Shared, "at_callers", false).await;
}

#[tokio::test]
async fn fast_postgres_at_the_servers_time() {
    postgres(Mode::Fast, "fast_at_servers", true).await;
}

#[tokio::test]
async fn fast_postgres_at_the_callers_time() {
    postgres(Mode::Fast, "fast_at_callers", false).await;
}

/// A table of its own, and stores on it with time limits that end only a test that hangs.
async fn dynamodb(
    table: &'static str,
    set: impl Fn(DynamoDbStoreBuilder) -> DynamoDbStoreBuilder + Send + Sync + 'static,
    time: Time,
) {
    let server = DYNAMODB.get(DynamoDb::start);
    DynamoDbStore::new(server.client(), table).unwrap().create_table().await.unwrap();
    let client = server.client();
    let open = move || -> Arc<dyn DynStore> {
        let store = DynamoDbStore::builder(client.clone(), table).timeout(PATIENCE).max_retries(1_000);
        Arc::new(set(store).build().unwrap())
    };
    // The whole streams would take the server some minutes.
    run(Harness::new(open, time).stream_steps(100)).await;
}

#[tokio::test]
async fn dynamodb_at_the_callers_time() {
    dynamodb("at_callers", |store| store, Time::Caller { expires: true }).await;
}

/// The service has no time of its own; the store's takes its place.
#[tokio::test]
async fn dynamodb_at_the_stores_time() {
    let clock = Arc::new(SystemClock::new());
    dynamodb("at_stores", move |store| store.clock(Arc::clone(&clock)), Time::Store).await;
}
