//! The ledger: it forgets nothing that lives, holds no more keys than its bound, and lets go of what has expired.
#![allow(clippy::cast_precision_loss)] // small whole numbers

use std::collections::HashMap;

use proptest::prelude::*;
use throttlekit::budget::{Budget, Ledger, Served, TokenBudget};
use throttlekit::{FixedWindow, Limiter, ManualClock};

fn meter(keys: &Ledger<Served>, clock: &ManualClock) -> TokenBudget<Ledger<Served>, ManualClock> {
    let budget = Budget::builder().budget(5.0).window_ms(1_000.0).build().unwrap();
    TokenBudget::builder(budget).keyspace(keys.clone()).clock(clock.clone()).build()
}

#[test]
fn nothing_that_is_spent_is_forgotten_at_the_bound() {
    let (keys, clock) = (Ledger::bounded(100).unwrap(), ManualClock::new(0.0));
    let meter = meter(&keys, &clock);
    for key in 0..100 {
        assert_eq!(meter.debit(&key.to_string(), 5).unwrap().remaining, 0);
    }
    // Made-up keys share one account.
    let beyond: u64 = (100..10_000).map(|key| u64::from(meter.debit(&key.to_string(), 1).unwrap().allowed)).sum();
    assert_eq!(beyond, 5);
    assert_eq!((keys.len(), keys.shared()), (100, 5));
    for key in 0..10_000 {
        assert!(!meter.debit(&key.to_string(), 1).unwrap().allowed, "{key}");
    }
}

#[test]
fn room_comes_back_with_the_next_window() {
    let (keys, clock) = (Ledger::bounded(1_000).unwrap(), ManualClock::new(0.0));
    let meter = meter(&keys, &clock);
    for window in 0..20 {
        clock.set(f64::from(window) * 1_000.0);
        for key in 0..1_000 {
            let decision = meter.debit(&format!("{window}/{key}"), 1).unwrap();
            assert_eq!(decision.remaining, 4, "window {window}, key {key}");
        }
        assert_eq!(keys.len(), 1_000);
    }
    assert_eq!(keys.shared(), 0, "what expires in any shard makes room in all");
}

#[test]
fn who_shares_an_account_does_so_until_it_expires() {
    let (keys, clock) = (Ledger::bounded(1).unwrap(), ManualClock::new(0.0));
    let meter = meter(&keys, &clock);
    meter.debit("first", 1).unwrap();
    meter.debit("beyond", 5).unwrap();
    meter.reset("first").unwrap();
    assert_eq!(keys.len(), 0);
    assert!(!meter.debit("beyond", 1).unwrap().allowed, "room that comes back is no second budget");
    assert!(!meter.debit("first", 1).unwrap().allowed);
    meter.reset("beyond").unwrap();
    assert!(!meter.debit("beyond", 1).unwrap().allowed, "others share it");
    clock.advance(1_000.0);
    assert!(meter.debit("beyond", 1).unwrap().allowed);
    assert_eq!(keys.len(), 1);
}

#[test]
fn an_account_is_not_split_while_it_is_shared() {
    let (keys, clock) = (Ledger::bounded(1).unwrap(), ManualClock::new(0.0));
    let meter = meter(&keys, &clock);
    meter.debit("first", 1).unwrap();
    meter.debit("a", 2).unwrap();
    meter.reset("first").unwrap();
    assert_eq!(meter.debit("a", 3).unwrap().remaining, 0, "there is room for a key of its own by now");
    assert!(!meter.debit("b", 1).unwrap().allowed, "a and b still share");
}

#[test]
fn reading_makes_no_key() {
    let (keys, clock) = (Ledger::new(), ManualClock::new(0.0));
    assert_eq!(meter(&keys, &clock).remaining("k").unwrap(), 5);
    assert!(keys.is_empty());
}

#[test]
fn prefixes_keep_keys_apart() {
    let (keys, clock) = (Ledger::new(), ManualClock::new(0.0));
    let build = |prefix| {
        let budget = Budget::builder().budget(5.0).window_ms(1_000.0).build().unwrap();
        TokenBudget::builder(budget).keyspace(keys.clone()).prefix(prefix).clock(clock.clone()).build()
    };
    let meters = [build(""), build("a"), build("b")];
    for meter in &meters {
        assert_eq!(meter.debit("k", 5).unwrap().remaining, 0);
    }
    assert_eq!(build("a").remaining("k").unwrap(), 0);
}

#[test]
fn other_limits_may_use_one() {
    let window = FixedWindow::builder().limit(2.0).window_ms(1_000.0).build().unwrap();
    let limiter = Limiter::builder(window).keyspace(Ledger::bounded(1).unwrap()).clock(ManualClock::new(0.0)).build();
    let check = |key| limiter.run_check(key, 1.0).now().unwrap().unwrap().allowed;
    assert_eq!(["a", "a", "b", "c", "d", "a"].map(check), [true, true, true, true, false, false]);
    let many = limiter.run_check_many(&["a", "e"], 1.0).now().unwrap().unwrap();
    assert!(many.iter().all(|decision| !decision.allowed));
}

#[test]
fn a_bound_out_of_range_is_refused() {
    let error = Ledger::<Served>::bounded(0).unwrap_err();
    assert_eq!(error.to_string(), "ledger.maxKeys is 0: must be a whole number from 1 to 2^32");
    assert!(Ledger::<Served>::bounded((1 << 32) + 1).is_err());
}

#[test]
fn threads_do_not_lose_what_they_count() {
    let (keys, clock) = (Ledger::bounded(64).unwrap(), ManualClock::new(0.0));
    let budget = Budget::builder().budget(1e9).window_ms(1_000.0).build().unwrap();
    let meter = TokenBudget::builder(budget).keyspace(keys.clone()).clock(clock).build();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let meter = &meter;
            scope.spawn(move || {
                for step in 0..4_000 {
                    meter.debit(&((step * (thread + 1)) % 64).to_string(), 1).unwrap();
                }
            });
        }
    });
    let counted: u64 = (0..64).map(|key| meter.usage(&key.to_string()).unwrap().served).sum();
    assert_eq!((counted, keys.len(), keys.shared()), (16_000, 64, 0));
}

proptest! {
    /// Against a map without a bound: no key gets more than its budget, and one that is held gets all of it.
    #[test]
    fn no_key_gets_more_than_a_budget(
        bound in 1_usize..12,
        steps in prop::collection::vec((0_u8..24, 1_u64..4, 0_u32..120), 1..300),
    ) {
        let (keys, clock) = (Ledger::bounded(bound).unwrap(), ManualClock::new(0.0));
        let meter = meter(&keys, &clock);
        let mut taken: HashMap<(u8, u64), u64> = HashMap::new();
        let mut now = 0;
        for (key, tokens, wait) in steps {
            now += u64::from(wait);
            clock.set(now as f64);
            let decision = meter.debit(&key.to_string(), tokens).unwrap();
            let taken = taken.entry((key, now / 1_000)).or_default();
            if decision.allowed {
                prop_assert!(*taken < 5);
                *taken += tokens;
            } else {
                prop_assert!(*taken >= 5 || keys.shared() > 0);
            }
            prop_assert!(keys.len() <= bound);
        }
    }
}
