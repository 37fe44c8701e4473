//! What this process last knew of the items that it uses.

use std::collections::HashMap;
use std::sync::Arc;

use crate::item::Item;

/// A longer state is not remembered: it would cost more memory than its read costs time.
const LONGEST_TEXT: usize = 2 * 1024;

/// Items by key, a bounded number.
///
/// Two generations: when the young one holds half the bound it becomes the old one, and what was old is forgotten. A key
/// that is used moves to the young one, so keys in use stay, and no step costs more than a look-up.
#[derive(Debug)]
pub(crate) struct Remembered {
    half: usize,
    young: HashMap<Arc<str>, Item>,
    old: HashMap<Arc<str>, Item>,
}

impl Remembered {
    /// Room for `bound` items, in two halves; none below 2.
    pub(crate) fn new(bound: usize) -> Self {
        Self { half: bound / 2, young: HashMap::new(), old: HashMap::new() }
    }

    /// What was last known of `key`.
    pub(crate) fn get(&mut self, key: &str) -> Option<Item> {
        if let Some(item) = self.young.get(key) {
            return Some(item.clone());
        }
        let (key, item) = self.old.remove_entry(key)?;
        self.put(key, item.clone());
        Some(item)
    }

    pub(crate) fn put(&mut self, key: Arc<str>, item: Item) {
        self.old.remove(&key);
        if self.half == 0 || item.text.as_ref().is_none_or(|text| text.len() > LONGEST_TEXT) {
            self.young.remove(&key);
            return;
        }
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, item);
    }

    pub(crate) fn forget(&mut self, key: &str) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{LONGEST_TEXT, Remembered};
    use crate::item::Item;

    fn item(version: u64) -> Item {
        Item { version, text: Some("1".to_owned()), deadline_ms: 0.0 }
    }

    fn key(n: u64) -> Arc<str> {
        n.to_string().into()
    }

    #[test]
    fn holds_no_more_than_its_bound_and_keeps_what_is_used() {
        let mut items = Remembered::new(10);
        items.put("hot".into(), item(0));
        for n in 1..=1_000 {
            items.put(key(n), item(n));
            assert_eq!(items.get("hot"), Some(item(0)), "after {n}");
            assert!(items.young.len() + items.old.len() <= 10, "after {n}");
        }
        assert_eq!(items.get("1000"), Some(item(1_000)));
        assert_eq!(items.get("1"), None);
    }

    #[test]
    fn the_last_word_counts_in_both_generations() {
        let mut items = Remembered::new(4);
        for n in 1..=3 {
            items.put(key(n), item(n));
        }
        assert!(items.old.contains_key("1"));
        items.put(key(1), item(9));
        assert_eq!(items.get("1"), Some(item(9)));
        items.forget("1");
        items.forget("2");
        assert_eq!((items.get("1"), items.get("2")), (None, None));
    }

    #[test]
    fn a_long_text_is_not_kept_and_ends_what_was() {
        let mut items = Remembered::new(4);
        items.put(key(1), item(1));
        items.put(key(1), Item { text: Some("x".repeat(LONGEST_TEXT + 1)), ..item(2) });
        assert_eq!(items.get("1"), None);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut items = Remembered::new(0);
        items.put(key(1), item(1));
        assert_eq!(items.get("1"), None);
    }
}
