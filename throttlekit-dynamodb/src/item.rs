//! The layout of an item, shared by every member of the family.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// The state as text.
pub(crate) const STATE: &str = "state";
/// The deadline in whole seconds, rounded up: what the table's own expiry looks at.
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// The deadline in milliseconds: what decides whether a state is visible.
pub(crate) const EXPIRES_AT_MS: &str = "expires_at_ms";
/// Changes with each write, and never comes back: what a write is conditional on.
pub(crate) const VERSION: &str = "version";

/// The largest whole number that every member of the family reads exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;
/// The same as an f64.
const MAX_SAFE_F64: f64 = 9_007_199_254_740_991.0;
/// First versions are below this, so that half of the whole numbers that read back exactly lie above any of them.
const FIRST_BITS: u32 = 52;
/// What an item may weigh, names and values together.
const MAX_ITEM_BYTES: usize = 400 * 1024;
/// More than the names and numbers of the attributes weigh.
const FRAME_BYTES: usize = 200;

/// An attribute by name.
pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) version: u64,
    /// `None` if the item holds something else than a text.
    pub(crate) text: Option<String>,
    pub(crate) deadline_ms: f64,
}

impl Item {
    /// Reads an item; `Err` says what is wrong with one that cannot be written over safely.
    ///
    /// Items without a deadline in milliseconds were written long ago; theirs is in seconds.
    pub(crate) fn read(attributes: &Attributes) -> Result<Self, &'static str> {
        let number = |name| attributes.get(name).and_then(|value| value.as_n().ok());
        let version = number(VERSION).and_then(|text| text.parse().ok()).ok_or("`version` is not a whole number")?;
        let deadline = |name| number(name).and_then(|text| text.parse::<f64>().ok());
        let deadline_ms = deadline(EXPIRES_AT_MS).or_else(|| deadline(EXPIRES_AT).map(|seconds| seconds * 1_000.0));
        Ok(Self {
            version,
            text: attributes.get(STATE).and_then(|value| value.as_s().ok()).cloned(),
            deadline_ms: deadline_ms.ok_or("the deadline is not a number")?,
        })
    }

    /// The attributes that are written under `key`.
    pub(crate) fn write(&self, hash_key: &str, key: &str) -> Attributes {
        let seconds = whole(self.deadline_ms / 1_000.0);
        HashMap::from([
            (hash_key.to_owned(), AttributeValue::S(key.to_owned())),
            (STATE.to_owned(), AttributeValue::S(self.text.clone().unwrap_or_default())),
            (EXPIRES_AT.to_owned(), AttributeValue::N(seconds.to_string())),
            (EXPIRES_AT_MS.to_owned(), AttributeValue::N(whole(self.deadline_ms).to_string())),
            (VERSION.to_owned(), AttributeValue::N(self.version.to_string())),
        ])
    }

    /// The state at `now_ms`; at its deadline it is gone. `Err` says why it cannot be read.
    pub(crate) fn state(&self, now_ms: f64) -> Result<Option<String>, &'static str> {
        if self.deadline_ms > now_ms {
            return self.text.clone().map(Some).ok_or("`state` is not a text");
        }
        Ok(None)
    }

    /// Whether the table takes an item of this size.
    pub(crate) fn fits(&self, hash_key: &str, key: &str) -> bool {
        let text = self.text.as_ref().map_or(0, String::len);
        text + hash_key.len() + key.len() + FRAME_BYTES <= MAX_ITEM_BYTES
    }
}

/// The deadline of a state that is written at `now_ms` and lives for `ttl_ms`.
pub(crate) fn deadline_ms(now_ms: f64, ttl_ms: f64) -> f64 {
    now_ms + ttl_ms.ceil().max(1.0)
}

/// The version after `version`; `None` if the numbers are used up, so that a new first one is due.
pub(crate) fn next_version(version: u64) -> Option<u64> {
    version.checked_add(1).filter(|next| *next <= MAX_SAFE)
}

