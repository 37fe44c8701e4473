//! One server for the tests of a file that run at the same time.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A value that tests share while at least one of them uses it.
///
/// A plain `static` is never dropped, and a server in it would stay behind.
///
/// ```
/// use std::sync::Arc;
/// use tests::shared::Shared;
///
/// static SERVER: Shared<String> = Shared::new();
///
/// let one = SERVER.get(|| "started".to_owned());
/// let two = SERVER.get(|| unreachable!());
/// assert!(Arc::ptr_eq(&one, &two));
/// ```
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The value in use, or a new one by `start`.
    pub fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        // A start that panicked left nothing behind.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = shared.upgrade() {
            return value;
        }
        let value = Arc::new(start());
        *shared = Arc::downgrade(&value);
        value
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}
