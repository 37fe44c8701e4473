//! The settings of a queue.

use std::sync::Arc;
use std::time::Duration;

use super::word::MOST;
use crate::decision::MAX_SAFE;
use crate::error::BuildError;
use crate::runtime::Runtime;

/// How many requests may wait for a slot, and for how long; for [`GuardBuilder::queue`](super::GuardBuilder::queue).
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Queue {
    max: u32,
    timeout_ms: f64,
}

impl Queue {
    /// Lets `max` requests wait, from 1 to 16,777,215, each for `timeout_ms` milliseconds, above 0.
    pub fn new(max: u32, timeout_ms: f64) -> Self {
        Self { max, timeout_ms }
    }
}

/// A queue with who sleeps until a deadline.
#[derive(Clone)]
pub(super) struct GivenQueue {
    pub(super) queue: Queue,
    pub(super) runtime: Arc<dyn Runtime>,
}

/// How one waits.
pub(super) struct Patience {
    pub(super) max: usize,
    pub(super) timeout: Duration,
    pub(super) runtime: Arc<dyn Runtime>,
}

impl GivenQueue {
    #[allow(clippy::cast_precision_loss)] // 2^53 - 1 is exact
    pub(super) fn check(self) -> Result<Patience, BuildError> {
        let Self { queue: Queue { max, timeout_ms }, runtime } = self;
        if !(1..=MOST).contains(&max) {
            let allowed = format!("must be a whole number from 1 to {MOST}");
            return Err(BuildError::new("concurrency.queue.max", max, allowed));
        }
        if !(timeout_ms > 0.0 && timeout_ms <= MAX_SAFE as f64) {
            let allowed = format!("must be a number above 0, at most {MAX_SAFE}");
            return Err(BuildError::new("concurrency.queue.timeoutMs", timeout_ms, allowed));
        }
        let timeout = Duration::try_from_secs_f64(timeout_ms / 1_000.0).unwrap_or(Duration::MAX);
        Ok(Patience { max: usize::try_from(max).unwrap_or(usize::MAX), timeout, runtime })
    }
}
