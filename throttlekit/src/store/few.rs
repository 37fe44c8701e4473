//! A list that is nearly always of one.

use std::ops::{Deref, DerefMut};

/// Some values in order. The first takes no memory of its own.
pub(super) enum Few<T> {
    One(T),
    /// None, or several.
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(super) const fn new() -> Self {
        Self::Many(Vec::new())
    }

    pub(super) fn push(&mut self, value: T) {
        *self = match std::mem::replace(self, Self::new()) {
            Self::One(first) => Self::Many(vec![first, value]),
            Self::Many(some) if some.is_empty() => Self::One(value),
            Self::Many(mut some) => {
                some.push(value);
                Self::Many(some)
            }
        };
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(some) => some,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(value) => std::slice::from_mut(value),
            Self::Many(some) => some,
        }
    }
}
