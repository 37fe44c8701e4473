//! What decides while a store is out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admit::{Admission, Admit, Ask};
use crate::error::Error;
use crate::observe::Observer;
use crate::outage::{Outage, StandIn};
use crate::run::Run;

type Make<L> = dyn Fn() -> Result<Arc<L>, Error> + Send + Sync;

/// A limit in memory for the time of an outage: made when it is first asked in one, gone when the outage is over.
pub(crate) struct Standby<L: ?Sized> {
    outage: Outage,
    make: Box<Make<L>>,
    /// The limit, and the outage that it is of.
    held: Mutex<Option<(u64, Arc<L>)>>,
}

impl<L: Admit + ?Sized> Standby<L> {
    pub(crate) fn new(outage: &Outage, make: impl Fn() -> Result<Arc<L>, Error> + Send + Sync + 'static) -> Arc<Self> {
        let standby = Arc::new(Self { outage: outage.clone(), make: Box::new(make), held: Mutex::new(None) });
        let weak = Arc::downgrade(&standby);
        outage.add(weak);
        standby
    }

    /// Whether the store is out.
    pub(super) fn outage(&self) -> &Outage {
        &self.outage
    }

    /// The limit of this outage; that one begins if there is none.
    pub(crate) fn current(&self) -> Result<Arc<L>, Error> {
        let mut held = self.held();
        // Not before the lock: by the time that one has it, another outage may have begun, and have its limit.
        let turn = self.outage.turn();
        if let Some((_, limit)) = held.as_ref().filter(|(of, _)| *of == turn) {
            return Ok(Arc::clone(limit));
        }
        let limit = (self.make)()?;
        *held = Some((turn, Arc::clone(&limit)));
        Ok(limit)
    }

    fn held(&self) -> MutexGuard<'_, Option<(u64, Arc<L>)>> {
        // It is replaced as a whole, so it is whole whatever panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Admit + ?Sized> StandIn for Standby<L> {
    fn stand_down(&self) {
        let mut held = self.held();
        // Whoever ended an outage may come so late that another one has begun, and has its limit.
        let over = held.as_ref().is_some_and(|(of, _)| !self.outage.is_in(*of));
        let limit = if over { held.take() } else { None };
        drop(held);
        // After the lock: to give much memory back takes a while.
        drop(limit);
    }
}

impl<L: Admit + ?Sized> Admit for Standby<L> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        match self.current() {
            Ok(limit) => limit.admit(ask),
            Err(error) => Run::ready(Err(error)),
        }
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let (outage, observer) = (self.outage.clone(), Arc::clone(observer));
        let observed: Arc<Standby<dyn Admit>> = Standby::new(&outage, move || {
            let limit = self.current()?;
            Ok(Arc::clone(&limit).observed(&observer).unwrap_or_else(|| Arc::new(limit)))
        });
        Some(observed)
    }
}

impl<L: ?Sized> fmt::Debug for Standby<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standby").field("outage", &self.outage).finish_non_exhaustive()
    }
}
