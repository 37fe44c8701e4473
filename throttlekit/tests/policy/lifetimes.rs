//! How long states live that go on after a reload.

use throttlekit::policy::{Fate, LoadOptions, Policies};
use throttlekit::{Decision, ManualClock};

struct Setup {
    policies: Policies,
    clock: ManualClock,
}

/// A limiter `x`.
fn load(fields: &str) -> Setup {
    let clock = ManualClock::new(0.0);
    let policies = Policies::load(&text(fields), LoadOptions::new().clock(clock.clone())).unwrap();
    Setup { policies, clock }
}

fn text(fields: &str) -> String {
    format!("limiters: {{ x: {{ {fields} }} }}")
}

impl Setup {
    fn check(&self, now_ms: f64, cost: f64) -> Decision {
        self.clock.set(now_ms);
        self.policies.get("x").unwrap().limiter().unwrap().check("k", cost).now().unwrap().unwrap()
    }

    fn reload(&self, now_ms: f64, fields: &str) -> Fate {
        self.clock.set(now_ms);
        self.policies.reload(&text(fields)).unwrap().fate("x").unwrap()
    }
}

#[test]
fn what_was_taken_counts_for_as_long_as_the_new_options_say() {
    const BUCKET: &str = "strategy: tokenBucket, capacity: 10, refillPerSec: 10";
    const LOG: &str = "strategy: slidingWindowLog, limit: 10, period: 1s";
    for (before, after, later) in [
        (BUCKET, "strategy: tokenBucket, capacity: 10, refillPerSec: 0.01", 99_999.0),
        // Also where there is more to fill.
        (BUCKET, "strategy: tokenBucket, capacity: 1000, refillPerSec: 0.001", 999_999.0),
        (LOG, "strategy: slidingWindowLog, limit: 10, period: 1h", 3_599_999.0),
    ] {
        for (more_before, more_after, fate) in [
            ("", "", Fate::Kept),
            ("", ", twoTier: { mode: strict }", Fate::Kept),
            (", twoTier: { mode: strict }", "", Fate::Kept),
            ("", ", concurrency: { limit: 5 }", Fate::NewSlots),
        ] {
            let setup = load(&format!("{before}{more_before}"));
            assert!(setup.check(0.0, 10.0).allowed);
            assert_eq!(setup.reload(10.0, &format!("{after}{more_after}")), fate, "{after}{more_after}");
            for now_ms in [1_000.0, 2_000.0, later] {
                let denied = setup.check(now_ms, 1.0);
                assert!(!denied.allowed, "{after}{more_after} at {now_ms}: {denied:?}");
            }
            assert!(setup.check(later + 1.0, 1.0).allowed, "{after}{more_after}");
        }
    }
}

#[test]
fn a_carried_debt_lasts_for_as_long_as_the_new_options_say() {
    // A debit passes while anything is left, so this is 100 beyond the budget.
    for (kind, before, after, later) in [
        ("tokenBudget", "budget: 100, carryDebt: true", "budget: 10, maxDebt: 100, carryDebt: true", 10_999.0),
        (
            "tokenBudget",
            "budget: 100, maxDebt: 10, carryDebt: true",
            "budget: 50, maxDebt: 100, carryDebt: true",
            2_999.0,
        ),
        ("tokenBudget", "budget: 100", "budget: 100, carryDebt: true", 1_999.0),
        ("fleetBudget", "budget: 100", "budget: 100, carryDebt: true", 1_999.0),
    ] {
        let budget = |fields: &str| format!("{kind}: {{ {fields}, windowMs: 1000 }}");
        let setup = load(&budget(before));
        assert!(setup.check(0.0, 200.0).allowed);
        assert_eq!(setup.reload(10.0, &budget(after)), Fate::Kept);
        for now_ms in [1_000.0, later] {
            let denied = setup.check(now_ms, 1.0);
            assert!(!denied.allowed, "{after} at {now_ms}: {denied:?}");
        }
        assert!(setup.check(later + 1.0, 1.0).allowed, "{after}");
    }
}

#[test]
fn what_had_expired_is_not_brought_back() {
    let setup = load("strategy: tokenBucket, capacity: 10, refillPerSec: 10");
    assert!(setup.check(0.0, 10.0).allowed);
    assert_eq!(setup.reload(1_000.0, "strategy: tokenBucket, capacity: 10, refillPerSec: 0.01"), Fate::Kept);
    assert_eq!(setup.check(1_000.0, 1.0).remaining, 9);
}
