//! One dimension: a strategy on its keys, without its types.

use std::fmt;

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{Forget, Judge};
use crate::program::Project;
use crate::store::memory::{Table, Then};
use crate::store::{Call, Moment, Remote};

/// A limiter as a part of a [`Multi`](crate::Multi): its strategy and its keys, without its types, clock and observer.
///
/// From [`DynLimiter::dimension`](crate::DynLimiter::dimension).
pub struct Dimension(pub(crate) Site);

/// Where its keys are.
pub(crate) enum Site {
    Local(Box<dyn Local>),
    Stored(Box<dyn Stored>),
}

impl Dimension {
    pub(crate) fn local<S: Project>(strategy: S, keys: Table<S::State>) -> Self {
        Self(Site::Local(Box::new(Bound { judge: Judge(strategy), keys })))
    }

    pub(crate) fn stored<S: Project>(strategy: S, keys: Remote) -> Self {
        Self(Site::Stored(Box::new(Bound { judge: Judge(strategy), keys })))
    }
}

impl fmt::Debug for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Site::Local(_) => "Dimension(in memory)",
            Site::Stored(_) => "Dimension(in a store)",
        })
    }
}

/// A dimension in memory.
pub(crate) trait Local: Send + Sync {
    /// The number that orders the locks of tables. Equal for one table alone.
    fn table_id(&self) -> usize;

    /// Judges, tells `then` whether it wants to be charged, and charges if that says so; `at` is then the moment of
    /// that.
    fn joint(&self, key: &str, at: &mut Moment<'_>, cost: f64, then: Then<'_>) -> Result<Decision, Error>;

    /// As [`joint`](Self::joint), but what allows and is not charged shows what it has as it is.
    fn judge(&self, key: &str, at: &mut Moment<'_>, cost: f64, then: Then<'_>) -> Result<Decision, Error>;

    fn reset(&self, key: &str, now_ms: f64) -> Result<(), Error>;
}

/// A dimension in a store.
pub(crate) trait Stored: Send + Sync {
    fn keys(&self) -> &Remote;

    fn full_key(&self, key: &str) -> String;

    /// Adds the check of a [full](Self::full_key) key.
    fn push(&self, call: &mut Call, full_key: String, cost: f64);

    /// As [`push`](Self::push), with a reply that says too what there was before.
    fn push_judge(&self, call: &mut Call, full_key: String, cost: f64);

    /// Adds the reset of a [full](Self::full_key) key.
    fn push_reset(&self, call: &mut Call, full_key: String);
}

/// A strategy on its keys.
struct Bound<S, K> {
    judge: Judge<S>,
    keys: K,
}

impl<S: Project> Local for Bound<S, Table<S::State>> {
    fn table_id(&self) -> usize {
        self.keys.id()
    }

    fn joint(&self, key: &str, at: &mut Moment<'_>, cost: f64, then: Then<'_>) -> Result<Decision, Error> {
        self.keys.joint(key, at, &self.judge.0, &cost, then, &mut |_, _| {})
    }

    fn judge(&self, key: &str, at: &mut Moment<'_>, cost: f64, then: Then<'_>) -> Result<Decision, Error> {
        let strategy = &self.judge.0;
        let mut has = None;
        let mut spared = |state: Option<&S::State>, now_ms| has = Some(strategy.peek(state, now_ms));
        let mut result = self.keys.joint(key, at, strategy, &cost, then, &mut spared);
        if let (Ok(decision), Some(has)) = (&mut result, &has) {
            *decision = decision.as_it_is(has);
        }
        result
    }

    fn reset(&self, key: &str, now_ms: f64) -> Result<(), Error> {
        self.keys.apply(key, now_ms, &Forget::new(), &())
    }
}

impl<S: Project> Stored for Bound<S, Remote> {
    fn keys(&self) -> &Remote {
        &self.keys
    }

    fn full_key(&self, key: &str) -> String {
        self.keys.full_key(key)
    }

    fn push(&self, call: &mut Call, full_key: String, cost: f64) {
        call.push(full_key, self.judge.0.clone(), cost);
    }

    fn push_judge(&self, call: &mut Call, full_key: String, cost: f64) {
        call.push(full_key, self.judge.clone(), self.judge.judging(cost));
    }

    fn push_reset(&self, call: &mut Call, full_key: String) {
        call.push(full_key, Forget::<S::State>::new(), ());
    }
}
