//! Requests that are limited by all axes allocate nothing in memory.

use allocation_counter::measure;
use throttlekit::{Admit, Ask, Consume, Gcra, Guard, Limiter, ManualClock, TokenBucket, Unified};

#[test]
fn nothing_is_allocated_when_all_admit() {
    let clock = ManualClock::new(1_000_000.0);
    for consume in [Consume::AllOrNothing, Consume::PerAxis] {
        let rate = Gcra::per_second(10_000).unwrap();
        let cost = TokenBucket::builder().capacity(1e6).refill_per_sec(1e6).build().unwrap();
        let unified = Unified::builder()
            .concurrency(Guard::builder().fixed(4).clock(clock.clone()).build().unwrap())
            .rate(Limiter::builder(rate).clock(clock.clone()).build())
            .cost(Limiter::builder(cost).clock(clock.clone()).build())
            .clock(clock.clone())
            .consume(consume)
            .build()
            .unwrap();
        let admit = || assert!(unified.admit(&Ask::new("a")).now().unwrap().unwrap().decision.allowed);
        admit();
        let counted = measure(|| (0..100).for_each(|_| admit()));
        assert_eq!(counted.count_total, 0, "{consume:?}");
    }
}
