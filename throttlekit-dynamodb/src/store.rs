//! The store.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use throttlekit::store::{Call, Rule, Store, prefixed};
use throttlekit::{BuildError, Error};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::builder::DynamoDbStoreBuilder;
use crate::create;
use crate::inner::{Inner, Parts, Ticket};
use crate::table::MAX_TRANSACTION;
use crate::trouble::Trouble;

/// What a partition key may weigh.
const MAX_KEY_BYTES: usize = 2_048;

/// Keeps states in a DynamoDB table, which any number of processes share.
///
/// A clone is a handle to the same store. The crate's documentation says what a call costs and what holds when things go
/// wrong.
#[derive(Clone)]
pub struct DynamoDbStore {
    inner: Arc<Inner>,
    /// Work ends when the last handle is dropped.
    _running: Arc<watch::Sender<()>>,
}

impl DynamoDbStore {
    /// A store in the table `table_name`, with every option at its default.
    ///
    /// Sends nothing: the first call does.
    ///
    /// # Errors
    ///
    /// If `table_name` is not the name of a table.
    pub fn new(client: Client, table_name: impl Into<String>) -> Result<Self, BuildError> {
        Self::builder(client, table_name).build()
    }

    /// A store in the table `table_name`, with options.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Region};
    /// use throttlekit_dynamodb::DynamoDbStore;
    ///
    /// let config = Config::builder().behavior_version(BehaviorVersion::latest()).region(Region::new("eu-west-1")).build();
    /// let client = aws_sdk_dynamodb::Client::from_conf(config);
    /// let store = DynamoDbStore::builder(client, "throttlekit")
    ///     .prefix("shop")
    ///     .timeout(Duration::from_millis(200))
    ///     .build()?;
    /// assert!(format!("{store:?}").contains("throttlekit"));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn builder(client: Client, table_name: impl Into<String>) -> DynamoDbStoreBuilder {
        DynamoDbStoreBuilder::new(client, table_name.into())
    }

    pub(crate) fn from_parts(parts: Parts) -> Self {
        let (running, stop) = watch::channel(());
        Self { inner: Arc::new(Inner::new(parts, stop)), _running: Arc::new(running) }
    }

    /// Makes the table unless it is there, waits until it can be used (up to a minute), and turns on its expiry of old
    /// items (TTL) by the attribute `expires_at`.
    ///
    /// The table is billed by request. One that is there stays as it is, but for an expiry that is off.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if there is a table with other keys; `store_unavailable` if the service refuses or cannot be
    /// reached.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may leave the table in the making. Calling it again goes on.
    pub async fn create_table(&self) -> Result<(), Error> {
        create::create(&self.inner.table).await.map_err(Trouble::into_error)
    }

    /// The names of the call's keys in the table.
    fn names(&self, call: &Call) -> Result<Vec<Arc<str>>, Error> {
        let name = |key: &String| {
            let name = prefixed(&self.inner.prefix, key);
            if (1..=MAX_KEY_BYTES).contains(&name.len()) {
                return Ok(Arc::from(name));
            }
            Err(Error::invalid_argument(format!(
                "a key has {} bytes with its prefixes: DynamoDB takes 1 to {MAX_KEY_BYTES}",
                name.len()
            )))
        };
        call.keys().iter().map(name).collect()
    }

    async fn run_until(&self, call: &mut Call, deadline: Instant, runtime: Handle) -> Result<(), Error> {
        if let Some(created) = &self.inner.created {
            self.ensure(created).await?;
        }
        let names = self.names(call)?;
        if call.read_only() {
            return self.read(call, &names).await;
        }
        if call.rule() == Rule::All && names.len() > MAX_TRANSACTION {
            return Err(Error::unsupported(format!(
                "{} keys in one joint call: DynamoDB takes at most {MAX_TRANSACTION}",
                names.len()
            )));
        }
        let (answer, answered) = oneshot::channel();
        let taken = std::mem::replace(call, Call::new(call.now_ms(), call.rule()));
        self.inner.enter(Ticket { call: taken, deadline, answer, runtime }, names)?;
        // The sender is only dropped where the work was cut off: by its deadline, or with its runtime.
        let (taken, result) = answered.await.map_err(|_| Error::store_unavailable("the call was cut off"))?;
        *call = taken;
        result
    }

    /// Makes the table once; a failure is forgotten, so the next call tries again.
    async fn ensure(&self, created: &OnceCell<()>) -> Result<(), Error> {
        created.get_or_try_init(|| self.create_table()).await?;
        Ok(())
    }

    async fn read(&self, call: &mut Call, names: &[Arc<str>]) -> Result<(), Error> {
        let now_ms = self.inner.now_ms(call);
        let found = self.inner.table.read_many(names, self.inner.max_retries).await.map_err(Trouble::into_error)?;
        let states = found.iter().map(|held| held.state(now_ms)).collect::<Result<Vec<_>, _>>();
        let states = match states {
            Ok(states) => states,
            Err(_) if call.ignores_state() => vec![None; names.len()],
            Err(why) => return Err(Error::state_invalid(why)),
        };
        call.step(&states, now_ms).map(drop)
    }
}

impl Store for DynamoDbStore {
    /// Runs `call`.
    ///
    /// # Errors
    ///
    /// - `store_unavailable`: no answer within the timeout, no connection, throttling, missing permissions, any other
    ///   failure of a request, or more lost races than allowed. Nothing of this is tried again, but for lost races.
    /// - `state_invalid`: an item that is none of ours.
    /// - `invalid_argument`: a key that is empty or longer than 2048 bytes with its prefixes.
    /// - `unsupported`: a joint call on more than 100 keys, or a state longer than an item of 400 KB.
    ///
    /// After an error `call` may be empty, so it should not be run again.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for others, it takes nothing. Dropped later, the write may have been made or not; nothing is
    /// left held, and other calls on the key go on.
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if call.keys().is_empty() {
            let now_ms = self.inner.now_ms(call);
            return call.step(&[], now_ms).map(drop);
        }
        // Timers panic elsewhere.
        let runtime = Handle::try_current()
            .map_err(|_| Error::unsupported("the DynamoDB store has to be polled on a tokio runtime"))?;
        let deadline = Instant::now() + self.inner.timeout;
        let answered = timeout_at(deadline, self.run_until(call, deadline, runtime)).await;
        answered.unwrap_or_else(|_| {
            let ms = self.inner.timeout.as_millis();
            Err(Error::store_unavailable(format!("DynamoDB gave no answer within {ms} ms")))
        })
    }
}

impl fmt::Debug for DynamoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
