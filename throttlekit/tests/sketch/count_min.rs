//! The count-min sketch: sizes, vectors, bounds against exact counts.

use std::collections::HashMap;

use proptest::prelude::*;
use throttlekit::sketch::{Accuracy, CountMin, SketchHash, Snapshot};

use crate::support::Mulberry;

/// The seed of the vectors.
const SEED: u32 = 0x9e37_79b1;

fn sketch(epsilon: f64, delta: f64, hash: SketchHash, conservative: bool) -> CountMin {
    let accuracy = Accuracy::new(epsilon, delta).unwrap();
    CountMin::builder().accuracy(accuracy).hash(hash).conservative(conservative).build()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a whole number below the bound
fn whole(random: &mut Mulberry, bound: f64) -> u32 {
    random.below(bound) as u32
}

/// Counters that are not 0, with their places.
fn set(sketch: &CountMin) -> Vec<(usize, u32)> {
    let counters = sketch.snapshot().counters;
    counters.into_iter().enumerate().filter(|(_, counter)| *counter > 0).collect()
}

#[test]
fn sizes() {
    let table = [
        (0.01, 0.001, 272, 7, 7_616),
        (0.05, 0.01, 55, 5, 1_100),
        (0.1, 0.01, 28, 5, 560),
        (0.2, 0.1, 14, 3, 168),
        (0.5, 0.5, 6, 1, 24),
        (0.001, 1e-6, 2_719, 14, 152_264),
    ];
    for (epsilon, delta, width, depth, bytes) in table {
        let accuracy = Accuracy::new(epsilon, delta).unwrap();
        assert_eq!((accuracy.width(), accuracy.depth(), accuracy.bytes()), (width, depth, bytes));
        assert_eq!(accuracy.counters(), width * depth);
        assert!(accuracy.epsilon() <= epsilon && accuracy.delta() <= delta);
    }
    assert_eq!(Accuracy::default(), Accuracy::new(0.01, 0.001).unwrap());
}

#[test]
fn accuracies_that_are_refused() {
    let option = |epsilon, delta| Accuracy::new(epsilon, delta).unwrap_err().option();
    for bad in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(option(bad, 0.5), "sketch.epsilon");
        assert_eq!(option(0.5, bad), "sketch.delta");
    }
    assert_eq!(option(1e-9, 0.5), "sketch.counters");
    assert_eq!(option(5e-324, 0.5), "sketch.counters");
    assert_eq!(option(0.5, 5e-324), "sketch.counters");
    // 2^28 counters pass, more do not.
    assert!(Accuracy::new(std::f64::consts::E / 268_435_456.0, 0.5).is_ok());
    let refused = |width, depth| Accuracy::of_table(width, depth).unwrap_err().option();
    assert_eq!((refused(0, 5), refused(5, 0), refused(5, 711)), ("sketch.width", "sketch.depth", "sketch.depth"));
    assert_eq!((refused(u32::MAX, 710), refused((1 << 28) + 1, 1)), ("sketch.counters", "sketch.counters"));
    let asked_for = Accuracy::new(0.001, 0.01).unwrap();
    assert_eq!(Accuracy::of_table(2_719, 5).unwrap(), asked_for);
    assert_eq!(
        (Accuracy::of_table(1, 710).unwrap().counters(), Accuracy::of_table(1 << 28, 1).unwrap().depth()),
        (710, 1)
    );
    assert_eq!(option(std::f64::consts::E / 268_435_457.0, 0.5), "sketch.counters");
    let error = Accuracy::new(2.0, 0.5).unwrap_err();
    assert_eq!(error.to_string(), "sketch.epsilon is 2: must be a finite number above 0 and below 1");
}

#[test]
fn conservative_counters() {
    let mut sketch = sketch(0.2, 0.1, SketchHash::Fnv(SEED), true);
    assert_eq!([sketch.add("hot", 5), sketch.add("a", 2), sketch.add("z", 4)], [5, 2, 4]);
    assert_eq!(set(&sketch), [(6, 2), (10, 5), (13, 4), (22, 4), (27, 5), (31, 4), (40, 5)]);
    assert_eq!(sketch.total(), 11);
}

#[test]
fn plain_counters() {
    let mut sketch = sketch(0.2, 0.1, SketchHash::Fnv(SEED), false);
    assert_eq!([sketch.add("hot", 5), sketch.add("a", 2), sketch.add("z", 4)], [5, 2, 4]);
    assert_eq!(set(&sketch), [(6, 2), (10, 5), (13, 4), (22, 4), (27, 7), (31, 4), (40, 7)]);
}

