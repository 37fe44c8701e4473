//! Rate, work in flight and cost, admitted together.
//!
//! ```
//! use throttlekit::{Admit, Ask, Axis, Gcra, Guard, Limiter, ManualClock, TokenBucket, Unified};
//!
//! let clock = ManualClock::new(0.0);
//! let rate = Limiter::builder(Gcra::per_minute(100)?).clock(clock.clone()).build();
//! let cost = TokenBucket::builder().capacity(1_000.0).refill_per_sec(10.0).build()?;
//! let cost = Limiter::builder(cost).clock(clock.clone()).build();
//! let unified = Unified::builder()
//!     .concurrency(Guard::builder().fixed(4).clock(clock.clone()).build()?)
//!     .rate(rate.clone())
//!     .cost(cost)
//!     .clock(clock)
//!     .build()?;
//!
//! let admission = unified.admit(&Ask::new("tenant-1").cost(900.0)).now().expect("memory does not wait")?;
//! assert!(admission.decision.allowed && admission.permit.is_held());
//!
//! let denied = unified.admit(&Ask::new("tenant-1").cost(900.0)).now().expect("memory does not wait")?;
//! assert_eq!(denied.binding, Some(Axis::Cost));
//! assert_eq!(rate.peek("tenant-1")?.remaining, 99, "what one axis refuses is not taken from another");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Prices
//!
//! Whoever comes first takes what is left: one request of cost 10,000 keeps a hundred of cost 100 out, whatever they are
//! worth. With prices, a request is refused if [`Ask::value`] is below its bid:
//!
//! ```text
//! bid = price of a request + price of a unit of cost * cost + price of holding a slot * hold
//! ```
//!
//! The best prices are the shadow prices of the budgets for a known mix of requests ([`Workload::solve`]). They are good if
//! the mix is what comes, in any order that mixes it. They are bad if one kind comes for ever: prices that keep a kind out
//! keep it out though nothing better comes. Where that can happen, let them be solved again
//! ([`UnifiedBuilder::resolving_workload`]).

mod apart;
mod builder;
mod joint;
mod lanes;
mod lp;
mod observed;
mod price;
mod tap;
mod watch;

pub use crate::observe::{AdmissionEvent, Lane};
pub use builder::UnifiedBuilder;
pub use lanes::{LaneCounts, LaneSnapshot};
pub use lp::{Plan as WorkloadPlan, Prices, Workload};
pub use tap::Tap;

use std::borrow::Cow;
use std::sync::Arc;
use std::{fmt, mem};

use crate::admit::{Admission, Admit, Ask, Axes, Axis};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::DynLimiter;
use crate::observe::{GuardReport, GuardStats, Observer};
use crate::permit::Permit;
use crate::run::Run;
use crate::store::Moment;
use crate::strategy::validate_cost;
use apart::Order;
use joint::{Both, Joint};
use price::Pricing;
use watch::Watch;

/// What a request takes that one of rate and cost refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Consume {
    /// Nothing.
    ///
    /// Where rate and cost are both in memory, or both in one store, they are judged and charged in one atomic section;
    /// their clocks and observers are not asked. Elsewhere one is asked after the other, each by a check of its own
    /// limiter, and a refusal or an error of the second one gives back what the first one took. Until then that is missing
    /// to others. It is given back by best effort: it stays taken if its store is out, or if the request is dropped while it
    /// waits. Not so in memory: therefore a limit in memory is asked first, and gets its units back whatever happens.
    #[default]
    AllOrNothing,
    /// What was asked before the refusal: the rate is asked first and keeps its unit if the cost then refuses. Each is a
    /// check of its own limiter, wherever that is. What other members of the family do.
    PerAxis,
    /// What the one that does not refuse takes, whichever it is. Both are asked at one instant, in memory or by one call of
    /// one store. What other members of the family do in one script.
    PerAxisAtOnce,
}

