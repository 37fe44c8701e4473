//! Reports pass at a bounded rate, and none is forgotten in the count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use throttlekit::ReportGate;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_report_in_each_interval() {
    let gate = ReportGate::new(SECOND);
    let passed: Vec<_> = (0..30).filter_map(|tenth| gate.pass(f64::from(tenth) * 100.0)).collect();
    assert_eq!(passed, [0, 9, 9]);
    assert_eq!(ReportGate::new(SECOND).pass(f64::MAX), Some(0), "the first one at any time");
}

#[test]
fn a_step_back_of_the_clock_holds_no_report_back() {
    let gate = ReportGate::new(SECOND);
    assert_eq!(gate.pass(3_600_000.0), Some(0));
    assert_eq!(gate.pass(0.0), Some(0));
    assert_eq!(gate.pass(999.0), None);
}

#[test]
fn of_many_threads_at_one_instant_one_passes() {
    let (gate, held_back) = (ReportGate::new(SECOND), AtomicU64::new(0));
    let passes = thread::scope(|scope| {
        let reports = || {
            let counts = (0..100).filter_map(|_| gate.pass(5.0));
            counts.inspect(|count| held_back.store(*count, Ordering::SeqCst)).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(reports)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(passes, 1);
    let later = gate.pass(1_005.0).unwrap();
    assert_eq!(held_back.into_inner() + later, 399);
}

proptest! {
    #[test]
    fn what_passes_and_what_is_counted_is_all(steps in prop::collection::vec(0_u16..2_000, 1..200)) {
        let gate = ReportGate::new(SECOND);
        let (mut now, mut last, mut passes, mut counted) = (0.0, f64::NEG_INFINITY, 0, 0);
        for step in &steps {
            now += f64::from(*step);
            if let Some(count) = gate.pass(now) {
                prop_assert!(now - last >= 1_000.0);
                last = now;
                passes += 1;
                counted += count;
            }
        }
        counted += gate.pass(now + 1_000.0).unwrap();
        prop_assert_eq!(passes + counted, steps.len() as u64);
    }
}
