//! The heaviest keys of a stream: ties, bounds, memory.

use std::collections::HashMap;

use proptest::prelude::*;
use throttlekit::analytics::SpaceSaving;

use crate::support::Mulberry;

/// The specified summary, written for the eye: entries in the order in which their keys came in, and a scan for the least.
struct Model {
    capacity: usize,
    entries: Vec<(String, f64, f64)>,
}

impl Model {
    fn observe(&mut self, key: &str, weight: f64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.0 == key) {
            entry.1 += weight;
        } else if self.entries.len() < self.capacity {
            self.entries.push((key.to_owned(), weight, 0.0));
        } else {
            let least = self.entries.iter().map(|entry| entry.1).fold(f64::INFINITY, f64::min);
            let earliest = self.entries.iter().position(|entry| entry.1 == least).unwrap();
            self.entries.remove(earliest);
            self.entries.push((key.to_owned(), least + weight, least));
        }
    }

    fn top(&self) -> Vec<(String, f64, f64)> {
        let mut top = self.entries.clone();
        top.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then_with(|| a.0.cmp(&b.0)));
        top
    }
}

fn top(heavy: &SpaceSaving) -> Vec<(String, f64, f64)> {
    heavy.top().into_iter().map(|counted| (counted.key, counted.count, counted.error)).collect()
}

fn of(capacity: usize, keys: &str) -> SpaceSaving {
    let mut heavy = SpaceSaving::new(capacity).unwrap();
    keys.split(' ').for_each(|key| heavy.observe(key));
    heavy
}

fn counted(expected: &[(&str, f64, f64)]) -> Vec<(String, f64, f64)> {
    expected.iter().map(|(key, count, error)| ((*key).to_owned(), *count, *error)).collect()
}

#[test]
fn the_newcomer_inherits_the_least_count() {
    assert_eq!(top(&of(2, "a a a b b c")), counted(&[("a", 3.0, 0.0), ("c", 3.0, 2.0)]));
}

#[test]
fn of_equals_the_earliest_is_forgotten() {
    assert_eq!(top(&of(3, "a a b b c c d")), counted(&[("d", 3.0, 2.0), ("b", 2.0, 0.0), ("c", 2.0, 0.0)]));
    // Seen again, `a` keeps its place: it is still the earliest. Forgotten and back, it is the latest.
    assert_eq!(top(&of(2, "a b a b c")), counted(&[("c", 3.0, 2.0), ("b", 2.0, 0.0)]));
    assert_eq!(top(&of(2, "a b c a c a d")), counted(&[("d", 4.0, 3.0), ("a", 3.0, 1.0)]));
}

#[test]
fn heavy_keys_rise_from_a_crowd() {
    let mut heavy = SpaceSaving::new(10).unwrap();
    (0..200).for_each(|i| heavy.observe(&format!("k{i}")));
    for (key, times) in [("hot-a", 100), ("hot-b", 50), ("hot-c", 25)] {
        (0..times).for_each(|_| heavy.observe(key));
    }
    let top = top(&heavy);
    for (counted, (key, times)) in top.iter().zip([("hot-a", 100.0), ("hot-b", 50.0), ("hot-c", 25.0)]) {
        assert_eq!(counted.0, key);
        assert!(counted.1 >= times && counted.1 - counted.2 <= times, "{counted:?}");
    }
}

#[test]
fn capacity_is_checked_and_kept() {
    for capacity in [0, SpaceSaving::MAX_CAPACITY + 1] {
        let error = SpaceSaving::new(capacity).unwrap_err();
        assert_eq!((error.option(), error.value()), ("spaceSaving.capacity", Some(capacity.to_string().as_str())));
    }
    let mut heavy = SpaceSaving::new(8).unwrap();
    (0..10_000).for_each(|i| heavy.observe(&format!("k{i}")));
    assert_eq!((heavy.len(), heavy.capacity(), heavy.observed()), (8, 8, 10_000.0));
    assert_eq!(heavy.least(), 1_250.0);
    assert_eq!(heavy.get("k0"), None);
    assert_eq!(heavy.get("k9999").map(|counted| (counted.count, counted.at_least())), Some((1_250.0, 1.0)));

    heavy.clear();
    assert!(heavy.is_empty() && heavy.top().is_empty());
    assert_eq!((heavy.observed(), heavy.least()), (0.0, 0.0));
    heavy.observe("k1");
    assert_eq!(top(&heavy), counted(&[("k1", 1.0, 0.0)]));
}

#[test]
fn a_weight_that_is_none_adds_nothing() {
    let mut heavy = SpaceSaving::new(1).unwrap();
    heavy.observe_weighted("a", 2.5);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        heavy.observe_weighted("b", weight);
    }
    assert_eq!(top(&heavy), counted(&[("a", 2.5, 0.0)]));
}

