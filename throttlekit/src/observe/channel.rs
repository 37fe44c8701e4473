//! Events for another thread: bounded, and lossy rather than slow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{AdmissionEvent, CallKind, Event, Lane, Observer};
use crate::admit::{Axes, Axis};
use crate::decision::Decision;
use crate::error::{BuildError, Error, ErrorKind};
use crate::priority::Priority;

/// The most bytes of a key that a record keeps.
const MAX_KEY_BYTES: usize = 512;

/// Opens a channel of at most `capacity` records, 1 to 1,000,000, from an [`Observer`] to whoever has the time: to write decisions
/// down, send them on, or do with them what may block. A request never waits for it. What finds the channel full is dropped
/// and [counted](EventReceiver::dropped).
///
/// A record is a copy, so an event costs up to two allocations. Of a key 512 bytes are kept at most.
///
/// ```
/// use throttlekit::{Gcra, Limiter, Record, event_channel};
///
/// let (sender, receiver) = event_channel(2)?;
/// let limiter = Limiter::builder(Gcra::per_hour(9)?).observer(sender).build();
/// for key in ["a", "b", "c"] {
///     limiter.check(key)?;
/// }
/// let Some(Record::Decision(first)) = receiver.try_recv() else { panic!("there is one") };
/// assert_eq!((first.key(), first.decision.map(|decision| decision.allowed)), ("a", Ok(true)));
/// assert_eq!((receiver.try_iter().count(), receiver.dropped()), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `eventChannel.capacity` if it is out of its range.
pub fn event_channel(capacity: usize) -> Result<(EventSender, EventReceiver), BuildError> {
    if !(1..=1_000_000).contains(&capacity) {
        let allowed = "must be a whole number from 1 to 1,000,000";
        return Err(BuildError::new("eventChannel.capacity", capacity, allowed));
    }
    let (records, received) = sync_channel(capacity);
    let dropped = Arc::new(AtomicU64::new(0));
    Ok((EventSender { records, dropped: Arc::clone(&dropped) }, EventReceiver { records: received, dropped }))
}

/// The observer at the one end of an [`event_channel`]. Clones send to the same receiver.
#[derive(Clone)]
pub struct EventSender {
    records: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    fn send(&self, record: impl FnOnce() -> Record) {
        // Also when nobody receives any more.
        if self.records.try_send(record()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Observer for EventSender {
    fn observe(&self, event: &Event<'_>) {
        self.send(|| Record::Decision(DecisionRecord::of(event)));
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.send(|| Record::Admission(AdmissionRecord::of(admission)));
    }
}

/// The other end of an [`event_channel`].
pub struct EventReceiver {
    records: Receiver<Record>,
    dropped: Arc<AtomicU64>,
}

impl EventReceiver {
    /// The next record. Blocks the thread until there is one; `None` if all senders are gone and there will be none.
    pub fn recv(&self) -> Option<Record> {
        self.records.recv().ok()
    }

    /// The next record, if there is one now.
    pub fn try_recv(&self) -> Option<Record> {
        self.records.try_recv().ok()
    }

    /// All records that are there now.
    pub fn try_iter(&self) -> impl Iterator<Item = Record> {
        self.records.try_iter()
    }

    /// How many records were dropped since the beginning, because the channel was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A copy of an event. Its [`Debug`] shows no key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Record {
    /// Of an [`Event`].
    Decision(DecisionRecord),
    /// Of an [`AdmissionEvent`].
    Admission(AdmissionRecord),
}

/// A copy of an [`Event`]. Its [`Debug`] shows no key.
#[derive(Clone)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// See [`Event::policy`].
    pub policy: Box<str>,
    /// See [`Event::strategy`].
    pub strategy: &'static str,
    /// See [`Event::axis`].
    pub axis: Axis,
    /// See [`Event::cost`].
    pub cost: f64,
    /// See [`Event::now_ms`].
    pub now_ms: f64,
    /// The decision, or the kind of error for which there is none.
    pub decision: Result<Decision, ErrorKind>,
    /// See [`Event::priority`].
    pub priority: Priority,
    /// See [`Event::local`].
    pub local: bool,
    /// See [`Event::part`].
    pub part: bool,
    /// See [`Event::took_ms`]. A channel has no stopwatch, but one beside it may have.
    pub took_ms: Option<f64>,
    /// See [`Event::kind`].
    pub kind: CallKind,
    key: Box<str>,
}

impl DecisionRecord {
    fn of(event: &Event<'_>) -> Self {
        let Event { strategy, axis, cost, now_ms, priority, local, part, took_ms, kind, .. } = *event;
        let (policy, decision, key) = (event.policy.into(), event.result.map_err(Error::kind), cut(event.key()));
        Self { policy, strategy, axis, cost, now_ms, decision, priority, local, part, took_ms, kind, key }
    }

    /// See [`Event::key`].
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// A copy of an [`AdmissionEvent`]. Its [`Debug`] shows no key.
#[derive(Clone)]
#[non_exhaustive]
pub struct AdmissionRecord {
    /// See [`AdmissionEvent::policy`].
    pub policy: Box<str>,
    /// See [`AdmissionEvent::cost`].
    pub cost: f64,
    /// See [`AdmissionEvent::value`].
    pub value: f64,
    /// See [`AdmissionEvent::priority`].
    pub priority: Priority,
    /// See [`AdmissionEvent::decision`].
    pub decision: Decision,
    /// See [`AdmissionEvent::axes`].
    pub axes: Axes,
    /// See [`AdmissionEvent::lane`].
    pub lane: Option<Lane>,
    /// See [`AdmissionEvent::duration_ms`].
    pub duration_ms: f64,
    key: Box<str>,
}

impl AdmissionRecord {
    fn of(admission: &AdmissionEvent<'_>) -> Self {
        let AdmissionEvent { cost, value, priority, decision, axes, duration_ms, .. } = *admission;
        let (policy, lane, key) = (admission.policy.into(), admission.lane(), cut(admission.key()));
        Self { policy, cost, value, priority, decision, axes, lane, duration_ms, key }
    }

    /// See [`AdmissionEvent::key`].
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What is kept of a key.
fn cut(key: &str) -> Box<str> {
    let end = (0..=key.len().min(MAX_KEY_BYTES)).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
    key[..end].into()
}

impl fmt::Debug for DecisionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionRecord")
            .field("policy", &self.policy)
            .field("strategy", &self.strategy)
            .field("axis", &self.axis)
            .field("cost", &self.cost)
            .field("now_ms", &self.now_ms)
            .field("decision", &self.decision)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdmissionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionRecord")
            .field("policy", &self.policy)
            .field("cost", &self.cost)
            .field("decision", &self.decision)
            .field("lane", &self.lane)
            .field("duration_ms", &self.duration_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}
