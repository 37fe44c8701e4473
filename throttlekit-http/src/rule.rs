//! One rule: which limits a request meets, under which key, at which cost.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use throttlekit::headers::{self, Headers};
use throttlekit::identity::AddressText;
#[cfg(feature = "config")]
use throttlekit::policy::Guarded;
use throttlekit::{
    Admission, Admit, Ask, Axes, Clock, Decision, DynLimiter, Error, FailMode, MissingKey, Outcome, Priority, Refund,
};

use crate::admitted::Meters;
use crate::door::{Door, Head as _, Present};
use crate::ending::Named;
use crate::fields::FieldTexts;
use crate::hooks::unwound;
use crate::key::{ClientIp, Key, KeyExtractor, PeerIp};
use crate::reject::Failure;
use crate::terms::Resolve;

type CostFn<D> = dyn for<'a> Fn(&<D as Door>::Head<'a>) -> f64 + Send + Sync;

/// What a request costs.
pub(crate) enum Cost<D: Door> {
    Fixed(f64),
    Of(Arc<CostFn<D>>),
}

type PriorityFn<D> = dyn for<'a> Fn(&<D as Door>::Head<'a>) -> Priority + Send + Sync;

/// How much a request matters.
pub(crate) enum Urgency<D: Door> {
    Fixed(Priority),
    Of(Arc<PriorityFn<D>>),
}

/// Who decides.
pub(crate) enum Asked {
    /// A limiter, which is asked for the decision alone: an admission is several times as large, and moved about.
    Limiter(Arc<dyn DynLimiter>),
    /// Anything else.
    Admit(Arc<dyn Admit>),
    /// Slots first, which are held also where the fail mode decides.
    #[cfg(feature = "config")]
    Guarded(Guarded),
}

impl Asked {
    /// The units that an admission of `ask` takes of the limit at `place`, if that is known.
    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        match self {
            // What is taken during an outage is of what stands in for the limiter.
            Self::Limiter(limiter) => (limiter.outage_turns() % 2 == 0).then_some(ask.cost),
            Self::Admit(admit) => admit.units_of(ask, place),
            #[cfg(feature = "config")]
            Self::Guarded(guarded) => guarded.units_of(ask, place),
        }
    }
}

/// Where the key comes from.
pub(crate) enum Source<D: Door> {
    /// The peer's address: the default, so it goes without the virtual call and without a key to move.
    Peer(PeerIp),
    Extractor(Arc<dyn KeyExtractor<D>>),
}

impl<D: Door> Clone for Source<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Peer(peer) => Self::Peer(*peer),
            Self::Extractor(extractor) => Self::Extractor(Arc::clone(extractor)),
        }
    }
}

impl<D: Door> Clone for Cost<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(cost) => Self::Fixed(*cost),
            Self::Of(cost) => Self::Of(Arc::clone(cost)),
        }
    }
}

impl<D: Door> Clone for Urgency<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(priority) => Self::Fixed(*priority),
            Self::Of(priority) => Self::Of(Arc::clone(priority)),
        }
    }
}

impl<D: Door> Source<D> {
    pub(crate) fn new<K: KeyExtractor<D>>(extractor: K) -> Self {
        match (&extractor as &dyn Any).downcast_ref() {
            Some(peer) => Self::Peer(*peer),
            None => Self::Extractor(Arc::new(extractor)),
        }
    }
}

/// What is shown of one limit of a rule.
#[derive(Clone)]
pub(crate) struct Limit {
    /// The name of the policy.
    pub(crate) name: Box<str>,
    pub(crate) fields: FieldTexts,
    /// Whether it limits the work in flight.
    pub(crate) slots: bool,
    /// Whether it limits units.
    pub(crate) units: bool,
}

impl Limit {
    /// A limit of units that is usually `shown`.
    pub(crate) fn new(name: &str, headers: Headers, shown: u64) -> Self {
        Self { name: name.into(), fields: FieldTexts::new(headers, shown), slots: false, units: true }
    }
}

/// What happens to the requests of one route.
pub(crate) struct Rule<D: Door> {
    /// All limits together.
    pub(crate) asked: Asked,
    /// The clock that they decide by, for the spans in header fields.
    pub(crate) clock: Arc<dyn Clock>,
    /// At least one.
    pub(crate) limits: Vec<Limit>,
    /// What is shown of several where single decisions do not come to the joint one; the first of them if that is not said.
    pub(crate) joint: Option<Limit>,
    pub(crate) key: Source<D>,
    pub(crate) missing: MissingKey,
    /// Finds the address that stands in for a missing key.
    pub(crate) client: ClientIp,
    pub(crate) cost: Cost<D>,
    pub(crate) priority: Urgency<D>,
    pub(crate) fail_mode: FailMode,
    /// Who decides while the store is out, without waiting; `None` leaves it to the fail mode.
    pub(crate) standby: Option<Arc<dyn Admit>>,
    pub(crate) options: bool,
    pub(crate) manners: Manners,
    /// The limiters of its policies that limit units, for handlers that count more.
    pub(crate) meters: Meters,
    /// What is special about single requests, and the limits that they may then meet.
    pub(crate) resolver: Option<Arc<dyn Resolve<D>>>,
    pub(crate) plans: Vec<(Arc<str>, Arc<Self>)>,
}

