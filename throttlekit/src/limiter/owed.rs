//! What may have to be given back.

use std::sync::Arc;

use super::DynLimiter;
use crate::decision::Decision;
use crate::error::Error;
use crate::program::Refund;
use crate::run::Run;

/// What was taken from a limiter for a request that is not admitted yet. Given back unless it is kept.
pub(crate) struct Owed {
    limiter: Arc<dyn DynLimiter>,
    key: Arc<str>,
    refund: Option<Refund>,
}

impl Owed {
    /// `None` if what was taken is not to be given back.
    pub(crate) fn new(limiter: Arc<dyn DynLimiter>, key: Arc<str>, refund: Option<Refund>) -> Self {
        Self { limiter, key, refund }
    }

    pub(crate) fn keep(mut self) {
        self.refund = None;
    }

    /// Gives it back; `None` if that has happened, or is not to. In memory it has happened when this returns.
    pub(crate) fn give_back(&mut self) -> Option<Run<Result<Decision, Error>>> {
        Some(self.limiter.give_back(&self.key, self.refund.take()?))
    }
}

impl Drop for Owed {
    /// The request was dropped, or something panicked. A store would have to be waited for.
    fn drop(&mut self) {
        drop(self.give_back());
    }
}
