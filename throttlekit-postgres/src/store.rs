//! The store.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use deadpool_postgres::Pool;
use throttlekit::store::{Call, Store};
use throttlekit::{BuildError, Error};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::core::Core;
use crate::lane::{Asked, Lane, Manner};
use crate::worker::Worker;
use crate::{Mode, PostgresStoreBuilder};

/// A [`Store`] in a PostgreSQL database.
///
/// ```no_run
/// use throttlekit::store::Remote;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_postgres::PostgresStore;
///
/// # #[allow(dead_code)]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::new("postgres://app@db.example.com/app?sslmode=require")?;
/// let limiter = Limiter::builder(Gcra::per_minute(100)?).keyspace(Remote::new(store)).build();
/// assert!(limiter.check("user-1").await?.allowed);
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
///
/// - **Atomicity**: a call is decided and written as if no other ran, in this process or another.
/// - **Bits**: decisions are those of the memory store for the same instants, in both [modes](Mode).
/// - **Time**: the server's, read under the lock, unless [`server_time`](PostgresStoreBuilder::server_time) is off.
///   Clocks of processes may then differ as they like.
/// - **Once**: nothing is sent again after a failure that may have been counted.
/// - **Order and fairness**: calls that wait for the same connection are taken in the order of their arrival, up to 64 at
///   a time. Between processes the server's locks decide.
/// - **Bounded**: waiting calls ([`max_waiting`](PostgresStoreBuilder::max_waiting)), connections
///   ([`pool_size`](PostgresStoreBuilder::pool_size)) and the time of a call ([`timeout`](PostgresStoreBuilder::timeout)).
/// - **Cancellation**: a dropped call that no task has taken yet is not run. One that was taken is finished by the task,
///   so that no connection is left in the middle of anything; it may count.
///
/// # Runtime
///
/// Calls run within a tokio runtime with time and I/O enabled. Tasks are started by calls, end when no call waits, and are
/// stopped when the store is dropped.
pub struct PostgresStore {
    core: Arc<Core>,
    lanes: Box<[Arc<Lane>]>,
    hasher: RandomState,
    mode: Mode,
    max_waiting: usize,
}

/// What a store did so far. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that were asked.
    pub calls: u64,
    /// Batches in which they went to the server; how many fewer these are is what batching spared.
    pub batches: u64,
    /// Rows that sweeps deleted.
    pub swept: u64,
    /// Sweeps that failed.
    pub sweep_failures: u64,
}

impl PostgresStore {
    /// A store with the defaults, in the database that `url` names.
    ///
    /// `url` is a PostgreSQL connection string: a URL, or `key=value` pairs. Nothing is sent: the first call connects.
    ///
    /// # Errors
    ///
    /// `url` is no connection string, or asks for TLS that cannot be had.
    pub fn new(url: &str) -> Result<Self, BuildError> {
        Self::builder(url).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(url: &str) -> PostgresStoreBuilder {
        PostgresStoreBuilder::from_url(url)
    }

    /// Starts with a pool of the caller's, which the store does not close.
    ///
    /// The pool's own timeouts bound connecting and waiting for a connection, and its sessions stay as they are. They
    /// should have `statement_timeout` and `idle_in_transaction_session_timeout` set, so that a process that hangs does not
    /// hold locks. Calls go over at most [`pool_size`](PostgresStoreBuilder::pool_size) connections at a time.
    pub fn with_pool(pool: Pool) -> PostgresStoreBuilder {
        PostgresStoreBuilder::from_pool(pool)
    }

    pub(crate) fn start(core: Core, mode: Mode, lanes: usize, max_waiting: usize) -> Self {
        Self {
            core: Arc::new(core),
            lanes: (0..lanes.max(1)).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
            mode,
            max_waiting,
        }
    }

    /// How states are kept.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The statements that create what the store needs, for whoever runs migrations. They may be run again.
    ///
    /// ```
    /// use throttlekit_postgres::PostgresStore;
    ///
    /// let store = PostgresStore::builder("postgres://localhost").table("limits").auto_create(false).build()?;
    /// assert!(store.ddl().contains("CREATE TABLE IF NOT EXISTS limits ("));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn ddl(&self) -> &str {
        &self.core.table.ddl
    }

