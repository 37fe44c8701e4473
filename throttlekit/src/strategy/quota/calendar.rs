//! Days, weeks and months of the proleptic Gregorian calendar. Day 0 is the 1st of January 1970, a Thursday.

use std::ops::Range;

use crate::math::floor_f64;

/// The milliseconds of a day.
pub(super) const DAY_MS: f64 = 86_400_000.0;

/// Well beyond the days of all whole instants that `f64` can hold (104,249,992), and small enough for any sum below.
const LAST_DAY: f64 = 1e9;

/// The days of 400 years, after which the calendar repeats.
const DAYS_OF_ERA: i64 = 146_097;

/// From the 1st of March of year 0 to day 0.
const DAYS_TO_EPOCH: i64 = 719_468;

/// The day on which an instant falls; an instant that no clock shows falls on the last day there is.
#[allow(clippy::cast_possible_truncation)] // whole and in range
pub(super) fn day_of(instant_ms: f64) -> i64 {
    floor_f64(instant_ms / DAY_MS).clamp(-LAST_DAY, LAST_DAY) as i64
}

/// The instant at which a day begins.
#[allow(clippy::cast_precision_loss)] // a day is below 2^31
pub(super) fn instant_of(day: i64) -> f64 {
    day as f64 * DAY_MS
}

/// The days of the week of `day`, where a week begins on `starts_on` (0 is Sunday).
pub(super) fn week_of(day: i64, starts_on: i64) -> Range<i64> {
    let weekday = (day + 4).rem_euclid(7);
    let first = day - (weekday - starts_on).rem_euclid(7);
    first..first + 7
}

/// The days of the month of `day`.
pub(super) fn month_of(day: i64) -> Range<i64> {
    let Date { year, month, day: of_month } = Date::of(day);
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let next = Date { year: next_year, month: next_month, day: 1 };
    day - (of_month - 1)..next.day_number()
}

/// A date; months and days count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

/// The days of the months from March up to, not including, `months` later: 31, 30, 31, 30, 31, repeating after five
/// months (153 days). With March first, the leap day is the last day of a year and disturbs nothing.
fn days_of_months(months: i64) -> i64 {
    (153 * months + 2) / 5
}

impl Date {
    fn of(day: i64) -> Self {
        let since = day + DAYS_TO_EPOCH;
        let era = since.div_euclid(DAYS_OF_ERA);
        let day_of_era = since.rem_euclid(DAYS_OF_ERA);
        // Taking out the leap days before it (one in 1,461 days, not one in 36,524, one in 146,097) makes each year 365
        // days long.
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months = (5 * day_of_year + 2) / 153;
        let month = if months < 10 { months + 3 } else { months - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: day_of_year - days_of_months(months) + 1,
        }
    }

    fn day_number(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = days_of_months((self.month + 9) % 12) + self.day - 1;
        let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
        year.div_euclid(400) * DAYS_OF_ERA + day_of_era - DAYS_TO_EPOCH
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn dates_and_day_numbers_are_inverse() {
        for day in -200_000..=200_000 {
            assert_eq!(Date::of(day).day_number(), day);
        }
    }

    #[test]
    fn dates_follow_each_other_as_a_calendar_does() {
        // Counts on from a known date by the rules of the calendar alone.
        let mut date = Date { year: 1970, month: 1, day: 1 };
        for day in 0..=200_000 {
            assert_eq!(Date::of(day), date);
            let leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
            let last = match date.month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            date = match (date.day == last, date.month) {
                (false, _) => Date { day: date.day + 1, ..date },
                (true, 12) => Date { year: date.year + 1, month: 1, day: 1 },
                (true, month) => Date { month: month + 1, day: 1, ..date },
            };
        }
    }
}
