//! Observers that hand on a part of what they see, where another one tells of the rest.

use std::sync::Arc;

#[cfg(feature = "config")]
use super::AdmissionEvent;
use super::{Event, LeaseEvent, Observer, Wait};

/// Hands on waits and leases only. What asks the limits tells of their decisions.
pub(crate) struct Asides(pub(crate) Arc<dyn Observer>);

impl Observer for Asides {
    fn observe(&self, _event: &Event<'_>) {}

    fn waited(&self, wait: &Wait<'_>) {
        self.0.waited(wait);
    }

    fn leased(&self, lease: &LeaseEvent<'_>) {
        self.0.leased(lease);
    }

    fn panicked(&self) {
        self.0.panicked();
    }
}

/// Hands on whole requests only. Their parts tell the observer themselves.
#[cfg(feature = "config")]
pub(crate) struct Wholes(pub(crate) Arc<dyn Observer>);

#[cfg(feature = "config")]
impl Observer for Wholes {
    fn observe(&self, _event: &Event<'_>) {}

    fn stopwatch_ns(&self) -> Option<u64> {
        self.0.stopwatch_ns()
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.0.admitted(admission);
    }

    fn panicked(&self) {
        self.0.panicked();
    }
}
