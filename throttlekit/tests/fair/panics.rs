//! A pool that panics: the request at hand fails, and the next one asks again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use throttlekit::ManualClock;
use throttlekit::fair::FairEscrow;

use crate::support::held::{Held, done};

#[test]
fn the_next_check_asks_again() {
    let (store, clock) = (Held::new(), ManualClock::new(0.0));
    let fair = FairEscrow::builder().limit(10.0).window_ms(1_000.0).pool_at(store.clone(), "pool", 4.0);
    let fair = fair.clock(clock).build().unwrap();
    store.panic_once();
    assert!(catch_unwind(AssertUnwindSafe(|| done(fair.run_check("a", 1.0)))).is_err());
    assert!(done(fair.run_check("a", 1.0)).unwrap().allowed);
    assert_eq!((store.calls(), fair.stats().effective_limit), (2, 4.0));
}
