//! Costs that cannot be counted: they would pass without end.

use throttlekit::fair::{FairEscrow, FairShare};
use throttlekit::store::memory::Table;
use throttlekit::{Decision, Error, ManualClock};

use crate::support::held::done;

fn refuses_what_is_lost(check: impl Fn(&str, f64) -> Result<Decision, Error>) {
    assert!(check("a", 1.0).unwrap().allowed);
    // Beside what the tenant used, and beside what all used.
    for tenant in ["a", "b"] {
        for cost in [1e-17, 5e-324] {
            let error = check(tenant, cost).unwrap_err();
            assert_eq!(error.code(), "invalid_argument");
            assert!(error.to_string().contains("too small to be counted"), "{error}");
        }
    }
    assert!(check("a", 1.0).unwrap().allowed);
}

#[test]
fn a_cost_that_is_lost_beside_what_is_used_is_refused() {
    let clock = ManualClock::new(0.0);
    let share = FairShare::builder().limit(10.0).window_ms(1_000.0).clock(clock.clone()).build().unwrap();
    refuses_what_is_lost(|tenant, cost| share.check_cost(tenant, cost));

    let escrow = || FairEscrow::builder().limit(10.0).window_ms(1_000.0);
    let alone = escrow().clock(clock.clone()).build().unwrap();
    refuses_what_is_lost(|tenant, cost| alone.check_cost(tenant, cost));

    let pooled = escrow().pool_at(Table::new(), "pool", 4.0).clock(clock).build().unwrap();
    refuses_what_is_lost(|tenant, cost| done(pooled.run_check(tenant, cost)));
}
