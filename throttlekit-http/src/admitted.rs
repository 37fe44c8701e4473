//! What the inner service may know of its admission.

use std::fmt;
use std::sync::Arc;

use throttlekit::{Axes, Decision, DynLimiter, Error, Meter, Run};

/// How a request was admitted: its decision, and the meters that it counted on, to count more.
///
/// A middleware that was told to [share](crate::Limits::share) puts it into the request.
#[derive(Clone)]
pub struct Admitted(Arc<Inner>);

struct Inner {
    decision: Decision,
    axes: Axes,
    key: Box<str>,
    meters: Meters,
}

/// Limits by the names of their policies.
pub(crate) type Meters = Arc<[(Box<str>, Arc<dyn DynLimiter>)]>;

impl Admitted {
    pub(crate) fn new(decision: Decision, axes: Axes, key: &str, meters: Meters) -> Self {
        Self(Arc::new(Inner { decision, axes, key: key.into(), meters }))
    }

    /// The joint decision.
    pub fn decision(&self) -> &Decision {
        &self.0.decision
    }

    /// The decision of each axis that was asked.
    pub fn axes(&self) -> &Axes {
        &self.0.axes
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

/// A limit under the key of one request, to count what becomes known late.
#[derive(Clone)]
pub struct KeyMeter {
    inner: Arc<Inner>,
    index: usize,
}

impl KeyMeter {
    fn limiter(&self) -> &(Box<str>, Arc<dyn DynLimiter>) {
        // `Admitted::meters` gives an index for each of them, and none is ever removed.
        &self.inner.meters[self.index]
    }

    /// The name of the policy.
    pub fn policy(&self) -> &str {
        &self.limiter().0
    }

    /// The limit itself, for whoever needs it whole; its key is [`key`](Self::key).
    pub fn meter(&self) -> Arc<dyn DynLimiter> {
        Arc::clone(&self.limiter().1)
    }

    /// The key that the request counted under. It may be a secret or an address: think before logging it.
    pub fn key(&self) -> &str {
        &self.inner.key
    }

    /// Takes `units` if they are there; a denial takes nothing.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for bad units; `store_unavailable` and `state_invalid` from the store.
    pub fn debit(&self, units: f64) -> Run<Result<Decision, Error>> {
        self.limiter().1.debit(self.key(), units)
    }

    /// Counts work that already happened, into bounded debt where the limit is passed.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the limit has no debt; otherwise as [`debit`](Self::debit).
    pub fn charge(&self, units: f64) -> Run<Result<Decision, Error>> {
        Meter::charge(&*self.limiter().1, self.key(), units)
    }

    /// Gives back units that were taken and not used.
    ///
    /// # Errors
    ///
    /// `throttlekit_error` where the limit cannot take units back; otherwise as [`debit`](Self::debit).
    pub fn refund(&self, units: f64) -> Run<Result<Decision, Error>> {
        Meter::refund(&*self.limiter().1, self.key(), units)
    }
}

impl fmt::Debug for KeyMeter {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMeter").field("policy", &self.policy()).finish_non_exhaustive()
    }
}
