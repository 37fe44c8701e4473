//! Who is asked when the metrics are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::observe::Gauges;

/// A list of foreign code, none of which runs while it is locked: it may use the metrics that it is shown in.
pub(super) struct Readers<T: ?Sized>(Mutex<Vec<Arc<T>>>);

impl<T: ?Sized> Readers<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn add(&self, reader: Arc<T>) {
        self.lock().push(reader);
    }

    /// Those of now, in the order in which they came.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<T>>> {
        // A list is whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers<dyn Gauges> {
    /// Forgets those that will tell nothing any more, so that the list does not grow with what comes and goes.
    pub(super) fn forget_gone(&self) {
        let gone: Vec<_> = self.all().into_iter().filter(|gauges| gauges.is_gone()).collect();
        self.lock().retain(|gauges| !gone.iter().any(|gone| Arc::ptr_eq(gone, gauges)));
    }
}
