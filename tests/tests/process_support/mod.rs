//! What tests with several processes share. Such a test starts itself again, with the store to open as arguments.
#![allow(dead_code, clippy::unwrap_used)] // each program uses a part of it; a failing unwrap is a failing test

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use throttlekit::store::DynStore;
use throttlekit_dynamodb::DynamoDbStore;
use throttlekit_postgres::{Mode, PostgresStore};
use throttlekit_redis::{RedisOptions, RedisStore};
use tokio::runtime::Runtime;

/// What the first argument of such a process begins with. No name of a test and no flag of a test runner does.
const MARK: &str = "as-process-on=";
/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often DynamoDB is asked again when several write a key at once.
const RETRIES: u32 = 1_000;

/// What a process is to do: open `store` at `place`, and what else it was told.
pub(crate) struct Role {
    pub(crate) store: String,
    pub(crate) place: String,
    pub(crate) more: Option<String>,
}

impl Role {
    /// That of this process; none for the test itself.
    pub(crate) fn of_this_process() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let store = arguments.next()?.strip_prefix(MARK)?.to_owned();
        Some(Self { store, place: arguments.next().unwrap(), more: arguments.next() })
    }

    /// The store, with a patience that only a test that hangs tries.
    pub(crate) async fn open(&self) -> Arc<dyn DynStore> {
        match self.store.as_str() {
            "redis" => {
                let options = RedisOptions::single(self.place.as_str()).unwrap();
                let options = options.connect_timeout(PATIENCE).unwrap().response_timeout(PATIENCE).unwrap();
                Arc::new(RedisStore::new(&options).unwrap())
            }
            "postgres" => self.postgres(Mode::Shared),
            "postgres, fast" => self.postgres(Mode::Fast),
            "dynamodb" => {
                let client = tests::dynamodb::client(self.place.parse().unwrap());
                let store = DynamoDbStore::builder(client, "limits").timeout(PATIENCE).max_retries(RETRIES);
                let store = store.build().unwrap();
                store.create_table().await.unwrap();
                Arc::new(store)
            }
            other => panic!("no store is called {other}"),
        }
    }

    fn postgres(&self, mode: Mode) -> Arc<dyn DynStore> {
        let store = PostgresStore::builder(&self.place).mode(mode).timeout(PATIENCE).statement_timeout(PATIENCE);
        Arc::new(store.connect_timeout(PATIENCE).acquire_timeout(PATIENCE).build().unwrap())
    }
}

/// This program, as a process on `store`.
pub(crate) fn process(store: &str, place: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(format!("{MARK}{store}")).arg(place);
    command
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
