//! The floor: what no keyed limiter can do without.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher13;
use throttlekit::{Clock, Decision};

use super::Rival;
use super::arithmetic::{Arithmetic, Limit};

/// A table that was given its size beforehand: hash the key, find its fingerprint, read the clock, step, swap.
///
/// It cannot grow, expire, evict or forget, so it is no limiter; it is the cost below which none gets.
pub struct Floor<C> {
    slots: Box<[Slot]>,
    shift: u32,
    hasher: SipHasher13,
    arithmetic: Arithmetic,
    clock: C,
}

#[derive(Default)]
struct Slot {
    fingerprint: AtomicU64,
    arrival: AtomicU64,
}

impl<C> Floor<C> {
    /// Room for `keys` keys at a load of at most three quarters.
    pub fn new(keys: usize, limit: Limit, clock: C) -> Self {
        let slots = (keys + keys / 3 + 1).next_power_of_two().max(64);
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            shift: 64 - slots.trailing_zeros(),
            hasher: SipHasher13::new_with_keys(fastrand::u64(..), fastrand::u64(..)),
            arithmetic: Arithmetic::new(limit),
            clock,
        }
    }

    /// The slot of a fingerprint, claimed if it was absent.
    #[inline]
    fn slot(&self, fingerprint: u64) -> &Slot {
        let mut at = usize::try_from(fingerprint >> self.shift).unwrap_or(0);
        loop {
            let slot = &self.slots[at & (self.slots.len() - 1)];
            let found = slot.fingerprint.load(Ordering::Acquire);
            if found == fingerprint {
                return slot;
            }
            if found == 0 {
                match slot.fingerprint.compare_exchange(0, fingerprint, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return slot,
                    Err(other) if other == fingerprint => return slot,
                    Err(_) => {}
                }
            }
            at += 1;
        }
    }
}

impl<C: Clock> Rival for Floor<C> {
    type Session = ();
    type Answer = Decision;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Decision {
        let now = self.clock.now_ms();
        let slot = self.slot(self.hasher.hash(key.as_bytes()) | 1);
        let mut seen = slot.arrival.load(Ordering::Acquire);
        loop {
            let step = self.arithmetic.step(f64::from_bits(seen), now);
            let Ok(next) = step else { return self.arithmetic.reply(step, now) };
            match slot.arrival.compare_exchange_weak(seen, next.to_bits(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.arithmetic.reply(step, now),
                Err(moved) => seen = moved,
            }
        }
    }

    #[inline]
    fn allowed(answer: &Decision) -> bool {
        answer.allowed
    }
}

impl<C> fmt::Debug for Floor<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Floor").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}
