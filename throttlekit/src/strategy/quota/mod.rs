//! Quotas: so many units per billing period.
//!
//! A quota counts like a [fixed window](super::fixed_window), in periods that follow a [`Cadence`]: the calendar at a
//! fixed offset from UTC, or a fixed length from an anchor. With the offset `o` in milliseconds the day of `now` is
//! `floor((now + o) / 86400000)`, and the period begins with the first day of its month or week, or with that day.
//! A [rolling](Quota::rolling) quota is a [sliding window](super::sliding_window) under the name of a quota.
//!
//! At most `limit` units pass in each period. A clock that goes back over a boundary opens that period afresh.
//!
//! ```
//! use throttlekit::strategy::quota::Cadence;
//! use throttlekit::store::memory::Table;
//! use throttlekit::{Quota, Strategy};
//!
//! let quota = Quota::builder().limit(3.0).cadence(Cadence::CalendarMonth).build()?;
//! let noon_of_28th_may_2026 = 1_779_969_600_000.0;
//! let decision = Table::new().apply("k", noon_of_28th_may_2026, &quota, &1.0)?;
//! assert_eq!((decision.remaining, decision.reset_at_ms), (2, 1_780_272_000_000)); // 1st June 2026
//! assert_eq!((quota.name(), quota.window_ms()), ("quota", None));
//!
//! let rolling = Quota::rolling().limit(3.0).window_ms(86_400_000.0).build()?;
//! assert_eq!((rolling.name(), rolling.window_ms()), ("quota", Some(86_400_000.0)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calendar;

use std::fmt;
use std::time::Duration;

use crate::decision::{Decision, Forecast, floor_units};
use crate::duration::millis;
use crate::error::BuildError;
use crate::math::{MAX, floor_f64};
use crate::program::{Program, Project, Refund, Step, Strategy};
use crate::strategy::fixed_window::count::{self, Count, Span, Verdict};
use crate::strategy::options::{positive, window};
use crate::strategy::sliding_window::SlidingWindowBuilder;
use crate::twin::Twin;

/// The stable name, also of a rolling quota.
const NAME: &str = "quota";

/// When a quota starts anew. A closed set; a rolling quota is built by [`Quota::rolling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// On the first of the month.
    CalendarMonth,
    /// On one day of the week.
    CalendarWeek,
    /// At midnight.
    CalendarDay,
    /// After a fixed period, counted from an anchor.
    Fixed,
}

impl Cadence {
    /// The stable name, as configuration writes it, such as `calendar-month`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CalendarMonth => "calendar-month",
            Self::CalendarWeek => "calendar-week",
            Self::CalendarDay => "calendar-day",
            Self::Fixed => "fixed",
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A quota per billing period; see the [module](self) for the periods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    limit: f64,
    period: Period,
}

/// A cadence with what it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Period {
    Month { offset_ms: f64 },
    Week { offset_ms: f64, starts_on: i64 },
    Day { offset_ms: f64 },
    Fixed { period_ms: f64, anchor_ms: f64 },
}

impl Quota {
    /// A builder without options set.
    pub fn builder() -> QuotaBuilder {
        QuotaBuilder::default()
    }

    /// A builder of a sliding window that calls itself a quota and its window `quota.periodMs`.
    pub fn rolling() -> SlidingWindowBuilder {
        SlidingWindowBuilder::rolling_quota()
    }

    #[inline]
    fn span(&self, now: f64) -> Span {
        let (days, offset_ms) = match self.period {
            Period::Fixed { period_ms, anchor_ms } => {
                let start = anchor_ms + floor_f64((now - anchor_ms) / period_ms) * period_ms;
                return Span { start, reset: start + period_ms };
            }
            Period::Month { offset_ms } => (calendar::month_of(calendar::day_of(now + offset_ms)), offset_ms),
            Period::Week { offset_ms, starts_on } => {
                (calendar::week_of(calendar::day_of(now + offset_ms), starts_on), offset_ms)
            }
            Period::Day { offset_ms } => {
                let day = calendar::day_of(now + offset_ms);
                (day..day + 1, offset_ms)
            }
        };
        Span { start: calendar::instant_of(days.start) - offset_ms, reset: calendar::instant_of(days.end) - offset_ms }
    }
}

impl Program for Quota {
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
        Some(count::twin(|quota| match quota.period {
            Period::Month { offset_ms } => [quota.limit, 1.0, 0.0, 0.0, offset_ms].into(),
            #[allow(clippy::cast_precision_loss)] // 0 to 6
            Period::Week { offset_ms, starts_on } => [quota.limit, 2.0, 0.0, 0.0, offset_ms, starts_on as f64].into(),
            Period::Day { offset_ms } => [quota.limit, 3.0, 0.0, 0.0, offset_ms].into(),
            Period::Fixed { period_ms, anchor_ms } => count::fixed(quota.limit, period_ms, anchor_ms),
        }))
    }
}

