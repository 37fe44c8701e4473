//! What tests of the PostgreSQL store share.
#![allow(dead_code)] // each test program uses a part of it

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

/// Numbers that look random, the same in every run.
pub(crate) struct Random(u32);

impl Random {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 15)).wrapping_mul(mixed | 1);
        mixed ^= mixed.wrapping_add((mixed ^ (mixed >> 7)).wrapping_mul(mixed | 61));
        f64::from(mixed ^ (mixed >> 14)) / 4_294_967_296.0
    }

    /// A whole number from 0 up to, not including, `bound`, if that is whole.
    pub(crate) fn below(&mut self, bound: f64) -> f64 {
        (self.draw() * bound).floor()
    }
}

/// A connection of another program.
pub(crate) async fn session(postgres: &Postgres) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
