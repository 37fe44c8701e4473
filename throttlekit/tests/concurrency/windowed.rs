//! The shared laws on a manual clock: every step to the last bit.

use throttlekit::{Algorithm, Guard, GuardBuilder, ManualClock, Outcome, Permit, Recalibration};

struct Bench {
    clock: ManualClock,
    guard: Guard<ManualClock>,
}

fn bench(settings: impl FnOnce(GuardBuilder) -> GuardBuilder) -> Bench {
    let clock = ManualClock::new(0.0);
    let builder = settings(Guard::builder().algorithm(Algorithm::Gradient2));
    Bench { guard: builder.clock(clock.clone()).build().unwrap(), clock }
}

impl Bench {
    /// Takes slots until there is none.
    fn fill(&self) -> Vec<Permit> {
        std::iter::repeat_with(|| self.guard.acquire()).take_while(Permit::is_held).collect()
    }

    fn take(&self, count: usize) -> Vec<Permit> {
        let permits: Vec<_> = (0..count).map(|_| self.guard.acquire()).collect();
        assert!(permits.iter().all(Permit::is_held));
        permits
    }

    /// Takes all slots and gives them back after `ms`, in the order in which they were taken.
    fn round(&self, ms: f64) {
        let mut permits = self.fill();
        self.clock.advance(ms);
        for permit in &mut permits {
            permit.settle(Outcome::Completed);
        }
    }

    /// One request alone.
    fn lone(&self, ms: f64) {
        let mut permit = self.guard.acquire();
        self.clock.advance(ms);
        permit.settle(Outcome::Completed);
    }

    fn estimate(&self) -> f64 {
        self.guard.stats().estimate
    }

    fn noload(&self) -> f64 {
        self.guard.stats().noload_ms
    }
}

fn limits(min: f64, max: f64, initial: f64) -> impl Fn(GuardBuilder) -> GuardBuilder {
    move |builder| builder.min_limit(min).max_limit(max).initial_limit(initial)
}

#[test]
fn a_drop_at_a_hundred() {
    let bench = bench(limits(4.0, 512.0, 100.0));
    let mut permits = bench.take(100);
    bench.clock.advance(5.0);
    permits[99].settle(Outcome::Dropped);
    assert_eq!((bench.estimate(), bench.guard.limit()), (92.0, 92));
}

#[test]
fn three_steps_of_the_gradient() {
    let bench = bench(limits(4.0, 512.0, 16.0));
    let mut permits = bench.take(16);
    bench.clock.advance(10.0);
    permits[15].settle(Outcome::Completed);
    assert_eq!((bench.estimate(), bench.guard.limit(), bench.noload()), (16.8, 16, 10.0));
    bench.clock.advance(15.0);
    permits[14].settle(Outcome::Completed);
    assert_eq!((bench.estimate(), bench.noload(), bench.guard.stats().last_ms), (16.947_756_061_276_77, 10.0, 25.0));
    permits[13].settle(Outcome::Dropped);
    assert_eq!((bench.estimate(), bench.noload()), (16.076_333_503_635_02, 10.0));
}

#[test]
fn growth_while_the_latency_holds() {
    let bench = bench(|builder| limits(4.0, 512.0, 4.0)(builder).rtt_window(100_000.0));
    bench.lone(10.0);
    assert_eq!(bench.estimate(), 4.0);
    let expected = [
        5.258_591_804_542_065,
        6.693_251_309_387_492,
        8.304_426_737_794_52,
        10.727_848_306_387_243,
        14.200_306_217_399_854,
        19.890_752_532_932_854,
        29.701_213_875_805_61,
        48.133_244_236_439_65,
        86.919_032_568_568_45,
        174.388_666_720_816_27,
    ];
    for estimate in expected {
        bench.round(10.0);
        assert_eq!(bench.estimate(), estimate);
    }
    (0..200).for_each(|_| bench.round(10.0));
    assert_eq!(bench.estimate(), 512.0);
}

#[test]
fn a_fall_while_the_latency_is_fifty_times_what_it_was() {
    let bench = bench(|builder| limits(4.0, 30.0, 30.0)(builder).rtt_window(100_000.0));
    bench.lone(10.0);
    let expected = [
        12.338_550_743_199_395,
        9.661_822_040_207_58,
        8.155_059_302_921_93,
        7.267_999_658_686_36,
        6.584_857_015_961_758,
    ];
    for estimate in expected {
        bench.round(500.0);
        assert_eq!(bench.estimate(), estimate);
    }
    assert_eq!(bench.noload(), 10.0);
    (0..95).for_each(|_| bench.round(500.0));
    assert_eq!(bench.guard.limit(), 4);
}

#[test]
fn no_growth_while_under_used() {
    let bench = bench(limits(4.0, 512.0, 20.0));
    for _ in 0..31 {
        bench.lone(10.0);
        assert_eq!(bench.guard.limit(), 20);
    }
}

