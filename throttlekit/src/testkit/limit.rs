//! Limits of any strategy by their numbers, for tables of cases.

use crate::error::BuildError;

/// A limit: its ceiling first, then what else its strategy needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The period in milliseconds and the burst.
    Gcra(f64, f64, f64),
    /// The period in milliseconds and the burst.
    ExactGcra(u64, u64, u64),
    /// The refill in a second.
    TokenBucket(f64, f64),
    /// The window in milliseconds.
    FixedWindow(f64, f64),
    /// The window in milliseconds and its buckets.
    SlidingWindow(f64, f64, u32),
    /// The window in milliseconds.
    SlidingLog(f64, f64),
    /// The offset from UTC in minutes.
    Month(f64, i32),
    /// Weeks that begin on Monday.
    Week(f64),
    /// The offset from UTC in minutes.
    Day(f64, i32),
    /// The period in milliseconds and its anchor.
    Period(f64, f64, i64),
    /// The window in milliseconds.
    Rolling(f64, f64),
    /// The window in milliseconds, the largest debt, whether debt is carried, and whether debits are whole.
    Budget(f64, f64, f64, bool, bool),
}

/// What a limit that cannot be built says.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(super) fn built(error: BuildError) -> String {
    error.to_string()
}

/// Builds the strategy of a [`Limit`] and gives it to an expression, whichever its type. For functions that answer an
/// [`Outcome`](super::case::Outcome).
macro_rules! with_strategy {
    ($limit:expr, $strategy:ident => $act:expr) => {{
        use $crate::strategy;
        use $crate::strategy::quota::{Cadence, Quota};
        use $crate::testkit::limit::{Limit, built};
        match $limit {
            Limit::Gcra(limit, period_ms, burst) => {
                let builder = strategy::gcra::Gcra::builder().limit(limit).period_ms(period_ms).burst(burst);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::ExactGcra(limit, period_ms, burst) => {
                let builder = strategy::exact_gcra::ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::TokenBucket(capacity, refill) => {
                let builder = strategy::token_bucket::TokenBucket::builder().capacity(capacity).refill_per_sec(refill);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::FixedWindow(limit, window_ms) => {
                let builder = strategy::fixed_window::FixedWindow::builder().limit(limit).window_ms(window_ms);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::SlidingWindow(limit, window_ms, buckets) => {
                let builder = strategy::sliding_window::SlidingWindow::builder().limit(limit).window_ms(window_ms);
                let $strategy = builder.buckets(buckets).build().map_err(built)?;
                $act
            }
            Limit::SlidingLog(limit, window_ms) => {
                let builder = strategy::sliding_window_log::SlidingWindowLog::builder();
                let $strategy = builder.limit(limit).window_ms(window_ms).build().map_err(built)?;
                $act
            }
            Limit::Month(limit, minutes) => {
                let builder = Quota::builder().limit(limit).cadence(Cadence::CalendarMonth).offset_minutes(minutes);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::Week(limit) => {
                let builder = Quota::builder().limit(limit).cadence(Cadence::CalendarWeek);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::Day(limit, minutes) => {
                let builder = Quota::builder().limit(limit).cadence(Cadence::CalendarDay).offset_minutes(minutes);
                let $strategy = builder.build().map_err(built)?;
                $act
            }
            Limit::Period(limit, period_ms, anchor_ms) => {
                let builder = Quota::builder().limit(limit).cadence(Cadence::Fixed).period_ms(period_ms);
                let $strategy = builder.anchor_ms(anchor_ms).build().map_err(built)?;
                $act
            }
            Limit::Budget(budget, window_ms, max_debt, carry, whole) => {
                let builder = $crate::budget::Budget::builder().budget(budget).window_ms(window_ms).max_debt(max_debt);
                let $strategy = builder.carry_debt(carry).whole_debits(whole).build().map_err(built)?;
                $act
            }
            Limit::Rolling(limit, window_ms) => {
                let $strategy = Quota::rolling().limit(limit).window_ms(window_ms).build().map_err(built)?;
                $act
            }
        }
    }};
}
pub(super) use with_strategy;