/// Admits by rate, work in flight and cost at once; from [`builder`](Self::builder).
///
/// # What it promises
///
/// - **Order**: a slot first, then the prices, then rate and cost. A refusal ends it: what comes later is not asked. With
///   [`Consume::AllOrNothing`] rate and cost are asked together where one place holds both, and both decisions are in the
///   answer.
/// - **Slots** are given back as [`Outcome::Ignored`](crate::Outcome::Ignored) on every denial and error, and if the
///   returned [`Run`] is dropped or panics. They never teach the guard a latency of nothing.
/// - **The answer** has the decision of each axis that was asked; the joint one is their [`combine`](Decision::combine), and
///   the binding axis is the first that denied, in the order concurrency, rate, cost. An axis that would have allowed but
///   was not charged shows what it has as it is. A denial by the prices binds no axis.
/// - **Cost** is judged before anything else, wherever there is a cost axis: a bad one takes no slot.
/// - **In memory** nothing waits and nothing is allocated, unless the guard has a queue and no slot.
///
/// A clone is a handle to the same limits.
pub struct Unified<C = SystemClock> {
    parts: Arc<Parts<C>>,
}

struct Parts<C> {
    concurrency: Option<Arc<dyn Admit>>,
    rate: Option<Arc<dyn DynLimiter>>,
    cost: Option<Arc<dyn DynLimiter>>,
    plan: Plan,
    pricing: Option<Arc<Pricing>>,
    watch: Watch,
    told_by: Told,
    /// Whether keys are put into braces.
    hash_tag: bool,
    /// Whether the rate is asked for the cost of a request.
    rate_by_cost: bool,
    /// Whether the cost of a request counts anywhere.
    judges: bool,
    first: First,
    clock: C,
}

/// Who tells the observer of the parts of a request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Here,
    /// The parts, which have the same observer.
    #[cfg(feature = "config")]
    Themselves,
}

/// What comes before a request is decided. All of it is one question, so that what is not there costs nothing.
#[derive(Clone, Copy)]
enum First {
    /// Nothing.
    Nothing,
    /// The cost is judged.
    Judge,
    /// Somebody is told of it.
    Watch,
}

/// The slots, and usually the units of the rate, that a request takes.
const ONE: f64 = 1.0;

/// The strategy name of its events.
const UNIFIED: &str = "unified";

/// How rate and cost are charged.
enum Plan {
    Together(Joint),
    Apart(Order),
    EachForItself,
    /// The rate alone. It tells the same observer itself, as the guard does.
    AsPart,
}

/// What a request asks for, beside its slot.
#[derive(Clone, Copy)]
struct Wish {
    /// Units of the rate.
    rate: f64,
    cost: f64,
    value: f64,
    hold: f64,
}

/// A request that has its slot.
#[derive(Default)]
struct Held {
    axes: Axes,
    permit: Permit,
}

type Answer = Result<Admission, Error>;

impl Unified {
    /// Starts without any axis.
    pub fn builder() -> UnifiedBuilder {
        UnifiedBuilder::new()
    }
}

impl<C> Unified<C> {
    /// The prices in force; `None` without prices.
    pub fn prices(&self) -> Option<Prices> {
        self.parts.pricing.as_deref().map(Pricing::prices)
    }

    /// The decisions of the request that was decided last, whichever that was: for a look from outside. A request's own
    /// are in its [`Admission::axes`]. `None` unless [`UnifiedBuilder::remember_last`] was asked for.
    pub fn last_axes(&self) -> Option<Axes> {
        self.parts.watch.last()
    }
}

// What a request holds stays where it is while the steps add to it, since it is large; only a request that waits takes it
// along.
impl<C: Clock> Parts<C> {
    /// Goes on once the concurrency axis has answered.
    #[inline(always)]
    fn enter(self: &Arc<Self>, decision: Decision, permit: Permit, key: &str, wish: Wish) -> Run<Answer> {
        let axes = Axes { rate: None, concurrency: Some(decision), cost: None };
        if decision.allowed {
            return self.price(&mut Held { axes, permit }, key, wish);
        }
        let permit = Permit::none();
        Run::Ready(Some(Ok(Admission { decision, axes, each: None, binding: Some(Axis::Concurrency), permit })))
    }

