//! From a [`StrategySpec`] to the strategy.

use super::fields::Range;
use super::spec::{QuotaPeriod, StrategySpec};
use crate::decision::MAX_SAFE;
use crate::error::BuildError;
use crate::strategy::exact_gcra::ExactGcra;
use crate::strategy::fixed_window::FixedWindow;
use crate::strategy::gcra::Gcra;
use crate::strategy::options;
use crate::strategy::quota::{Cadence, Quota};
use crate::strategy::sliding_window::SlidingWindow;
use crate::strategy::sliding_window_log::{MOST_UNITS, SlidingWindowLog};
use crate::strategy::token_bucket::TokenBucket;

pub(super) const POSITIVE: Range = |option, value| options::positive(option, Some(value));
pub(super) const AT_LEAST_ONE: Range = options::at_least_one;
pub(super) const WINDOW: Range = |option, value| options::window(option, Some(value));
pub(super) const EXACT: Range = |option, value| whole_where_exact(option, value).map(|_| value);
pub(super) const LOG: Range = |option, value| options::at_most(option, POSITIVE(option, value)?, MOST_UNITS.into());

/// A strategy of a configuration, built. A rolling quota is a [`SlidingWindow`] under the name of a quota.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // each holds the strategy of its name
pub enum AnyStrategy {
    Gcra(Gcra),
    ExactGcra(ExactGcra),
    TokenBucket(TokenBucket),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    SlidingWindowLog(SlidingWindowLog),
    Quota(Quota),
}

/// Builds the strategy that `spec` describes. Equal specs give strategies that decide the same.
///
/// ```
/// use throttlekit::config::{AnyStrategy, StrategySpec, build_strategy};
///
/// let spec = StrategySpec::Gcra { limit: 5.0, period_ms: 1_000.0, burst: 5.0, exact: false };
/// assert!(matches!(build_strategy(&spec)?, AnyStrategy::Gcra(_)));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # Errors
///
/// What the builder of the strategy refuses.
pub fn build_strategy(spec: &StrategySpec) -> Result<AnyStrategy, BuildError> {
    Ok(match *spec {
        StrategySpec::Gcra { limit, period_ms, burst, exact: false } => {
            AnyStrategy::Gcra(Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build()?)
        }
        StrategySpec::Gcra { limit, period_ms, burst, exact: true } => {
            let exact = ExactGcra::builder()
                .limit(whole_where_exact("gcra.limit", limit)?)
                .period_ms(whole_where_exact("gcra.periodMs", period_ms)?)
                .burst(whole_where_exact("gcra.burst", burst)?);
            AnyStrategy::ExactGcra(exact.build()?)
        }
        StrategySpec::TokenBucket { capacity, refill_per_sec } => {
            AnyStrategy::TokenBucket(TokenBucket::builder().capacity(capacity).refill_per_sec(refill_per_sec).build()?)
        }
        StrategySpec::FixedWindow { limit, window_ms } => {
            AnyStrategy::FixedWindow(FixedWindow::builder().limit(limit).window_ms(window_ms).build()?)
        }
        StrategySpec::SlidingWindow { limit, window_ms, buckets } => AnyStrategy::SlidingWindow(
            SlidingWindow::builder().limit(limit).window_ms(window_ms).buckets(buckets).build()?,
        ),
        StrategySpec::SlidingWindowLog { limit, window_ms } => {
            AnyStrategy::SlidingWindowLog(SlidingWindowLog::builder().limit(limit).window_ms(window_ms).build()?)
        }
        StrategySpec::Quota { limit, period } => quota(limit, period)?,
    })
}

