//! What this process last knew of the items that it uses.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::item::Item;

/// A longer state is not remembered: it would cost more memory than its read costs time.
const LONGEST_TEXT: usize = 2 * 1024;

/// An item, and when others were last seen to write to it at the same time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) item: Item,
    pub(crate) crowded: Option<Instant>,
}

/// Items by key, a bounded number.
///
/// Two generations: when the young one holds half the bound it becomes the old one, and what was old is forgotten. A key
/// that is used moves to the young one, so keys in use stay, and no step costs more than a look-up.
#[derive(Debug)]
pub(crate) struct Remembered {
    half: usize,
    young: HashMap<Arc<str>, Known>,
    old: HashMap<Arc<str>, Known>,
}

impl Remembered {
    /// Room for `bound` items, in two halves; none below 2.
    pub(crate) fn new(bound: usize) -> Self {
        Self { half: bound / 2, young: HashMap::new(), old: HashMap::new() }
    }

    /// What was last known of `key`.
    pub(crate) fn get(&mut self, key: &str) -> Option<&Known> {
        if !self.young.contains_key(key) {
            let (key, known) = self.old.remove_entry(key)?;
            self.insert(key, known);
        }
        self.young.get(key)
    }

    pub(crate) fn put(&mut self, key: Arc<str>, item: Item) {
        let before = self.old.remove(&key).or_else(|| self.young.get(&key).cloned());
        if self.half == 0 || item.text.as_ref().is_none_or(|text| text.len() > LONGEST_TEXT) {
            self.young.remove(&key);
            return;
        }
        self.insert(key, Known { item, crowded: before.and_then(|before| before.crowded) });
    }

    /// Notes that others write to `key` at the same time.
    pub(crate) fn crowd(&mut self, key: &str, now: Instant) {
        if let Some(known) = self.young.get_mut(key) {
            known.crowded = Some(now);
        }
    }

    fn insert(&mut self, key: Arc<str>, known: Known) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }

    pub(crate) fn forget(&mut self, key: &str) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::{LONGEST_TEXT, Remembered};
    use crate::item::Item;

    fn item(version: u64) -> Item {
        Item { version, text: Some("1".to_owned()), deadline_ms: 0.0 }
    }

    fn key(n: u64) -> Arc<str> {
        n.to_string().into()
    }

    fn version(items: &mut Remembered, key: &str) -> Option<u64> {
        items.get(key).map(|known| known.item.version)
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_remembered_with_the_key() {
        let mut items = Remembered::new(4);
        let now = Instant::now();
        items.put(key(1), item(1));
        items.crowd("1", now);
        items.crowd("2", now);
        items.put(key(1), item(2));
        items.put(key(2), item(2));
        items.put(key(3), item(3));
        assert_eq!(items.get("1").unwrap().crowded, Some(now));
        assert_eq!(items.get("2").unwrap().crowded, None);
        items.forget("1");
        items.put(key(1), item(3));
        assert_eq!(items.get("1").unwrap().crowded, None);
    }

    #[test]
    fn holds_no_more_than_its_bound_and_keeps_what_is_used() {
        let mut items = Remembered::new(10);
        items.put("hot".into(), item(0));
        for n in 1..=1_000 {
            items.put(key(n), item(n));
            assert_eq!(version(&mut items, "hot"), Some(item(0).version), "after {n}");
            assert!(items.young.len() + items.old.len() <= 10, "after {n}");
        }
        assert_eq!(version(&mut items, "1000"), Some(item(1_000).version));
        assert_eq!(version(&mut items, "1"), None);
    }

    #[test]
    fn the_last_word_counts_in_both_generations() {
        let mut items = Remembered::new(4);
        for n in 1..=3 {
            items.put(key(n), item(n));
        }
        assert!(items.old.contains_key("1"));
        items.put(key(1), item(9));
        assert_eq!(version(&mut items, "1"), Some(item(9).version));
        items.forget("1");
        items.forget("2");
        assert_eq!((version(&mut items, "1"), version(&mut items, "2")), (None, None));
    }

    #[test]
    fn a_long_text_is_not_kept_and_ends_what_was() {
        let mut items = Remembered::new(4);
        items.put(key(1), item(1));
        items.put(key(1), Item { text: Some("x".repeat(LONGEST_TEXT + 1)), ..item(2) });
        assert_eq!(version(&mut items, "1"), None);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut items = Remembered::new(0);
        items.put(key(1), item(1));
        assert_eq!(version(&mut items, "1"), None);
    }
}
