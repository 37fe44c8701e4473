//! What a fair escrow shows of itself.

use std::fmt;
use std::sync::Arc;

/// How a fair escrow is doing. `Debug` shows how its tenants are doing, and no name of one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FairStats {
    /// The start of the window that was last reached; `None` before the first request.
    pub window_start_ms: Option<f64>,
    /// Units in each window.
    pub limit: f64,
    /// Units to share: the limit, or what was leased of it.
    pub effective_limit: f64,
    /// What is left of these.
    pub pool: f64,
    /// What was used of these, by tenants that were dropped too.
    pub total_used: f64,
    /// What those used that were dropped to make room.
    pub dropped_used: f64,
    /// The tenants of the window, in the order in which they came.
    pub tenants: Vec<TenantStats>,
}

/// One tenant in a window.
///
/// `Debug` does not show its name, which is a key: it may be a secret or an address.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct TenantStats {
    /// Its name.
    pub tenant: Arc<str>,
    /// Its latest weight.
    pub weight: f64,
    /// Units it used.
    pub used: f64,
}

impl fmt::Debug for TenantStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantStats").field("weight", &self.weight).field("used", &self.used).finish_non_exhaustive()
    }
}
