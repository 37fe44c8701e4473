//! What tests of the PostgreSQL store share.
#![allow(dead_code)] // each test program uses a part of it

pub(crate) mod proxy;

use std::time::Duration;

use tests::postgres::Postgres;
use tests::shared::Shared;
use throttlekit::store::Remote;
use throttlekit::{Gcra, Limiter};
use throttlekit_postgres::{Mode, PostgresStore, PostgresStoreBuilder};

/// The server of the tests that leave it alone.
pub(crate) static SERVER: Shared<Postgres> = Shared::new();

pub(crate) const MODES: [Mode; 2] = [Mode::Shared, Mode::Fast];

pub(crate) fn start() -> Postgres {
    Postgres::start()
}

/// A builder for a table that no other test uses, with time limits that a busy machine keeps.
pub(crate) fn builder(postgres: &Postgres, table: &str, mode: Mode) -> PostgresStoreBuilder {
    patient(PostgresStore::builder(&postgres.url()).table(table).mode(mode))
}

/// Time limits that end only a test that hangs.
pub(crate) fn patient(builder: PostgresStoreBuilder) -> PostgresStoreBuilder {
    let long = Duration::from_secs(30);
    builder.timeout(long).statement_timeout(long).connect_timeout(long).acquire_timeout(long)
}

pub(crate) fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

/// A limit that does not refill while a test runs.
pub(crate) fn limiter(store: PostgresStore, limit: f64) -> Limiter<Gcra, Remote> {
    Limiter::builder(gcra(limit, 3_600_000_000.0)).keyspace(Remote::new(store)).build()
}

/// A connection of another program.
pub(crate) async fn session(postgres: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