/// How a rule treats its requests, decisions aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Decides and tells, and lets everything pass.
    pub(crate) shadow: bool,
    /// Whether rejections are problem details.
    pub(crate) problem_json: bool,
    /// Whether a response of a failing server counts as dropped work.
    pub(crate) drop_on_5xx: bool,
    /// What a client that goes away counts as: dropped work, or none.
    pub(crate) on_disconnect: Outcome,
}

impl Default for Manners {
    fn default() -> Self {
        Self { shadow: false, problem_json: false, drop_on_5xx: false, on_disconnect: Outcome::Dropped }
    }
}

/// The place for the key of one request: it stays where it is written, since moving it costs more than making it.
pub(crate) struct FoundKey<'a> {
    inline: AddressText,
    /// Counts if it is there.
    pub(crate) other: Option<Key<'a>>,
}

impl FoundKey<'_> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { inline: AddressText::new(), other: None }
    }

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match &self.other {
            None => self.inline.as_str(),
            Some(key) => key.as_str(),
        }
    }
}

/// What a rule finds of a key.
pub(crate) enum Found {
    Key,
    Missing,
    Panicked,
}

impl<D: Door> Rule<D> {
    /// Whether the rule leaves `request` alone.
    pub(crate) fn spares(&self, request: &D::Head<'_>) -> bool {
        !self.options && request.method() == "OPTIONS"
    }

