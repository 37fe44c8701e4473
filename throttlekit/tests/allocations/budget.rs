//! Hits on a budget allocate nothing.

use allocation_counter::measure;
use throttlekit::ManualClock;
use throttlekit::budget::{Budget, Ledger, TokenBudget};

#[test]
fn a_hit_allocates_nothing() {
    let budget = Budget::builder().budget(5.0).window_ms(1_000.0).build().unwrap();
    let meter = TokenBudget::builder(budget).keyspace(Ledger::new()).clock(ManualClock::new(0.0)).build();
    meter.debit("k", 1).unwrap();
    let hits = measure(|| {
        for _ in 0..10 {
            meter.debit("k", 1).unwrap();
            meter.charge("k", 1).unwrap();
            meter.usage("k").unwrap();
        }
    });
    assert_eq!(hits.count_total, 0);
}
