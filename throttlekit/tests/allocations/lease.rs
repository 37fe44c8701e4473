//! What is held is spent without allocating.

use allocation_counter::measure;
use throttlekit::lease::{Mode, TwoTier};
use throttlekit::{Admit, Ask, FixedWindow, ManualClock, Meter};

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1_000.0).build().unwrap()
}

/// Runs `hit` once to fetch units and then a hundred times.
fn allocates_nothing<T>(what: &str, mut hit: impl FnMut() -> T) {
    hit();
    let counted = measure(|| (0..100).for_each(|_| drop(hit())));
    assert_eq!(counted.count_total, 0, "{what}");
}

#[test]
fn units_that_are_held() {
    let builder = TwoTier::builder(window(1e6)).clock(ManualClock::new(0.0)).prefix("p");
    let limiter = builder.batch(1_000.0).window_coupled(true).low_water(5.0).build().unwrap();
    allocates_nothing("run_check", || limiter.run_check("k", 1.0).now().unwrap().unwrap());
    allocates_nothing("try_check", || limiter.try_check("k", 1.0).unwrap().unwrap());
    allocates_nothing("debit", || limiter.debit("k", 1.0).now().unwrap().unwrap());
    allocates_nothing("admit", || limiter.admit(&Ask::new("k")).now().unwrap().unwrap());
}

#[test]
fn denials_that_are_known() {
    let builder = || TwoTier::builder(window(1.0)).clock(ManualClock::new(0.0));
    let leased = builder().batch(10.0).build().unwrap();
    leased.run_check("k", 1.0).now().unwrap().unwrap();
    allocates_nothing("leased", || assert!(!leased.run_check("k", 1.0).now().unwrap().unwrap().allowed));
    let cached = builder().mode(Mode::CachedDeny).build().unwrap();
    cached.run_check("k", 1.0).now().unwrap().unwrap();
    allocates_nothing("cached", || assert!(!cached.run_check("k", 1.0).now().unwrap().unwrap().allowed));
}
