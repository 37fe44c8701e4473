//! Denials that are remembered, so that a key that is over its limit costs no trips.

use super::book::{Asked, Book, Entry, Place};
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
    pub(super) fn asked(&self, key: &str, now_ns: u64) -> Asked {
        self.book.asked(self.book.mark(key), now_ns)
    }

    /// Remembers a decision of the store about a request, if it is a denial, and the key was not forgotten meanwhile.
    pub(super) fn put(&self, key: &str, cost: f64, asked: Asked, decision: Decision) {
        if decision.allowed {
            return;
        }
        let mark = self.book.mark(key);
        if !self.book.is_since(mark, asked) {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // a wait that somebody may await
        let denial = Denial { cost, until_ns: after(asked.at_ns, decision.retry_after_ms as f64), decision };
        let keep = |place: Place<'_, Denial>| match place {
            // Of two that hold, that of the smaller cost says more.
            Place::Here(known) if known.until_ns > asked.at_ns && known.cost < cost => {}
            Place::Here(known) => *known = denial,
            Place::New(..) | Place::Full => {}
        };
        self.book.with_new(mark, || denial, keep);
        if !self.book.is_since(mark, asked) {
            self.book.forget(mark);
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
