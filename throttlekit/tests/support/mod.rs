//! What the tests of limiters share. Each test binary uses a part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

pub(crate) mod bed;
pub(crate) mod held;
pub(crate) mod key;
pub(crate) mod lease;
pub(crate) mod log;
pub(crate) mod outage;
// Also for tests without the kit. It is public there.
#[allow(unreachable_pub)]
#[path = "../../src/testkit/random.rs"]
mod random;
pub(crate) mod story;
pub(crate) mod waits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[allow(unused_imports)] // as above
pub(crate) use random::Mulberry;
use throttlekit::store::{Call, Store};
use throttlekit::{Clock, Decision, Error, Event, ManualClock, Observer};

/// An epoch like today's, where one step of `f64` is 2^-12 ms.
pub(crate) const N: f64 = 1_700_000_000_000.0;

/// A manual clock that counts its readings.
#[derive(Clone, Default)]
pub(crate) struct CountingClock {
    pub(crate) time: ManualClock,
    readings: Arc<AtomicU64>,
}

impl CountingClock {
    /// The readings since the last call.
    pub(crate) fn take_readings(&self) -> u64 {
        self.readings.swap(0, Ordering::SeqCst)
    }
}

impl Clock for CountingClock {
    fn now_ms(&self) -> f64 {
        self.readings.fetch_add(1, Ordering::SeqCst);
        self.time.now_ms()
    }
}

/// One event, as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) policy: String,
    pub(crate) strategy: &'static str,
    pub(crate) cost: f64,
    pub(crate) now_ms: f64,
    pub(crate) result: Result<Decision, &'static str>,
}

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Seen>>);

impl Recorder {
    /// The events since the last call.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn observe(&self, event: &Event<'_>) {
        let seen = Seen {
            policy: event.policy.to_owned(),
            strategy: event.strategy,
            cost: event.cost,
            now_ms: event.now_ms,
            result: event.result.map_err(Error::code),
        };
        self.0.lock().unwrap().push(seen);
    }
}

/// A key as the store below holds it: text, when it expires, and how often it was written.
#[derive(Clone, Default)]
struct Row {
    text: Option<String>,
    until_ms: f64,
    version: u64,
}

/// What a user writes over a database with compare-and-set: reads, steps, and writes if nobody has written meanwhile. It
/// waits between all of these, so that calls overlap.
#[derive(Clone, Default)]
pub(crate) struct CasStore {
    rows: Arc<Mutex<HashMap<String, Row>>>,
    calls: Arc<AtomicU64>,
    races: Arc<AtomicU64>,
}

impl CasStore {
    /// The text that is held under `key`.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.rows.lock().unwrap().get(key).and_then(|row| row.text.clone())
    }

    /// Puts a text that never expires under `key`.
    pub(crate) fn put(&self, key: &str, text: &str) {
        let row = Row { text: Some(text.to_owned()), until_ms: f64::INFINITY, version: 0 };
        self.rows.lock().unwrap().insert(key.to_owned(), row);
    }

    /// How many calls were begun.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many writes were lost to another call and tried again.
    pub(crate) fn races(&self) -> u64 {
        self.races.load(Ordering::SeqCst)
    }

    fn read(&self, call: &Call) -> Vec<Row> {
        let rows = self.rows.lock().unwrap();
        call.keys().iter().map(|key| rows.get(key).cloned().unwrap_or_default()).collect()
    }
}

impl Store for CasStore {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let now_ms = call.now_ms();
        self.run_at(call, now_ms).await
    }
}

impl CasStore {
    /// Runs a call at a time that need not be the caller's.
    pub(crate) async fn run_at(&self, call: &mut Call, now_ms: f64) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        loop {
            tokio::task::yield_now().await;
            let before = self.read(call);
            tokio::task::yield_now().await;
            let live = |row: &Row| row.text.clone().filter(|_| row.until_ms > now_ms);
            let states: Vec<_> = before.iter().map(live).collect();
            let writes = call.step(&states, now_ms)?;
            tokio::task::yield_now().await;
            let mut rows = self.rows.lock().unwrap();
            let version = |key: &String| rows.get(key).map_or(0, |row| row.version);
            if !writes.is_empty() && call.keys().iter().zip(&before).any(|(key, row)| version(key) != row.version) {
                self.races.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            for write in writes {
                let row = rows.entry(call.keys()[write.key].clone()).or_default();
                row.version += 1;
                (row.text, row.until_ms) = match write.state {
                    Some((text, ttl_ms)) => (Some(text), now_ms + ttl_ms.ceil().max(1.0)),
                    None => (None, 0.0),
                };
            }
            return Ok(());
        }
    }
}

/// A store that is never there.
pub(crate) struct DownStore;

impl Store for DownStore {
    async fn run(&self, _call: &mut Call) -> Result<(), Error> {
        Err(Error::store_unavailable("connection refused"))
    }
}

/// Polls `future` up to `polls` times and then drops it; whether it was done by then.
pub(crate) fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// An admission to compare with.
pub(crate) fn allow(limit: u64, remaining: u64, reset_at_ms: i64) -> Decision {
    Decision { allowed: true, limit, remaining, reset_at_ms, retry_after_ms: 0 }
}

/// A denial to compare with.
pub(crate) fn deny(limit: u64, remaining: u64, reset_at_ms: i64, retry_after_ms: u64) -> Decision {
    Decision { allowed: false, limit, remaining, reset_at_ms, retry_after_ms }
}
