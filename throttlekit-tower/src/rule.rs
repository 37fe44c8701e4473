//! One rule: which limits a request meets, under which key, at which cost.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::Method;
#[cfg(feature = "config")]
use throttlekit::policy::Guarded;
use throttlekit::{Admission, Admit, Axis, Clock, Decision, DynLimiter, FailMode, MissingKey, Priority};

use crate::fields::Fields;
use crate::hooks::unwound;
use crate::key::{ANONYMOUS, InlineText, Key, KeyExtractor, PeerIp, peer_stand_in};
use crate::request::RequestHead;

type CostFn = dyn Fn(&RequestHead<'_>) -> f64 + Send + Sync;

/// What a request costs.
#[derive(Clone)]
pub(crate) enum Cost {
    Fixed(f64),
    Of(Arc<CostFn>),
}

type PriorityFn = dyn Fn(&RequestHead<'_>) -> Priority + Send + Sync;

/// How much a request matters.
#[derive(Clone)]
pub(crate) enum Urgency {
    Fixed(Priority),
    Of(Arc<PriorityFn>),
}

/// Who decides.
#[derive(Clone)]
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
#[derive(Clone)]
pub(crate) enum Source {
    /// The peer's address: the default, so it goes without the virtual call and without a key to move.
    Peer(PeerIp),
    Extractor(Arc<dyn KeyExtractor>),
}

impl Source {
    pub(crate) fn new<K: KeyExtractor>(extractor: K) -> Self {
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
    pub(crate) fields: Fields,
    /// Whether it limits the work in flight.
    pub(crate) slots: bool,
}

/// What happens to the requests of one route.
#[derive(Clone)]
pub(crate) struct Rule {
    /// All limits together.
    pub(crate) asked: Asked,
    /// The clock that they decide by, for the spans in header fields.
    pub(crate) clock: Arc<dyn Clock>,
    /// At least one.
    pub(crate) limits: Vec<Limit>,
    pub(crate) key: Source,
    pub(crate) missing: MissingKey,
    pub(crate) cost: Cost,
    pub(crate) priority: Urgency,
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

impl Rule {
    /// Whether the rule leaves `request` alone.
    pub(crate) fn spares(&self, request: &RequestHead<'_>) -> bool {
        !self.options && request.method() == Method::OPTIONS
    }

    /// Finds the key of `request`, and leaves it in `key` if it does.
    #[inline]
    pub(crate) fn find_key<'a>(&'a self, request: &RequestHead<'a>, key: &mut FoundKey<'a>) -> Found {
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
    fn stand_in(&self, request: &RequestHead<'_>, key: &mut FoundKey<'_>) -> Found {
        match self.missing {
            MissingKey::Shared => key.other = Some(Key::from(ANONYMOUS)),
            MissingKey::Reject => return Found::Reject,
            MissingKey::Skip => return Found::Skip,
            _ => key.other = peer_stand_in(request),
        }
        if key.other.is_some() { Found::Key } else { Found::Nobody }
    }

    /// The cost of `request`; `None` if the user's function panicked.
    pub(crate) fn cost_of(&self, request: &RequestHead<'_>) -> Option<f64> {
        match &self.cost {
            Cost::Fixed(cost) => Some(*cost),
            Cost::Of(cost) => unwound(|| cost(request)),
        }
    }

    /// How much `request` matters; `None` if the user's function panicked.
    #[inline]
    pub(crate) fn priority_of(&self, request: &RequestHead<'_>) -> Option<Priority> {
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
        self.limits.first().is_some_and(|limit| limit.fields.set().shows_allows())
    }

    /// The limit that denied with this admission.
    pub(crate) fn denier(&self, admission: &Admission) -> Option<&Limit> {
        let slots = self.limits.iter().find(|limit| limit.slots);
        match admission.binding {
            Some(Axis::Concurrency) => slots.or_else(|| self.limit_of(&admission.decision)),
            _ => self.limit_of(&admission.decision),
        }
    }

    /// The limit whose decision this is. Of several limits it is the first that grants as much: what is shown of it
    /// beyond the decision is its name and its window.
    #[inline]
    pub(crate) fn limit_of(&self, decision: &Decision) -> Option<&Limit> {
        match self.limits.as_slice() {
            [limit] => Some(limit),
            limits => limits.iter().find(|limit| limit.fields.limit() == decision.limit).or(limits.first()),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("policies", &self.limits.iter().map(|limit| &limit.name).collect::<Vec<_>>())
            .field("missing", &self.missing)
            .field("fail_mode", &self.fail_mode)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