#[test]
fn no_estimate_is_below_the_truth() {
    for conservative in [false, true] {
        for hash in [SketchHash::random(), SketchHash::Fnv(SEED)] {
            let mut sketch = sketch(0.01, 0.001, hash, conservative);
            let mut truth = HashMap::<u32, u32>::new();
            let mut random = Mulberry::new(6);
            for _ in 0..20_000 {
                let id = whole(&mut random, 4_000.0);
                let count = truth.entry(id).or_default();
                *count += 1;
                assert!(sketch.add(&format!("k{id}"), 1) >= *count);
            }
            for (id, count) in truth {
                assert!(sketch.estimate(&format!("k{id}")) >= count);
            }
        }
    }
}

#[test]
fn seeds_decide() {
    let filled = |hash| {
        let mut sketch = sketch(0.01, 0.001, hash, false);
        (0..100).for_each(|id| assert!(sketch.add(&format!("k{id}"), 1) > 0));
        sketch.snapshot().counters
    };
    assert_eq!(filled(SketchHash::Fnv(12_345)), filled(SketchHash::Fnv(12_345)));
    assert_eq!(filled(SketchHash::Keyed([1, 2])), filled(SketchHash::Keyed([1, 2])));
    assert_ne!(filled(SketchHash::Keyed([1, 2])), filled(SketchHash::Keyed([1, 3])));
    assert_ne!(CountMin::new().hash(), CountMin::new().hash());
    assert_ne!(filled(SketchHash::random()), filled(SketchHash::random()));
}

#[test]
fn counters_stay_at_the_top() {
    for conservative in [false, true] {
        let mut sketch = sketch(0.01, 0.001, SketchHash::shared(), conservative);
        assert_eq!(sketch.add("a", 4_294_967_294), 4_294_967_294);
        assert_eq!(sketch.add("a", 5), u32::MAX);
        assert_eq!(sketch.add("a", u64::MAX), u32::MAX);
        assert_eq!(sketch.total(), u64::MAX);
    }
}

#[test]
fn clearing_forgets() {
    let mut sketch = CountMin::new();
    sketch.add("a", 3);
    sketch.clear();
    assert_eq!((sketch.estimate("a"), sketch.total()), (0, 0));
    assert!(set(&sketch).is_empty());
}

/// Whom the `n`-th request of a stream is from: Zipf's law with exponent 1 over `keys` keys, by its inverse.
fn zipf(random: &mut Mulberry, keys: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below the number of keys
    let id = (f64::from(keys).powf(random.draw()) - 1.0) as u32;
    id.min(keys - 1)
}

#[test]
#[allow(clippy::cast_precision_loss)] // counts of a test
fn bounds_hold_on_zipf_streams() {
    const KEYS: u32 = 50_000;
    const REQUESTS: u32 = 200_000;
    for (epsilon, delta) in [(0.01, 0.01), (0.001, 0.01), (0.0005, 0.1)] {
        let mut plain = sketch(epsilon, delta, SketchHash::Keyed([11, 12]), false);
        let mut close = sketch(epsilon, delta, SketchHash::Keyed([11, 12]), true);
        let mut truth = vec![0_u32; KEYS as usize];
        let mut random = Mulberry::new(11);
        for _ in 0..REQUESTS {
            let id = zipf(&mut random, KEYS);
            truth[id as usize] += 1;
            plain.add(&format!("user:{id}"), 1);
            close.add(&format!("user:{id}"), 1);
        }
        let most = epsilon * f64::from(REQUESTS);
        let mut outside = 0;
        let (mut plain_error, mut close_error) = (0_u64, 0_u64);
        for (id, count) in truth.iter().enumerate() {
            let key = format!("user:{id}");
            let (plain, close) = (plain.estimate(&key), close.estimate(&key));
            assert!(*count <= close && close <= plain, "{key}: {count} {close} {plain}");
            outside += usize::from(f64::from(plain - count) > most);
            plain_error += u64::from(plain - count);
            close_error += u64::from(close - count);
        }
        let share = outside as f64 / f64::from(KEYS);
        assert!(share <= delta, "{share} of the keys are outside {most}");
        assert!(4 * close_error < 3 * plain_error, "{close_error} against {plain_error}");
    }
}

#[test]
fn a_close_update_is_right_with_few_rows_and_with_many() {
    for (delta, rows) in [(0.5, 1), (0.001, 7), (0.000_5, 8), (0.000_2, 9), (1e-6, 14)] {
        let mut plain = sketch(0.1, delta, SketchHash::Keyed([3, 4]), false);
        let mut close = sketch(0.1, delta, SketchHash::Keyed([3, 4]), true);
        assert_eq!(close.accuracy().depth(), rows);
        let (mut truth, mut random) = (vec![0; 300], Mulberry::new(5));
        for _ in 0..5_000 {
            let id = zipf(&mut random, 300);
            let key = format!("user:{id}");
            truth[id as usize] += 3;
            let (most, before) = (plain.add(&key, 3), close.estimate(&key));
            let estimate = close.add(&key, 3);
            assert_eq!((estimate, close.estimate(&key)), (before + 3, before + 3), "no more than was added");
            assert!(truth[id as usize] <= estimate && estimate <= most, "{rows} rows, {key}");
        }
        let counted: u64 = close.snapshot().counters.iter().map(|counter| u64::from(*counter)).sum();
        let most: u64 = plain.snapshot().counters.iter().map(|counter| u64::from(*counter)).sum();
        assert!(most == 15_000 * rows as u64 && (rows == 1) == (counted == most), "{rows} rows");
    }
}

