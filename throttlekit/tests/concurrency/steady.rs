//! The default learner through outages and silences. What it comes to under a steady load is simulated by the benches.

use throttlekit::{Clock, Guard, ManualClock, Outcome, Permit};

/// A guard on a clock, and a client that takes all that it gets.
struct Loop {
    guard: Guard<ManualClock>,
    clock: ManualClock,
}

impl Loop {
    fn new(min_limit: f64, max_limit: f64) -> Self {
        let clock = ManualClock::new(0.0);
        let builder = Guard::builder().min_limit(min_limit).max_limit(max_limit).initial_limit(max_limit);
        Self { guard: builder.clock(clock.clone()).build().unwrap(), clock }
    }

    /// Takes all slots, and gives them back after `ms`.
    fn round(&self, ms: f64, outcome: Outcome) {
        let permits: Vec<_> = std::iter::repeat_with(|| self.guard.acquire()).take_while(Permit::is_held).collect();
        self.clock.advance(ms);
        for mut permit in permits {
            permit.settle(outcome);
        }
    }

    /// Rounds of work that is done, until a probe runs or does not. How long that took.
    fn until_probing(&self, probing: bool, ms: f64) -> f64 {
        let begun_ms = self.clock.now_ms();
        for _ in 0..100_000 {
            if self.guard.stats().probing == probing {
                return self.clock.now_ms() - begun_ms;
            }
            self.round(ms, Outcome::Completed);
        }
        panic!("no probe begins or ends: {:?}", self.guard.stats());
    }

    /// Rounds of work that is cut off, for `ms`.
    fn outage(&self, ms: f64, each_ms: f64) {
        let end_ms = self.clock.now_ms() + ms;
        while self.clock.now_ms() < end_ms {
            self.round(each_ms, Outcome::Dropped);
        }
    }
}

#[test]
fn slow_work_that_is_all_cut_off_halves_the_limit_within_seconds() {
    let work = Loop::new(4.0, 200.0);
    work.until_probing(true, 2_000.0);
    work.until_probing(false, 2_000.0);
    assert_eq!((work.guard.limit(), work.guard.stats().noload_ms), (200, 2_000.0));
    // A step each two latencies; before the first one it has also seen work that was done.
    work.outage(10_000.0, 100.0);
    assert!((48..=52).contains(&work.guard.limit()), "{:?}", work.guard.stats());
    work.outage(20_000.0, 100.0);
    assert_eq!(work.guard.limit(), 4);
}

#[test]
fn a_probe_in_which_all_is_cut_off_ends_by_that() {
    let work = Loop::new(4.0, 200.0);
    work.until_probing(true, 2_000.0);
    work.outage(12_000.0, 100.0);
    let stats = work.guard.stats();
    assert!(stats.limit <= 100 && !stats.probing, "{stats:?}");
}

#[test]
fn a_silence_in_a_probe_does_not_put_off_the_next_one() {
    let work = Loop::new(20.0, 20.0);
    work.until_probing(true, 100.0);
    work.clock.advance(8.0 * 3_600_000.0);
    work.until_probing(false, 100.0);
    // A probe takes five seconds at most, and the next one is forty times that away.
    let ms = work.until_probing(true, 100.0);
    assert!((10_000.0..=205_000.0).contains(&ms), "the next probe is {ms} ms later");
}
