//! Slots first, then limits: how a rule decides that has both.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::rule::RuleLimit;
use super::slots::Slots;
use super::whole::Witness;
use crate::admit::{Admission, Admit, Ask, Axes};
use crate::decision::Decision;
use crate::error::Error;
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::run::Run;

/// Decides about the requests of a rule that limits the work in flight: a slot of each of its policies that says so, then
/// its limits. A slot goes back, with nothing learnt, if anything refuses.
///
/// If the store is out, the limits fail while the slots are held: [`Entry::permit`] has them, so that whoever lets the
/// request pass all the same can hold them on.
#[derive(Clone)]
pub struct Guarded {
    parts: Arc<Parts>,
}

struct Parts {
    /// At least one.
    guards: Vec<Arc<dyn Slots>>,
    limit: RuleLimit,
    witness: Option<Witness>,
}

/// What [`Guarded::enter`] answers.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an entry holds a permit; dropping it gives the slot back"]
pub struct Entry {
    /// The decision, with its permit if it allows.
    pub result: Result<Admission, Error>,
    /// The slots that a failed request holds; empty if there is a decision.
    pub permit: Permit,
}

impl Entry {
    /// A decision, or a failure that holds nothing.
    pub fn of(result: Result<Admission, Error>) -> Self {
        Self { result, permit: Permit::none() }
    }
}

impl Guarded {
    pub(super) fn new(guards: Vec<Arc<dyn Slots>>, limit: RuleLimit, witness: Option<Witness>) -> Self {
        Self { parts: Arc::new(Parts { guards, limit, witness }) }
    }

    /// Decides one request.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned [`Run`] before it answers gives the slots back. A store may already have charged the request.
    pub fn enter(&self, ask: &Ask<'_>) -> Run<Entry> {
        let Some(witness) = &self.parts.witness else { return Parts::take(&self.parts, 0, Held::default(), ask) };
        let case = witness.begin(ask);
        match Parts::take(&self.parts, 0, Held::default(), ask).now() {
            Ok(entry) => {
                witness.tell(case, &entry.result);
                Run::ready(entry)
            }
            Err(waiting) => {
                let (witness, key, case) = (witness.clone(), Box::<str>::from(ask.key), case.with_key(""));
                waiting.map(move |entry| {
                    witness.tell(case.with_key(&key), &entry.result);
                    entry
                })
            }
        }
    }
}

/// What a request holds so far.
#[derive(Default)]
struct Held {
    axes: Axes,
    permit: Permit,
}

impl Parts {
    /// Takes a slot of each guard from `index` on, then asks the limits.
    fn take(this: &Arc<Self>, index: usize, mut held: Held, ask: &Ask<'_>) -> Run<Entry> {
        for (index, guard) in this.guards.iter().enumerate().skip(index) {
            match guard.enter(ask).now() {
                Ok(answer) => match held.add(answer) {
                    Ok(more) => held = more,
                    Err(entry) => return Run::ready(entry),
                },
                Err(waiting) => {
                    let (parts, kept) = (Arc::clone(this), Kept::of(ask));
                    return Run::wait(async move {
                        match held.add(waiting.await) {
                            Ok(held) => kept.ask(|ask| Self::take(&parts, index + 1, held, ask)).await,
                            Err(entry) => entry,
                        }
                    });
                }
            }
        }
        let answer = match &this.limit {
            RuleLimit::None => return Run::ready(Entry::of(Ok(Admission::from_axes(held.axes, held.permit)))),
            RuleLimit::One(limiter) => limiter.admit(ask),
            RuleLimit::Joint(admit) => admit.admit(ask),
        };
        answer.map(|answer| held.conclude(answer))
    }
}

impl Held {
    /// Adds what the next guard gave. Its refusal ends it, and gives back what the others gave.
    #[allow(clippy::result_large_err)] // it is the answer, and goes straight to the caller
    fn add(mut self, answer: Result<(Decision, Permit), Error>) -> Result<Self, Entry> {
        let (decision, permit) = match answer {
            Ok(taken) => taken,
            Err(error) => return Err(Entry::of(Err(error))),
        };
        if !decision.allowed {
            let axes = Axes { rate: None, concurrency: Some(decision), cost: None };
            return Err(Entry::of(Ok(Admission::from_axes(axes, permit))));
        }
        self.axes.concurrency = Some(self.axes.concurrency.map_or(decision, |others| others.combine(decision)));
        self.permit = if self.permit.is_held() { Both::joined(self.permit, permit) } else { permit };
        Ok(self)
    }

    /// Puts the answer of the limits beside the slots.
    fn conclude(self, answer: Result<Admission, Error>) -> Entry {
        let Self { axes: Axes { concurrency, .. }, permit } = self;
        let limits = match answer {
            Ok(admission) => admission,
            Err(error) => return Entry { result: Err(error), permit },
        };
        let concurrency = concurrency.map(|slots| if limits.decision.allowed { slots } else { given_back(slots) });
        let decision = concurrency.map_or(limits.decision, |slots| slots.combine(limits.decision));
        let permit = if decision.allowed { permit } else { Permit::none() };
        let axes = Axes { concurrency, ..limits.axes };
        Entry::of(Ok(Admission { decision, axes, each: limits.each, binding: limits.binding, permit }))
    }
}

/// The decision of guards whose slots go back: with what they have then.
fn given_back(slots: Decision) -> Decision {
    Decision { remaining: slots.remaining.saturating_add(1).min(slots.limit), ..slots }
}

/// Two permits as one, for a request that takes slots of two policies.
struct Both(Mutex<[Permit; 2]>);

impl Both {
    fn joined(one: Permit, other: Permit) -> Permit {
        Permit::new(Arc::new(Self(Mutex::new([one, other]))), Slot { taken_at: 0, detail: 0 })
    }
}

impl Settle for Both {
    fn settle(&self, _slot: Slot, outcome: Outcome) {
        // Permits are settled one by one, and settling does not panic.
        for permit in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            permit.settle(outcome);
        }
    }
}

/// What is kept of a request while it waits.
struct Kept {
    key: Box<str>,
    dimensions: Box<[Box<str>]>,
    rest: Ask<'static>,
}

impl Kept {
    fn of(ask: &Ask<'_>) -> Self {
        let dimensions = ask.dimensions.iter().map(|key| Box::from(*key)).collect();
        Self { key: ask.key.into(), dimensions, rest: Ask { key: "", dimensions: &[], ..*ask } }
    }

    fn ask<T>(&self, with: impl FnOnce(&Ask<'_>) -> T) -> T {
        let dimensions: Vec<&str> = self.dimensions.iter().map(|key| &**key).collect();
        with(&Ask { key: &self.key, dimensions: &dimensions, ..self.rest })
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("guards", &self.parts.guards.len()).field("limit", &self.parts.limit).finish()
    }
}