fn quota(limit: f64, period: QuotaPeriod) -> Result<AnyStrategy, BuildError> {
    let calendar =
        |cadence, offset_minutes| Quota::builder().limit(limit).cadence(cadence).offset_minutes(offset_minutes);
    let builder = match period {
        QuotaPeriod::CalendarMonth { offset_minutes } => calendar(Cadence::CalendarMonth, offset_minutes),
        QuotaPeriod::CalendarWeek { offset_minutes, week_starts_on } => {
            calendar(Cadence::CalendarWeek, offset_minutes).week_starts_on(week_starts_on)
        }
        QuotaPeriod::CalendarDay { offset_minutes } => calendar(Cadence::CalendarDay, offset_minutes),
        QuotaPeriod::Fixed { period_ms, anchor_ms } => {
            Quota::builder().limit(limit).cadence(Cadence::Fixed).period_ms(period_ms).anchor_ms(anchor_ms)
        }
        QuotaPeriod::Rolling { period_ms, buckets } => {
            let rolling = Quota::rolling().limit(limit).window_ms(period_ms).buckets(buckets);
            return Ok(AnyStrategy::SlidingWindow(rolling.build()?));
        }
    };
    Ok(AnyStrategy::Quota(builder.build()?))
}

/// Everything that is wrong with the numbers of `spec`, each by itself; if nothing is, what is wrong with them together.
pub(super) fn refusals(spec: &StrategySpec) -> Vec<BuildError> {
    use QuotaPeriod as P;
    use StrategySpec as S;
    let numbers: Vec<(&'static str, f64, Range)> = match *spec {
        S::Gcra { limit, period_ms, burst, exact } => {
            let (amounts, at_once) = if exact { (EXACT, EXACT) } else { (POSITIVE, AT_LEAST_ONE) };
            vec![("gcra.limit", limit, amounts), ("gcra.periodMs", period_ms, amounts), ("gcra.burst", burst, at_once)]
        }
        S::TokenBucket { capacity, refill_per_sec } => {
            vec![("tokenBucket.capacity", capacity, POSITIVE), ("tokenBucket.refillPerSec", refill_per_sec, POSITIVE)]
        }
        S::FixedWindow { limit, window_ms } => {
            vec![("fixedWindow.limit", limit, POSITIVE), ("fixedWindow.windowMs", window_ms, WINDOW)]
        }
        S::SlidingWindow { limit, window_ms, .. } => {
            vec![("slidingWindow.limit", limit, POSITIVE), ("slidingWindow.windowMs", window_ms, POSITIVE)]
        }
        S::SlidingWindowLog { limit, window_ms } => {
            vec![("slidingWindowLog.limit", limit, LOG), ("slidingWindowLog.windowMs", window_ms, POSITIVE)]
        }
        S::Quota { limit, period: P::Fixed { period_ms, .. } } => {
            vec![("quota.limit", limit, POSITIVE), ("quota.periodMs", period_ms, WINDOW)]
        }
        S::Quota { limit, period: P::Rolling { period_ms, .. } } => {
            vec![("quota.limit", limit, POSITIVE), ("quota.periodMs", period_ms, POSITIVE)]
        }
        S::Quota { limit, period: P::CalendarMonth { .. } | P::CalendarWeek { .. } | P::CalendarDay { .. } } => {
            vec![("quota.limit", limit, POSITIVE)]
        }
    };
    let refused = |(option, value, range): (_, _, Range)| range(option, value).err();
    let refusals: Vec<BuildError> = numbers.into_iter().filter_map(refused).collect();
    if refusals.is_empty() { build_strategy(spec).err().into_iter().collect() } else { refusals }
}

/// An option that must be a whole number because arithmetic is exact.
pub(super) fn whole_where_exact(option: &'static str, value: f64) -> Result<u64, BuildError> {
    #[allow(clippy::cast_precision_loss)] // 2^53 - 1 is exact
    let most = MAX_SAFE as f64;
    if value.fract() == 0.0 && (1.0..=most).contains(&value) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and within the range
        return Ok(value as u64);
    }
    Err(BuildError::new(option, value, format!("must be a whole number from 1 to {MAX_SAFE} where `exact` is true")))
}