#[test]
fn the_baseline_is_the_least_of_the_window() {
    let bench = bench(|builder| builder.rtt_window(3.0));
    let latencies = [10.0, 12.0, 15.0, 11.0, 20.0, 20.0, 20.0, 30.0];
    let least = [10.0, 10.0, 10.0, 11.0, 11.0, 11.0, 20.0, 20.0];
    for (latency, least) in latencies.into_iter().zip(least) {
        bench.lone(latency);
        assert_eq!(bench.noload(), least);
    }
}

#[test]
fn a_window_below_one_is_the_last_sample() {
    let bench = bench(|builder| builder.rtt_window(0.5));
    for latency in [10.0, 12.0, 5.0, 30.0] {
        bench.lone(latency);
        assert_eq!(bench.noload(), latency);
    }
}

fn aimd(min: f64, max: f64, initial: f64) -> impl Fn(GuardBuilder) -> GuardBuilder {
    move |builder| limits(min, max, initial)(builder).algorithm(Algorithm::Aimd)
}

#[test]
fn steps_of_additive_increase() {
    let bench = bench(aimd(4.0, 512.0, 10.0));
    bench.lone(10.0);
    assert_eq!(bench.estimate(), 10.0);
    let mut permits = bench.take(10);
    bench.clock.advance(10.0);
    permits[9].settle(Outcome::Completed);
    assert_eq!(bench.estimate(), 11.0);
}

#[test]
fn steps_of_multiplicative_decrease() {
    let slow = bench(aimd(4.0, 512.0, 100.0));
    slow.lone(10.0);
    let mut permits = slow.take(99);
    slow.clock.advance(500.0);
    permits[98].settle(Outcome::Completed);
    assert_eq!(slow.estimate(), 90.0);

    let dropped = bench(aimd(4.0, 512.0, 100.0));
    let mut permits = dropped.take(99);
    dropped.clock.advance(1.0);
    permits[98].settle(Outcome::Dropped);
    assert_eq!(dropped.estimate(), 90.0);

    let halved = bench(|builder| aimd(4.0, 512.0, 10.0)(builder).backoff_ratio(0.5));
    let mut permit = halved.guard.acquire();
    halved.clock.advance(5.0);
    permit.settle(Outcome::Dropped);
    assert_eq!(halved.estimate(), 5.0);
}

#[test]
fn the_estimate_stays_within_its_bounds() {
    let up = bench(aimd(4.0, 24.0, 4.0));
    (0..200).for_each(|_| up.round(10.0));
    assert_eq!(up.guard.limit(), 24);

    let down = bench(|builder| aimd(4.0, 64.0, 40.0)(builder).rtt_window(100_000.0));
    down.lone(10.0);
    (0..200).for_each(|_| down.round(500.0));
    assert_eq!(down.guard.limit(), 4);
}

#[test]
fn a_window_that_forgets_drifts() {
    let bench = bench(aimd(4.0, 64.0, 40.0));
    bench.lone(10.0);
    (0..200).for_each(|_| bench.round(500.0));
    assert_eq!((bench.guard.limit(), bench.noload()), (64, 500.0));
}

fn probes(interval_ms: f64, limit: f64, samples: f64) -> Recalibration {
    Recalibration::default().interval_ms(interval_ms).probe_limit(limit).probe_samples(samples)
}

#[test]
fn a_probe_replaces_the_baseline_and_nothing_else() {
    let bench = bench(|builder| limits(4.0, 512.0, 20.0)(builder).recalibration(probes(1_000.0, 2.0, 3.0)));
    (0..5).for_each(|_| bench.lone(100.0));
    bench.clock.advance(1_000.0);
    bench.lone(100.0);
    assert!(bench.guard.stats().probing);
    (0..3).for_each(|_| bench.lone(10.0));
    assert_eq!((bench.noload(), bench.estimate(), bench.guard.stats().probing), (10.0, 20.0, false));

    // The probe ended at 1630: the next one starts with the first sample at 2630 or later.
    bench.clock.set(2_619.0);
    bench.lone(10.0);
    assert!(!bench.guard.stats().probing);
    bench.lone(1.0);
    assert!(bench.guard.stats().probing);
}

#[test]
fn while_a_probe_runs_the_ceiling_is_its_own() {
    for (probe_limit, held) in [(2.0, 2), (1.5, 2), (1.0, 1), (300.0, 20)] {
        let plan = probes(1_000.0, probe_limit, 50.0);
        let bench = bench(|builder| limits(4.0, 512.0, 20.0)(builder).recalibration(plan));
        (0..5).for_each(|_| bench.lone(100.0));
        bench.clock.advance(1_000.0);
        bench.lone(100.0);
        assert_eq!((bench.fill().len(), bench.guard.limit()), (held, 20), "probe limit {probe_limit}");
    }
}

