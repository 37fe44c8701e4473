//! What observers may read at any time.

use super::{GuardReport, GuardStats, TableReport};

/// The guards and tables behind a limit or a file, for whoever shows how they stand. An observer
/// [gets them](super::Observer::attach) once and asks whenever it is asked itself.
///
/// Asking changes nothing, and holds nothing: what is gone is not told any more.
pub trait Gauges: Send + Sync + 'static {
    /// Tells how each guard is doing, under the name of its policy.
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        let _ = tell;
    }

    /// Tells how full each table in this process is, under the name of its policy.
    fn tables(&self, tell: &mut dyn FnMut(&str, TableReport)) {
        let _ = tell;
    }

    /// Whether all of it is gone, and none of it comes back: whoever keeps these gauges may forget them. `false` unless it is
    /// implemented.
    fn is_gone(&self) -> bool {
        false
    }
}
