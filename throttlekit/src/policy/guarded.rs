//! Deny lists first, then slots, then limits: how a rule decides that has more than limits.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::listed::Listed;
use super::rule::RuleLimit;
use super::slots::Slots;
use super::whole::Witness;
use crate::admit::{Admission, Admit, Ask, Axes};
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::Observer;
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::run::Run;

/// Decides about the requests of a rule that limits the work in flight or has deny lists: a key on the list of one of its
/// policies is refused, then a slot is taken of each policy that says so, then its limits are asked. A slot goes back, with
/// nothing learnt, if anything refuses. A denial by the limit of a policy counts on the list of that one.
///
/// If the store is out, the limits fail while the slots are held: [`Entry::permit`] has them, so that whoever lets the
/// request pass all the same can hold them on.
#[derive(Clone)]
pub struct Guarded {
    parts: Arc<Parts>,
}

struct Parts {
    lists: Lists,
    guards: Vec<Arc<dyn Slots>>,
    limit: RuleLimit,
    witness: Witness,
}

/// The deny lists of a rule.
pub(super) struct Lists {
    /// How many of its policies limit units.
    pub(super) of_units: usize,
    /// Each with the place of its policy among these.
    pub(super) lists: Vec<(usize, Arc<Listed>)>,
}

impl Lists {
    /// The refusal of a key that is on one of the lists.
    fn refusal(&self, ask: &Ask<'_>) -> Option<Admission> {
        let (place, refusal) = self.lists.iter().find_map(|(place, list)| Some((*place, list.refuses(ask)?)))?;
        let mut admission = Admission::rate(refusal);
        if self.of_units > 1 {
            // The others were not asked, which says nothing.
            let decision = |at| if at == place { refusal } else { Decision::ALLOW_FULL };
            admission.each = Some((0..self.of_units).map(decision).collect());
        }
        Some(admission)
    }

    /// Counts what the limits answered about `key`.
    fn note(&self, key: &str, entry: &Entry) {
        let Ok(admission) = &entry.result else { return };
        if admission.decision.allowed {
            return;
        }
        let Axes { rate, cost, .. } = admission.axes;
        let one = rate.or(cost);
        let each = admission.each.as_deref().unwrap_or(one.as_slice());
        let denied = |place: usize| each.get(place).is_some_and(|decision| !decision.allowed);
        self.lists.iter().filter(|(place, _)| denied(*place)).for_each(|(_, list)| list.denied(key));
    }
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
    pub(super) fn new(lists: Lists, guards: Vec<Arc<dyn Slots>>, limit: RuleLimit, witness: Witness) -> Self {
        // Without slots a request has one part, which tells of it.
        let witness = if guards.is_empty() { witness.without_observer() } else { witness };
        Self { parts: Arc::new(Parts { lists, guards, limit, witness }) }
    }

    /// The same lists, slots and limits with `observer` to tell, as if the policies had been loaded with it. Those that
    /// have an observer keep it.
    #[must_use]
    pub fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        let Parts { lists: Lists { of_units, lists }, guards, limit, witness } = &*self.parts;
        let lists = lists.iter().map(|(place, list)| (*place, Arc::new(list.observed_list(observer)))).collect();
        let guard =
            |guard: &Arc<dyn Slots>| Arc::clone(guard).observed_slots(observer).unwrap_or_else(|| Arc::clone(guard));
        let guards = guards.iter().map(guard).collect();
        let witness = witness.told_to(observer).unwrap_or_else(|| witness.clone());
        Self::new(Lists { of_units: *of_units, lists }, guards, limit.observed(observer), witness)
    }

    /// The units that an admission of `ask` takes of the limit at `place`, as [`Admit::units_of`] says them.
    pub fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        match &self.parts.limit {
            RuleLimit::None => None,
            RuleLimit::One(_) => (place == 0).then_some(ask.cost),
            RuleLimit::Joint(admit) => admit.units_of(ask, place),
        }
    }

    /// Decides one request.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned [`Run`] before it answers gives the slots back. A store may already have charged the request.
    pub fn enter(&self, ask: &Ask<'_>) -> Run<Entry> {
        self.parts.witness.follow(ask, |part| Parts::decide(&self.parts, part), |entry| &entry.result)
    }
}

/// What a request holds so far.
#[derive(Default)]
struct Held {
    axes: Axes,
    permit: Permit,
    /// The decision of the guards if their slots go back.
    given_back: Option<Decision>,
}

impl Parts {
    fn decide(this: &Arc<Self>, ask: &Ask<'_>) -> Run<Entry> {
        if this.lists.lists.is_empty() {
            return Self::take(this, 0, Held::default(), ask);
        }
        if let Some(refusal) = this.lists.refusal(ask) {
            return Run::ready(Entry::of(Ok(refusal)));
        }
        match Self::take(this, 0, Held::default(), ask).now() {
            Ok(entry) => {
                this.lists.note(ask.key, &entry);
                Run::ready(entry)
            }
            Err(waiting) => {
                let (parts, key) = (Arc::clone(this), Box::<str>::from(ask.key));
                waiting.map(move |entry| {
                    parts.lists.note(&key, &entry);
                    entry
                })
            }
        }
    }

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
        let given_back = decision.with_slot_back(&permit);
        self.given_back = Some(self.given_back.map_or(given_back, |others| others.combine(given_back)));
        self.axes.concurrency = Some(self.axes.concurrency.map_or(decision, |others| others.combine(decision)));
        self.permit = if self.permit.is_held() { Both::joined(self.permit, permit) } else { permit };
        Ok(self)
    }

    /// Puts the answer of the limits beside the slots.
    fn conclude(self, answer: Result<Admission, Error>) -> Entry {
        let Self { axes: Axes { concurrency, .. }, permit, given_back } = self;
        let limits = match answer {
            Ok(admission) => admission,
            Err(error) => return Entry { result: Err(error), permit },
        };
        let concurrency = if limits.decision.allowed { concurrency } else { given_back };
        let decision = concurrency.map_or(limits.decision, |slots| slots.combine(limits.decision));
        let permit = if decision.allowed { permit } else { Permit::none() };
        let axes = Axes { concurrency, ..limits.axes };
        Entry::of(Ok(Admission { decision, axes, each: limits.each, binding: limits.binding, permit }))
    }
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
        f.debug_struct("Guarded")
            .field("deny_lists", &self.parts.lists.lists.len())
            .field("guards", &self.parts.guards.len())
            .field("limit", &self.parts.limit)
            .finish()
    }
}
