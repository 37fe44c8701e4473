//! Every interleaving of what calls may do to the word of a circuit.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::BreakerState;
use super::circuit::{Change, Circuit, Limits, Ticket};

const LIMITS: Limits = Limits { failures: 2, interval_ms: 10, probe_ms: 30 };

/// A circuit that opened at 0.
fn open() -> Circuit {
    let circuit = Circuit::new(LIMITS);
    for _ in 0..2 {
        circuit.enter(|| 0).expect("it is closed").fail(0);
    }
    assert_eq!(circuit.state(), BreakerState::Open);
    circuit
}

#[test]
fn loom_of_two_calls_after_the_interval_one_is_the_probe() {
    loom::model(|| {
        let circuit = Arc::new(open());
        let probes = Arc::new(AtomicUsize::new(0));
        let enter = |circuit: &Circuit, probes: &AtomicUsize| {
            let Some(ticket) = circuit.enter(|| 10) else { return };
            probes.fetch_add(1, Ordering::Relaxed);
            assert_eq!(ticket.fail(11), Change::None);
        };
        let other = thread::spawn({
            let (circuit, probes) = (circuit.clone(), probes.clone());
            move || enter(&circuit, &probes)
        });
        enter(&circuit, &probes);
        other.join().expect("no panic");
        assert_eq!((probes.load(Ordering::Relaxed), circuit.state()), (1, BreakerState::Open));
    });
}

#[test]
fn loom_a_dropped_probe_gives_its_place_back_once() {
    loom::model(|| {
        let circuit = Arc::new(open());
        let other = thread::spawn({
            let circuit = circuit.clone();
            move || drop(circuit.enter(|| 10))
        });
        drop(circuit.enter(|| 10));
        other.join().expect("no panic");
        assert_eq!(circuit.state(), BreakerState::Open);
        // Whoever came first, the place is free now.
        let ticket = circuit.enter(|| 10).expect("the place was given back");
        assert!(circuit.enter(|| 10).is_none());
        assert_eq!(ticket.succeed(), Change::Closed);
    });
}

#[test]
fn loom_a_lost_probe_does_not_disturb_the_one_in_its_place() {
    loom::model(|| {
        let circuit = Arc::new(open());
        let lost = circuit.enter(|| 10).expect("the first probe");
        let other = thread::spawn({
            let circuit = circuit.clone();
            move || {
                let probe = circuit.enter(|| 40).expect("the first one was given up, or dropped");
                assert!(circuit.enter(|| 41).is_none(), "one probe at a time");
                assert_eq!(probe.succeed(), Change::Closed);
            }
        });
        drop(lost);
        other.join().expect("no panic");
        assert_eq!(circuit.state(), BreakerState::Closed);
    });
}

#[test]
fn loom_failures_at_the_same_time_all_count() {
    loom::model(|| {
        let circuit = Arc::new(Circuit::new(LIMITS));
        let other = thread::spawn({
            let circuit = circuit.clone();
            move || circuit.enter(|| 0).expect("closed").fail(0) == Change::Opened
        });
        let ticket = circuit.enter(|| 0);
        let opened = ticket.is_some_and(|ticket| ticket.fail(0) == Change::Opened);
        let opened = usize::from(opened) + usize::from(other.join().expect("no panic"));
        assert_eq!((opened, circuit.state()), (1, BreakerState::Open));
    });
}

#[test]
fn loom_a_success_beside_a_failure_leaves_it_closed() {
    loom::model(|| {
        let circuit = Arc::new(Circuit::new(LIMITS));
        circuit.enter(|| 0).expect("closed").fail(0);
        let other = thread::spawn({
            let circuit = circuit.clone();
            move || circuit.enter(|| 0).map(Ticket::succeed)
        });
        let failure = circuit.enter(|| 0).expect("a success does not open it").fail(0);
        let expected = match (failure, other.join().expect("no panic")) {
            // The success came too late to be let through.
            (Change::Opened, None) => BreakerState::Open,
            // It was on its way, and closed what had opened.
            (Change::Opened, Some(Change::Closed)) => BreakerState::Closed,
            // It took the count back before the failure, or after it in a count of one.
            (_, Some(Change::None)) => BreakerState::Closed,
            other => panic!("{other:?}"),
        };
        assert_eq!(circuit.state(), expected);
    });
}
