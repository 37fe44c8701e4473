//! What policies over a store allocate.

use allocation_counter::measure;
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};

use crate::support::outage::Opener;
use crate::support::polled;

#[test]
fn an_observer_that_is_not_there_costs_no_allocation() {
    let text = "store: { redis: { url: redis://cache } }\nlimiters: { a: { strategy: gcra, limit: 5, period: 1m } }";
    let allocations = |observed: bool| {
        let clock = ManualClock::new(1_000_000.0);
        let options = LoadOptions::new().clock(clock.clone()).connector(Opener::new(&clock));
        let options = if observed { options.observer(()) } else { options };
        let policies = Policies::load(text, options).unwrap();
        let limiter = policies.get("a").unwrap().limiter().unwrap().clone();
        let check = || assert!(polled(limiter.check("k", 1.0), 1).unwrap().unwrap().allowed);
        check();
        measure(check).count_total
    };
    // For one that is there, the key and the future that tells it are kept while the store is asked.
    assert_eq!(allocations(true) - allocations(false), 2);
}
