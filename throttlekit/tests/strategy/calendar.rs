//! The periods of calendar quotas against those of a calendar library.
#![allow(clippy::cast_precision_loss)] // the numbers here are far below 2^53

use throttlekit::strategy::quota::Cadence;
use throttlekit::{Program, Quota, Step};
use time::{Date, Duration, Weekday};

const DAY_MS: f64 = 86_400_000.0;

/// The Julian day of the 1st of January 1970.
const EPOCH: i32 = 2_440_588;

/// The period of an instant.
fn period(quota: &Quota, now: f64) -> (f64, f64) {
    match quota.step(None, now, &1.0) {
        Step::Write { change, outcome, .. } => (change.start, quota.reply(now, &1.0, outcome).reset_at_ms as f64),
        other => panic!("a fresh key admits: {other:?}"),
    }
}

/// The period between two days, in milliseconds.
fn between(first: Date, next: Date) -> (f64, f64) {
    let instant = |date: Date| f64::from(date.to_julian_day() - EPOCH) * DAY_MS;
    (instant(first), instant(next))
}

fn quota(cadence: Cadence, offset_minutes: i32) -> Quota {
    Quota::builder().limit(1.0).cadence(cadence).offset_minutes(offset_minutes).build().unwrap()
}

#[test]
fn every_day_is_in_its_month_week_and_day() {
    let (month, week, day) =
        (quota(Cadence::CalendarMonth, 0), quota(Cadence::CalendarWeek, 0), quota(Cadence::CalendarDay, 0));
    for number in -200_000..=200_000 {
        let date = Date::from_julian_day(number + EPOCH).unwrap();
        let first = date.replace_day(1).unwrap();
        let next = (first + Duration::days(31)).replace_day(1).unwrap();
        let begin = f64::from(number) * DAY_MS;
        for now in [begin, begin + DAY_MS - 1.0] {
            assert_eq!(period(&month, now), between(first, next), "{date}");
            assert_eq!(period(&day, now), between(date, date + Duration::DAY), "{date}");
            let monday = date - Duration::days(date.weekday().number_days_from_monday().into());
            assert_eq!(period(&week, now), between(monday, monday + Duration::WEEK), "{date}");
        }
    }
}

#[test]
fn every_first_day_of_the_week_is_found() {
    for starts_on in 0..7_u8 {
        let week =
            Quota::builder().limit(1.0).cadence(Cadence::CalendarWeek).week_starts_on(starts_on).build().unwrap();
        for number in -1_000..1_000 {
            let (start, reset) = period(&week, f64::from(number) * DAY_MS + 1.0);
            assert_eq!(reset - start, 7.0 * DAY_MS);
            assert!((start..reset).contains(&(f64::from(number) * DAY_MS)));
            #[allow(clippy::cast_possible_truncation)] // whole and small
            let first = Date::from_julian_day((start / DAY_MS) as i32 + EPOCH).unwrap();
            assert_eq!(first.weekday(), Weekday::Sunday.nth_next(starts_on));
        }
    }
}

#[test]
fn offset_moves_every_boundary() {
    for offset in [-840, -300, -1, 0, 1, 330, 840] {
        let shift = f64::from(offset) * 60_000.0;
        for cadence in [Cadence::CalendarMonth, Cadence::CalendarWeek, Cadence::CalendarDay] {
            let (plain, moved) = (quota(cadence, 0), quota(cadence, offset));
            for number in (-40_000..40_000).step_by(13) {
                let local = f64::from(number) * DAY_MS + 3_600_000.0;
                let (start, reset) = period(&plain, local);
                assert_eq!(period(&moved, local - shift), (start - shift, reset - shift));
            }
        }
    }
}
