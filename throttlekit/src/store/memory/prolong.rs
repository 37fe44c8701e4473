//! Longer lives for keys that are there, for options that need them longer than those they were written by.

use std::sync::PoisonError;

use super::core::{Core, Shape, Slot};
use super::lines::SLOTS;
use super::slot::Words;
use super::sync::{Backoff, Ordering};

impl<H: Shape> Core<H> {
    /// Lets all keys that live at `now_ms` live until `deadline_ms` at least.
    pub(super) fn prolong(&self, now_ms: f64, deadline_ms: f64) {
        for (index, shard) in self.shards.iter().enumerate() {
            // Keys come, go and move under the mutex only.
            let _alone = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for line in 0..usize::from(self.sizes[index].load(Ordering::Relaxed)) {
                let words = self.line(index, line);
                (0..SLOTS).for_each(|slot| prolong::<H>(Self::slot(words, slot), now_ms, deadline_ms));
            }
        }
    }
}

/// Lets the key of a slot, if it has one, live longer.
fn prolong<H: Shape>(slot: Slot<'_, H>, now_ms: f64, deadline_ms: f64) {
    let mut backoff = Backoff::new();
    loop {
        let tag = slot.tag();
        if !tag.is_key() {
            return;
        }
        if slot.try_lock(tag) {
            let mut state = slot.seal();
            if H::is_live(state[0], now_ms) {
                state[0] = H::prolonged(state[0], deadline_ms);
            }
            slot.set_state(state);
            // As it was: this is no use of the key, and a word that changed tells readers.
            slot.set_tag(tag);
            return;
        }
        backoff.wait();
    }
}
