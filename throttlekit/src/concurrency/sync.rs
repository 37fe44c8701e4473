//! The primitives of the guard, swapped for loom's when it explores them.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(super) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(super) use std::sync::{Mutex, MutexGuard};

/// A value that one thread at a time works on. Who finds it in use goes on without it: nobody waits.
#[cfg(not(loom))]
#[derive(Debug)]
pub(super) struct Turns<T>(atomic_refcell::AtomicRefCell<T>);

#[cfg(not(loom))]
impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        Self(atomic_refcell::AtomicRefCell::new(value))
    }

    /// What `work` answers, if nobody else works. It takes one read-modify-write and one store, where a mutex takes two of
    /// the former.
    #[inline]
    pub(super) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok().map(|mut value| work(&mut value))
    }
}

#[cfg(loom)]
#[derive(Debug)]
pub(super) struct Turns<T>(Mutex<T>);

#[cfg(loom)]
impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_lock().ok().map(|mut value| work(&mut value))
    }
}
