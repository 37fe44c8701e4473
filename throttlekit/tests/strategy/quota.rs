//! Quotas: their periods, decisions, and what they refuse.

use std::time::Duration;

use throttlekit::strategy::quota::{Cadence, QuotaBuilder};
use throttlekit::{Quota, Strategy};

use crate::support::key::{A, D, Key, refused};

fn quota(limit: f64, cadence: Cadence) -> QuotaBuilder {
    Quota::builder().limit(limit).cadence(cadence)
}

/// The period of `now`, by the state after a check and by what is shown.
#[track_caller]
fn assert_period(builder: QuotaBuilder, now: f64, start: f64, reset: f64) {
    Key::new(builder.build().unwrap())
        .at(now, 1.0, A.reset(reset).ttl(reset - now))
        .holds(&format!(r#"{{"start":{start},"count":1}}"#));
}

#[test]
fn months_begin_on_the_first() {
    let month = quota(3.0, Cadence::CalendarMonth);
    assert_period(month, 1_779_969_600_000.0, 1_777_593_600_000.0, 1_780_272_000_000.0);
    assert_period(month.offset_minutes(330), 1_706_726_400_000.0, 1_706_725_800_000.0, 1_709_231_400_000.0);
    assert_period(month.offset_minutes(-300), 1_704_081_600_000.0, 1_701_406_800_000.0, 1_704_085_200_000.0);
    // The 29th of February, and the end of a year.
    assert_period(month, 1_709_164_800_000.0, 1_706_745_600_000.0, 1_709_251_200_000.0);
    assert_period(month, 1_703_030_400_000.0, 1_701_388_800_000.0, 1_704_067_200_000.0);
}

#[test]
fn weeks_begin_on_the_chosen_day() {
    let week = quota(3.0, Cadence::CalendarWeek);
    assert_period(week, 1_779_958_800_000.0, 1_779_667_200_000.0, 1_780_272_000_000.0);
    assert_period(week.week_starts_on(1), 1_779_958_800_000.0, 1_779_667_200_000.0, 1_780_272_000_000.0);
    assert_period(week.week_starts_on(0), 1_779_958_800_000.0, 1_779_580_800_000.0, 1_780_185_600_000.0);
}

#[test]
fn days_begin_at_midnight_of_the_offset() {
    let day = quota(3.0, Cadence::CalendarDay);
    assert_period(day.offset_minutes(330), 1_706_731_200_000.0, 1_706_725_800_000.0, 1_706_812_200_000.0);
}

#[test]
fn month_has_its_limit() {
    let reset = 1_780_272_000_000.0;
    let now = 1_779_969_600_000.0;
    Key::new(quota(3.0, Cadence::CalendarMonth).build().unwrap())
        .at(now, 1.0, A.rem(2).reset(reset).ttl(302_400_000.0))
        .at(now, 2.0, A.rem(0))
        .at(now, 1.0, D.retry(302_400_000))
        .peeks(now, D.rem(0).reset(reset).retry(302_400_000))
        .at(reset - 1.0, 1.0, D.retry(1))
        .at(reset, 1.0, A.rem(2).reset(1_782_864_000_000.0))
        .peeks(reset, A.rem(2).reset(1_782_864_000_000.0))
        .forecasts(reset, 1.0, 2, 1_782_864_000_000.0, 1_782_864_000_000.0);
}

#[test]
fn fixed_period_counts_from_its_anchor() {
    Key::new(quota(2.0, Cadence::Fixed).period_ms(1_000.0).anchor_ms(500).build().unwrap())
        .at(600.0, 1.0, A.rem(1).reset(1_500.0))
        .at(600.0, 1.0, A.rem(0))
        .at(1_499.0, 1.0, D.retry(1))
        .at(1_500.0, 1.0, A.rem(1).reset(2_500.0))
        .at(499.0, 1.0, A.reset(500.0))
        .holds(r#"{"start":-500,"count":1}"#);
}

#[test]
fn describes_itself() {
    const DAY: f64 = 86_400_000.0;
    let of = |builder: QuotaBuilder| {
        let quota = builder.build().unwrap();
        (quota.name(), quota.limit(), quota.window_ms(), quota.ttl_ms())
    };
    assert_eq!(of(quota(3.5, Cadence::CalendarMonth)), ("quota", 3, None, 31.0 * DAY));
    assert_eq!(of(quota(3.5, Cadence::CalendarWeek)), ("quota", 3, None, 7.0 * DAY));
    assert_eq!(of(quota(3.5, Cadence::CalendarDay)), ("quota", 3, None, DAY));
    let fixed = quota(3.5, Cadence::Fixed).period(Duration::from_micros(1_500));
    assert_eq!(of(fixed), ("quota", 3, Some(1.5), 1.5));
    let names = [Cadence::CalendarMonth, Cadence::CalendarWeek, Cadence::CalendarDay, Cadence::Fixed];
    let shown = names.map(|cadence| cadence.to_string());
    assert_eq!(shown, ["calendar-month", "calendar-week", "calendar-day", "fixed"]);
}

#[test]
fn refuses_what_is_no_period() {
    let fixed = quota(1.0, Cadence::Fixed);
    let day = quota(1.0, Cadence::CalendarDay);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0] {
        assert_eq!(refused(day.limit(bad).build()), "quota.limit", "{bad}");
        assert_eq!(refused(fixed.period_ms(bad).build()), "quota.periodMs", "{bad}");
    }
    assert_eq!(refused(fixed.period_ms(1e-300).build()), "quota.periodMs");
    assert_eq!(refused(fixed.build()), "quota.periodMs");
    assert_eq!(refused(Quota::builder().cadence(Cadence::Fixed).build()), "quota.limit");
    assert_eq!(refused(Quota::builder().limit(1.0).build()), "quota.resetCadence");
    for bad in [900, -841, 841, i32::MIN] {
        assert_eq!(refused(day.offset_minutes(bad).build()), "quota.offsetMinutes", "{bad}");
    }
    assert!(day.offset_minutes(840).build().is_ok() && day.offset_minutes(-840).build().is_ok());
    assert_eq!(refused(quota(1.0, Cadence::CalendarWeek).week_starts_on(7).build()), "quota.weekStartsOn");
    for bad in [i64::MIN, i64::MAX, 1 << 53] {
        assert_eq!(refused(fixed.period_ms(1.0).anchor_ms(bad).build()), "quota.anchor", "{bad}");
    }
    // What a calendar does not need is not looked at.
    assert!(day.period_ms(-1.0).build().is_ok());
}
