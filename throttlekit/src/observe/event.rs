//! A decision, as observers see it.

use std::fmt;

use crate::admit::Axis;
use crate::decision::Decision;
use crate::error::Error;
use crate::fingerprint::Mark;
use crate::priority::Priority;

/// How a limiter was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// For one key, by a call that may wait: one that gives a [`Run`](crate::Run) or a future.
    #[default]
    Check,
    /// For one key, by a plain call.
    CheckSync,
    /// For several keys at once, by a call that may wait.
    CheckMany,
    /// For several keys at once, by a plain call.
    CheckManySync,
}

impl CallKind {
    /// The stable name: `check`, `checkSync`, `checkMany` or `checkManySync`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::CheckSync => "checkSync",
            Self::CheckMany => "checkMany",
            Self::CheckManySync => "checkManySync",
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One decision, as an [`Observer`](crate::Observer) sees it. Its [`Debug`] shows no key.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// The axis that was asked.
    pub axis: Axis,
    /// What the request asked for, in units.
    pub cost: f64,
    /// When it was decided, in milliseconds since the Unix epoch.
    pub now_ms: f64,
    /// The decision, or why there is none.
    pub result: Result<Decision, &'a Error>,
    /// How much the request matters. A limit that knows no priorities says [`Priority::Normal`].
    pub priority: Priority,
    /// Whether it was decided from what was known in process, and the store was not asked; `false` for a limiter in
    /// memory, which is its own store.
    pub local: bool,
    /// Whether it is one axis of a request that the same observer is also told of [as a whole](crate::Observer::admitted), if
    /// the other axes do not fail. Whoever counts requests counts the whole.
    pub part: bool,
    /// How long the limiter took, in milliseconds. Each decision of a batch has an equal share. `None` unless the observer
    /// has a [stopwatch](crate::Observer::stopwatch_ns).
    pub took_ms: Option<f64>,
    /// How the limiter was called.
    pub kind: CallKind,
    /// What the store knows the key by.
    pub(crate) mark: Mark,
    key: &'a str,
}

impl<'a> Event<'a> {
    /// An event of a check without a key; later fields get their neutral value here.
    #[inline]
    pub fn new(
        policy: &'a str,
        strategy: &'static str,
        axis: Axis,
        cost: f64,
        now_ms: f64,
        result: Result<Decision, &'a Error>,
    ) -> Self {
        Self {
            policy,
            strategy,
            axis,
            cost,
            now_ms,
            result,
            priority: Priority::Normal,
            local: false,
            part: false,
            took_ms: None,
            kind: CallKind::Check,
            mark: Mark::default(),
            key: "",
        }
    }

    /// The same event, with its key.
    #[inline]
    #[must_use]
    pub fn with_key(self, key: &'a str) -> Self {
        Self { key, ..self }
    }

    /// The key as the caller passed it, before any prefix; empty if it was empty, and for a decision over several keys that
    /// differ.
    ///
    /// It may be a secret or an address. It belongs into no metric, no label and no log line.
    #[inline]
    pub fn key(&self) -> &'a str {
        self.key
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("policy", &self.policy)
            .field("strategy", &self.strategy)
            .field("axis", &self.axis)
            .field("cost", &self.cost)
            .field("now_ms", &self.now_ms)
            .field("result", &self.result)
            .field("priority", &self.priority)
            .field("local", &self.local)
            .field("part", &self.part)
            .field("took_ms", &self.took_ms)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
