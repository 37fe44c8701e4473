//! How full a table is, and what that costs.

use crate::budget::Ledger;
use crate::program::State;
use crate::store::memory::Table;

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

impl<S: State> From<&Table<S>> for TableReport {
    fn from(table: &Table<S>) -> Self {
        Self::new(table.len(), table.max_keys()).evicted(table.evicted())
    }
}

impl<S: State> From<&Ledger<S>> for TableReport {
    fn from(ledger: &Ledger<S>) -> Self {
        Self::new(ledger.len(), ledger.max_keys())
    }
}