#[test]
fn a_probe_takes_samples_from_below_its_ceiling() {
    let bench = bench(|builder| limits(4.0, 512.0, 20.0)(builder).recalibration(probes(5.0, 1.0, 2.0)));
    let mut permits = bench.take(3);
    bench.clock.advance(5.0);
    for permit in &mut permits {
        permit.settle(Outcome::Completed);
    }
    assert!(bench.guard.stats().probing);
    // A probe that gets on is not given up, however long it takes.
    bench.lone(50.0);
    bench.lone(50.0);
    assert_eq!(bench.noload(), 50.0, "not 5, which was measured with others in flight");
}

#[test]
fn a_probe_without_samples_is_given_up() {
    let bench = bench(|builder| limits(4.0, 512.0, 20.0)(builder).recalibration(probes(1_000.0, 2.0, 3.0)));
    (0..5).for_each(|_| bench.lone(100.0));
    bench.clock.advance(1_000.0);
    bench.lone(100.0); // the probe starts at 1600
    bench.lone(50.0);
    bench.clock.set(2_599.0);
    let before = (bench.noload(), bench.estimate());
    let mut early = bench.guard.acquire();
    early.settle(Outcome::Dropped);
    assert!(bench.guard.stats().probing);
    bench.clock.set(2_600.0);
    let mut late = bench.guard.acquire();
    late.settle(Outcome::Dropped);
    assert!(!bench.guard.stats().probing);
    assert_eq!((bench.noload(), bench.estimate()), before, "a probe that saw a clean sample blames nobody");
}

#[test]
fn a_probe_that_saw_nothing_but_drops_lowers_the_limit() {
    let bench = bench(|builder| limits(4.0, 512.0, 100.0)(builder).recalibration(probes(1_000.0, 2.0, 3.0)));
    bench.clock.advance(1_000.0);
    bench.lone(100.0);
    assert!(bench.guard.stats().probing);
    for at in [1_500.0, 2_099.0] {
        bench.clock.set(at);
        bench.guard.acquire().settle(Outcome::Dropped);
        assert_eq!(bench.estimate(), 100.0);
    }
    bench.clock.set(2_100.0);
    bench.guard.acquire().settle(Outcome::Dropped);
    assert_eq!((bench.estimate(), bench.guard.stats().probing), (92.0, false));
    assert_eq!(bench.fill().len(), 92, "an outage does not pin the ceiling to that of a probe");
}

#[test]
fn a_slot_counts_once() {
    let bench = bench(|builder| builder);
    let mut permit = bench.guard.acquire();
    bench.clock.advance(7.0);
    permit.settle(Outcome::Completed);
    bench.clock.advance(7.0);
    permit.settle(Outcome::Dropped);
    let stats = bench.guard.stats();
    assert_eq!((stats.in_flight, stats.last_ms, stats.noload_ms, stats.dropped), (0, 7.0, 7.0, 0));

    let held = bench.fill();
    let mut refused = bench.guard.acquire();
    refused.settle(Outcome::Dropped);
    assert_eq!((bench.guard.in_flight() as usize, bench.guard.stats().dropped), (held.len(), 0));
}

#[test]
fn a_request_that_never_started_poisons_nothing() {
    let bench = bench(limits(4.0, 512.0, 50.0));
    for _ in 0..50 {
        let before = bench.guard.limit();
        bench.round(20.0);
        bench.guard.acquire().settle(Outcome::Ignored);
        drop(bench.guard.acquire());
        assert_eq!(bench.noload(), 20.0);
        assert!(bench.guard.limit() >= before, "{} after {before}", bench.guard.limit());
    }
}

#[test]
fn failing_fast_is_no_baseline() {
    let bench = bench(limits(4.0, 512.0, 50.0));
    bench.round(20.0);
    let mut permit = bench.guard.acquire();
    bench.clock.advance(0.01);
    permit.settle(Outcome::Dropped);
    assert_eq!((bench.noload(), bench.guard.stats().last_ms), (20.0, 0.01));
}

#[test]
fn latencies_below_a_millisecond_are_measured() {
    let bench = bench(limits(4.0, 512.0, 50.0));
    bench.lone(0.25);
    assert_eq!(bench.noload(), 0.25);
    (0..20).for_each(|_| bench.round(0.25));
    assert!(bench.guard.limit() > 50);
}

#[test]
fn a_stable_timeout_lowers_the_limit() {
    for algorithm in [Algorithm::Gradient2, Algorithm::Aimd, Algorithm::Steady] {
        let bench = bench(|builder| limits(4.0, 512.0, 100.0)(builder).algorithm(algorithm));
        for _ in 0..200 {
            let mut permits = bench.fill();
            bench.clock.advance(1_000.0);
            for permit in &mut permits {
                permit.settle(Outcome::Dropped);
            }
        }
        assert_eq!(bench.guard.limit(), 4, "{algorithm:?}");
    }
}
