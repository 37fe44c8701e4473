//! Leases and units that come back, as steps on the state of a strategy.

use proptest::prelude::*;
use throttlekit::lease::{Grant, GrantForm, Granted, Wanted};
use throttlekit::store::memory::Table;
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Error, ExactGcra, FixedWindow, Gcra, Limiter, ManualClock, Project, Quota, SlidingWindow, SlidingWindowLog,
    Strategy, TokenBucket,
};

/// An instant at which `f64` steps by 2^-12 ms.
const THEN: f64 = 1_700_000_000_000.0;

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1_000.0).build().unwrap()
}

fn wanted(units: f64, need: f64) -> Wanted {
    Wanted::new(units, need)
}

fn partial<S: Strategy>(strategy: &S) -> Grant<S> {
    Grant::new(strategy.clone(), GrantForm::Partial)
}

/// A limiter in memory whose keys can be leased from, and its clock.
fn limiter<S: Strategy>(strategy: S) -> (Limiter<S, Table<S::State>, ManualClock>, ManualClock) {
    let clock = ManualClock::new(0.0);
    (Limiter::builder(strategy).clock(clock.clone()).build(), clock)
}

/// Gives units of a lease back; how many remain then.
fn back<S: Strategy>(
    limiter: &Limiter<S, Table<S::State>, ManualClock>,
    key: &str,
    granted: &Granted,
    units: f64,
) -> Result<u64, Error> {
    let refunded = limiter.run_refund(key, granted.refund(units)).now();
    refunded.unwrap_or_else(|_| panic!("a table answers at once")).map(|decision| decision.remaining)
}

#[test]
fn a_short_store_gives_what_is_left() {
    let (strategy, table) = (window(10.0), Table::new());
    let lease = |units, need| table.apply("k", 30.0, &partial(&strategy), &wanted(units, need)).unwrap();

    let full = lease(8.0, 8.0);
    assert_eq!((full.units, full.decision.allowed, full.decision.remaining), (8.0, true, 2));
    assert_eq!((full.now_ms, full.end_ms, full.lasts_ms()), (30.0, Some(1_000.0), Some(970.0)));

    let short = lease(5.0, 2.0);
    assert_eq!((short.units, short.decision.allowed, short.decision.remaining), (2.0, true, 0));

    let empty = lease(5.0, 2.0);
    assert_eq!((empty.units, empty.decision.allowed, empty.decision.retry_after_ms), (0.0, false, 970));
}

#[test]
fn what_is_granted_but_not_enough_is_a_denial_with_units() {
    let (strategy, table) = (window(3.0), Table::new());
    let granted = table.apply("k", 0.0, &partial(&strategy), &wanted(9.0, 5.0)).unwrap();
    assert_eq!((granted.units, granted.decision.allowed, granted.decision.retry_after_ms), (3.0, false, 1_000));
    assert_eq!(table.apply("k", 0.0, &strategy, &1.0).unwrap().remaining, 0);
}

#[test]
fn the_whole_form_takes_all_or_nothing() {
    let (strategy, table) = (window(10.0), Table::new());
    let grant = Grant::new(strategy, GrantForm::Whole);
    assert_eq!(table.apply("k", 0.0, &grant, &wanted(8.0, 1.0)).unwrap().units, 8.0);
    let denied = table.apply("k", 0.0, &grant, &wanted(3.0, 1.0)).unwrap();
    assert_eq!((denied.units, denied.decision.allowed, denied.decision.remaining), (0.0, false, 2));
    assert_eq!(table.apply("k", 0.0, &grant, &wanted(2.0, 1.0)).unwrap().units, 2.0);
}

#[test]
fn parts_of_a_unit_stay_in_the_store() {
    let table = Table::new();
    let granted = table.apply("k", 0.0, &partial(&window(7.5)), &wanted(9.0, 1.0)).unwrap();
    assert_eq!((granted.units, granted.decision.allowed), (7.0, true));
    let granted = table.apply("k", 0.0, &partial(&window(7.5)), &wanted(9.0, 1.0)).unwrap();
    assert_eq!(granted.units, 0.0);
    assert!(table.apply("k", 0.0, &window(7.5), &0.5).unwrap().allowed);
}

