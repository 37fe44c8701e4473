//! The clocks as a user sees them; steps of the wall are tested beside the guard.

use std::thread;

use throttlekit::{Clock, ManualClock, SystemClock};

fn never_goes_back(clock: &(impl Clock + Clone)) {
    thread::scope(|scope| {
        for _ in 0..4 {
            let clock = clock.clone();
            scope.spawn(move || {
                let mut before = clock.now_ms();
                for _ in 0..10_000 {
                    let now = clock.now_ms();
                    assert!(now >= before && now.fract() == 0.0, "{before} then {now}");
                    before = now;
                }
            });
        }
    });
}

#[test]
fn the_system_clock_never_goes_back() {
    let clock = SystemClock::default();
    assert!(clock.now_ms() > 1_700_000_000_000.0);
    never_goes_back(&clock);
}

#[cfg(feature = "coarse-clock")]
#[test]
fn the_coarse_clock_never_goes_back() {
    let clock = throttlekit::CoarseClock::default();
    assert!(clock.now_ms() > 1_700_000_000_000.0);
    never_goes_back(&clock);
}

#[test]
fn a_manual_clock_stands_still_until_told() {
    let clock = ManualClock::default();
    assert_eq!(clock.now_ms(), 0.0);
    clock.advance(1.9);
    assert_eq!(clock.now_ms(), 1.0);
    clock.set(-2.5);
    assert_eq!(clock.now_ms(), -3.0);
    let same = clock.clone();
    same.set(7.0);
    assert_eq!(clock.now_ms(), 7.0);
}

#[test]
fn spans_are_finer_than_a_millisecond() {
    let clock = ManualClock::new(1_700_000_000_000.0);
    let start = clock.monotonic_ns();
    clock.advance(0.25);
    assert_eq!((clock.monotonic_ns() - start, clock.now_ms()), (250_000, 1_700_000_000_000.0));
    clock.advance(0.75);
    assert_eq!((clock.monotonic_ns() - start, clock.now_ms()), (1_000_000, 1_700_000_000_001.0));
    clock.set(-1.0);
    assert_eq!(clock.monotonic_ns(), 0);

    let clock = SystemClock::new();
    let start = clock.monotonic_ns();
    while clock.monotonic_ns() == start {}
    assert!(clock.monotonic_ns() > start);
}

#[test]
fn a_clock_with_milliseconds_alone_measures_by_them() {
    struct Ticks(f64);
    impl Clock for Ticks {
        fn now_ms(&self) -> f64 {
            self.0
        }
    }
    assert_eq!(Ticks(1_700_000_000_123.0).monotonic_ns(), 1_700_000_000_123_000_000);
    assert_eq!(std::sync::Arc::new(Ticks(-5.0)).monotonic_ns(), 0);
}

#[test]
fn a_manual_clock_refuses_what_is_no_time() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(thread::spawn(move || ManualClock::default().set(bad)).join().is_err(), "set {bad}");
        assert!(thread::spawn(move || ManualClock::default().advance(bad)).join().is_err(), "advance {bad}");
    }
    assert!(thread::spawn(|| ManualClock::default().advance(-1.0)).join().is_err());
}
