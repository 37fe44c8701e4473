//! One rule: which limits a request meets, under which key, at which cost.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use throttlekit::headers::{HeaderSet, Headers};
#[cfg(feature = "config")]
use throttlekit::policy::Guarded;
use throttlekit::{Admission, Admit, Axis, Clock, Decision, DynLimiter, FailMode, MissingKey, Priority};

use crate::door::{Door, Head as _};
use crate::hooks::unwound;
use crate::key::{ANONYMOUS, InlineText, Key, KeyExtractor, PeerIp, peer_stand_in};

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

/// Where the key comes from.
pub(crate) enum Source<D: Door> {
    /// The peer's address: the default, so it goes without the virtual call and without a key to move.
    Peer(PeerIp),
    Extractor(Arc<dyn KeyExtractor<D>>),
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
pub(crate) struct Limit<D: Door> {
    /// The name of the policy.
    pub(crate) name: Box<str>,
    pub(crate) fields: D::Fields,
    /// Which fields are written.
    pub(crate) set: HeaderSet,
    /// The limit as it is usually shown.
    pub(crate) shown: u64,
    /// Whether it limits the work in flight.
    pub(crate) slots: bool,
}

impl<D: Door> Limit<D> {
    /// A limit that is usually `shown`.
    pub(crate) fn new(name: &str, headers: Headers, shown: u64, slots: bool) -> Self {
        let set = headers.set();
        Self { name: name.into(), fields: D::fields(headers, shown), set, shown, slots }
    }
}

/// What happens to the requests of one route.
pub(crate) struct Rule<D: Door> {
    /// All limits together.
    pub(crate) asked: Asked,
    /// The clock that they decide by, for the spans in header fields.
    pub(crate) clock: Arc<dyn Clock>,
    /// At least one.
    pub(crate) limits: Vec<Limit<D>>,
    pub(crate) key: Source<D>,
    pub(crate) missing: MissingKey,
    pub(crate) cost: Cost<D>,
    pub(crate) priority: Urgency<D>,
    pub(crate) fail_mode: FailMode,
    /// Who decides while the store is out, without waiting; `None` leaves it to the fail mode.
    pub(crate) standby: Option<Arc<dyn Admit>>,
    pub(crate) options: bool,
}

/// The place for the key of one request: it stays where it is written, since moving it costs more than making it.
pub(crate) struct FoundKey<'a> {
    inline: InlineText,
    /// Counts if it is there.
    pub(crate) other: Option<Key<'a>>,
}

impl FoundKey<'_> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { inline: InlineText::new(), other: None }
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
    /// Neither the key nor the peer's address that should stand in for it is known.
    Nobody,
    Reject,
    Skip,
    Panicked,
}

impl<D: Door> Rule<D> {
    /// Whether the rule leaves `request` alone.
    pub(crate) fn spares(&self, request: &D::Head<'_>) -> bool {
        !self.options && request.method() == "OPTIONS"
    }

    /// Finds the key of `request`, and leaves it in `key` if it does.
    #[inline]
    pub(crate) fn find_key<'a>(&'a self, request: &D::Head<'a>, key: &mut FoundKey<'a>) -> Found {
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
                if unwound(|| key.other = extractor.key(request)).is_none() {
                    return Found::Panicked;
                }
                if key.other.is_some() {
                    return Found::Key;
                }
            }
        }
        self.stand_in(request, key)
    }

    #[cold]
    fn stand_in(&self, request: &D::Head<'_>, key: &mut FoundKey<'_>) -> Found {
        match self.missing {
            MissingKey::Shared => key.other = Some(Key::from(ANONYMOUS)),
            MissingKey::Reject => return Found::Reject,
            MissingKey::Skip => return Found::Skip,
            _ => key.other = peer_stand_in(request.peer()),
        }
        if key.other.is_some() { Found::Key } else { Found::Nobody }
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
    pub(crate) fn name(&self) -> &str {
        self.limits.first().map_or("", |limit| &limit.name)
    }

    /// Whether the response to an admitted request is told anything. All limits of a rule show the same families.
    #[inline]
    pub(crate) fn shows_allows(&self) -> bool {
        self.limits.first().is_some_and(|limit| limit.set.shows_allows())
    }

    /// The limit that denied with this admission.
    pub(crate) fn denier(&self, admission: &Admission) -> Option<&Limit<D>> {
        let slots = self.limits.iter().find(|limit| limit.slots);
        match admission.binding {
            Some(Axis::Concurrency) => slots.or_else(|| self.limit_of(&admission.decision)),
            _ => self.limit_of(&admission.decision),
        }
    }

    /// The limit whose decision this is. Of several limits it is the first that grants as much: what is shown of it
    /// beyond the decision is its name and its window.
    #[inline]
    pub(crate) fn limit_of(&self, decision: &Decision) -> Option<&Limit<D>> {
        match self.limits.as_slice() {
            [limit] => Some(limit),
            limits => limits.iter().find(|limit| limit.shown == decision.limit).or(limits.first()),
        }
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
