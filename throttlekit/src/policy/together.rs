//! Limits that no one place holds, charged all or none.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::options::LoadOptions;
use super::store::OpenStore;
use super::whole::Witness;
use crate::admit::{Admission, Admit, Ask, Axes, Axis, observed_or_same};
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::{BuildError, Error};
use crate::limiter::{DynLimiter, Owed};
use crate::multi::{InMemory, Multi, MultiBuilder, Site};
use crate::observe::Observer;
use crate::permit::Permit;
use crate::program::Refund;
use crate::run::Run;

/// A limiter of a rule.
#[derive(Clone)]
pub(super) struct Charged {
    pub(super) name: Arc<str>,
    pub(super) limiter: Arc<dyn DynLimiter>,
    /// What a request costs there, if that is not [`Ask::cost`].
    pub(super) units: Option<f64>,
}

impl Charged {
    fn units_of(&self, ask: &Ask<'_>) -> f64 {
        self.units.unwrap_or(ask.cost)
    }
}

/// Who charges all of `limiters`, or none: one joint check where one place holds them, and else one after the other.
/// `store` is where those are that are not in this process.
pub(super) fn all_or_none(
    limiters: Vec<Charged>,
    store: Option<&OpenStore>,
    options: &LoadOptions,
) -> Result<Arc<dyn Admit>, BuildError> {
    let places = limiters.len();
    let (mut local, mut stored, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let names: Vec<&str> = limiters.iter().map(|charged| &*charged.name).collect();
    let names = names.join("+");
    for member in limiters.into_iter().enumerate() {
        match member.1.limiter.dimension().map(|dimension| dimension.0) {
            Ok(Site::Local(_)) => local.push(member),
            Ok(Site::Stored(_)) => stored.push(member),
            Err(_) => parts.push(Part::alone(member)),
        }
    }
    for (group, store) in [(local, None), (stored, store)] {
        match group.len() {
            0 => {}
            1 => parts.extend(group.into_iter().map(Part::alone)),
            held if held == places => return joint(&group, store, options),
            _ => parts.push(Part {
                admit: joint(&group, store, options)?,
                members: group.into(),
                stored: store.is_some(),
            }),
        }
    }
    parts.sort_by_key(Part::rank);
    if let [.., one, other] = parts.as_slice() {
        if let (Some(one), Some(other)) = (one.irrevocable(), other.irrevocable()) {
            let allowed = "must have at most one that takes no units back, besides those that one place holds";
            return Err(BuildError::new("http.rules.policies", format!("{one:?} and {other:?}"), allowed));
        }
    }
    let witness = Witness { observer: options.observer.clone(), name: names.into() };
    Ok(Arc::new(Together { parts: parts.into(), places, witness }))
}

/// One decision, and so one event, under the names of all.
fn joint(
    members: &[(usize, Charged)],
    store: Option<&OpenStore>,
    options: &LoadOptions,
) -> Result<Arc<dyn Admit>, BuildError> {
    let names: Vec<&str> = members.iter().map(|(_, charged)| &*charged.name).collect();
    let mut together: MultiBuilder = Multi::all().name(names.join("+")).keep_each(true);
    for (_, Charged { name, limiter, units }) in members {
        together = match units {
            Some(units) => together.limiter_for(&**name, &**limiter, *units),
            None => together.limiter(&**name, &**limiter, 1.0),
        };
    }
    let together = together.clock(options.clock_of_all());
    // Nobody to tell: compiled without the calls.
    match &options.observer {
        Some(observer) => placed(together.observer(Arc::clone(observer)), store),
        None => placed(together, store),
    }
}

fn placed<C: Clock, O: Observer + Clone>(
    together: MultiBuilder<InMemory, C, O>,
    store: Option<&OpenStore>,
) -> Result<Arc<dyn Admit>, BuildError> {
    Ok(match store {
        Some(store) => Arc::new(together.store(store.keys().clone()).build()?),
        None => Arc::new(together.build()?),
    })
}

/// What is charged in one step.
struct Part {
    admit: Arc<dyn Admit>,
    /// With their places among the limiters of the rule.
    members: Box<[(usize, Charged)]>,
    /// Whether a store may have to be asked.
    stored: bool,
}

impl Part {
    fn alone(member: (usize, Charged)) -> Self {
        let limiter = &member.1.limiter;
        let stored = !limiter.is_immediate();
        Self { admit: Arc::new(Arc::clone(limiter)), members: [member].into(), stored }
    }

    /// The same with `observer` to tell. What is given back is told to nobody.
    fn observed(&self, observer: &Arc<dyn Observer>) -> Self {
        let (admit, members) = (observed_or_same(&self.admit, observer), self.members.clone());
        Self { admit, members, stored: self.stored }
    }

    /// The name of one that takes no units back.
    fn irrevocable(&self) -> Option<&str> {
        self.members.iter().find(|(_, charged)| !charged.limiter.refunds()).map(|(_, charged)| &*charged.name)
    }

    /// When it is asked. What this process gives back at once and without fail comes first, then what a store gives back
    /// where it can, of which leases, that rarely ask it, are in front; what nobody gives back comes last, since nothing after
    /// it can refuse.
    fn rank(&self) -> u8 {
        if self.irrevocable().is_some() { 2 } else { u8::from(self.stored) }
    }

    fn ask(&self, ask: &Ask<'_>) -> Run<Answer> {
        match &*self.members {
            [(_, Charged { units: Some(units), .. })] => self.admit.admit(&ask.cost(*units)),
            _ => self.admit.admit(ask),
        }
    }
}

/// Asks limits one after the other that no one place holds. If one refuses or fails, those before it get back what they
/// gave; until then that is missing to others. A store gives back by best effort: units stay taken there if it is out, or if
/// the request is dropped while it waits.
struct Together {
    /// In the order in which they are asked.
    parts: Arc<[Part]>,
    /// How many limiters there are.
    places: usize,
    witness: Witness,
}

type Answer = Result<Admission, Error>;

/// Every limiter is asked for [`Ask::key`].
impl Admit for Together {
    fn admit(&self, ask: &Ask<'_>) -> Run<Answer> {
        if ask.part {
            return self.decide(ask);
        }
        self.witness.follow(ask, |part| self.decide(part), |answer| answer)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let witness = self.witness.told_to(observer)?;
        let parts = self.parts.iter().map(|part| part.observed(observer)).collect();
        Some(Arc::new(Self { parts, places: self.places, witness }))
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        let mut members = self.parts.iter().flat_map(|part| &*part.members);
        members.find(|(of, _)| *of == place).map(|(_, charged)| charged.units_of(ask))
    }
}

impl Together {
    fn decide(&self, ask: &Ask<'_>) -> Run<Answer> {
        let seen = Seen { decision: Decision::ALLOW_FULL, axis: None };
        let rest = Ask { key: "", dimensions: &[], part: true, ..*ask };
        let so_far = SoFar { key: ask.key.into(), rest, seen: vec![seen; self.places].into(), owed: VecDeque::new() };
        go_on(&self.parts, 0, so_far)
    }
}

/// A request that is being decided.
struct SoFar {
    key: Arc<str>,
    /// All of what is asked but the key.
    rest: Ask<'static>,
    seen: Box<[Seen]>,
    /// By the place of its limiter, in the order in which it was taken.
    owed: VecDeque<(usize, Owed)>,
}

/// What one limiter has said.
#[derive(Clone, Copy)]
struct Seen {
    decision: Decision,
    /// `None` if it was not asked.
    axis: Option<Axis>,
}

/// Asks the parts from `next` on.
fn go_on(parts: &Arc<[Part]>, next: usize, mut so_far: SoFar) -> Run<Answer> {
    for (index, part) in parts.iter().enumerate().skip(next) {
        match part.ask(&Ask { key: &so_far.key, ..so_far.rest }).now() {
            Ok(answer) => match so_far.add(part, answer) {
                Ok(more) => so_far = more,
                Err(refused) => return refused,
            },
            Err(waiting) => {
                let parts = Arc::clone(parts);
                return Run::wait(async move {
                    let answer = waiting.await;
                    match so_far.add(&parts[index], answer) {
                        Ok(so_far) => go_on(&parts, index + 1, so_far).await,
                        Err(refused) => refused.await,
                    }
                });
            }
        }
    }
    so_far.owed.drain(..).for_each(|(_, owed)| owed.keep());
    Run::ready(Ok(so_far.admission()))
}

impl SoFar {
    /// Adds what `part` answered. A refusal and an error end it.
    #[allow(clippy::result_large_err)] // it is the answer, and goes straight to the caller
    fn add(mut self, part: &Part, answer: Answer) -> Result<Self, Run<Answer>> {
        let admission = match answer {
            Ok(admission) => admission,
            Err(error) => return Err(self.undo(Some(error))),
        };
        let one = [admission.decision];
        let decisions = admission.each.as_deref().unwrap_or(&one);
        let axis = if admission.axes.cost.is_some() { Axis::Cost } else { Axis::Rate };
        for ((place, charged), decision) in part.members.iter().zip(decisions) {
            self.seen[*place] = Seen { decision: *decision, axis: Some(axis) };
            if admission.decision.allowed {
                let refund = Refund::new(charged.units_of(&self.rest)).of(decision);
                let owed = Owed::new(Arc::clone(&charged.limiter), Arc::clone(&self.key), Some(refund));
                self.owed.push_back((*place, owed));
            }
        }
        if admission.decision.allowed { Ok(self) } else { Err(self.undo(None)) }
    }

    /// Gives back what was taken, and answers.
    fn undo(mut self, failed: Option<Error>) -> Run<Answer> {
        while let Some((place, mut owed)) = self.owed.pop_front() {
            let Some(refund) = owed.give_back() else { continue };
            match refund.now() {
                Ok(refunded) => self.returned(place, &refunded),
                Err(waiting) => {
                    return Run::wait(async move {
                        self.returned(place, &waiting.await);
                        self.undo(failed).await
                    });
                }
            }
        }
        Run::ready(failed.map_or_else(|| Ok(self.admission()), Err))
    }

    /// Shows what the limiter has as it is. If it could not be given back, that is what it had after it was taken.
    fn returned(&mut self, place: usize, refunded: &Result<Decision, Error>) {
        if let Ok(state) = refunded {
            self.seen[place].decision = self.seen[place].decision.as_it_is(state);
        }
    }

    /// As of a joint check: the decision is that of the limiter with the least remaining; on a denial that of the denying one
    /// with the longest wait.
    fn admission(&self) -> Admission {
        let of = |axis: Axis| {
            let seen = self.seen.iter().filter(move |seen| seen.axis == Some(axis));
            seen.map(|seen| seen.decision).reduce(Decision::combine)
        };
        let axes = Axes { rate: of(Axis::Rate), concurrency: None, cost: of(Axis::Cost) };
        let each: Box<[Decision]> = self.seen.iter().map(|seen| seen.decision).collect();
        let denied =
            each.iter().filter(|decision| !decision.allowed).min_by_key(|denied| Reverse(denied.retry_after_ms));
        let shown = denied.or_else(|| each.iter().min_by_key(|decision| decision.remaining));
        let decision = shown.copied().unwrap_or(Decision::ALLOW_FULL);
        Admission { decision, axes, each: Some(each), binding: axes.binding(), permit: Permit::none() }
    }
}
