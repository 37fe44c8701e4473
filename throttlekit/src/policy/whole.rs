//! Observers of whole requests.

use std::sync::Arc;

use crate::admit::{Admission, Ask};
use crate::error::Error;
use crate::observe::{AdmissionEvent, Asked, Begun, Event, Observer, told};
use crate::run::Run;

/// Hands on whole requests only. Their parts tell the observer themselves.
pub(super) struct Wholes(pub(super) Arc<dyn Observer>);

impl Observer for Wholes {
    fn observe(&self, _event: &Event<'_>) {}

    fn stopwatch_ns(&self) -> Option<u64> {
        self.0.stopwatch_ns()
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.0.admitted(admission);
    }

    fn panicked(&self) {
        self.0.panicked();
    }
}

/// An observer of the requests of a rule, with the name that its events carry.
#[derive(Clone)]
pub(super) struct Witness {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) name: Arc<str>,
}

/// A request that is being decided.
#[derive(Clone, Copy)]
struct Case<'a> {
    asked: Asked<'a>,
    begun: Begun,
}

impl Witness {
    /// Lets `decide` decide `ask` as a part, and tells of the whole, whose result is that in its answer.
    pub(super) fn follow<T: Send + 'static>(
        &self,
        ask: &Ask<'_>,
        decide: impl FnOnce(&Ask<'_>) -> Run<T>,
        result: fn(&T) -> &Result<Admission, Error>,
    ) -> Run<T> {
        let case = Case { asked: Asked::of(ask), begun: Begun::now(&self.observer) };
        match decide(&ask.as_part()).now() {
            Ok(answer) => {
                self.tell(case, result(&answer));
                Run::ready(answer)
            }
            Err(waiting) => {
                let (witness, key, case) = (self.clone(), Box::<str>::from(ask.key), case.with_key(""));
                waiting.map(move |answer| {
                    witness.tell(case.with_key(&key), result(&answer));
                    answer
                })
            }
        }
    }

    /// Tells of a request that was decided.
    fn tell(&self, case: Case<'_>, result: &Result<Admission, Error>) {
        if let Ok(admission) = result {
            told(&self.observer, || {
                let took_ms = case.begun.took_ms(&self.observer).unwrap_or(0.0);
                self.observer.admitted(&case.asked.event(&self.name, admission, took_ms));
            });
        }
    }
}

impl Case<'_> {
    /// The same request, whose key is elsewhere.
    fn with_key(self, key: &str) -> Case<'_> {
        let Self { asked: Asked { key: _, cost, value, priority }, begun } = self;
        Case { asked: Asked { key, cost, value, priority }, begun }
    }
}
