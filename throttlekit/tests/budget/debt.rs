//! What becomes of tokens that were counted beyond the budget, where debt is carried.

use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::store::Remote;
use throttlekit::{ManualClock, Refund};

use crate::support::{CasStore, allow, deny};

#[test]
fn debt_is_paid_by_the_windows_that_follow() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).max_debt(250.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    // 250 of debt take two whole windows and half of a third.
    assert_eq!(meter.charge("k", 1_000).unwrap(), allow(100, 0, 1_000));
    assert_eq!(meter.usage("k").unwrap().reset_at_ms, 4_000);
    assert_eq!(meter.usage("k").unwrap().debt, 250);
    assert_eq!(meter.debit("k", 1).unwrap(), deny(100, 0, 1_000, 3_000), "three windows on there is something left");
    clock.set(1_000.0);
    assert_eq!(meter.usage("k").unwrap().served, 250);
    assert_eq!(meter.debit("k", 1).unwrap(), deny(100, 0, 2_000, 2_000));
    clock.set(2_500.0);
    assert_eq!(meter.usage("k").unwrap().served, 150);
    assert_eq!(meter.debit("k", 1).unwrap(), deny(100, 0, 3_000, 500));
    clock.set(3_000.0);
    assert_eq!(meter.debit("k", 10).unwrap(), allow(100, 40, 4_000));
    clock.set(4_000.0);
    assert_eq!(meter.usage("k").unwrap().served, 0);
}

#[test]
fn a_debt_of_whole_windows_is_paid_to_the_last_unit() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).max_debt(200.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    meter.charge("k", 300).unwrap();
    assert_eq!(meter.debit("k", 1).unwrap(), deny(100, 0, 1_000, 3_000));
    clock.set(2_999.0);
    assert_eq!(meter.debit("k", 1).unwrap(), deny(100, 0, 3_000, 1));
    clock.set(3_000.0);
    assert_eq!(meter.debit("k", 1).unwrap(), allow(100, 99, 4_000));
}

/// Where states expire, debt does not vanish before it is paid.
#[tokio::test]
async fn a_stored_debt_lives_until_it_is_paid() {
    let (clock, store) = (ManualClock::new(0.0), CasStore::default());
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).max_debt(250.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).keyspace(Remote::new(store)).clock(clock.clone()).build();
    meter.charge("k", 1_000).await.unwrap();
    for (now, served) in [(999.0, 1_000), (1_000.0, 250), (2_999.0, 150), (3_000.0, 50), (3_999.0, 50), (4_000.0, 0)] {
        clock.set(now);
        assert_eq!(meter.usage("k").await.unwrap().served, served, "at {now}");
    }
}

#[test]
fn tokens_that_were_not_used_leave_no_debt() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    // In the window that follows, and in one that inherits nothing any more.
    for (over_at, served) in [(1_100.0, 4), (2_100.0, 0)] {
        clock.set(900.0);
        meter.reset("k").unwrap();
        meter.debit("k", 99).unwrap();
        let reserved = meter.debit("k", 100).unwrap();
        clock.set(over_at);
        meter.refund("k", Refund::new(95.0).of(&reserved)).unwrap();
        assert_eq!(meter.usage("k").unwrap().served, served, "at {over_at}");
    }
}

#[test]
fn several_may_give_back_to_a_window_that_is_over() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(100.0).window_ms(1_000.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    let first = meter.debit("k", 90).unwrap();
    let second = meter.debit("k", 100).unwrap();
    clock.set(1_100.0);
    assert_eq!(meter.refund("k", Refund::new(20.0).of(&first)).unwrap(), allow(100, 30, 2_000));
    assert_eq!(meter.refund("k", Refund::new(50.0).of(&second)).unwrap(), allow(100, 80, 2_000));
    assert_eq!(meter.refund("k", Refund::new(50.0).of(&second)).unwrap(), allow(100, 100, 2_000));
    assert_eq!(meter.debit("k", 1).unwrap(), allow(100, 99, 2_000));
}

#[test]
fn debt_of_a_window_after_which_others_counted_is_not_given_back() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(10.0).window_ms(1_000.0).max_debt(50.0).carry_debt(true).build().unwrap();
    let meter = TokenBudget::builder(budget).clock(clock.clone()).build();
    let crossed = meter.debit("k", 45).unwrap();
    clock.set(4_000.0);
    assert_eq!(meter.usage("k").unwrap().served, 5);
    meter.debit("k", 2).unwrap();
    // How much of the 7 came of the 45 is not known any more.
    assert_eq!(meter.refund("k", Refund::new(45.0).of(&crossed)).unwrap().remaining, 3);
    assert_eq!(meter.refund("k", Refund::new(6.0)).unwrap(), allow(10, 9, 5_000));
}
