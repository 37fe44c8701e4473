//! Taps: whole requests, and how many were denied by what.

use std::sync::{Arc, Mutex};

use throttlekit::store::Remote;
use throttlekit::unified::{Lane, LaneCounts, Prices, Tap};
use throttlekit::{Admit, Ask, Axis, Error, FixedWindow, Gcra, Guard, Limiter, ManualClock, TokenBucket, Unified};

use crate::support::CasStore;

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1e9).build().unwrap()
}

/// What a tap showed: key, cost, value, whether allowed, lane.
type Seen = Arc<Mutex<Vec<(String, f64, f64, bool, Option<Lane>)>>>;

fn tap<A: Admit>(admit: A) -> (Tap<A, ManualClock>, Seen) {
    let seen = Seen::default();
    let shown = Arc::clone(&seen);
    let tap = Tap::with_clock(admit, ManualClock::new(0.0), move |event| {
        assert_eq!(event.lane().is_none(), event.decision.allowed);
        assert_eq!((event.axes.binding(), event.duration_ms), (event.binding, 0.0));
        let key = event.key().to_owned();
        shown.lock().unwrap().push((key, event.cost, event.value, event.decision.allowed, event.lane()));
    });
    (tap, seen)
}

#[test]
fn each_lane_is_named() {
    let guard = Guard::fixed(1).unwrap();
    let cost = TokenBucket::builder().capacity(10.0).refill_per_sec(1e-6).build().unwrap();
    let unified = Unified::builder().concurrency(guard).rate(Limiter::new(window(2.0))).cost(Limiter::new(cost));
    let (tap, seen) = tap(unified.prices(Prices::new(0.0, 1.0)).build().unwrap());
    let ask = |cost: f64, value: f64| tap.admit(&Ask::new("k").cost(cost).value(value)).now().unwrap().unwrap();
    let held = ask(8.0, 9.0);
    drop(ask(1.0, 9.0));
    drop(held);
    drop(ask(5.0, 9.0));
    drop(ask(5.0, 3.0));
    drop(ask(1.0, 9.0));
    drop(ask(1.0, 9.0));
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|seen| (seen.1, seen.2, seen.4)).collect();
    assert_eq!(
        seen,
        [
            (8.0, 9.0, None),
            (1.0, 9.0, Some(Lane::Concurrency)),
            (5.0, 9.0, Some(Lane::Cost)),
            (5.0, 3.0, Some(Lane::Policy)),
            (1.0, 9.0, None),
            (1.0, 9.0, Some(Lane::Rate)),
        ]
    );
}

#[test]
fn denials_are_counted_by_lane() {
    let rate =
        Limiter::builder(Gcra::builder().limit(3.0).period_ms(1e6).build().unwrap()).clock(ManualClock::new(0.0));
    let clock = ManualClock::new(5_500.0);
    let counts = LaneCounts::with_clock(1_000.0, clock.clone()).unwrap();
    let counting = counts.clone();
    let tap = Tap::new(rate.build(), move |event| counting.record(event));
    let ask = || drop(tap.admit(&Ask::new("k")).now().unwrap().unwrap());
    (0..5).for_each(|_| ask());
    let snapshot = counts.snapshot();
    assert_eq!((snapshot.window_started_at_ms, snapshot.window_ms), (5_000.0, 1_000.0));
    assert_eq!((snapshot.allowed, snapshot.denied, snapshot.total()), (3, 2, 5));
    assert_eq!(Lane::ALL.map(|lane| snapshot.denied_by(lane)), [2, 0, 0, 0]);
    assert!((snapshot.deny_rate() - 0.4).abs() < 1e-12);

    // Another window, forward or back, begins at 0; so does a reset.
    for to in [6_500.0, 5_500.0] {
        clock.set(to);
        assert_eq!((counts.snapshot().total(), counts.snapshot().deny_rate()), (0, 0.0));
        ask();
        assert_eq!(counts.snapshot().denied, 1);
    }
    counts.reset();
    assert_eq!(counts.snapshot().total(), 0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(LaneCounts::new(bad).unwrap_err().option(), "laneCounts.windowMs");
    }
}

#[tokio::test]
async fn what_waits_is_seen_once_and_what_fails_is_not() {
    let stored = Limiter::builder(window(1.0)).keyspace(Remote::new(CasStore::default())).build();
    let (tap, seen) = tap(Unified::builder().rate(stored).build().unwrap());
    assert!(tap.admit(&Ask::new("a")).await.unwrap().decision.allowed);
    assert_eq!(tap.admit(&Ask::new("a").cost(2.0)).await.unwrap().binding, Some(Axis::Rate));
    drop(tap.admit(&Ask::new("dropped")));
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, [("a".into(), 1.0, 1.0, true, None), ("a".into(), 2.0, 1.0, false, Some(Lane::Rate))]);

    let (failing, unseen) = self::tap(Limiter::new(window(1.0)));
    let error: Error = failing.admit(&Ask::new("a").cost(f64::NAN)).now().unwrap().unwrap_err();
    assert_eq!((error.code(), unseen.lock().unwrap().len()), ("invalid_argument", 0));
}

#[test]
fn a_tap_that_panics_changes_nothing() {
    let guard = Guard::fixed(1).unwrap();
    let tap = Tap::new(guard.clone(), |_| panic!("a tap that panics"));
    let admission = tap.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert!(admission.decision.allowed && admission.permit.is_held());
    drop(admission);
    assert_eq!(guard.in_flight(), 0);
}

/// Whatever admits may be the concurrency axis: its decision counts as that axis' own.
#[test]
fn a_tapped_guard_is_an_axis() {
    let guard = Guard::builder().fixed(1).clock(ManualClock::new(7.0)).build().unwrap();
    let (tap, seen) = tap(guard.clone());
    let unified = Unified::builder().concurrency(tap).rate(Limiter::new(window(5.0))).build().unwrap();
    let held = unified.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert!(held.permit.is_held() && held.axes.concurrency.unwrap().allowed);
    let denied = unified.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert_eq!((denied.binding, denied.axes.combined()), (Some(Axis::Concurrency), denied.decision));
    drop(held);
    assert_eq!((guard.in_flight(), seen.lock().unwrap().len()), (0, 2));
}
