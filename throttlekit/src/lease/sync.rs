//! The primitives of flights, swapped for loom's when it explores them.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(super) use model::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// A mutex whose holder may be met. Loom's own tells who tries to lock it at once whether it is held, and changes threads nowhere
/// before it is free: here others run before it is, and one who tries may find it held for a while longer.
#[cfg(loom)]
mod model {
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, TryLockError, TryLockResult};

    use loom::sync::atomic::{AtomicBool, Ordering};

    pub(in crate::lease) struct Mutex<T> {
        held: AtomicBool,
        value: loom::sync::Mutex<T>,
    }

    pub(in crate::lease) struct MutexGuard<'a, T> {
        held: &'a AtomicBool,
        value: loom::sync::MutexGuard<'a, T>,
    }

    impl<T> Mutex<T> {
        pub(in crate::lease) fn new(value: T) -> Self {
            Self { held: AtomicBool::new(false), value: loom::sync::Mutex::new(value) }
        }

        pub(in crate::lease) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
            if self.held.load(Ordering::Relaxed) {
                return Err(TryLockError::WouldBlock);
            }
            self.value.try_lock().map(|value| self.guard(value)).map_err(|_| TryLockError::WouldBlock)
        }

        pub(in crate::lease) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            Ok(self.guard(self.value.lock().unwrap()))
        }

        fn guard<'a>(&'a self, value: loom::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.held.store(true, Ordering::Relaxed);
            MutexGuard { held: &self.held, value }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.value
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.value
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.held.store(false, Ordering::Release);
        }
    }
}
