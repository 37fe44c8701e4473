//! The state of guards and tables, read when metrics are collected.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use opentelemetry::metrics::{AsyncInstrument, Meter};
use throttlekit::store::TableReport;
use throttlekit::{Clock, Gauges, Guard, GuardStats, KeyedGuard};

use crate::names::metric;
use crate::sets::Set;

/// The state of a guard at one instant.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Reading {
    stats: GuardStats,
    fenced: Option<bool>,
}

impl Reading {
    /// Of a guard without a coordinator.
    pub fn new(stats: GuardStats) -> Self {
        Self { stats, fenced: None }
    }

    /// Of a guard whose coordinator has fenced it off, or has not.
    pub fn fenced(mut self, fenced: bool) -> Self {
        self.fenced = Some(fenced);
        self
    }
}

/// What has the state of a guard. Guards are, and functions that read one, for a guard that may be gone:
///
/// ```
/// use throttlekit::Guard;
/// use throttlekit_otel::{Gauged, Reading};
///
/// let guard = Guard::fixed(3)?;
/// let stats = guard.clone();
/// let gauged = move || Some(Reading::new(stats.stats()));
/// assert!(gauged.reading().is_some() && guard.reading().is_some());
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
pub trait Gauged: Send + Sync + 'static {
    /// The state as it is now; `None` if the guard is gone. It is called once for each collection and must not change
    /// anything.
    fn reading(&self) -> Option<Reading>;
}

impl<C: Clock, O: Send + Sync + 'static> Gauged for Guard<C, O> {
    fn reading(&self) -> Option<Reading> {
        Some(Reading::new(self.stats()))
    }
}

impl<C: Clock, O: Send + Sync + 'static> Gauged for KeyedGuard<C, O> {
    fn reading(&self) -> Option<Reading> {
        Some(Reading::new(self.stats()))
    }
}

impl<F: Fn() -> Option<Reading> + Send + Sync + 'static> Gauged for F {
    fn reading(&self) -> Option<Reading> {
        self()
    }
}

/// A guard or a table that is shown; from [`Telemetry::guard`](crate::Telemetry::guard) and
/// [`Telemetry::table`](crate::Telemetry::table). Dropped, its series end.
#[must_use = "dropping it ends the series"]
pub struct GuardMetrics {
    guards: Arc<Guards>,
    entry: Arc<Entry>,
}

/// What there is to show: states, each with the attributes of its series.
pub(crate) type Readings = Vec<(Shown, Set)>;

/// The state of what is shown at one instant.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    Guard(Reading),
    Table(TableReport),
}

impl Shown {
    fn guard(self) -> Option<Reading> {
        if let Self::Guard(reading) = self { Some(reading) } else { None }
    }

    fn table(self) -> Option<TableReport> {
        if let Self::Table(report) = self { Some(report) } else { None }
    }
}

impl Drop for GuardMetrics {
    fn drop(&mut self) {
        self.guards.entries().retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

impl fmt::Debug for GuardMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardMetrics").finish_non_exhaustive()
    }
}

/// The guards and tables that are shown. The API cannot take a callback back, so there is one for each instrument, and what they
/// show is what is in here.
pub(crate) struct Guards {
    meter: Meter,
    entries: Mutex<Vec<Arc<Entry>>>,
    /// Whether the instruments were made.
    registered: OnceLock<()>,
}

struct Entry {
    read: Box<dyn Fn() -> Readings + Send + Sync>,
    /// Says when there is nothing to read any more, of what nobody takes away.
    attached: Option<Arc<dyn Gauges>>,
    collected: Mutex<Collected>,
}

/// What the instruments of one collection share.
#[derive(Default)]
struct Collected {
    readings: Readings,
    /// A bit for each instrument that has had it.
    had: u8,
}

/// The instruments. Each calls for the reading once in a collection.
#[derive(Clone, Copy)]
enum Part {
    Limit,
    InFlight,
    RttNoload,
    Dropped,
    Fenced,
    Keys,
    MaxKeys,
    Evictions,
}

impl Guards {
    pub(crate) fn new(meter: Meter) -> Arc<Self> {
        Arc::new(Self { meter, entries: Mutex::default(), registered: OnceLock::new() })
    }

    /// Shows what `read` gives, which is called once for each collection.
    pub(crate) fn add(this: &Arc<Self>, read: impl Fn() -> Readings + Send + Sync + 'static) -> GuardMetrics {
        let entry = Arc::new(Entry { read: Box::new(read), attached: None, collected: Mutex::default() });
        Self::push(this, Arc::clone(&entry));
        GuardMetrics { guards: Arc::clone(this), entry }
    }

