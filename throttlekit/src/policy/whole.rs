//! Observers of whole requests.

use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask, observed_or_same};
use crate::error::Error;
use crate::observe::{Asked, Begun, Observer, told};
use crate::run::Run;

/// An observer of the requests of a rule, with the name that its events carry.
#[derive(Clone)]
pub(super) struct Witness {
    /// `None` if there is nobody to tell.
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) name: Arc<str>,
}

/// A limit whose requests a [`Witness`] tells of.
pub(super) struct Witnessed {
    limit: Arc<dyn Admit>,
    witness: Witness,
}

/// A request that is being decided.
#[derive(Clone, Copy)]
struct Case<'a> {
    asked: Asked<'a>,
    begun: Begun,
}

impl Witness {
    /// The same name with `observer` to tell; `None` if there is somebody to tell.
    pub(super) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Self> {
        let blind = self.observer.is_blind();
        blind.then(|| Self { observer: Some(Arc::clone(observer)), name: Arc::clone(&self.name) })
    }

    /// The same name, and nobody to tell.
    pub(super) fn without_observer(self) -> Self {
        Self { observer: None, ..self }
    }

    /// Lets `decide` decide `ask` as a part, and tells of the whole, whose result is that in its answer. With nobody to
    /// tell it is no part.
    #[inline]
    pub(super) fn follow<T: Send + 'static>(
        &self,
        ask: &Ask<'_>,
        decide: impl FnOnce(&Ask<'_>) -> Run<T>,
        result: fn(&T) -> &Result<Admission, Error>,
    ) -> Run<T> {
        let Some(observer) = &self.observer else { return decide(ask) };
        let case = Case { asked: Asked::of(ask), begun: Begun::now(observer) };
        match decide(&ask.as_part()).now() {
            Ok(answer) => {
                self.tell(observer, case, result(&answer));
                Run::ready(answer)
            }
            Err(waiting) => {
                let (witness, observer) = (self.clone(), Arc::clone(observer));
                let (key, case) = (Box::<str>::from(ask.key), case.with_key(""));
                waiting.map(move |answer| {
                    witness.tell(&observer, case.with_key(&key), result(&answer));
                    answer
                })
            }
        }
    }

    /// Tells of a request that was decided.
    fn tell(&self, observer: &Arc<dyn Observer>, case: Case<'_>, result: &Result<Admission, Error>) {
        if let Ok(admission) = result {
            told(observer, || {
                let took_ms = case.begun.took_ms(observer).unwrap_or(0.0);
                let mut event = case.asked.event(&self.name, admission, took_ms);
                event.parts_marked = true;
                observer.admitted(&event);
            });
        }
    }
}

impl Witnessed {
    pub(super) fn new(limit: Arc<dyn Admit>, witness: Witness) -> Self {
        Self { limit, witness }
    }
}

impl Admit for Witnessed {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.witness.follow(ask, |part| self.limit.admit(part), |answer| answer)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let witness = self.witness.told_to(observer)?;
        Some(Arc::new(Self::new(observed_or_same(&self.limit, observer), witness)))
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        self.limit.units_of(ask, place)
    }
}

impl Case<'_> {
    /// The same request, whose key is elsewhere.
    fn with_key(self, key: &str) -> Case<'_> {
        let Self { asked: Asked { key: _, cost, value, priority }, begun } = self;
        Case { asked: Asked { key, cost, value, priority }, begun }
    }
}