impl Strategy for Quota {
    fn name(&self) -> &'static str {
        NAME
    }

    fn limit(&self) -> u64 {
        floor_units(self.limit)
    }

    /// The fixed period; a calendar has no one length.
    fn window_ms(&self) -> Option<f64> {
        match self.period {
            Period::Fixed { period_ms, .. } => Some(period_ms),
            _ => None,
        }
    }

    fn ttl_ms(&self) -> f64 {
        match self.period {
            Period::Month { .. } => 31.0 * calendar::DAY_MS,
            Period::Week { .. } => 7.0 * calendar::DAY_MS,
            Period::Day { .. } => calendar::DAY_MS,
            Period::Fixed { period_ms, .. } => period_ms,
        }
    }

    fn window_end_ms(&self, now_ms: f64) -> Option<f64> {
        Some(self.span(now_ms).reset)
    }

    fn lease_at_ms(&self, state: Option<&Count>, now_ms: f64) -> f64 {
        state.map_or(now_ms, |state| state.start.max(now_ms))
    }

    const REFUNDS: bool = true;

    /// Takes the units out of the count of the period, if they are of this period.
    fn refund(&self, state: Option<&Count>, now_ms: f64, refund: &Refund) -> Step<Count, Verdict> {
        count::refund(self.span(self.lease_at_ms(state, now_ms)), state, now_ms, refund)
    }
}

impl Project for Quota {
    fn peek(&self, state: Option<&Count>, now_ms: f64) -> Decision {
        count::peek(self.limit, self.span(now_ms), state, now_ms)
    }

    fn forecast(&self, state: Option<&Count>, now_ms: f64, cost: f64) -> Forecast {
        count::forecast(self.limit, self.span(now_ms), state, cost)
    }
}

/// Builds a [`Quota`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct QuotaBuilder {
    limit: Option<f64>,
    cadence: Option<Cadence>,
    period_ms: Option<f64>,
    anchor_ms: i64,
    offset_minutes: i32,
    week_starts_on: Option<u8>,
}

impl QuotaBuilder {
    /// Units per period, above 0; may be fractional. Required.
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// When the quota starts anew. Required.
    pub fn cadence(mut self, cadence: Cadence) -> Self {
        self.cadence = Some(cadence);
        self
    }

    /// The period of [`Cadence::Fixed`] in milliseconds, above 0. Required there, ignored otherwise.
    pub fn period_ms(mut self, period_ms: f64) -> Self {
        self.period_ms = Some(period_ms);
        self
    }

    /// The period of [`Cadence::Fixed`]. Required there, ignored otherwise.
    pub fn period(self, period: Duration) -> Self {
        self.period_ms(millis(period))
    }

    /// An instant at which a period of [`Cadence::Fixed`] begins, in milliseconds since the Unix epoch, of a magnitude
    /// of at most 2^53 - 1. Defaults to 0.
    pub fn anchor_ms(mut self, anchor_ms: i64) -> Self {
        self.anchor_ms = anchor_ms;
        self
    }

    /// How far the calendar is ahead of UTC, in minutes, -840 to 840. Defaults to 0. There is no daylight saving time.
    pub fn offset_minutes(mut self, offset_minutes: i32) -> Self {
        self.offset_minutes = offset_minutes;
        self
    }

    /// The first day of the week, from 0 for Sunday to 6 for Saturday. Defaults to 1, Monday.
    pub fn week_starts_on(mut self, week_starts_on: u8) -> Self {
        self.week_starts_on = Some(week_starts_on);
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; limit and period may not be above 2^53 - 1.
    pub fn build(self) -> Result<Quota, BuildError> {
        let limit = positive("quota.limit", self.limit)?;
        let cadence = self.cadence.ok_or_else(|| BuildError::missing("quota.resetCadence"))?;
        if !(-840..=840).contains(&self.offset_minutes) {
            return Err(BuildError::new("quota.offsetMinutes", self.offset_minutes, "must be from -840 to 840"));
        }
        let offset_ms = f64::from(self.offset_minutes) * 60_000.0;
        let starts_on = self.week_starts_on.unwrap_or(1);
        if starts_on > 6 {
            let allowed = "must be from 0 (Sunday) to 6 (Saturday)";
            return Err(BuildError::new("quota.weekStartsOn", starts_on, allowed));
        }
        let period = match cadence {
            Cadence::CalendarMonth => Period::Month { offset_ms },
            Cadence::CalendarWeek => Period::Week { offset_ms, starts_on: starts_on.into() },
            Cadence::CalendarDay => Period::Day { offset_ms },
            Cadence::Fixed => {
                let period_ms = window("quota.periodMs", self.period_ms)?;
                Period::Fixed { period_ms, anchor_ms: self.anchor()? }
            }
        };
        Ok(Quota { limit, period })
    }

    fn anchor(&self) -> Result<f64, BuildError> {
        #[allow(clippy::cast_precision_loss)] // refused where it is not exact
        let anchor_ms = self.anchor_ms as f64;
        if anchor_ms.abs() > MAX {
            return Err(BuildError::new("quota.anchor", self.anchor_ms, format!("must be from -{MAX} to {MAX}")));
        }
        Ok(anchor_ms)
    }
}
