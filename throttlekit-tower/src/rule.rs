//! One rule: which limits a request meets, under which key, at which cost.

use std::fmt;
use std::sync::Arc;

use http::Method;
use throttlekit::{Admit, Clock, Decision, DynLimiter, FailMode, MissingKey};

use crate::fields::Fields;
use crate::hooks::unwound;
use crate::key::{ANONYMOUS, Key, KeyExtractor, peer_stand_in};
use crate::request::RequestHead;

type CostFn = dyn Fn(&RequestHead<'_>) -> f64 + Send + Sync;

/// What a request costs.
#[derive(Clone)]
pub(crate) enum Cost {
    Fixed(f64),
    Of(Arc<CostFn>),
}

/// Who decides.
#[derive(Clone)]
pub(crate) enum Asked {
    /// A limiter, which is asked for the decision alone: an admission is several times as large, and moved about.
    Limiter(Arc<dyn DynLimiter>),
    /// Anything else.
    Admit(Arc<dyn Admit>),
}

/// What is shown of one limit of a rule.
#[derive(Clone)]
pub(crate) struct Limit {
    /// The name of the policy.
    pub(crate) name: Box<str>,
    pub(crate) fields: Fields,
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
    pub(crate) key: Arc<dyn KeyExtractor>,
    pub(crate) missing: MissingKey,
    pub(crate) cost: Cost,
    pub(crate) fail_mode: FailMode,
    pub(crate) options: bool,
}

/// The key of a request, as a rule sees it.
pub(crate) enum Found<'a> {
    Key(Key<'a>),
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

    /// The key of `request`.
    pub(crate) fn find_key<'a>(&'a self, request: &RequestHead<'a>) -> Found<'a> {
        // Written in place: a key is large.
        let mut found = None;
        if unwound(|| found = self.key.key(request)).is_none() {
            return Found::Panicked;
        }
        match found {
            Some(key) => Found::Key(key),
            None => match self.missing {
                MissingKey::Shared => Found::Key(Key::from(ANONYMOUS)),
                MissingKey::Reject => Found::Reject,
                MissingKey::Skip => Found::Skip,
                _ => peer_stand_in(request).map_or(Found::Nobody, Found::Key),
            },
        }
    }

    /// The cost of `request`; `None` if the user's function panicked.
    pub(crate) fn cost_of(&self, request: &RequestHead<'_>) -> Option<f64> {
        match &self.cost {
            Cost::Fixed(cost) => Some(*cost),
            Cost::Of(cost) => unwound(|| cost(request)),
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