/// A version for an item that was not there, from the randomness of the system.
///
/// If first versions were equal, one who read an item would not notice that it was deleted and made again, and would write
/// over what it never saw. With random ones that takes two equal draws of 2^52.
pub(crate) fn first_version() -> Result<u64, getrandom::Error> {
    Ok(getrandom::u64()? >> (u64::BITS - FIRST_BITS))
}

/// Up to the next whole number, and within what reads back exactly.
#[allow(clippy::cast_possible_truncation)] // within the bounds, which are whole
fn whole(value: f64) -> i64 {
    value.ceil().clamp(-MAX_SAFE_F64, MAX_SAFE_F64) as i64
}

#[cfg(test)]
mod tests {
    use super::{Item, MAX_SAFE, deadline_ms, first_version, next_version};

    fn item(deadline_ms: f64) -> Item {
        Item { version: 7, text: Some("1".to_owned()), deadline_ms }
    }

    #[test]
    fn an_item_reads_back_as_written() {
        for deadline_ms in [1_700_000_060_000.0, 1_500.0, 0.0, -3.0] {
            assert_eq!(Item::read(&item(deadline_ms).write("pk", "k")).unwrap(), item(deadline_ms));
        }
    }

    #[test]
    fn seconds_are_rounded_up_and_numbers_have_no_exponent() {
        let number = |item: &Item, name: &str| item.write("pk", "k")[name].as_n().unwrap().clone();
        assert_eq!(number(&item(1_700_000_060_000.0), "expires_at"), "1700000060");
        assert_eq!(number(&item(1_700_000_060_001.0), "expires_at"), "1700000061");
        assert_eq!(number(&item(f64::INFINITY), "expires_at_ms"), "9007199254740991");
        assert_eq!(number(&item(1e300), "expires_at"), "9007199254740991");
    }

    #[test]
    fn an_old_item_expires_by_its_seconds() {
        let mut attributes = item(2_000.0).write("pk", "k");
        attributes.remove("expires_at_ms");
        assert_eq!(Item::read(&attributes).unwrap().deadline_ms, 2_000.0);
        attributes.remove("expires_at");
        assert_eq!(Item::read(&attributes), Err("the deadline is not a number"));
    }

    #[test]
    fn a_state_is_gone_at_its_deadline() {
        assert_eq!(item(1_000.0).state(999.0), Ok(Some("1".to_owned())));
        assert_eq!(item(1_000.0).state(1_000.0), Ok(None));
    }

    #[test]
    fn lives_are_whole_and_at_least_a_millisecond() {
        assert_eq!(deadline_ms(1_000.0, 0.2), 1_001.0);
        assert_eq!(deadline_ms(1_000.0, -5.0), 1_001.0);
        assert_eq!(deadline_ms(1_000.0, f64::NAN), 1_001.0);
        assert_eq!(deadline_ms(1_000.0, 333.3), 1_334.0);
    }

    #[test]
    fn first_versions_are_spread_below_their_bound() {
        let drawn: Vec<u64> = (0..64).map(|_| first_version().unwrap()).collect();
        assert!(drawn.iter().all(|version| *version < 1 << 52));
        // 64 draws below 2^51 would be a chance of 2^-64.
        assert!(drawn.iter().any(|version| *version >= 1 << 51));
        assert!(drawn.iter().any(|version| *version != drawn[0]));
    }

    #[test]
    fn versions_end_where_numbers_stop_being_exact() {
        assert_eq!(next_version(0), Some(1));
        assert_eq!(next_version(MAX_SAFE - 1), Some(MAX_SAFE));
        assert_eq!(next_version(MAX_SAFE), None);
        assert_eq!(next_version(u64::MAX), None);
    }

    #[test]
    fn a_text_beyond_the_bound_does_not_fit() {
        let sized = |bytes| Item { version: 1, text: Some("x".repeat(bytes)), deadline_ms: 0.0 };
        assert!(sized(400 * 1024 - 300).fits("pk", "k"));
        assert!(!sized(400 * 1024).fits("pk", "k"));
    }
}