    /// Finds the key of `request`, and leaves it in `key` if it does.
    #[inline]
    pub(crate) fn find_key<'r: 'a, 'a>(&'a self, request: &D::Head<'r>, key: &mut FoundKey<'a>) -> Found {
        match &self.key {
            Source::Peer(peer) => match unwound(|| request.peer()) {
                Some(Some(address)) => {
                    peer.write(address.ip(), &mut key.inline);
                    return Found::Key;
                }
                Some(None) => {}
                None => return Found::Panicked,
            },
            // Written in place: a key is large.
            Source::Extractor(extractor) => {
                if unwound(|| key.other = extractor.key(&D::shorten(*request))).is_none() {
                    return Found::Panicked;
                }
                if let Some(key) = &mut key.other {
                    key.bound();
                    return Found::Key;
                }
            }
        }
        Found::Missing
    }

    /// Whether the rule has to know the peer's address to find a key.
    pub(crate) fn reads_peer(&self) -> bool {
        match &self.key {
            Source::Peer(_) => true,
            Source::Extractor(extractor) => extractor.reads_peer(),
        }
    }

    /// The cost of `request`; `None` if the user's function panicked.
    pub(crate) fn cost_of(&self, request: &D::Head<'_>) -> Option<f64> {
        match &self.cost {
            Cost::Fixed(cost) => Some(*cost),
            Cost::Of(cost) => unwound(|| cost(request)),
        }
    }

    /// How much `request` matters; `None` if the user's function panicked.
    #[inline]
    pub(crate) fn priority_of(&self, request: &D::Head<'_>) -> Option<Priority> {
        match &self.priority {
            Urgency::Fixed(priority) => Some(*priority),
            Urgency::Of(priority) => unwound(|| priority(request)),
        }
    }

    /// The name of its first policy, for failures, which concern all of them.
    pub(crate) fn first_name(&self) -> &str {
        self.limits.first().map_or("", |limit| &limit.name)
    }

    /// That `request` could not be decided; `key` as far as it is known.
    pub(crate) fn failure<'r: 'a, 'a>(
        &'a self,
        request: &D::Head<'r>,
        key: Option<&'a str>,
        error: &'a Error,
    ) -> Failure<'a, D::Head<'a>> {
        Failure { request: D::shorten(*request), key, policy: self.first_name(), joint: self.joins_axes(), error }
    }

    fn joins_axes(&self) -> bool {
        match &self.asked {
            Asked::Limiter(_) => false,
            Asked::Admit(admit) => admit.joins_axes(),
            #[cfg(feature = "config")]
            Asked::Guarded(_) => true,
        }
    }

    /// Whether the response to an admitted request is told anything. All limits of a rule show the same families.
    #[inline]
    pub(crate) fn shows_allows(&self) -> bool {
        self.limits.first().is_some_and(|limit| limit.fields.set().shows_allows())
    }

    /// The decision of each limit that counts units, in their order, with `None` for one that was not asked, since another
    /// had refused; empty if the admission does not tell them apart.
    pub(crate) fn units(&self, admission: &Admission) -> Vec<Option<Decision>> {
        let Axes { rate, cost, .. } = admission.axes;
        match &admission.each {
            Some(each) => each.iter().copied().map(Some).collect(),
            None if self.limits.iter().filter(|limit| limit.units).count() < 2 => vec![rate.or(cost)],
            None if self.joins_axes() => vec![rate, cost],
            None => Vec::new(),
        }
    }

    /// What `admission`, the answer to `ask`, took of each limit that counts units, in their order; empty if it refused. If
    /// `standby` gave it, that knows which of them it took from.
    pub(crate) fn taken(
        &self,
        ask: &Ask<'_>,
        admission: &Admission,
        standby: Option<&dyn Admit>,
    ) -> Box<[Option<Refund>]> {
        if !admission.decision.allowed {
            return Box::default();
        }
        let taken = |(place, decision): (usize, Option<Decision>)| {
            // Where one of several is enough, another may have denied; a limit that was not asked has none.
            let decision = decision.filter(|decision| decision.allowed && decision.has_limit())?;
            let units = match standby {
                Some(standby) => standby.units_of(ask, place),
                None => self.asked.units_of(ask, place),
            };
            Some(Refund::new(units?).of(&decision))
        };
        self.units(admission).into_iter().enumerate().map(taken).collect()
    }

    /// The key that its limits count units of `key` under.
    pub(crate) fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if let Asked::Admit(admit) = &self.asked { admit.key_of(key) } else { Cow::Borrowed(key) }
    }

    /// The decision of each limit, in their order; empty for a rule with one, and where these do not come to the joint one.
    pub(crate) fn decisions(&self, admission: &Admission) -> Box<[Decision]> {
        if self.limits.len() < 2 {
            return Box::default();
        }
        let mut units = self.units(admission).into_iter();
        if units.len() == 0 {
            return Box::default();
        }
        let decision = |limit: &Limit| {
            let slots = admission.axes.concurrency.filter(|_| limit.slots);
            let units = if limit.units { units.next().flatten() } else { None };
            Decision::combine_all(slots.into_iter().chain(units))
        };
        let each: Box<[_]> = self.limits.iter().map(decision).collect();
        let all = Decision::combine_all(each.iter().copied());
        let comes_to = |joint: &Decision| (all.allowed, all.retry_after_ms) == (joint.allowed, joint.retry_after_ms);
        if comes_to(&admission.decision) { each } else { Box::default() }
    }

    /// Where among its limits the one is that is the meter at `index`.
    pub(crate) fn place_of_units(&self, index: usize) -> Option<usize> {
        self.limits.iter().enumerate().filter(|(_, limit)| limit.units).map(|(place, _)| place).nth(index)
    }

    /// What is shown where there is one limit, or no decision of each.
    fn joint(&self) -> Option<&Limit> {
        self.joint.as_ref().or(self.limits.first())
    }

    /// The name of the limit that matters most among those that decided.
    pub(crate) fn binding(&self, each: &[Decision]) -> &str {
        let limit = headers::binding(each).and_then(|index| self.limits.get(index)).or_else(|| self.joint());
        limit.map_or("", |limit| &limit.name)
    }

    /// The numbers to show of `decision`, if they are those of the draft family and of one limit.
    #[inline]
    pub(crate) fn draft(&self, decision: &Decision, now_ms: f64) -> Option<[i64; 3]> {
        let [limit] = self.limits.as_slice() else { return None };
        limit.fields.draft(decision, now_ms)
    }

    /// Sets the header fields of one response to a request that was decided at `now_ms`.
    pub(crate) fn write(
        &self,
        decision: &Decision,
        now_ms: f64,
        each: &[Decision],
        present: Present,
        map: &mut D::HeaderMap,
    ) {
        if let Some(room) = self.limits.first().and_then(|limit| limit.fields.room()) {
            D::reserve(map, room);
        }
        let put = |name, text| D::put(map, name, text, present);
        if each.is_empty() {
            if let Some(limit) = self.joint() {
                limit.fields.for_each(decision, now_ms, put);
            }
        } else {
            let shown: Vec<_> = self.limits.iter().map(|limit| &limit.fields).zip(each.iter().copied()).collect();
            FieldTexts::for_each_joint(&shown, now_ms, put);
        }
    }

    /// The rule for the plan of a request. A plan that is not known is no reason to let the request pass: the rule itself
    /// counts then, and the error says so.
    pub(crate) fn plan<'r>(self: &'r Arc<Self>, name: Option<&str>) -> Result<&'r Arc<Self>, Error> {
        let Some(name) = name else { return Ok(self) };
        let known = self.plans.iter().find(|(plan, _)| **plan == *name).map(|(_, rule)| rule);
        known.ok_or_else(|| Error::invalid_argument(format!("no plan is called {name:?}: the rule's own limit counts")))
    }
}

impl<D: Door> Named for Rule<D> {
    fn name(&self) -> &str {
        self.first_name()
    }
}

impl<D: Door> fmt::Debug for Rule<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("policies", &self.limits.iter().map(|limit| &limit.name).collect::<Vec<_>>())
            .field("missing", &self.missing)
            .field("fail_mode", &self.fail_mode)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
