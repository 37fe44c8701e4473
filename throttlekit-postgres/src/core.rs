//! What the tasks of a store share.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::hints::Hints;
use crate::lease::Lease;
use crate::table::Table;
use crate::trouble::Trouble;
use crate::worker::within;

/// The most rows that one statement of a sweep deletes, so that it holds few locks at a time.
const SWEPT_AT_ONCE: i64 = 5_000;

/// How long one statement of a sweep may take.
const SWEEP: Duration = Duration::from_secs(30);

/// The same, as the server is told.
const SWEEP_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '30s'";

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A whole call.
    pub(crate) call: Duration,
    /// One exchange with the server.
    pub(crate) statement: Duration,
    pub(crate) connect: Duration,
    pub(crate) acquire: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) swept: AtomicU64,
    pub(crate) sweep_failures: AtomicU64,
}

pub(crate) struct Core {
    pub(crate) pool: Pool,
    pub(crate) table: Table,
    pub(crate) prefix: String,
    pub(crate) server_time: bool,
    pub(crate) auto_create: bool,
    /// Whether the table was there when last looked for.
    pub(crate) complete: AtomicBool,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) hints: Hints,
    pub(crate) sweeps: Sweeps,
}

/// When to sweep, and by which time.
pub(crate) struct Sweeps {
    /// None if never.
    interval: Option<Duration>,
    /// When the next one is due, from the first call on; and the task of the last one.
    state: Mutex<(Option<Instant>, Option<AbortHandle>)>,
    /// The latest time of any caller, as the bits of an `f64` that is not negative: those are ordered like the numbers.
    latest: AtomicU64,
}

impl Sweeps {
    pub(crate) fn every(interval: Option<Duration>) -> Self {
        Self { interval, state: Mutex::default(), latest: AtomicU64::new(0) }
    }

    /// Notes a caller's time.
    pub(crate) fn note(&self, now_ms: f64) {
        self.latest.fetch_max(now_ms.max(0.0).to_bits(), Relaxed);
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = self.state().1.take() {
            task.abort();
        }
    }

    fn state(&self) -> MutexGuard<'_, (Option<Instant>, Option<AbortHandle>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Sweeps in a task of its own if it is time. Called within a runtime.
    pub(crate) fn sweep_if_due(self: &Arc<Self>) {
        let Some(interval) = self.sweeps.interval else { return };
        let now = Instant::now();
        let mut state = self.sweeps.state();
        let (due, task) = &mut *state;
        if now < *due.get_or_insert(now + interval) {
            return;
        }
        *due = Some(now + interval);
        let core = Arc::clone(self);
        let sweep = async move {
            // A failure is counted, and the next sweep takes what this one left.
            let _ = core.sweep().await;
        };
        *task = Some(tokio::spawn(sweep).abort_handle());
    }

    /// Deletes what has expired; how many rows.
    pub(crate) async fn sweep(&self) -> Result<u64, Trouble> {
        let result = self.delete_expired().await;
        match &result {
            Ok(swept) => self.counters.swept.fetch_add(*swept, Relaxed),
            Err(_) => self.counters.sweep_failures.fetch_add(1, Relaxed),
        };
        result
    }

    async fn delete_expired(&self) -> Result<u64, Trouble> {
        let now_ms = (!self.server_time).then(|| f64::from_bits(self.sweeps.latest.load(Relaxed)).floor());
        let mut lease = Lease::take(&self.pool).await?;
        let mut total = 0;
        loop {
            let client = lease.client()?;
            let delete = async {
                let sweep = client.prepare_cached(&self.table.sweep).await?;
                client.batch_execute(SWEEP_BEGIN).await?;
                let swept = client.execute(&sweep, &[&now_ms, &SWEPT_AT_ONCE]).await?;
                client.batch_execute("COMMIT").await?;
                Ok(swept)
            };
            let swept = within(SWEEP, async { delete.await.map_err(|error| Trouble::during(&error)) }).await?;
            lease.settle(false);
            total += swept;
            if swept < SWEPT_AT_ONCE.unsigned_abs() {
                return Ok(total);
            }
        }
    }
}
