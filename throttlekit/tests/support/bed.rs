//! A limiter in two tiers, its time and the store that it leases from.

use throttlekit::lease::{TwoTier, TwoTierBuilder};
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{Decision, FixedWindow, ManualClock};

use super::held::{Held, done};

/// A limiter, its time and the store that it leases from.
pub(crate) struct Bed {
    pub(crate) limiter: TwoTier<FixedWindow, Held<Count>, ManualClock>,
    pub(crate) clock: ManualClock,
    pub(crate) store: Held<Count>,
}

pub(crate) type Builder = TwoTierBuilder<FixedWindow, Held<Count>, ManualClock>;

pub(crate) fn bed(strategy: FixedWindow, configure: impl FnOnce(Builder) -> Builder) -> Bed {
    let (clock, store) = (ManualClock::new(0.0), Held::new());
    let builder = TwoTier::builder(strategy).keyspace(store.clone()).clock(clock.clone());
    Bed { limiter: configure(builder).build().unwrap(), clock, store }
}

impl Bed {
    pub(crate) fn check(&self, now: f64, cost: f64) -> Decision {
        self.clock.set(now);
        done(self.limiter.check_cost("k", cost)).unwrap()
    }

    /// Checks at `now`; the answer must be to allow, and the store to have been asked so often.
    #[track_caller]
    pub(crate) fn allows(&self, now: f64, cost: f64, remaining: u64, trips: u64) -> Decision {
        let decision = self.check(now, cost);
        assert!(decision.allowed, "at {now}: {decision:?}");
        assert_eq!((decision.remaining, self.store.calls()), (remaining, trips), "at {now}: {decision:?}");
        assert_eq!(decision.retry_after_ms, 0);
        decision
    }

    #[track_caller]
    pub(crate) fn denies(&self, now: f64, cost: f64, retry_after_ms: u64, trips: u64) -> Decision {
        let decision = self.check(now, cost);
        assert!(!decision.allowed, "at {now}: {decision:?}");
        assert_eq!((decision.retry_after_ms, self.store.calls()), (retry_after_ms, trips), "at {now}: {decision:?}");
        decision
    }
}
