//! In memory a hit allocates nothing, whichever way it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use allocation_counter::measure;
use throttlekit::lease::TwoTier;
use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, DynLimiter, Event, Gcra, LeakyBucket, Limiter, ManualClock, Meter, Multi, Observer, Shaper,
};

/// Counts events.
#[derive(Default)]
struct Events(AtomicU64);

impl Observer for Events {
    fn observe(&self, _event: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `hit` once to make the key and then a hundred times, of which half are denied.
fn allocates_nothing<T>(what: &str, mut hit: impl FnMut() -> T) {
    hit();
    let counted = measure(|| (0..100).for_each(|_| drop(hit())));
    assert_eq!(counted.count_total, 0, "{what}");
}

fn gcra() -> Gcra {
    Gcra::per_hour(50).unwrap()
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn a_limiter() {
    let limiter = Limiter::builder(gcra()).clock(ManualClock::new(0.0)).prefix("p").build();
    allocates_nothing("check", || limiter.check("check").unwrap());
    allocates_nothing("check_cost", || limiter.check_cost("check_cost", 0.5).unwrap());
    allocates_nothing("run_check", || limiter.run_check("run_check", 1.0).now().unwrap().unwrap());
    allocates_nothing("peek", || limiter.peek("check").unwrap());
    allocates_nothing("forecast", || limiter.forecast("check", 1.0).unwrap());
    allocates_nothing("debit", || limiter.debit("debit", 1.0).now().unwrap().unwrap());
    allocates_nothing("admit", || limiter.admit(&Ask::new("admit")).now().unwrap().unwrap());
}

#[test]
fn a_limiter_with_an_observer() {
    let events = Arc::new(Events::default());
    let limiter = Limiter::builder(gcra()).clock(ManualClock::new(0.0)).observer(Arc::clone(&events)).build();
    allocates_nothing("admit", || limiter.admit(&Ask::new("k")).now().unwrap().unwrap());
    assert_eq!(events.0.load(Ordering::Relaxed), 101);
}

#[test]
fn a_limiter_without_types() {
    let limiter: Arc<dyn DynLimiter> = Arc::new(Limiter::builder(gcra()).clock(ManualClock::new(0.0)).build());
    allocates_nothing("check", || limiter.check("check", 1.0).now().unwrap().unwrap());
    allocates_nothing("admit", || limiter.admit(&Ask::new("admit")).now().unwrap().unwrap());
}

#[test]
fn several_dimensions() {
    for builder in [Multi::all(), Multi::any()] {
        let limit = builder
            .dimension("a", gcra(), 1.0)
            .dimension("a:b", Gcra::per_hour(70).unwrap(), 1.0)
            .dimension("c", gcra(), 0.5)
            .clock(ManualClock::new(0.0))
            .build()
            .unwrap();
        allocates_nothing("check", || limit.check(&["k", "l", "m"]).unwrap());
        let dimensions = ["k", "l", "m"];
        let ask = Ask::new("").dimensions(&dimensions);
        allocates_nothing("admit", || limit.admit(&ask).now().unwrap().unwrap());
    }
}

#[test]
fn a_shaper() {
    let bucket = LeakyBucket::builder().rate_per_sec(10.0).max_queue_ms(5_000.0).build().unwrap();
    let shaper = Shaper::builder(bucket).clock(ManualClock::new(0.0)).build();
    allocates_nothing("reserve", || shaper.reserve("k", 1.0).unwrap());
}

/// A table reserves memory for all keys of its bound, which some systems refuse.
#[test]
fn builders_make_no_table_that_nobody_uses() {
    let (tats, departures) = (Table::new(), Table::new());
    let bucket = LeakyBucket::builder().rate_per_sec(10.0).max_queue_ms(0.0).build().unwrap();
    for (what, counted) in [
        ("limiter", measure(|| drop(Limiter::builder(gcra()).keyspace(tats.clone()).build()))),
        ("shaper", measure(|| drop(Shaper::builder(bucket).keyspace(departures.clone()).build()))),
        ("two tiers", measure(|| drop(TwoTier::builder(gcra()).keyspace(tats.clone()).batch(5.0).build()))),
    ] {
        assert!(counted.bytes_total < 100_000, "{what}: {counted:?}");
    }
}