    /// Shows what `read` gives until `attached`, which it reads, is gone.
    pub(crate) fn keep(
        this: &Arc<Self>,
        attached: Arc<dyn Gauges>,
        read: impl Fn() -> Readings + Send + Sync + 'static,
    ) {
        this.forget_gone();
        let attached = Some(attached);
        Self::push(this, Arc::new(Entry { read: Box::new(read), attached, collected: Mutex::default() }));
    }

    fn push(this: &Arc<Self>, entry: Arc<Entry>) {
        this.entries().push(entry);
        this.registered.get_or_init(|| Self::register(this));
    }

    /// Forgets what is gone, so that the list does not grow with what comes and goes.
    fn forget_gone(&self) {
        // Foreign code says so: not under the lock.
        let gone: Vec<_> = self.entries().clone().into_iter().filter(|entry| entry.is_gone()).collect();
        self.entries().retain(|entry| !gone.iter().any(|gone| Arc::ptr_eq(gone, entry)));
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        // A list is whole whatever panicked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(this: &Arc<Self>) {
        let meter = &this.meter;
        let _ = meter
            .u64_observable_gauge(metric::CONCURRENCY_LIMIT)
            .with_description("The limit, as it is now")
            .with_callback(this.callback(Part::Limit, |shown| Some(u64::from(shown.guard()?.stats.limit))))
            .build();
        let _ = meter
            .u64_observable_gauge(metric::CONCURRENCY_INFLIGHT)
            .with_description("Slots that are taken")
            .with_callback(this.callback(Part::InFlight, |shown| Some(u64::from(shown.guard()?.stats.in_flight))))
            .build();
        let _ = meter
            .f64_observable_gauge(metric::CONCURRENCY_RTT_NOLOAD)
            .with_description("The latency without load, as learnt")
            .with_unit("ms")
            .with_callback(this.callback(Part::RttNoload, |shown| Some(shown.guard()?.stats.noload_ms)))
            .build();
        let _ = meter
            .u64_observable_counter(metric::CONCURRENCY_DROPPED)
            .with_description("Slots that came back from work that was cut off")
            .with_callback(this.callback(Part::Dropped, |shown| Some(shown.guard()?.stats.dropped)))
            .build();
        let _ = meter
            .u64_observable_gauge(metric::CONCURRENCY_FENCED)
            .with_description("1 while the coordinator has fenced the guard off")
            .with_callback(this.callback(Part::Fenced, |shown| shown.guard()?.fenced.map(u64::from)))
            .build();
        let _ = meter
            .u64_observable_gauge(metric::TABLE_KEYS)
            .with_description("Keys in memory")
            .with_callback(this.callback(Part::Keys, |shown| Some(shown.table()?.keys as u64)))
            .build();
        let _ = meter
            .u64_observable_gauge(metric::TABLE_MAX_KEYS)
            .with_description("The most keys in memory")
            .with_callback(this.callback(Part::MaxKeys, |shown| Some(shown.table()?.max_keys as u64)))
            .build();
        let _ = meter
            .u64_observable_counter(metric::TABLE_EVICTIONS)
            .with_description("Keys that gave way to others in memory before they expired")
            .with_callback(this.callback(Part::Evictions, |shown| Some(shown.table()?.evicted)))
            .build();
    }

    /// Shows `value` of each that has it.
    fn callback<T>(
        self: &Arc<Self>,
        part: Part,
        value: impl Fn(Shown) -> Option<T> + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        // Weak: what is held here holds the meter, which holds this.
        let guards = Arc::downgrade(self);
        move |instrument| {
            let Some(guards) = guards.upgrade() else { return };
            guards.forget_gone();
            // Readings run foreign code: not under the lock.
            let entries = guards.entries().clone();
            for entry in entries {
                let collected = entry.collect(part);
                for (shown, attributes) in &collected.readings {
                    if let Some(value) = value(*shown) {
                        instrument.observe(value, attributes);
                    }
                }
            }
        }
    }
}

impl Entry {
    fn is_gone(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.is_gone())
    }

    /// The readings of this collection. An instrument that comes a second time begins the next one, so it does not matter
    /// in which order they come, or whether a view leaves one out.
    fn collect(&self, part: Part) -> MutexGuard<'_, Collected> {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let bit = 1 << part as u8;
        if collected.had == 0 || collected.had & bit != 0 {
            *collected = Collected { readings: (self.read)(), had: 0 };
        }
        collected.had |= bit;
        collected
    }
}

/// Shows the panics of observers that `counted` counts.
pub(crate) fn register_panics(meter: &Meter, counted: Arc<AtomicU64>, attributes: Set) {
    let _ = meter
        .u64_observable_counter(metric::OBSERVER_PANICS)
        .with_description("Panics of observers that were contained")
        .with_callback(move |instrument| instrument.observe(counted.load(Ordering::Relaxed), &attributes))
        .build();
}
