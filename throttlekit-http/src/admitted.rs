//! What the inner service may know of its admission.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throttlekit::{Admission, Axes, Decision, DynLimiter, Error, FailMode, Meter, Refund, Run};

/// How a request was admitted: its decision, and the meters that it counted on, to count more.
///
/// A middleware that was told to [share](crate::Limits::share) puts it into the request.
#[derive(Clone)]
pub struct Admitted(Arc<Inner>);

struct Inner {
    decision: Decision,
    axes: Axes,
    fail_mode: FailMode,
    shadow: bool,
    key: Box<str>,
    meters: Meters,
    /// What was taken of each meter; empty if that is nothing.
    taken: Box<[Option<Refund>]>,
    /// What the service said to show instead, by meter.
    told: Mutex<Vec<(usize, Decision)>>,
}

/// The limits of a rule that limit units.
pub(crate) type Meters = Arc<[Metered]>;

pub(crate) struct Metered {
    pub(crate) policy: Box<str>,
    pub(crate) limiter: Arc<dyn DynLimiter>,
}

impl Admitted {
    /// Of an `admission`, by a rule with this fail mode that may be a shadow, that took what is `taken` of each of the
    /// `meters`, which count under `key`.
    pub(crate) fn new(
        admission: &Admission,
        (fail_mode, shadow): (FailMode, bool),
        taken: Box<[Option<Refund>]>,
        key: &str,
        meters: Meters,
    ) -> Self {
        let &Admission { decision, axes, .. } = admission;
        Self(Arc::new(Inner {
            decision,
            axes,
            fail_mode,
            shadow,
            key: key.into(),
            meters,
            taken,
            told: Mutex::default(),
        }))
    }

    /// The joint decision.
    pub fn decision(&self) -> &Decision {
        &self.0.decision
    }

    /// The decision of each axis that was asked.
    pub fn axes(&self) -> &Axes {
        &self.0.axes
    }

    /// What becomes of requests while the store is out, by the rule that decided: for whoever counts more on its limits.
    pub fn fail_mode(&self) -> FailMode {
        self.0.fail_mode
    }

    /// Whether the rule that decided lets every request pass, and only tells its decisions: then whoever counts more on its
    /// limits should refuse nothing, either.
    pub fn is_shadow(&self) -> bool {
        self.0.shadow
    }

    /// The limit of the policy called `policy`, under the key of this request. `None` if that policy did not decide it, or
    /// limits nothing but work in flight.
    pub fn meter(&self, policy: &str) -> Option<KeyMeter> {
        self.meters().find(|meter| meter.policy() == policy)
    }

    /// The limits that decided, in the order of the rule, under the key of this request.
    pub fn meters(&self) -> impl Iterator<Item = KeyMeter> + '_ {
        (0..self.0.meters.len()).map(|index| KeyMeter { inner: Arc::clone(&self.0), index })
    }

    /// What the service said to show of its meters, by their places.
    pub(crate) fn told(&self) -> Vec<(usize, Decision)> {
        std::mem::take(&mut *self.0.told())
    }
}

impl fmt::Debug for Admitted {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("decision", &self.0.decision)
            .field("axes", &self.0.axes)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn told(&self) -> MutexGuard<'_, Vec<(usize, Decision)>> {
        // Entries are changed and added as a whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit under the key of one request, to count what becomes known late.
#[derive(Clone)]
pub struct KeyMeter {
    inner: Arc<Inner>,
    index: usize,
}

impl KeyMeter {
    fn metered(&self) -> &Metered {
        // `Admitted::meters` gives an index for each of them, and none is ever removed.
        &self.inner.meters[self.index]
    }

    /// The name of the policy.
    pub fn policy(&self) -> &str {
        &self.metered().policy
    }

    /// The limit itself, for whoever needs it whole; its key is [`key`](Self::key).
    pub fn meter(&self) -> Arc<dyn DynLimiter> {
        Arc::clone(&self.metered().limiter)
    }

    /// The key that the request counted under in this limit. It may be a secret or an address: think before logging it.
    pub fn key(&self) -> &str {
        &self.inner.key
    }

    /// What the admission of the request took from it, as it can be given back; `None` if it took nothing, since a limit
    /// that is only tried out has refused, another of [any](throttlekit::Multi::any) was enough, or the store was out, and
    /// nobody counted, or what stood in for the limit. Also `None` where whoever decided does not
    /// [say](throttlekit::Admit::units_of) how many units it takes.
    pub fn taken(&self) -> Option<Refund> {
        self.inner.taken.get(self.index).copied().flatten()
    }

    /// Shows `decision` in the fields of the response, instead of what the admission found of this limit: after the service
    /// took more, or gave some back. Where the admission failed, and the request passed all the same, it is all that is shown.
    /// The last one counts. Spans of time are then told from when the response is there, and otherwise from the admission.
    pub fn show(&self, decision: Decision) {
        let mut told = self.inner.told();
        match told.iter_mut().find(|(index, _)| *index == self.index) {
            Some((_, known)) => *known = decision,
            None => told.push((self.index, decision)),
        }
    }

    /// Takes `units` if they are there; a denial takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for bad units; `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// A limit in this process has decided when this returns. Over a store, units whose answer is dropped may be taken or not,
    /// and nobody gives them back.
    pub fn debit(&self, units: f64) -> Run<Result<Decision, Error>> {
        self.metered().limiter.debit(self.key(), units)
    }

    /// Counts work that already happened, into bounded debt where the limit is passed.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the limit has no debt; otherwise as [`debit`](Self::debit).
    ///
    /// # Cancel safety
    ///
    /// As [`debit`](Self::debit).
    pub fn charge(&self, units: f64) -> Run<Result<Decision, Error>> {
        Meter::charge(&*self.metered().limiter, self.key(), units)
    }

    /// Gives back units that were taken and not used. Not those of a limit that stood in for this one while the store was out,
    /// which [`Meter::outage_turns`] of the [limit](Self::meter) tells apart.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the limit cannot take units back; otherwise as [`debit`](Self::debit).
    ///
    /// # Cancel safety
    ///
    /// A limit in this process has them back when this returns. Over a store, units whose answer is dropped may be back or not.
    pub fn refund(&self, units: f64) -> Run<Result<Decision, Error>> {
        Meter::refund(&*self.metered().limiter, self.key(), units)
    }
}

impl fmt::Debug for KeyMeter {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMeter").field("policy", &self.policy()).finish_non_exhaustive()
    }
}
