//! Counting in windows that are aligned to the epoch: the cheapest rule, and a coarse one.
//!
//! With window length `w` the window of `now` starts at `floor(now / w) * w`. A check of cost `c` passes if and only if
//! `count + c <= limit`, where `count` belongs to that very window.
//!
//! At most `limit` units pass in each window, hence up to `2 * limit` in a span of length `w` that crosses a boundary.
//! A clock that goes back over a boundary opens that window afresh.
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{FixedWindow, Strategy};
//!
//! let window = FixedWindow::builder().limit(3.0).window_ms(1_000.0).build()?;
//! let table = Table::new();
//! assert_eq!(table.apply("k", 900.0, &window, &2.0)?.remaining, 1);
//! let denied = table.apply("k", 950.0, &window, &2.0)?;
//! assert_eq!((denied.allowed, denied.retry_after_ms), (false, 50));
//! assert!(table.apply("k", 1_000.0, &window, &3.0)?.allowed);
//! assert_eq!((window.name(), window.limit(), window.window_ms()), ("fixedWindow", 3, Some(1_000.0)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod count;

pub use count::{Count, Verdict};

use crate::decision::{Decision, Forecast, floor_units};
use crate::error::BuildError;
use crate::math::window_start;
use crate::program::{Program, Project, Refund, Step, Strategy};
use crate::strategy::fixed_window::count::Span;
use crate::strategy::options::{positive, window, window_setters};
use crate::twin::Twin;

/// Counts in aligned windows; see the [module](self) for rule and bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedWindow {
    limit: f64,
    window_ms: f64,
}

impl FixedWindow {
    /// A builder without options set.
    pub fn builder() -> FixedWindowBuilder {
        FixedWindowBuilder::default()
    }

    #[inline]
    fn span(&self, now: f64) -> Span {
        let start = window_start(now, self.window_ms);
        Span { start, reset: start + self.window_ms }
    }
}

impl Program for FixedWindow {
    type State = Count;
    type Change = Count;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Count>, now_ms: f64, cost: &f64) -> Step<Count, Verdict> {
        count::step(self.limit, self.span(now_ms), state, now_ms, *cost)
    }

    #[inline]
    fn reply(&self, now_ms: f64, _cost: &f64, outcome: Verdict) -> Decision {
        outcome.decision(self.limit, now_ms)
    }

    #[inline]
    fn is_ahead(&self, state: &Count, now_ms: f64) -> bool {
        state.start > now_ms
    }

    fn twin(&self) -> Option<Twin<Self>> {
        Some(count::twin(|window| count::fixed(window.limit, window.window_ms, 0.0)))
    }
}

impl Strategy for FixedWindow {
    fn name(&self) -> &'static str {
        "fixedWindow"
    }

    fn limit(&self) -> u64 {
        floor_units(self.limit)
    }

    fn window_ms(&self) -> Option<f64> {
        Some(self.window_ms)
    }

    fn ttl_ms(&self) -> f64 {
        self.window_ms
    }

    fn window_end_ms(&self, now_ms: f64) -> Option<f64> {
        Some(self.span(now_ms).reset)
    }

    fn lease_at_ms(&self, state: Option<&Count>, now_ms: f64) -> f64 {
        state.map_or(now_ms, |state| state.start.max(now_ms))
    }

    const REFUNDS: bool = true;

    /// Takes the units out of the count of the window, if they are of this window.
    fn refund(&self, state: Option<&Count>, now_ms: f64, refund: &Refund) -> Step<Count, Verdict> {
        count::refund(self.span(self.lease_at_ms(state, now_ms)), state, now_ms, refund)
    }
}

impl Project for FixedWindow {
    fn peek(&self, state: Option<&Count>, now_ms: f64) -> Decision {
        count::peek(self.limit, self.span(now_ms), state, now_ms)
    }

    fn forecast(&self, state: Option<&Count>, now_ms: f64, cost: f64) -> Forecast {
        count::forecast(self.limit, self.span(now_ms), state, cost)
    }
}

/// Builds a [`FixedWindow`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct FixedWindowBuilder {
    limit: Option<f64>,
    window_ms: Option<f64>,
}

impl FixedWindowBuilder {
    /// Units per window, above 0; may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    window_setters!(window_ms);

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; none may be above 2^53 - 1.
    pub fn build(self) -> Result<FixedWindow, BuildError> {
        let limit = positive("fixedWindow.limit", self.limit)?;
        Ok(FixedWindow { limit, window_ms: window("fixedWindow.windowMs", self.window_ms)? })
    }
}
