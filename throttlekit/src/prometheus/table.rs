//! Counters by name: a table that is read without a lock and never grows.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fingerprint::HashKey;

/// Values by name. A name that came once stays.
pub(super) struct Table<T> {
    secret: HashKey,
    most: usize,
    known: AtomicUsize,
    /// Twice as many as there may be names, as a power of two: a search ends soon.
    slots: Box<[OnceLock<Named<T>>]>,
    /// What all names share that came when the table was full.
    other: OnceLock<Named<T>>,
}

pub(super) struct Named<T> {
    pub(super) name: Box<str>,
    pub(super) value: T,
}

impl<T> Table<T> {
    /// For at most `most` names, and a few more that come at the same instant.
    pub(super) fn new(most: usize) -> Self {
        let slots = (0..(2 * most).next_power_of_two().max(16)).map(|_| OnceLock::new()).collect();
        Self { secret: HashKey::random(), most, known: AtomicUsize::new(0), slots, other: OnceLock::new() }
    }

    /// The value of `name`, which `make` makes when the name comes for the first time. Names that do not fit share one, of
    /// the name `other`.
    #[inline]
    pub(super) fn of(&self, name: &str, other: &str, make: impl Fn() -> T) -> &T {
        let mask = self.slots.len() - 1;
        #[allow(clippy::cast_possible_truncation)] // only low bits of it count
        let first = self.secret.fingerprint(name) as usize;
        for step in 0..self.slots.len() {
            let slot = &self.slots[(first + step) & mask];
            let named = match slot.get() {
                Some(named) => named,
                None if self.known.load(Ordering::Relaxed) >= self.most => break,
                None => slot.get_or_init(|| {
                    self.known.fetch_add(1, Ordering::Relaxed);
                    Named { name: name.into(), value: make() }
                }),
            };
            if *named.name == *name {
                return &named.value;
            }
        }
        &self.other.get_or_init(|| Named { name: other.into(), value: make() }).value
    }

    /// All of them, by name.
    pub(super) fn sorted(&self) -> Vec<&Named<T>> {
        let mut all: Vec<_> = self.slots.iter().chain([&self.other]).filter_map(OnceLock::get).collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn names_beyond_the_bound_share_one() {
        let table = Table::new(3);
        let add = |name: &str| *table.of(name, "other", Mutex::default).lock().unwrap() += 1;
        for name in ["a", "b", "a", "c", "d", "e", "b", "d"] {
            add(name);
        }
        let seen: Vec<_> =
            table.sorted().into_iter().map(|named| (&*named.name, *named.value.lock().unwrap())).collect();
        assert_eq!(seen, [("a", 2), ("b", 2), ("c", 1), ("other", 3)]);
    }

    #[test]
    fn threads_that_come_together_share_a_name() {
        let table: Table<Mutex<u32>> = Table::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for name in 0..100 {
                        *table.of(&name.to_string(), "other", Mutex::default).lock().unwrap() += 1;
                    }
                });
            }
        });
        let seen: Vec<_> = table.sorted().iter().map(|named| *named.value.lock().unwrap()).collect();
        assert_eq!(seen, [4; 100]);
    }
}