#[test]
fn the_text_of_a_long_key_is_cut_and_the_key_is_not_confused() {
    let (one, other) = (format!("{}1", "ä".repeat(400)), format!("{}2", "ä".repeat(400)));
    let mut heavy = SpaceSaving::new(4).unwrap();
    for key in [&one, &other, &one] {
        heavy.observe(key);
    }
    let seen = top(&heavy);
    assert_eq!(seen.iter().map(|counted| counted.1).collect::<Vec<_>>(), [2.0, 1.0]);
    for counted in &seen {
        let (text, fingerprint) = counted.0.split_once('#').unwrap();
        assert_eq!((text, fingerprint.len()), ("ä".repeat(32).as_str(), 16));
    }
    assert_eq!(heavy.get(&one).unwrap().count, 2.0);

    let whole = "k".repeat(512);
    heavy.observe(&whole);
    assert_eq!(heavy.get(&whole).unwrap().key, whole);
}

#[test]
fn debug_shows_no_key() {
    let mut heavy = SpaceSaving::new(2).unwrap();
    heavy.observe("the-key-itself");
    assert!(!format!("{heavy:?} {:?}", heavy.top()).contains("the-key"));
}

/// A stream in which the key `i` has the weight `1 / i^exponent`.
fn zipf(keys: u32, exponent: f64, len: usize) -> Vec<String> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|i| {
            sum += f64::from(i).powf(-exponent);
            sum
        })
        .collect();
    let mut random = Mulberry::new(7);
    (0..len).map(|_| random.below(sum)).map(|at| format!("k{}", sums.partition_point(|sum| *sum < at))).collect()
}

#[test]
#[allow(clippy::cast_precision_loss)] // small numbers
fn the_bounds_hold_on_skewed_streams() {
    for exponent in [0.0, 0.8, 1.0, 1.3] {
        for capacity in [10, 100, 1_000] {
            let stream = zipf(5_000, exponent, 20_000);
            let mut heavy = SpaceSaving::new(capacity).unwrap();
            let mut exact: HashMap<String, f64> = HashMap::new();
            for key in stream {
                heavy.observe(&key);
                *exact.entry(key).or_default() += 1.0;
            }
            let bound = heavy.observed() / capacity as f64;
            let top = heavy.top();
            for counted in &top {
                let truly = exact[&counted.key];
                assert!(counted.at_least() <= truly && truly <= counted.count, "{counted:?} {truly}");
                assert!(counted.error <= bound, "{counted:?} {bound}");
            }
            for (key, truly) in &exact {
                let known = heavy.get(key);
                assert!(known.is_some() || *truly <= bound, "{key} has {truly}, more than {bound}");
                assert!(known.is_some() || *truly <= heavy.least());
            }
        }
    }
}

proptest! {
    /// Whatever comes, it does what the slow model does, with few counters and with many.
    #[test]
    fn it_is_the_slow_model(
        capacity in prop_oneof![1_usize..7, 14_usize..22],
        stream in prop::collection::vec((0_u8..26, 1_u8..4), 0..300),
    ) {
        let mut heavy = SpaceSaving::new(capacity).unwrap();
        let mut model = Model { capacity, entries: Vec::new() };
        for (key, weight) in stream {
            let key = format!("{}", char::from(b'a' + key));
            if weight == 1 {
                heavy.observe(&key);
            } else {
                heavy.observe_weighted(&key, f64::from(weight));
            }
            model.observe(&key, f64::from(weight));
            prop_assert_eq!(top(&heavy), model.top());
        }
    }

    /// The same where all weigh the same, and many keys come once: with a long queue, and a heap of some levels.
    #[test]
    fn it_is_the_slow_model_of_a_crowd(
        capacity in prop_oneof![1_usize..7, 10_usize..22, 40_usize..90],
        stream in prop::collection::vec(prop_oneof![2 => 0_u16..12, 1 => 12_u16..80, 1 => 80_u16..2_000], 0..900),
    ) {
        let mut heavy = SpaceSaving::new(capacity).unwrap();
        let mut model = Model { capacity, entries: Vec::new() };
        for (step, key) in stream.into_iter().enumerate() {
            let key = key.to_string();
            heavy.observe(&key);
            model.observe(&key, 1.0);
            prop_assert_eq!(heavy.get(&key).map(|counted| counted.count), model.entries.iter().find(|entry| entry.0 == key).map(|entry| entry.1));
            if step % 16 == 0 {
                prop_assert_eq!(top(&heavy), model.top());
            }
        }
        prop_assert_eq!(top(&heavy), model.top());
    }
}