#[test]
fn without_a_window_a_lease_has_no_end_and_the_wait_is_for_what_is_missing() {
    let (bucket, table) = (TokenBucket::builder().capacity(10.0).refill_per_sec(1.0).build().unwrap(), Table::new());
    let granted = table.apply("k", 0.0, &partial(&bucket), &wanted(20.0, 13.0)).unwrap();
    assert_eq!((granted.units, granted.end_ms, granted.lasts_ms()), (10.0, None, None));
    assert_eq!((granted.decision.allowed, granted.decision.retry_after_ms), (false, 3_000));

    let (gcra, table) = (Gcra::per_second(10).unwrap(), Table::new());
    let granted = table.apply("k", THEN, &partial(&gcra), &wanted(20.0, 12.0)).unwrap();
    assert_eq!((granted.units, granted.decision.retry_after_ms), (10.0, 200));
}

#[test]
fn rounding_costs_one_unit_and_not_the_lease() {
    // 7.8 - 2.8 is 5, but 2.8 + 5 is more than 7.8.
    let (checks, leases) = (Table::new(), Table::new());
    for cost in [0.4, 1.8, 0.6] {
        assert!(checks.apply("k", 0.0, &window(7.8), &cost).unwrap().allowed);
        assert!(leases.apply("k", 0.0, &window(7.8), &cost).unwrap().allowed);
    }
    let denied = checks.apply("k", 0.0, &window(7.8), &5.0).unwrap();
    assert_eq!((denied.allowed, denied.remaining), (false, 5));
    assert_eq!(leases.apply("k", 0.0, &partial(&window(7.8)), &wanted(20.0, 1.0)).unwrap().units, 4.0);
}

#[test]
fn units_go_back_to_the_window_that_they_came_from() {
    let (limiter, clock) = limiter(window(10.0));
    let lease = |now| limiter.keyspace().apply("k", now, &partial(&window(10.0)), &wanted(10.0, 1.0)).unwrap();

    let granted = lease(0.0);
    let back = |now| {
        clock.set(now);
        back(&limiter, "k", &granted, 4.0).unwrap()
    };
    assert_eq!(back(10.0), 4);
    assert_eq!(lease(20.0).units, 4.0);
    // The window is another one by now.
    assert_eq!(back(1_000.0), 10);
    assert_eq!(lease(1_000.0).units, 10.0);
    assert_eq!(back(1_010.0), 0);
    assert_eq!(lease(1_020.0).units, 0.0);
}

#[test]
fn more_than_was_taken_does_not_go_back() {
    let (limiter, _) = limiter(window(10.0));
    let granted = limiter.keyspace().apply("k", 0.0, &partial(&window(10.0)), &wanted(3.0, 1.0)).unwrap();
    assert_eq!(back(&limiter, "k", &granted, 50.0).unwrap(), 10);
    assert_eq!(back(&limiter, "k", &granted, 5.0).unwrap(), 10);
    assert_eq!(limiter.check("k").unwrap().remaining, 9);
}

#[test]
fn leases_never_go_back_to_an_earlier_window() {
    let (strategy, (limiter, clock)) = (window(10.0), limiter(window(10.0)));
    let table = limiter.keyspace();
    let lease = |now: f64, form| {
        let granted = table.apply("k", now, &Grant::new(strategy, form), &wanted(4.0, 1.0)).unwrap();
        (granted.units, granted.end_ms, granted.lasts_ms())
    };
    assert_eq!(lease(2_100.0, GrantForm::Partial), (4.0, Some(3_000.0), Some(900.0)));
    // One whose clock is behind takes from the same window.
    assert_eq!(lease(1_700.0, GrantForm::Partial), (4.0, Some(3_000.0), Some(1_000.0)));
    assert_eq!(lease(2_200.0, GrantForm::Partial), (2.0, Some(3_000.0), Some(800.0)));
    assert_eq!(lease(300.0, GrantForm::Partial), (0.0, Some(3_000.0), Some(1_000.0)));
    let last = table.apply("k", 1_800.0, &partial(&strategy), &wanted(4.0, 1.0)).unwrap();
    clock.set(1_800.0);
    assert_eq!(back(&limiter, "k", &last, 3.0).unwrap(), 3);
    assert_eq!(lease(2_999.0, GrantForm::Partial), (3.0, Some(3_000.0), Some(1.0)), "it lives until its end");
    // The compatible form does as a check does: it opens the earlier window afresh.
    assert_eq!(lease(1_900.0, GrantForm::Whole), (4.0, Some(2_000.0), Some(100.0)));
}

