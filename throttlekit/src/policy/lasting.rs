//! What outlives a policy that changes.

use std::any::Any;
use std::sync::Arc;

use crate::budget::{Ledger, Served};
use crate::clock::Clock;
use crate::fair::FairEscrow;
use crate::observe::Observer;
use crate::program::State;
use crate::sketch::{Carry, Screened, SketchLimiter};
use crate::store::TableReport;
use crate::store::memory::Table;

/// What was counted in this process, for a later limiter to go on with if it is of the right type.
pub(super) trait Lasting: Send + Sync {
    fn as_any(&self) -> &dyn Any;

    /// How full its table is, if it has one.
    fn table(&self) -> Option<TableReport> {
        None
    }
}

/// Nothing lasts.
impl Lasting for () {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<S: State> Lasting for Table<S> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table(&self) -> Option<TableReport> {
        Some(self.into())
    }
}

impl Lasting for Ledger<Served> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table(&self) -> Option<TableReport> {
        Some(self.into())
    }
}

impl<S: Carry, C: Clock, O: Observer> Lasting for Screened<S, C, O> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table(&self) -> Option<TableReport> {
        Some(self.table_report())
    }
}

impl<C: Clock, O: Observer> Lasting for SketchLimiter<C, O> {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Lasting for FairEscrow<Arc<dyn Clock>> {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
