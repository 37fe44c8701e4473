//! The builder of a unified admission.

use std::fmt;
use std::sync::Arc;

use super::apart::Order;
use super::joint::{Joint, apart, irrevocable};
use super::price::{Prices, Pricing, Workload};
use super::watch::Watch;
use super::{Consume, First, Parts, Plan, Told, UNIFIED, Unified};
use crate::admit::Admit;
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::limiter::DynLimiter;
use crate::observe::Observer;
use crate::store::Rule;

/// Builds a [`Unified`]; from [`Unified::builder`].
///
/// ```
/// use throttlekit::{Gcra, Guard, Limiter, Unified};
///
/// let unified = Unified::builder()
///     .concurrency(Guard::fixed(8)?)
///     .rate(Limiter::new(Gcra::per_second(100)?))
///     .build()?;
/// assert_eq!(format!("{unified:?}"), "Unified { concurrency: true, rate: true, cost: false, pricing: false, .. }");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct UnifiedBuilder<C = SystemClock> {
    options: Options,
    clock: C,
}

/// All but the clock.
#[derive(Default)]
struct Options {
    concurrency: Option<Arc<dyn Admit>>,
    rate: Option<Arc<dyn DynLimiter>>,
    cost: Option<Arc<dyn DynLimiter>>,
    consume: Consume,
    pricing: Option<PricingPlan>,
    observer: Option<Arc<dyn Observer>>,
    told_by: Told,
    name: Option<Arc<str>>,
    remember_last: bool,
    hash_tag: bool,
    rate_by_cost: bool,
}

/// Where the prices come from.
enum PricingPlan {
    Prices(Prices),
    Workload { workload: Workload, sample_window: Option<u64>, horizon: Option<u64> },
}

impl UnifiedBuilder {
    pub(super) fn new() -> Self {
        Self { options: Options::default(), clock: SystemClock::new() }
    }
}

impl<C> UnifiedBuilder<C> {
    /// What limits the work in flight, such as a [`Guard`](crate::Guard). It is asked first.
    pub fn concurrency(mut self, guard: impl Admit) -> Self {
        self.options.concurrency = Some(Arc::new(guard));
        self
    }

    /// What limits the rate. It is asked for one unit of each request, unless [told otherwise](Self::rate_by_cost).
    pub fn rate(mut self, limiter: impl DynLimiter) -> Self {
        self.options.rate = Some(Arc::new(limiter));
        self
    }

    /// As [`rate`](Self::rate), for one that others have too.
    #[cfg(feature = "config")]
    pub(crate) fn shared_rate(mut self, limiter: Arc<dyn DynLimiter>) -> Self {
        self.options.rate = Some(limiter);
        self
    }

    /// Asks the rate for [`Ask::cost`](crate::Ask::cost) units of a request instead of one: for a rate of units, beside a
    /// guard. Default: not.
    pub fn rate_by_cost(mut self, by_cost: bool) -> Self {
        self.options.rate_by_cost = by_cost;
        self
    }

    /// What limits the cost. It is asked for [`Ask::cost`](crate::Ask::cost) units.
    pub fn cost(mut self, limiter: impl DynLimiter) -> Self {
        self.options.cost = Some(Arc::new(limiter));
        self
    }

    /// What a request takes that one of rate and cost refuses. Default: [`Consume::AllOrNothing`].
    pub fn consume(mut self, consume: Consume) -> Self {
        self.options.consume = consume;
        self
    }

    /// Refuses requests that are worth less than these prices make them cost. Needs a cost axis.
    pub fn prices(mut self, prices: Prices) -> Self {
        self.options.pricing = Some(PricingPlan::Prices(prices));
        self
    }

    /// Refuses requests that are worth less than the prices that `workload` leads to make them cost. Needs a cost axis.
    pub fn workload(mut self, workload: Workload) -> Self {
        self.options.pricing = Some(PricingPlan::Workload { workload, sample_window: None, horizon: None });
        self
    }

    /// As [`workload`](Self::workload), and takes the first `sample_window` requests, at least 1, for a sample: if the
    /// prices that it leads to had earned more on it, they hold from then on, for good.
    ///
    /// Takes no budget of slots.
    pub fn learning_workload(mut self, workload: Workload, sample_window: u64) -> Self {
        let sample_window = Some(sample_window);
        self.options.pricing = Some(PricingPlan::Workload { workload, sample_window, horizon: None });
        self
    }

    /// As [`workload`](Self::workload), and solves again after every `sample_window` requests, for what was seen and for
    /// what is left of the budgets until `horizon` requests have been seen; then the budgets are whole again. Both are at
    /// least 1.
    ///
    /// Of a kind of request that the plan admits in part, that part passes. The prices decide about kinds that were not
    /// seen yet, and beyond the first 64.
    ///
    /// The budgets of `workload` are those of the whole horizon if its weights sum up to `horizon`, or those of one request
    /// if they sum up to 1. Takes no budget of slots.
    pub fn resolving_workload(mut self, workload: Workload, sample_window: u64, horizon: u64) -> Self {
        let sample_window = Some(sample_window);
        self.options.pricing = Some(PricingPlan::Workload { workload, sample_window, horizon: Some(horizon) });
        self
    }