#[test]
fn a_log_takes_nothing_back() {
    let log = SlidingWindowLog::builder().limit(3.0).window_ms(1_000.0).build().unwrap();
    let (limiter, _) = limiter(log);
    let granted = limiter.keyspace().apply("k", 0.0, &partial(&log), &wanted(3.0, 1.0)).unwrap();
    assert_eq!(back(&limiter, "k", &granted, 3.0).unwrap_err().code(), "throttlekit_error");
    assert!(!limiter.check("k").unwrap().allowed);
}

/// Takes units by checks, leases some, gives some of those back; at each step what a lease takes is what checks would take,
/// and no more comes back than there was.
fn follows_checks<S: Project>(strategy: &S, steps: &[(u16, u8, u8)], returns: bool) -> Result<(), TestCaseError> {
    let (limiter, clock) = limiter(strategy.clone());
    let table = limiter.keyspace();
    let mut now = THEN;
    for (at, (after, cost, lease)) in steps.iter().enumerate() {
        now += f64::from(*after);
        clock.set(now);
        let key = if at % 3 == 0 { "a" } else { "b" };
        table.apply(key, now, strategy, &f64::from(*cost)).unwrap();

        let peek =
            |key: &str| table.apply(key, now, &Grant::new(strategy.clone(), GrantForm::Whole), &wanted(1e9, 1e9));
        let before = peek(key).unwrap().decision.remaining;
        let asked = f64::from(*lease);
        let granted = table.apply(key, now, &partial(strategy), &wanted(asked, 1.0)).unwrap();
        #[allow(clippy::cast_precision_loss)]
        let most = (before as f64).min(asked);
        // Rounding may keep one unit back.
        prop_assert!(granted.units <= most && granted.units >= most - 1.0, "{granted:?} of {before}, asked {asked}");
        prop_assert_eq!(granted.decision.allowed, granted.units >= 1.0);
        prop_assert!(granted.decision.allowed || granted.decision.retry_after_ms > 0);

        if granted.units > 0.0 {
            let after = back(&limiter, key, &granted, granted.units);
            prop_assert_eq!(after.is_ok(), returns);
            if let Ok(after) = after {
                prop_assert!(after.abs_diff(before) <= 1, "{before} units left, {after} after all came back");
                // Taken again, for the steps to come.
                table.apply(key, now, &partial(strategy), &wanted(asked, 1.0)).unwrap();
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_lease_takes_what_checks_would_take(steps in prop::collection::vec((0..700_u16, 1..6_u8, 1..14_u8), 1..40)) {
        follows_checks(&Gcra::builder().limit(7.0).period_ms(1_000.5).burst(9.5).build().unwrap(), &steps, true)?;
        follows_checks(&TokenBucket::builder().capacity(12.5).refill_per_sec(3.3).build().unwrap(), &steps, true)?;
        follows_checks(&FixedWindow::builder().limit(11.5).window_ms(1_000.5).build().unwrap(), &steps, true)?;
        let quota = Quota::builder().limit(12.0).cadence(Cadence::Fixed).period_ms(900.0).anchor_ms(-7);
        follows_checks(&quota.build().unwrap(), &steps, true)?;
        follows_checks(&ExactGcra::builder().limit(6).period_ms(1_000).burst(9).build().unwrap(), &steps, true)?;
        let sliding = SlidingWindow::builder().limit(12.5).window_ms(1_000.0).buckets(3);
        follows_checks(&sliding.build().unwrap(), &steps, true)?;
        follows_checks(&SlidingWindowLog::builder().limit(9.0).window_ms(1_000.0).build().unwrap(), &steps, false)?;
    }
}
