//! A limit in several dimensions, with an observer.

use std::sync::Arc;

use super::Multi;
use crate::admit::{Admission, Admit, Ask};
use crate::clock::Clock;
use crate::error::Error;
use crate::limiter::Watch;
use crate::observe::Observer;
use crate::run::Run;

/// The same dimensions, and somebody to tell.
pub(super) struct Observed<W, C, O> {
    pub(super) multi: Arc<Multi<W, C, O>>,
    pub(super) watch: Watch<Arc<dyn Observer>>,
}

impl<W: Send + Sync + 'static, C: Clock, O: Observer + Clone> Admit for Observed<W, C, O> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.multi.admit_by(&self.watch, ask)
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        self.multi.units_of(ask, place)
    }
}