#[test]
fn merged_sketches_equal_one_that_saw_all() {
    for hash in [SketchHash::shared(), SketchHash::Fnv(SEED)] {
        let filled = |adds: &[(&str, u64)]| {
            let mut sketch = sketch(0.05, 0.01, hash, false);
            for (key, count) in adds {
                sketch.add(key, *count);
            }
            sketch
        };
        let (first, second) = ([("x", 3), ("y", 1), ("z", 5)], [("x", 2), ("w", 4), ("y", 7)]);
        let mut merged = filled(&first);
        merged.merge(&filled(&second)).unwrap();
        assert_eq!(merged, filled(&[first, second].concat()));
        assert_eq!(merged.total(), 22);

        let mut by_snapshot = filled(&first);
        by_snapshot.merge_snapshot(&filled(&second).snapshot()).unwrap();
        assert_eq!(by_snapshot, merged);
    }
}

#[test]
fn sketches_that_differ_are_not_merged() {
    let base = || {
        let mut sketch = sketch(0.05, 0.01, SketchHash::Keyed([1, 2]), false);
        sketch.add("a", 1);
        sketch
    };
    let others = [
        sketch(0.1, 0.01, SketchHash::Keyed([1, 2]), false),
        sketch(0.05, 0.1, SketchHash::Keyed([1, 2]), false),
        sketch(0.05, 0.01, SketchHash::Keyed([1, 3]), false),
        sketch(0.05, 0.01, SketchHash::Fnv(1), false),
    ];
    for mut other in others {
        other.add("b", 1);
        let mut receiver = base();
        let error = receiver.merge(&other).unwrap_err().to_string();
        assert!(error.contains("columns") || error.contains("seed"), "{error}");
        assert_eq!(receiver, base());
    }
    let mut receiver = base();
    let wrong = [Snapshot::new(28, 5, 0.0, vec![0; 140]), Snapshot::new(55, 5, 0.0, vec![1; 274])];
    for snapshot in wrong {
        assert!(receiver.merge_snapshot(&snapshot).is_err());
        assert_eq!(receiver, base());
    }
}

#[test]
fn a_snapshot_with_a_bad_total_counts_all_the_same() {
    for (total, expected) in [(f64::NAN, 1), (-3.0, 1), (f64::INFINITY, 1), (4.0, 5)] {
        let mut receiver = sketch(0.05, 0.01, SketchHash::Fnv(SEED), false);
        receiver.add("a", 1);
        let mut other = receiver.snapshot();
        other.total = total;
        receiver.merge_snapshot(&other).unwrap();
        assert_eq!((receiver.estimate("a"), receiver.total()), (2, expected));
    }
}

#[test]
fn nothing_shows_a_seed() {
    let sketch = CountMin::builder().hash(SketchHash::Keyed([123_456_789, 987_654_321])).build();
    let shown = format!("{sketch:?} {:?} {:?}", sketch.hash(), CountMin::builder().hash(sketch.hash()));
    assert!(!shown.contains("123456789") && !shown.contains("987654321"), "{shown}");
}

proptest! {
    /// After any merge no key's estimate is lower, and none is below the truth of both streams.
    #[test]
    fn merging_never_lowers_an_estimate(
        first in prop::collection::vec((0_u8..40, 1_u64..100), 0..60),
        second in prop::collection::vec((0_u8..40, 1_u64..100), 0..60),
        conservative in any::<bool>(),
    ) {
        let filled = |adds: &[(u8, u64)]| {
            let mut sketch = sketch(0.2, 0.1, SketchHash::Keyed([5, 6]), conservative);
            for (key, count) in adds {
                sketch.add(&key.to_string(), *count);
            }
            sketch
        };
        let (before, other) = (filled(&first), filled(&second));
        let mut merged = before.clone();
        merged.merge(&other).unwrap();
        for key in 0..40_u8 {
            let truth: u64 = first.iter().chain(&second).filter(|(id, _)| *id == key).map(|(_, count)| count).sum();
            let estimate = merged.estimate(&key.to_string());
            prop_assert!(estimate >= before.estimate(&key.to_string()));
            prop_assert!(u64::from(estimate) >= truth);
        }
    }
}
