//! Lanes: calls that wait, and the task that takes them to the server together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use throttlekit::store::Call;
use throttlekit::{Error, Formula};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::worker::Worker;

/// The most calls in one batch: beyond, the first would wait too long for the last.
const MOST_CALLS: usize = 64;

/// How many calls wait for a busy lane before another is started. A batch of sixteen costs the server half as much for each
/// call as four batches of four.
const TOGETHER: usize = 16;

/// How long a batch may be under way before calls go to another lane: it waits for somebody's lock, or for the disk.
const SLOW: Duration = Duration::from_millis(2);

/// The most keys of calls that are taken together. A single call may have more.
const MOST_KEYS: usize = 128;

/// How a call is run. Calls go together if they are run in the same manner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    /// Only read.
    Read,
    /// Read, since it is likely to be denied.
    Looked,
    /// Under locks.
    Locked,
    /// Read, then swapped.
    Swapped,
    /// By the server: a formula, at a time of the caller's if that counts.
    Computed(Formula, Option<f64>),
}

/// A call that waits for its turn, and where its answer goes.
pub(crate) struct Asked {
    pub(crate) call: Call,
    /// How it is run first.
    pub(crate) manner: Manner,
    /// How it is run if that did not answer it.
    pub(crate) otherwise: Manner,
    /// Stands for its first key.
    pub(crate) hash: u64,
    pub(crate) answer: oneshot::Sender<Result<Call, Error>>,
}

/// Calls in the order of their arrival. While there are any, one task serves them.
#[derive(Default)]
pub(crate) struct Lane(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Asked>,
    /// What stands for the keys of the batch that is being run.
    running: Vec<u64>,
    served: bool,
    /// When that batch was taken.
    since: Option<Instant>,
    /// Of the last task that served, which may be over.
    task: Option<AbortHandle>,
}

/// How well a call fits a lane; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// A call on the same key is there, so both may go together.
    Meets,
    /// It is busy, and the call will go with the next batch.
    Joins,
    Idle,
    /// It is busy, and so many calls wait.
    Waits(usize),
}

impl Lane {
    /// How well a call fits that is run in `manner` on the key that `hash` stands for.
    pub(crate) fn fit(&self, hash: u64, manner: Manner, now: Instant) -> Fit {
        let queue = self.queue();
        let waiting = queue.waiting.len();
        if !queue.served {
            return Fit::Idle;
        }
        if queue.running.contains(&hash) || queue.waiting.iter().any(|asked| asked.hash == hash) {
            return Fit::Meets;
        }
        let is_slow = queue.since.is_some_and(|since| now.duration_since(since) > SLOW);
        let same = queue.waiting.iter().all(|asked| asked.manner == manner);
        if waiting < TOGETHER && same && !is_slow { Fit::Joins } else { Fit::Waits(waiting) }
    }

    /// Adds a call, and starts `worker` on `runtime` if nobody serves this lane.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if `most` calls wait already.
    pub(crate) fn add(
        self: &Arc<Self>,
        asked: Asked,
        most: usize,
        runtime: &Handle,
        worker: impl FnOnce() -> Worker,
    ) -> Result<(), Error> {
        let mut queue = self.queue();
        // Who gave up needs no answer: the place is free.
        if queue.waiting.len() >= most {
            queue.waiting.retain(|asked| !asked.answer.is_closed());
        }
        if queue.waiting.len() >= most {
            return Err(Error::store_unavailable(format_args!("{most} calls wait already")));
        }
        queue.waiting.push_back(asked);
        if !queue.served {
            queue.served = true;
            let turn = Turn { lane: Arc::clone(self), over: false };
            queue.task = Some(runtime.spawn(worker().serve(turn)).abort_handle());
        }
        Ok(())
    }

    /// Stops the task; what it was at is undone by the server or was committed before.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.queue().task.take() {
            task.abort();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole at every point at which a thread may panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to serve a lane; given back when no call waits.
pub(crate) struct Turn {
    lane: Arc<Lane>,
    over: bool,
}

impl Turn {
    /// The calls that go next, all in one manner; none if nobody waits.
    pub(crate) fn next(&self) -> Vec<Asked> {
        let mut queue = self.lane.queue();
        let mut taken: Vec<Asked> = Vec::new();
        let mut left = VecDeque::new();
        let mut keys = 0;
        while let Some(asked) = queue.waiting.pop_front() {
            if asked.answer.is_closed() {
                continue;
            }
            let more = asked.call.keys().len();
            let fits = match taken.first() {
                None => true,
                Some(first) => first.manner == asked.manner && taken.len() < MOST_CALLS && keys + more <= MOST_KEYS,
            };
            if fits {
                keys += more;
                taken.push(asked);
                continue;
            }
            left.push_back(asked);
            if taken.len() >= MOST_CALLS || keys >= MOST_KEYS {
                break;
            }
        }
        left.append(&mut queue.waiting);
        queue.waiting = left;
        queue.running = taken.iter().map(|asked| asked.hash).collect();
        queue.since = (!taken.is_empty()).then(Instant::now);
        taken
    }

    /// Gives the turn back if nobody waits; whether it did.
    pub(crate) fn end(&mut self) -> bool {
        let mut queue = self.lane.queue();
        queue.waiting.retain(|asked| !asked.answer.is_closed());
        queue.served = !queue.waiting.is_empty();
        self.over = !queue.served;
        self.over
    }
}

impl Drop for Turn {
    /// A task that ends early, with its runtime, takes those who wait along: they are told, and the next call starts
    /// another task.
    fn drop(&mut self) {
        if !self.over {
            let mut queue = self.lane.queue();
            queue.waiting.clear();
            queue.served = false;
        }
    }
}
