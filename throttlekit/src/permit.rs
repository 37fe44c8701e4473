//! The exactly-once release of what an admission holds.

use std::fmt;
use std::sync::Arc;

/// How the work behind a [`Permit`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done; its latency is a sample.
    Completed,
    /// It was cut off: a sign of overload.
    Dropped,
    /// Nothing was learnt: the work never started, or its latency says nothing.
    Ignored,
}

/// What an owner needs to know of a slot it gave out. The meaning of the two words is the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// For a guard: when the slot was taken.
    pub taken_at: u64,
    /// For a guard: what was in flight then.
    pub detail: u64,
}

/// Who takes slots back.
pub trait Settle: Send + Sync + 'static {
    /// Takes `slot` back. Called exactly once for each slot, from any thread, also while a panic unwinds: it must not
    /// panic and must not wait.
    fn settle(&self, slot: Slot, outcome: Outcome);
}

/// A slot that is given back exactly once.
///
/// It travels from the future into the response body. Dropped without being settled it settles itself: as
/// [`Outcome::Ignored`] until [`begin`](Self::begin) was called, since no work was done, and as [`Outcome::Dropped`]
/// afterwards. Settling never waits.
///
/// ```
/// use throttlekit::{Outcome, Permit};
///
/// let mut permit = Permit::none();
/// permit.begin();
/// permit.settle(Outcome::Completed);
/// permit.settle(Outcome::Dropped); // the first one counts
/// assert!(!permit.is_held());
/// ```
#[must_use = "dropping a permit gives the slot back"]
pub struct Permit {
    held: Option<(Arc<dyn Settle>, Slot)>,
    begun: bool,
    /// Whether the slot is one that there was not.
    beyond: bool,
}

impl Permit {
    /// A permit that holds nothing.
    #[inline]
    pub fn none() -> Self {
        Self { held: None, begun: false, beyond: false }
    }

    /// A permit for `slot`, settled with `owner`.
    pub fn new(owner: Arc<dyn Settle>, slot: Slot) -> Self {
        Self { held: Some((owner, slot)), begun: false, beyond: false }
    }

    /// The same, for a slot beyond the limit.
    pub(crate) fn beyond_limit(mut self) -> Self {
        self.beyond = true;
        self
    }

    /// Whether another request can have the slot once it is given back.
    pub(crate) fn frees_one(&self) -> bool {
        self.is_held() && !self.beyond
    }

    /// Whether a slot is held and not settled yet.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Says that the work starts: from here on, being dropped counts as [`Outcome::Dropped`].
    #[inline]
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Gives the slot back; does nothing if that has happened.
    #[inline]
    pub fn settle(&mut self, outcome: Outcome) {
        if let Some((owner, slot)) = self.held.take() {
            owner.settle(slot, outcome);
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.settle(if self.begun { Outcome::Dropped } else { Outcome::Ignored });
    }
}

impl Default for Permit {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("held", &self.is_held()).field("begun", &self.begun).finish_non_exhaustive()
    }
}
