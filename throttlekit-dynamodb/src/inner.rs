//! What the handles of a store share.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::select;
use throttlekit::store::Call;
use throttlekit::{Clock, Error};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::desk::{self, Desk, Waiting};
use crate::party::{Member, Party};
use crate::remembered::Remembered;
use crate::table::Table;

/// How many calls wait for others at most. They wait in memory, so their number has a bound; beyond it the store is as
/// good as unavailable.
const MAX_WAITING: usize = 100_000;

pub(crate) struct Inner {
    pub(crate) table: Table,
    pub(crate) prefix: String,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    /// Whether the table is known to be there; `None` if that is not this store's business.
    pub(crate) created: Option<OnceCell<()>>,
    desk: Mutex<Desk<Ticket>>,
    remembered: Mutex<Remembered>,
    /// Closed when the last handle is dropped.
    stop: watch::Receiver<()>,
}

/// A call on its way.
pub(crate) struct Ticket {
    pub(crate) call: Call,
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<(Call, Result<(), Error>)>,
    /// Where the caller runs, so that the work runs there too.
    pub(crate) runtime: Handle,
}

impl Waiting for Ticket {
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }
}

/// What a builder gives.
pub(crate) struct Parts {
    pub(crate) table: Table,
    pub(crate) prefix: String,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) max_retries: u32,
    pub(crate) timeout: Duration,
    pub(crate) auto_create: bool,
    pub(crate) remembered_keys: usize,
}

impl Inner {
    pub(crate) fn new(parts: Parts, stop: watch::Receiver<()>) -> Self {
        Self {
            table: parts.table,
            prefix: parts.prefix,
            clock: parts.clock,
            max_retries: parts.max_retries,
            timeout: parts.timeout,
            created: parts.auto_create.then(OnceCell::new),
            desk: Mutex::new(Desk::new()),
            remembered: Mutex::new(Remembered::new(parts.remembered_keys)),
            stop,
        }
    }

    /// What this process last knew of the items. Held for a moment only, never while waiting.
    pub(crate) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // A panic cannot leave it half changed in a way that matters: what it holds is proven before it counts.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk<Ticket>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of a call: the store's own, or else the caller's.
    pub(crate) fn now_ms(&self, call: &Call) -> f64 {
        self.clock.as_ref().map_or_else(|| call.now_ms(), Clock::now_ms)
    }

    /// Lets a call go as soon as it may.
    pub(crate) fn enter(self: &Arc<Self>, ticket: Ticket, keys: Vec<Arc<str>>) -> Result<(), Error> {
        let party = {
            let mut desk = self.desk();
            if desk.waiting() >= MAX_WAITING {
                return Err(Error::store_unavailable(format!("{MAX_WAITING} calls wait already")));
            }
            desk.enter(ticket, keys)
        };
        self.launch(party);
        Ok(())
    }

    /// Starts work for calls that may go. The work belongs to no caller, so none that is dropped or not polled holds up
    /// the others; it ends by the latest deadline of its calls, and with the store.
    fn launch(self: &Arc<Self>, parties: impl IntoIterator<Item = desk::Party<Ticket>>) {
        for desk::Party { keys, members } in parties {
            let Some((Ticket { runtime, .. }, _)) = members.last() else { continue };
            let runtime = runtime.clone();
            let deadline = members.iter().map(|(ticket, _)| ticket.deadline).max();
            let turn = Turn { inner: Arc::clone(self), keys, is_done: false };
            let mut stop = self.stop.clone();
            // Nobody waits for the task itself: the answers go to the callers.
            let _detached = runtime.spawn(async move {
                let work = pin!(turn.run(members));
                match deadline {
                    Some(deadline) => {
                        let stopped = pin!(async { stop.changed().await.is_err() });
                        select(pin!(timeout_at(deadline, work)), stopped).await;
                    }
                    None => work.await,
                }
            });
        }
    }
}

/// The right to work on some keys. Given back when dropped, wherever that happens.
struct Turn {
    inner: Arc<Inner>,
    keys: Vec<Arc<str>>,
    is_done: bool,
}

impl Turn {
    async fn run(mut self, members: Vec<(Ticket, Vec<Arc<str>>)>) {
        let places: HashMap<Arc<str>, usize> =
            self.keys.iter().enumerate().map(|(place, key)| (Arc::clone(key), place)).collect();
        let mut senders = Vec::with_capacity(members.len());
        let mut calls = Vec::with_capacity(members.len());
        for (ticket, keys) in members {
            let now_ms = self.inner.now_ms(&ticket.call);
            let slots = keys.iter().filter_map(|key| places.get(key).copied()).collect();
            calls.push(Member::new(ticket.call, now_ms, slots));
            senders.push(ticket.answer);
        }
        let answers = Party::new(self.keys.clone(), calls).run(&self.inner).await;
        self.is_done = true;
        // The next ones go before these are answered.
        drop(self);
        for (sender, answer) in senders.into_iter().zip(answers) {
            // A caller that went away does not want it.
            let _unwanted = sender.send(answer);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_done {
            // A write may be under way, so what is known of the keys is out of date.
            let mut remembered = self.inner.remembered();
            for key in &self.keys {
                remembered.forget(key);
            }
        }
        let next = self.inner.desk().leave(&self.keys);
        self.inner.launch(next);
    }
}

impl fmt::Debug for Inner {
    /// Shows neither the client, which has credentials, nor any key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore")
            .field("table", &self.table.name)
            .field("hash_key", &self.table.hash_key)
            .field("prefix", &self.prefix)
            .field("max_retries", &self.max_retries)
            .field("timeout", &self.timeout)
            .field("auto_create", &self.created.is_some())
            .finish_non_exhaustive()
    }
}
