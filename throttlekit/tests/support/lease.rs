//! Holders of units over one store.

use throttlekit::lease::{TwoTier, TwoTierBuilder};
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{FixedWindow, Limiter, ManualClock};

use super::held::{Held, done};

pub(crate) fn window(limit: f64, window_ms: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(window_ms).build().unwrap()
}

pub(crate) type Node = TwoTier<FixedWindow, Held<Count>, ManualClock>;
pub(crate) type Builder = TwoTierBuilder<FixedWindow, Held<Count>, ManualClock>;

pub(crate) fn node(store: &Held<Count>, clock: &ManualClock, configure: impl FnOnce(Builder) -> Builder) -> Node {
    let builder = TwoTier::builder(window(100.0, 1_000.0)).keyspace(store.clone()).clock(clock.clone());
    configure(builder.batch(10.0)).build().unwrap()
}

/// How many units the store has given out in the window of `now`.
pub(crate) fn debited(store: &Held<Count>, now: f64) -> u64 {
    let clock = ManualClock::new(now);
    let plain = Limiter::builder(window(100.0, 1_000.0)).keyspace(store.clone()).clock(clock).build();
    100 - done(plain.run_peek("k")).unwrap().remaining
}
