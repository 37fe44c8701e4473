//! The counts of a sliding window.

use crate::program::{Change, State};
use crate::store::memory::Boxed;
use crate::strategy::text::{Value, push_numbers, read_object};
use crate::twin::Raw;

/// A count for each bucket of a window and one more. Bucket `t` has place `t mod places`, and a place counts only for the
/// bucket that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    /// The number of the bucket; -1 for none, with a count of 0.
    bucket: f64,
    count: f64,
}

impl Ring {
    fn new(places: usize) -> Self {
        Self { places: vec![Place { bucket: -1.0, count: 0.0 }; places].into() }
    }

    /// The ring of `places` whose counts are the fields of a hash: a place, then `bucket:count`. Places that it does not
    /// have belong to other options.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a place that is none saturates beyond all
    pub(super) fn from_fields(places: usize, fields: &[Raw]) -> Option<Self> {
        let mut ring = Self::new(places);
        for field in fields.chunks(2) {
            let [place, value] = field else { return None };
            let (bucket, count) = value.text()?.split_once(':')?;
            let (bucket, count): (f64, f64) = (bucket.parse().ok()?, count.parse().ok()?);
            if !bucket.is_finite() || !count.is_finite() {
                return None;
            }
            let place = place.number()?;
            if let Some(at) = ring.places.get_mut(place as usize).filter(|_| place >= 0.0 && place.fract() == 0.0) {
                *at = Place { bucket, count };
            }
        }
        Some(ring)
    }

    #[inline]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// The place of a bucket; 0 for a ring without places.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
    // a bucket number is whole and below 2^53 by the least bucket length; the remainder is below the length
    fn place_of(&self, bucket: f64) -> usize {
        let places = self.places.len() as i64;
        (bucket as i64).checked_rem_euclid(places).unwrap_or(0) as usize
    }

    /// The count of a bucket.
    pub(super) fn count(&self, bucket: f64) -> f64 {
        let place = self.places.get(self.place_of(bucket)).filter(|place| place.bucket == bucket);
        place.map_or(0.0, |place| place.count)
    }

    /// The count of the bucket that leaves the window of `current`, and the sum of those within, oldest first.
    #[inline]
    pub(super) fn sums(&self, current: f64) -> (f64, f64) {
        // After the current bucket comes, around the ring, the one that leaves; it ends with the current one.
        let (ending, beginning) = self.places.split_at((self.place_of(current) + 1).min(self.places.len()));
        let mut places = beginning.iter().chain(ending);
        #[allow(clippy::cast_precision_loss)] // a ring has at most 100,001 places
        let mut bucket = current - self.places.len() as f64 + 1.0;
        let mut count = |place: &Place| {
            let count = if place.bucket == bucket { place.count } else { 0.0 };
            bucket += 1.0;
            count
        };
        let oldest = places.next().map_or(0.0, &mut count);
        (oldest, places.fold(0.0, |sum, place| sum + count(place)))
    }
}

impl State for Ring {
    type Layout = Boxed;

    fn encode(&self) -> String {
        let mut text = String::from(r#"{"i":"#);
        push_numbers(&mut text, self.places.iter().map(|place| place.bucket));
        text.push_str(r#","n":"#);
        push_numbers(&mut text, self.places.iter().map(|place| place.count));
        text.push('}');
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let (mut buckets, mut counts) = (None, None);
        read_object(text, |name, value| match name {
            "i" => buckets = Some(value),
            "n" => counts = Some(value),
            _ => {}
        })?;
        let numbers = |value: Option<Value>| value?.numbers();
        let (buckets, counts) = (numbers(buckets)?, numbers(counts)?);
        if buckets.len() != counts.len() {
            return None;
        }
        let places = buckets.into_iter().zip(counts).map(|(bucket, count)| Place { bucket, count });
        Some(Self { places: places.collect() })
    }
}

/// Adds to the count of one bucket, or takes from it, in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bump {
    bucket: f64,
    cost: f64,
    places: usize,
}

impl Bump {
    #[inline]
    pub(super) fn new(bucket: f64, cost: f64, places: usize) -> Self {
        Self { bucket, cost, places }
    }
}

impl Change<Ring> for Bump {
    /// A ring of another length belongs to other options and is replaced by a fresh one.
    #[inline]
    fn apply_to(self, state: &mut Option<Ring>) {
        let fits = state.as_ref().is_some_and(|ring| ring.places() == self.places);
        if !fits {
            *state = None;
        }
        let ring = state.get_or_insert_with(|| Ring::new(self.places));
        let at = ring.place_of(self.bucket);
        if let Some(place) = ring.places.get_mut(at) {
            let count = if place.bucket == self.bucket { place.count } else { 0.0 };
            *place = Place { bucket: self.bucket, count: count + self.cost };
        }
    }
}
