//! How guards and tables stand, in figures.

/// What a guard counts at one instant: one atomic read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardReport {
    /// Goes up by one with each change of the limit, and starts again at 0 after 16,383. In flight are counted all slots
    /// that were taken under this generation or an earlier one.
    pub generation: u32,
    /// Slots taken and not given back.
    pub in_flight: u32,
    /// The limit; a running probe admits less.
    pub limit: u32,
    /// Whether the right to the slots is lost. `false` for a guard of one process, whose slots nobody can take away; who
    /// reports of slots that several processes share sets it.
    pub fenced: bool,
}

/// How a guard is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GuardStats {
    /// The limit; a running probe admits less.
    pub limit: u32,
    /// The limit before it is rounded down.
    pub estimate: f64,
    /// Slots taken and not given back.
    pub in_flight: u32,
    /// The latency without load, as learnt, in milliseconds. 0 before the first sample, and for a fixed limit.
    pub noload_ms: f64,
    /// The latency of the last sample in milliseconds. 0 before the first one, and for a fixed limit.
    pub last_ms: f64,
    /// How many slots came back as [`Outcome::Dropped`](crate::Outcome::Dropped).
    pub dropped: u64,
    /// Whether a probe holds the ceiling below the limit.
    pub probing: bool,
}

/// How many keys a table in process holds, how many it may, and how many had to give way to others.
///
/// ```
/// use throttlekit::store::TableReport;
/// use throttlekit::store::memory::Table;
/// use throttlekit::{Gcra, Limiter};
///
/// let table = Table::bounded(10_000)?;
/// let limiter = Limiter::builder(Gcra::per_second(10)?).keyspace(table.clone()).build();
/// limiter.check("user-1")?;
/// let report = TableReport::from(&table);
/// assert_eq!((report.keys, report.max_keys, report.evicted), (1, 10_000, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableReport {
    /// Keys that are held, those included that have expired and whose room was not used again yet.
    pub keys: usize,
    /// The most keys that it holds.
    pub max_keys: usize,
    /// Keys that had to give way before they expired, and then started afresh, since the table was made. 0 for a ledger, which
    /// evicts none.
    pub evicted: u64,
}

impl TableReport {
    /// A report of `keys` out of at most `max_keys`, none of which was evicted.
    pub fn new(keys: usize, max_keys: usize) -> Self {
        Self { keys, max_keys, evicted: 0 }
    }

    /// Sets how many keys had to give way.
    #[must_use]
    pub fn evicted(self, keys: u64) -> Self {
        Self { evicted: keys, ..self }
    }
}