    #[inline(always)]
    fn price(self: &Arc<Self>, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        if let Some(pricing) = &self.pricing {
            if !pricing.accepts(wish.cost, wish.value, wish.hold) {
                let mut axes = held.axes;
                axes.concurrency = axes.concurrency.map(|slots| slots.with_slot_back(&held.permit));
                // Waiting does not help.
                let decision = Decision { allowed: false, remaining: 0, retry_after_ms: 0, ..axes.combined() };
                return Run::ready(Ok(Admission { decision, axes, each: None, binding: None, permit: Permit::none() }));
            }
        }
        if self.hash_tag {
            return self.ask(held, &tagged(key), wish);
        }
        self.ask(held, key, wish)
    }

    #[inline(always)]
    fn ask(self: &Arc<Self>, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        match &self.plan {
            Plan::Together(joint) => self.together(joint, held, key, wish),
            Plan::Apart(order) => self.apart(*order, held, key, wish),
            Plan::EachForItself => self.ask_rate(held, key, wish),
            Plan::AsPart => self.ask_rate_by(held, key, wish, check_part),
        }
    }

    fn together(self: &Arc<Self>, joint: &Joint, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        let at = Moment::read(&self.clock);
        if let Some(result) = joint.charge(key, at, wish) {
            return Run::ready(result.map(|both| self.charged(both, held, wish)));
        }
        let Some(call) = joint.call(key, at.now_ms, wish) else {
            return Run::ready(Err(Error::unsupported("rate and cost are in no place")));
        };
        let (parts, mut held) = (Arc::clone(self), mem::take(held));
        Run::wait(async move { Ok(parts.charged(call.await?, &mut held, wish)) })
    }

    /// The answer that both axes come to.
    fn charged(&self, both: Both, held: &mut Held, wish: Wish) -> Admission {
        (held.axes.rate, held.axes.cost) = (Some(both.rate), Some(both.cost));
        self.answer(held, wish)
    }

    #[inline(always)]
    fn ask_rate(self: &Arc<Self>, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        self.ask_rate_by(held, key, wish, DynLimiter::check)
    }

    #[inline(always)]
    fn ask_rate_by(
        self: &Arc<Self>,
        held: &mut Held,
        key: &str,
        wish: Wish,
        check: impl FnOnce(&dyn DynLimiter, &str, f64) -> Run<Result<Decision, Error>>,
    ) -> Run<Answer> {
        let Some(rate) = &self.rate else { return self.ask_cost(held, key, wish) };
        match check(&**rate, key, wish.rate) {
            Run::Ready(Some(Ok(decision))) => {
                held.axes.rate = Some(decision);
                self.ask_cost(held, key, wish)
            }
            Run::Ready(Some(Err(error))) => Run::ready(Err(error)),
            waiting => {
                let (parts, key, mut held) = (Arc::clone(self), key.to_owned(), mem::take(held));
                Run::wait(async move {
                    held.axes.rate = Some(waiting.await?);
                    parts.ask_cost(&mut held, &key, wish).await
                })
            }
        }
    }

    /// Asks the cost axis, unless the rate axis denied.
    #[inline(always)]
    fn ask_cost(self: &Arc<Self>, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        let rate_allows = held.axes.rate.is_none_or(|rate| rate.allowed);
        let Some(cost) = self.cost.as_ref().filter(|_| rate_allows) else {
            return Run::ready(Ok(self.answer(held, wish)));
        };
        match cost.check(key, wish.cost) {
            Run::Ready(Some(Ok(decision))) => {
                held.axes.cost = Some(decision);
                Run::ready(Ok(self.answer(held, wish)))
            }
            Run::Ready(Some(Err(error))) => Run::ready(Err(error)),
            waiting => {
                let (parts, mut held) = (Arc::clone(self), mem::take(held));
                Run::wait(async move {
                    held.axes.cost = Some(waiting.await?);
                    Ok(parts.answer(&mut held, wish))
                })
            }
        }
    }

    /// The answer; on a denial the slot goes back here, with nothing learnt.
    #[inline(always)]
    fn answer(&self, held: &mut Held, wish: Wish) -> Admission {
        let mut axes = held.axes;
        let binding = axes.binding();
        if binding.is_some() {
            axes.concurrency = axes.concurrency.map(|slots| slots.with_slot_back(&held.permit));
        }
        let permit = if binding.is_none() { mem::take(&mut held.permit) } else { Permit::none() };
        if let (None, Some(pricing)) = (binding, &self.pricing) {
            pricing.spent(wish.cost);
        }
        Admission { decision: axes.combined(), axes, each: None, binding, permit }
    }
}