    /// What it did so far.
    pub fn stats(&self) -> Stats {
        let counters = &self.core.counters;
        Stats {
            calls: counters.calls.load(Relaxed),
            batches: counters.batches.load(Relaxed),
            swept: counters.swept.load(Relaxed),
            sweep_failures: counters.sweep_failures.load(Relaxed),
        }
    }

    /// Deletes expired rows now; how many. Calls do so by themselves every
    /// [`sweep_interval`](PostgresStoreBuilder::sweep_interval).
    ///
    /// # Errors
    ///
    /// `store_unavailable`.
    ///
    /// # Cancel safety
    ///
    /// Rows that were deleted stay so; the next sweep deletes the others.
    pub async fn sweep(&self) -> Result<u64, Error> {
        self.core.sweep().await.map_err(|trouble| trouble.to_error())
    }

    /// Where a call waits: with others on its key; else in a lane that is busy, so that they go together; else in one that
    /// is idle; else where the fewest wait.
    fn lane(&self, hash: u64, manner: Manner) -> Option<&Arc<Lane>> {
        let now = Instant::now();
        self.lanes.iter().min_by_key(|lane| lane.fit(hash, manner, now))
    }

    /// How a call is run, whatever is known of its key.
    fn manner(&self, call: &Call) -> Manner {
        match (self.mode, call.formula()) {
            _ if call.read_only() => Manner::Read,
            (_, Some(formula)) => Manner::Computed(formula, (!self.core.server_time).then(|| call.now_ms())),
            (Mode::Fast, None) if call.keys().len() == 1 => Manner::Swapped,
            _ => Manner::Locked,
        }
    }
}

impl Store for PostgresStore {
    /// Runs `call`. After an error it is an empty call.
    ///
    /// # Errors
    ///
    /// `store_unavailable` without an answer in time; `state_invalid` if a text does not parse; `invalid_argument` for a
    /// key with a NUL character, one that the database's encoding does not have, or one that is too long for an index
    /// (some 2,700 bytes); and what the call's steps fail with.
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if call.keys().iter().any(|key| key.contains('\0')) {
            return Err(Error::invalid_argument("key has a NUL character: PostgreSQL stores none"));
        }
        let Some(first) = call.keys().first() else {
            return call.step(&[], call.now_ms()).map(drop);
        };
        let runtime = Handle::try_current().map_err(|_| Error::store_unavailable("there is no tokio runtime"))?;
        let hash = self.hasher.hash_one(first);
        self.core.counters.calls.fetch_add(1, Relaxed);
        self.core.sweeps.note(call.now_ms());
        let (answer, answered) = oneshot::channel();
        let otherwise = self.manner(call);
        // A denial can be told from a plain read.
        let looked = self.core.hints.is_denied(hash) && matches!(otherwise, Manner::Locked | Manner::Computed(..));
        let manner = if looked { Manner::Looked } else { otherwise };
        let Some(lane) = self.lane(hash, manner) else { return Err(Error::store_unavailable("there is no lane")) };
        let empty = Call::new(call.now_ms(), call.rule());
        let asked = Asked { call: mem::replace(call, empty), manner, otherwise, hash, answer };
        lane.add(asked, self.max_waiting, &runtime, || Worker::new(Arc::clone(&self.core)))?;
        let limit = self.core.limits.call;
        match timeout(limit, answered).await {
            Ok(Ok(result)) => result.map(|ran| *call = ran),
            Ok(Err(_)) => Err(Error::store_unavailable("the runtime of the store's task has ended")),
            Err(_) => Err(Error::store_unavailable(format_args!("no answer within {} ms", limit.as_millis()))),
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.stop());
        self.core.sweeps.stop();
    }
}

impl fmt::Debug for PostgresStore {
    /// Shows neither keys nor where the database is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("mode", &self.mode)
            .field("table", &self.core.table.name)
            .field("prefix", &self.core.prefix)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
