//! Which keys were denied last.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How many keys are remembered at most. Who is denied over and over is rarely more than that many.
const PLACES: usize = 4_096;

/// Remembers keys by their hash, each in the one place that it can be in; the last one there counts. What it says changes
/// only what is tried first.
pub(crate) struct Hints(Box<[AtomicU64]>);

impl Hints {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether a key with this hash was denied when it was last decided.
    pub(crate) fn is_denied(&self, hash: u64) -> bool {
        self.place(hash).is_some_and(|place| place.load(Relaxed) == mark(hash))
    }

    /// Notes how a key was decided.
    pub(crate) fn note(&self, hash: u64, denied: bool) {
        let Some(place) = self.place(hash) else { return };
        if denied {
            place.store(mark(hash), Relaxed);
        } else if place.load(Relaxed) == mark(hash) {
            place.store(0, Relaxed);
        }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(hash % PLACES as u64).ok()?)
    }
}

/// Never 0, which is an empty place.
fn mark(hash: u64) -> u64 {
    hash | 1 << 63
}
