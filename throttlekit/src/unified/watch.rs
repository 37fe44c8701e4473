//! Who is told about requests.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Answer, ONE, Parts, Plan, UNIFIED};
use crate::admit::{Ask, Axes, Axis};
use crate::clock::Clock;
use crate::error::Error;
use crate::observe::{Asked, Begun, Event, Observer, told};
use crate::run::Run;

/// An observer, with the name that its events carry, and what is remembered for it.
pub(super) struct Watch {
    observer: Option<Arc<dyn Observer>>,
    name: Arc<str>,
    /// The decisions of the request that was decided last.
    last: Option<Arc<Mutex<Axes>>>,
}

/// A request that is being decided, as its events will show it.
#[derive(Clone, Copy)]
struct Made<'a> {
    asked: Asked<'a>,
    /// Units of the rate.
    rate: f64,
    begun: Begun,
    /// Whether its axes tell of it themselves, as of a part.
    as_part: bool,
}

impl Watch {
    pub(super) fn new(observer: Option<Arc<dyn Observer>>, name: Arc<str>, remember_last: bool) -> Self {
        Self { observer, name, last: remember_last.then(Arc::default) }
    }

    /// The same with `observer` to tell; `None` if there is somebody to tell.
    pub(super) fn told_to(&self, observer: Arc<dyn Observer>) -> Option<Self> {
        let Self { observer: own, name, last } = self;
        own.is_blind().then(|| Self { observer: Some(observer), name: Arc::clone(name), last: last.clone() })
    }

    /// The decisions of the request that was decided last, if they are remembered.
    pub(super) fn last(&self) -> Option<Axes> {
        // Axes are replaced as a whole.
        Some(*self.last.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has a request decided, and tells of it.
    pub(super) fn follow<C: Clock>(&self, parts: &Arc<Parts<C>>, ask: &Ask<'_>) -> Run<Answer> {
        let begun = self.observer.as_ref().map_or_else(Begun::default, Begun::now);
        let rate = parts.rate_units(ask);
        let made = Made { asked: Asked::of(ask), rate, begun, as_part: matches!(parts.plan, Plan::AsPart) };
        let asked = if made.as_part { ask.as_part() } else { *ask };
        match parts.judge(&asked) {
            Run::Ready(Some(answer)) => {
                self.tell(made, &parts.clock, &answer);
                Run::Ready(Some(answer))
            }
            waiting => {
                let (parts, key) = (Arc::clone(parts), Box::<str>::from(ask.key));
                let made = Made { asked: Asked { key: "", ..made.asked }, ..made };
                Run::wait(async move {
                    let answer = waiting.await;
                    let made = Made { asked: Asked { key: &key, ..made.asked }, ..made };
                    parts.watch.tell(made, &parts.clock, &answer);
                    answer
                })
            }
        }
    }

    /// Gives one event for each axis that was asked, then one for the whole; or one for what failed.
    fn tell(&self, made: Made<'_>, clock: &impl Clock, answer: &Answer) {
        if let (Some(last), Ok(admission)) = (&self.last, answer) {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = admission.axes;
        }
        let Some(observer) = &self.observer else { return };
        let mut took = None;
        told(observer, || took = made.begun.took_ms(observer));
        let now_ms = clock.now_ms();
        let part = answer.is_ok();
        let tell = |axis, units, result: Result<_, &Error>| {
            let mut event = Event::new(&self.name, UNIFIED, axis, units, now_ms, result).with_key(made.asked.key);
            (event.priority, event.took_ms, event.part) = (made.asked.priority, took, part);
            told(observer, || observer.observe(&event));
        };
        let admission = match answer {
            Ok(admission) => admission,
            // Which axis it was is not known any more.
            Err(error) => return tell(Axis::Rate, made.rate, Err(error)),
        };
        let Axes { rate, concurrency, cost } = admission.axes;
        let asked =
            [(Axis::Concurrency, concurrency, ONE), (Axis::Rate, rate, made.rate), (Axis::Cost, cost, made.asked.cost)];
        for (axis, decision, units) in asked {
            if let Some(decision) = decision {
                tell(axis, units, Ok(decision));
            }
        }
        let mut event = made.asked.event(&self.name, admission, took.unwrap_or(0.0));
        event.parts_marked = made.as_part;
        told(observer, || observer.admitted(&event));
    }
}
