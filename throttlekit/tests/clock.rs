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
fn a_manual_clock_refuses_what_is_no_time() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(thread::spawn(move || ManualClock::default().set(bad)).join().is_err(), "set {bad}");
        assert!(thread::spawn(move || ManualClock::default().advance(bad)).join().is_err(), "advance {bad}");
    }
    assert!(thread::spawn(|| ManualClock::default().advance(-1.0)).join().is_err());
}