    /// Who sees the decisions: one event for each axis that was asked, once the request is decided, with the strategy name
    /// `unified`, and then [the whole](Observer::admitted); or one event for what failed. Observers of the parts see what
    /// they are asked themselves besides.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.options.observer = Some(Arc::new(observer));
        self
    }

    /// The name that its events carry. The default is `unified`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Says that guard and rate tell the same observer themselves, which is then told of wholes besides, now or
    /// [later](Admit::observed); without a cost axis.
    #[cfg(feature = "config")]
    pub(crate) fn parts_tell(mut self) -> Self {
        self.options.told_by = Told::Themselves;
        self
    }

    /// Keeps the decisions of the request that was decided last, for [`Unified::last_axes`]. Default: not, since every
    /// request then takes a lock for it.
    pub fn remember_last(mut self, remember: bool) -> Self {
        self.options.remember_last = remember;
        self
    }

    /// Asks rate and cost for `{key}` instead of `key`. In a Redis cluster the braces put both into one slot, where they
    /// can be asked together. A key that is empty or begins with `}` would have an empty tag, which is none: it gets the number
    /// of those braces for them, as `{1.x}.` for `}x`. Default: not.
    pub fn hash_tag(mut self, hash_tag: bool) -> Self {
        self.options.hash_tag = hash_tag;
        self
    }

    /// Where the time of what is asked together, and of events, comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> UnifiedBuilder<D> {
        UnifiedBuilder { options: self.options, clock }
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `unified` if there is no axis (code `throttlekit_error`); `unified.consume` or `unified.cost` if rate and cost
    /// cannot be charged in the way that [`consume`](Self::consume) says; `unified.jointLp` and below for prices without a
    /// cost axis, and for numbers out of range.
    pub fn build(self) -> Result<Unified<C>, BuildError>
    where
        C: Clock,
    {
        let Self { options, clock } = self;
        let Options {
            concurrency,
            rate,
            cost,
            consume,
            pricing,
            observer,
            name,
            remember_last,
            hash_tag,
            rate_by_cost,
            told_by,
        } = options;
        if concurrency.is_none() && rate.is_none() && cost.is_none() {
            return Err(BuildError::unsupported("unified", "must have at least one axis"));
        }
        let plan = match (&rate, &cost) {
            (Some(rate), Some(cost)) => plan(&**rate, &**cost, consume)?,
            _ if told_by != Told::Here && observer.is_some() => Plan::AsPart,
            _ => Plan::EachForItself,
        };
        let pricing = match pricing {
            None => None,
            Some(_) if cost.is_none() => {
                return Err(BuildError::unsupported("unified.jointLp", "must have a cost axis"));
            }
            Some(PricingPlan::Prices(prices)) => Some(Pricing::fixed(prices)?),
            Some(PricingPlan::Workload { workload, sample_window, horizon }) => {
                Some(Pricing::from_workload(&workload, sample_window, horizon)?)
            }
        };
        let judges = cost.is_some() || rate_by_cost;
        let first = match (observer.is_some() || remember_last, judges) {
            (true, _) => First::Watch,
            (false, true) => First::Judge,
            (false, false) => First::Nothing,
        };
        let watch = Watch::new(observer, name.unwrap_or_else(|| UNIFIED.into()), remember_last);
        Ok(Unified {
            parts: Arc::new(Parts {
                concurrency,
                rate,
                cost,
                plan,
                pricing: pricing.map(Arc::new),
                watch,
                told_by,
                hash_tag,
                rate_by_cost,
                judges,
                first,
                clock,
            }),
        })
    }
}

/// How both are charged.
fn plan(rate: &dyn DynLimiter, cost: &dyn DynLimiter, consume: Consume) -> Result<Plan, BuildError> {
    let rule = match consume {
        Consume::PerAxis => return Ok(Plan::EachForItself),
        Consume::PerAxisAtOnce => Rule::Each,
        Consume::AllOrNothing => Rule::All,
    };
    let joint = match (rate.dimension(), cost.dimension()) {
        (Ok(rate), Ok(cost)) => Joint::new(rate, cost, rule)?,
        // One of them takes no part in joint checks.
        _ => None,
    };
    match (joint, rule) {
        (Some(joint), _) => Ok(Plan::Together(joint)),
        (None, Rule::Each) => Err(apart()),
        (None, Rule::All) => Order::of(rate, cost).map(Plan::Apart).ok_or_else(irrevocable),
    }
}

impl<C> fmt::Debug for UnifiedBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedBuilder")
            .field("concurrency", &self.options.concurrency.is_some())
            .field("rate", &self.options.rate.is_some())
            .field("cost", &self.options.cost.is_some())
            .field("consume", &self.options.consume)
            .field("pricing", &self.options.pricing.is_some())
            .field("name", &self.options.name)
            .finish_non_exhaustive()
    }
}
