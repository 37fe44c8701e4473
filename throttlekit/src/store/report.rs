//! How full a table is.

use crate::budget::Ledger;
use crate::program::State;
use crate::store::memory::Table;

/// How many keys a table in process holds, and how many it may.
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
/// assert_eq!((report.keys, report.max_keys), (1, 10_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableReport {
    /// Keys that are held, those included that have expired and whose room was not used again yet.
    pub keys: usize,
    /// The most keys that it holds.
    pub max_keys: usize,
}

impl TableReport {
    /// A report of `keys` out of at most `max_keys`.
    pub fn new(keys: usize, max_keys: usize) -> Self {
        Self { keys, max_keys }
    }
}

impl<S: State> From<&Table<S>> for TableReport {
    fn from(table: &Table<S>) -> Self {
        Self::new(table.len(), table.max_keys())
    }
}

impl<S: State> From<&Ledger<S>> for TableReport {
    fn from(ledger: &Ledger<S>) -> Self {
        Self::new(ledger.len(), ledger.max_keys())
    }
}
