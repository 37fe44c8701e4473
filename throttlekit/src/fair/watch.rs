//! Who is told of what an escrow decides.

use std::sync::Arc;

use crate::admit::Axis;
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::{Begun, Event, Observer, told};

use super::escrow::FAIR_ESCROW;
use super::lending::Wish;

/// An observer, with the name that its events carry.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) name: Arc<str>,
}

impl Watch {
    /// Reads the stopwatch of the observer, if it has one.
    #[inline]
    pub(super) fn begin(&self) -> Begun {
        self.observer.as_ref().map_or_else(Begun::default, Begun::now)
    }

    /// The same name with `observer` to tell; `None` if there is somebody to tell.
    pub(super) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Self> {
        let blind = self.observer.is_blind();
        blind.then(|| Self { observer: Some(Arc::clone(observer)), name: Arc::clone(&self.name) })
    }

    #[inline]
    pub(super) fn tell(&self, wish: &Wish<'_>, now_ms: f64, result: Result<Decision, &Error>) {
        if let Some(observer) = &self.observer {
            self.give(observer, wish, now_ms, result);
        }
    }

    #[inline(never)] // whoever has no observer does without
    fn give(&self, observer: &Arc<dyn Observer>, wish: &Wish<'_>, now_ms: f64, result: Result<Decision, &Error>) {
        told(observer, || {
            let event = Event::new(&self.name, FAIR_ESCROW, Axis::Rate, wish.cost, now_ms, result);
            let mut event = event.with_key(wish.tenant);
            event.took_ms = wish.begun.took_ms(observer);
            event.part = wish.begun.part && result.is_ok();
            observer.observe(&event);
        });
    }

    pub(super) fn tell_error(&self, wish: &Wish<'_>, clock: &impl Clock, error: &Error) {
        // Without an observer a refused argument costs no reading of the clock.
        if self.observer.is_some() {
            self.tell(wish, clock.now_ms(), Err(error));
        }
    }
}