/// The key that rate and cost are asked for, with a hash tag.
///
/// A tag ends with the first brace that closes, and an empty one is none. A key that is empty or begins with such braces has
/// their number in front of what is left of it, and a dot at the end, where no other one has it.
fn tagged(key: &str) -> String {
    let rest = key.trim_start_matches('}');
    let braces = key.len() - rest.len();
    if key.is_empty() || braces > 0 { format!("{{{braces}.{rest}}}.") } else { format!("{{{key}}}") }
}

/// A check whose event says that there will be one of the whole.
fn check_part(rate: &dyn DynLimiter, key: &str, units: f64) -> Run<Result<Decision, Error>> {
    rate.admit(&Ask::new(key).cost(units).as_part()).map(|answer| answer.map(|admission| admission.decision))
}

impl<C: Clock> Unified<C> {
    /// Decides, and tells of it.
    #[inline(never)]
    fn watched(&self, ask: &Ask<'_>) -> Run<Answer> {
        self.parts.watch.follow(&self.parts, ask)
    }
}

impl<C: Clock> Parts<C> {
    /// What `ask` takes of the rate.
    #[inline(always)]
    fn rate_units(&self, ask: &Ask<'_>) -> f64 {
        if self.rate_by_cost { ask.cost } else { ONE }
    }

    /// Judges the cost if it counts, and decides.
    fn judge(self: &Arc<Self>, ask: &Ask<'_>) -> Run<Answer> {
        match validate_cost(ask.cost) {
            Err(error) if self.judges => Run::ready(Err(error)),
            _ => self.decide(ask),
        }
    }

    /// Decides about a cost that was judged, and tells nobody.
    #[inline(always)]
    fn decide(self: &Arc<Self>, ask: &Ask<'_>) -> Run<Answer> {
        let parts = self;
        let wish = Wish { rate: self.rate_units(ask), cost: ask.cost, value: ask.value, hold: ask.hold };
        let Some(concurrency) = &parts.concurrency else {
            return parts.price(&mut Held::default(), ask.key, wish);
        };
        match concurrency.enter(ask) {
            Run::Ready(Some(Ok((decision, permit)))) => parts.enter(decision, permit, ask.key, wish),
            Run::Ready(Some(Err(error))) => Run::ready(Err(error)),
            waiting => {
                let (parts, key) = (Arc::clone(parts), ask.key.to_owned());
                Run::wait(async move {
                    let (decision, permit) = waiting.await?;
                    parts.enter(decision, permit, &key, wish).await
                })
            }
        }
    }
}

/// Tells of each axis, and then of the whole.
impl<C: Clock> Admit for Unified<C> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Answer> {
        match self.parts.first {
            First::Nothing => {}
            First::Judge => {
                if let Err(error) = validate_cost(ask.cost) {
                    return Run::ready(Err(error));
                }
            }
            First::Watch => return self.watched(ask),
        }
        self.parts.decide(ask)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        Some(Arc::new(self.told_to(observer)?))
    }

    fn joins_axes(&self) -> bool {
        true
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        let rate = self.parts.rate.as_ref().map(|rate| (rate, self.parts.rate_units(ask)));
        let cost = self.parts.cost.as_ref().map(|cost| (cost, ask.cost));
        let (limiter, units) = rate.into_iter().chain(cost).nth(place)?;
        // During an outage they are taken of what stands in, which is soon forgotten.
        (limiter.outage_turns() % 2 == 0).then_some(units)
    }

    fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.parts.hash_tag { Cow::Owned(tagged(key)) } else { Cow::Borrowed(key) }
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        self.parts.concurrency.as_ref()?.guard_state()
    }
}

impl<C> Clone for Unified<C> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<C> fmt::Debug for Unified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unified")
            .field("concurrency", &self.parts.concurrency.is_some())
            .field("rate", &self.parts.rate.is_some())
            .field("cost", &self.parts.cost.is_some())
            .field("pricing", &self.parts.pricing.is_some())
            .finish_non_exhaustive()
    }
}
