//! Keys without repetition.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;

use super::few::Few;

/// Up to so many keys are compared one by one, which takes no memory beside them.
const COMPARED: usize = 16;

/// Distinct keys in the order in which they came.
pub(super) struct Distinct<K> {
    keys: Few<K>,
    /// Where each is, once there are too many to compare. Strangers choose keys, so it hashes by a secret.
    places: Option<HashMap<K, usize>>,
}

impl<K: Clone + Eq + Hash> Distinct<K> {
    pub(super) const fn new() -> Self {
        Self { keys: Few::new(), places: None }
    }

    /// The position of `key`, which is added if it is not there.
    pub(super) fn place(&mut self, key: K) -> usize {
        let known = match &self.places {
            Some(places) => places.get(&key).copied(),
            None => self.keys.iter().position(|known| *known == key),
        };
        known.unwrap_or_else(|| self.add(key))
    }

    fn add(&mut self, key: K) -> usize {
        let place = self.keys.len();
        if place == COMPARED {
            self.places = Some(self.keys.iter().cloned().zip(0..).collect());
        }
        if let Some(places) = &mut self.places {
            places.insert(key.clone(), place);
        }
        self.keys.push(key);
        place
    }
}

impl<K> Deref for Distinct<K> {
    type Target = [K];

    fn deref(&self) -> &[K] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hash::{Hash, Hasher};

    use super::Distinct;

    thread_local! {
        static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts how often keys are compared.
    #[derive(Clone, Eq, Debug)]
    struct Counting(usize);

    impl PartialEq for Counting {
        fn eq(&self, other: &Self) -> bool {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0 == other.0
        }
    }

    impl Hash for Counting {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn a_key_is_where_it_came_first() {
        for count in [0, 1, 2, 15, 16, 17, 18, 40] {
            let mut keys = Distinct::new();
            for key in (0..count).chain((0..count).rev()) {
                assert_eq!(keys.place(key), key, "of {count}");
            }
            assert!(keys.iter().copied().eq(0..count));
        }
    }

    #[test]
    fn each_of_many_keys_is_compared_with_few() {
        const MANY: usize = 10_000;
        COMPARISONS.set(0);
        let mut keys = Distinct::new();
        (0..MANY).for_each(|key| assert_eq!(keys.place(Counting(key)), key));
        // Hashes that fall together cost a comparison now and then.
        assert!(COMPARISONS.get() < MANY, "{} comparisons", COMPARISONS.get());
        assert_eq!((keys.place(Counting(7)), keys.len()), (7, MANY));
    }
}
