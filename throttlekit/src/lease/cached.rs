//! Denials that are remembered, so that a key that is over its limit costs no trips.

use super::book::{Book, Entry, Place};
use super::holding::after;
use crate::decision::Decision;

/// Denials by key.
pub(super) struct Denials {
    book: Book<Denial>,
}

/// What the store said last.
#[derive(Clone, Copy)]
struct Denial {
    /// What was denied: a smaller request may pass.
    cost: f64,
    until_ns: u64,
    decision: Decision,
}

/// When a request asked the store.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    at_ns: u64,
    epoch: u64,
}

impl Entry for Denial {
    fn is_busy(&self) -> bool {
        false
    }
}

const NANOS_PER_MS: u64 = 1_000_000;

impl Denials {
    pub(super) fn new(most: usize) -> Self {
        Self { book: Book::new(most) }
    }

    /// The denial of `cost`, if it is known.
    #[inline]
    pub(super) fn get(&self, key: &str, cost: f64, now_ns: u64) -> Option<Decision> {
        let denial = self.book.with(self.book.mark(key), |denial| *denial)?;
        if now_ns >= denial.until_ns || cost < denial.cost {
            return None;
        }
        let retry_after_ms = (denial.until_ns - now_ns).div_ceil(NANOS_PER_MS);
        Some(Decision { remaining: 0, retry_after_ms, ..denial.decision })
    }

    /// What a request says of itself before it asks the store, at `now_ns`.
    pub(super) fn asked(&self, now_ns: u64) -> Asked {
        Asked { at_ns: now_ns, epoch: self.book.epoch() }
    }

    /// Remembers a decision of the store about a request, if it is a denial, and nothing was forgotten meanwhile.
    pub(super) fn put(&self, key: &str, cost: f64, Asked { at_ns, epoch }: Asked, decision: Decision) {
        if decision.allowed || !self.book.is_since(epoch) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // a wait that somebody may await
        let denial = Denial { cost, until_ns: after(at_ns, decision.retry_after_ms as f64), decision };
        let keep = |place: Place<'_, Denial>| match place {
            // Of two that hold, that of the smaller cost says more.
            Place::Here(known) if known.until_ns > at_ns && known.cost < cost => {}
            Place::Here(known) => *known = denial,
            Place::New(..) | Place::Full => {}
        };
        self.book.with_new(self.book.mark(key), || denial, keep);
        if !self.book.is_since(epoch) {
            self.forget(key);
        }
    }

    /// Forgets what is known of a key, and what requests are about to hear that ask now.
    pub(super) fn forget(&self, key: &str) {
        self.book.forget(self.book.mark(key));
    }

    pub(super) fn len(&self) -> usize {
        self.book.len()
    }
}
