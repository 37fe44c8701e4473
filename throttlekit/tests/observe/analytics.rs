//! What is counted of decisions and admissions: windows, keys, lanes, totals.

use std::thread;

use throttlekit::analytics::{AdmissionAnalytics, Analytics, Counted, Totals};
use throttlekit::store::Remote;
use throttlekit::store::memory::Table;
use throttlekit::unified::{Prices, Tap};
use throttlekit::{
    Admit, Ask, Error, Event, FixedWindow, Gcra, Guard, Lane, Limiter, ManualClock, Meter, Observer, TokenBucket,
    Unified,
};

use crate::support::{self, DownStore};

fn clock(now_ms: f64) -> ManualClock {
    ManualClock::new(now_ms)
}

fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

fn ask_often(limiter: &impl Meter, key: &str, times: u32) {
    (0..times).for_each(|_| assert!(limiter.debit(key, 1.0).now().is_ok()));
}

fn keys(counted: &[Counted]) -> Vec<(&str, f64)> {
    counted.iter().map(|counted| (counted.key.as_str(), counted.count)).collect()
}

fn totals(analytics: &Analytics<ManualClock>) -> (u64, u64, u64) {
    let Totals { allowed, denied, failed, .. } = analytics.totals();
    (allowed, denied, failed)
}

#[test]
fn decisions_are_counted() {
    let clock = clock(0.0);
    let analytics = Analytics::builder().window_ms(10_000.0).clock(clock.clone()).build().unwrap();
    let window = FixedWindow::builder().limit(3.0).window_ms(1_000.0).build().unwrap();
    let limiter = Limiter::builder(window).clock(clock).observer(analytics.clone()).build();
    ask_often(&limiter, "user", 5);
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.allowed, snapshot.denied, snapshot.total(), snapshot.deny_rate()), (3, 2, 5, 0.4));
    assert_eq!((snapshot.window_started_at_ms, snapshot.window_ms), (0.0, 10_000.0));

    // What takes nothing counts nothing; a batch counts one for each key.
    limiter.peek("user").unwrap();
    limiter.forecast("user", 1.0).unwrap();
    assert_eq!(analytics.snapshot().total(), 5);
    limiter.check_many(&["a", "b", "a"], 2.0).unwrap();
    assert_eq!(keys(&analytics.snapshot().top_requested), [("user", 5.0), ("a", 2.0), ("b", 1.0)]);
    assert_eq!(totals(&analytics), (5, 3, 0));
}

#[test]
fn the_heaviest_and_the_most_denied_are_told() {
    let clock = clock(0.0);
    let analytics = Analytics::builder().clock(clock.clone()).build().unwrap();
    let limiter = Limiter::builder(gcra(2.0, 1_000.0)).clock(clock).observer(analytics.clone()).build();
    ask_often(&limiter, "flooder", 10);
    ask_often(&limiter, "alice", 1);
    ask_often(&limiter, "bob", 1);
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.denied, snapshot.allowed), (8, 4));
    assert_eq!(keys(&snapshot.top_denied), [("flooder", 8.0)]);
    assert_eq!(keys(&snapshot.top_requested), [("flooder", 10.0), ("alice", 1.0), ("bob", 1.0)]);
    assert_eq!(snapshot.top_requested[0].error, 0.0);
}

#[test]
fn lists_are_bounded_whatever_comes() {
    let analytics = Analytics::builder().top_k(8).clock(clock(0.0)).build().unwrap();
    (0..10_000).for_each(|i| analytics.record(&format!("k{i}"), 1.0, false));
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.total(), snapshot.top_requested.len(), snapshot.top_denied.len()), (10_000, 8, 8));
}

#[test]
fn a_window_ends_and_totals_do_not() {
    let clock = clock(0.0);
    let analytics = Analytics::builder().window_ms(1_000.0).clock(clock.clone()).build().unwrap();
    analytics.record("a", 1.0, true);
    analytics.record("a", 1.0, true);
    clock.set(999.0);
    analytics.record("b", 1.0, false);
    assert_eq!(analytics.snapshot().total(), 3);
    clock.set(1_000.0);
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.total(), snapshot.deny_rate(), snapshot.window_started_at_ms), (0, 0.0, 1_000.0));
    assert!(snapshot.top_requested.is_empty() && snapshot.top_denied.is_empty());
    assert_eq!(totals(&analytics), (2, 1, 0));

    // A decision also begins a window, and one in the past is another one.
    analytics.record("c", 1.0, true);
    clock.set(999.0);
    analytics.record("d", 1.0, true);
    let snapshot = analytics.snapshot();
    assert_eq!((keys(&snapshot.top_requested), snapshot.window_started_at_ms), (vec![("d", 1.0)], 0.0));
    clock.set(7_250.0);
    assert_eq!(analytics.snapshot().window_started_at_ms, 7_000.0);

    analytics.record("e", 1.0, true);
    analytics.reset();
    assert_eq!((analytics.snapshot().total(), totals(&analytics)), (0, (5, 1, 0)));
}

#[test]
fn a_window_may_be_of_any_length() {
    for (window_ms, now_ms, started_at_ms) in [(0.5, 3.0, 3.0), (1e15, 5.0, 0.0), (100_000.5, 200_002.0, 200_001.0)] {
        let analytics = Analytics::builder().window_ms(window_ms).clock(clock(now_ms)).build().unwrap();
        analytics.record("a", 1.0, true);
        analytics.record("a", 1.0, true);
        let snapshot = analytics.snapshot();
        assert_eq!((snapshot.total(), snapshot.window_started_at_ms), (2, started_at_ms), "{window_ms}");
    }
}

#[test]
fn bad_settings_are_named() {
    let refused = |builder: throttlekit::analytics::AnalyticsBuilder| {
        let error = builder.clone().build().unwrap_err();
        assert_eq!(builder.build_for_admissions().unwrap_err(), error);
        error.option()
    };
    assert_eq!(refused(Analytics::builder().top_k(0)), "analytics.topK");
    for window_ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(Analytics::builder().window_ms(window_ms)), "analytics.windowMs");
    }
    for shards in [0, 1_025] {
        assert_eq!(refused(Analytics::builder().shards(shards)), "analytics.shards");
    }
}

#[test]
fn lists_may_count_units() {
    let clock = clock(0.0);
    let analytics = Analytics::builder().weighted(true).clock(clock.clone()).build().unwrap();
    let limiter = Limiter::builder(gcra(100.0, 1e6)).clock(clock).observer(analytics.clone()).build();
    ask_often(&limiter, "small", 3);
    limiter.check_cost("large", 40.0).unwrap();
    limiter.check_cost("large", 99.0).unwrap();
    let snapshot = analytics.snapshot();
    assert_eq!(keys(&snapshot.top_requested), [("large", 139.0), ("small", 3.0)]);
    assert_eq!((keys(&snapshot.top_denied), snapshot.total()), (vec![("large", 99.0)], 5));
}

#[test]
fn without_a_clock_of_its_own_a_decision_counts_at_its_time() {
    let analytics = Analytics::new();
    let now = |event: &Event<'_>| analytics.observe(event);
    let decision = throttlekit::Decision::ALLOW_FULL;
    let event = |now_ms| Event::new("p", "s", throttlekit::Axis::Rate, 1.0, now_ms, Ok(decision)).with_key("k");
    // The first one begins the window of the system's clock, whatever time it says.
    now(&event(5.0));
    let started_at_ms = analytics.snapshot().window_started_at_ms;
    assert!(started_at_ms > 1e12);
    now(&event(started_at_ms));
    // One that is late clears nothing.
    now(&event(started_at_ms - 1.0));
    let snapshot = analytics.snapshot();
    // A minute may have turned in between; then all began anew.
    assert!(snapshot.window_started_at_ms > started_at_ms || snapshot.total() == 3);
}

#[test]
fn failures_are_counted_apart() {
    let analytics = Analytics::builder().clock(clock(0.0)).build().unwrap();
    let failing = |event: &Event<'_>| analytics.observe(event);
    let error = Error::store_unavailable("gone");
    failing(&Event::new("p", "s", throttlekit::Axis::Rate, 1.0, 0.0, Err(&error)).with_key("k"));
    assert_eq!((totals(&analytics), analytics.snapshot().total()), ((0, 0, 1), 0));
}

/// Stores know a key by fingerprints of their own, each with a secret of its own, or by none.
#[test]
fn a_key_is_the_same_whoever_decides_on_it() {
    for shards in [1, 8] {
        let clock = clock(0.0);
        let analytics = Analytics::builder().shards(shards).clock(clock.clone()).build().unwrap();
        let table = Table::new();
        let limiter = |table: &Table<_>, prefix: &str| {
            let builder = Limiter::builder(gcra(9.0, 1_000.0)).keyspace(table.clone()).prefix(prefix);
            builder.clock(clock.clone()).observer(analytics.clone()).build()
        };
        let limiters = [limiter(&table, ""), limiter(&table, "other"), limiter(&Table::new(), ""), limiter(&table, "")];
        for limiter in &limiters {
            for key in ["a", "b", "a"] {
                assert!(limiter.check(key).unwrap().allowed);
            }
            ask_often(limiter, "b", 1);
            limiter.check_many(&["a", "c"], 1.0).unwrap();
        }
        analytics.record("a", 1.0, false);
        let snapshot = analytics.snapshot();
        assert_eq!(keys(&snapshot.top_requested), [("a", 13.0), ("b", 8.0), ("c", 4.0)]);
        assert_eq!(keys(&snapshot.top_denied), [("a", 1.0)]);
    }
}

#[test]
fn keys_in_several_parts_are_told_together() {
    let analytics = Analytics::builder().top_k(5).shards(5).clock(clock(0.0)).build().unwrap();
    for i in 0..100_u32 {
        (0..=i).for_each(|_| analytics.record(&format!("k{i}"), 1.0, i % 2 == 0));
    }
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.total(), snapshot.top_requested.len(), snapshot.top_denied.len()), (5_050, 5, 5));
    for counted in &snapshot.top_requested {
        let truly: f64 = counted.key[1..].parse::<f64>().unwrap() + 1.0;
        assert!(counted.at_least() <= truly && truly <= counted.count && counted.error <= 5_050.0 / 5.0);
    }
    analytics.reset();
    assert_eq!(analytics.snapshot().total(), 0);
}

#[test]
fn no_count_is_lost_between_threads() {
    let analytics = Analytics::builder().top_k(4).clock(clock(0.0)).build().unwrap();
    thread::scope(|scope| {
        for key in ["a", "b", "c", "d"] {
            let analytics = &analytics;
            scope.spawn(move || (0..1_000).for_each(|i| analytics.record(key, 1.0, i % 4 != 0)));
        }
    });
    let snapshot = analytics.snapshot();
    assert_eq!(keys(&snapshot.top_requested), [("a", 1e3), ("b", 1e3), ("c", 1e3), ("d", 1e3)]);
    assert_eq!(keys(&snapshot.top_denied), [("a", 250.0), ("b", 250.0), ("c", 250.0), ("d", 250.0)]);
    assert_eq!((snapshot.allowed, snapshot.denied, totals(&analytics)), (3_000, 1_000, (3_000, 1_000, 0)));
}

fn admissions() -> AdmissionAnalytics<ManualClock> {
    Analytics::builder().clock(clock(0.0)).build_for_admissions().unwrap()
}

fn by_lane(analytics: &AdmissionAnalytics<ManualClock>) -> [u64; 4] {
    let snapshot = analytics.snapshot();
    let by_lane = Lane::ALL.map(|lane| snapshot.denied_by(lane));
    assert_eq!(by_lane.iter().sum::<u64>(), snapshot.overall.denied);
    by_lane
}

fn ask(admit: &impl Admit, ask: &Ask<'_>) -> throttlekit::Admission {
    admit.admit(ask).now().unwrap().unwrap()
}

#[test]
fn admissions_are_counted_by_lane() {
    let analytics = admissions();
    let rate = Limiter::builder(gcra(3.0, 3_600_000.0)).clock(clock(0.0)).build();
    let unified = Unified::builder().concurrency(Guard::fixed(9).unwrap()).rate(rate).observer(analytics.clone());
    let unified = unified.build().unwrap();
    (0..5).for_each(|_| drop(ask(&unified, &Ask::new("user"))));
    assert_eq!(by_lane(&analytics), [2, 0, 0, 0]);
    let snapshot = analytics.snapshot();
    assert_eq!((snapshot.overall.allowed, keys(&snapshot.overall.top_requested)), (3, vec![("user", 5.0)]));
    assert_eq!(keys(snapshot.top_denied_by(Lane::Rate)), [("user", 2.0)]);
    assert!(snapshot.top_denied_by(Lane::Cost).is_empty());
    assert_eq!(analytics.totals().denied, 2);
    analytics.reset();
    assert_eq!((by_lane(&analytics), analytics.totals().denied), ([0; 4], 2));
}

#[test]
fn a_full_guard_denies_by_concurrency() {
    let analytics = admissions();
    let counting = analytics.clone();
    let tapped = Tap::new(Guard::fixed(1).unwrap(), move |event| counting.record(event));
    let held = ask(&tapped, &Ask::new("a"));
    (0..5).for_each(|_| drop(ask(&tapped, &Ask::new("b"))));
    drop(held);
    assert_eq!(by_lane(&analytics), [0, 5, 0, 0]);
    assert_eq!(keys(analytics.snapshot().top_denied_by(Lane::Concurrency)), [("b", 5.0)]);
}

#[test]
fn prices_deny_by_policy() {
    let analytics = admissions();
    let cost = TokenBucket::builder().capacity(10.0).refill_per_sec(1.0).build().unwrap();
    let unified = Unified::builder()
        .rate(Limiter::new(gcra(9.0, 1_000.0)))
        .cost(Limiter::new(cost))
        .prices(Prices::new(1.0, 1.0))
        .observer(analytics.clone())
        .build()
        .unwrap();
    let admission = ask(&unified, &Ask::new("cheap").value(0.5));
    assert_eq!((admission.decision.allowed, admission.binding), (false, None));
    assert_eq!(by_lane(&analytics), [0, 0, 0, 1]);
    assert_eq!(keys(analytics.snapshot().top_denied_by(Lane::Policy)), [("cheap", 1.0)]);
}

#[test]
fn a_request_over_several_axes_is_one_decision() {
    let decisions = Analytics::builder().clock(clock(0.0)).build().unwrap();
    let unified = Unified::builder()
        .concurrency(Guard::fixed(9).unwrap())
        .rate(Limiter::new(gcra(1.0, 1e6)))
        .observer(decisions.clone())
        .build()
        .unwrap();
    (0..3).for_each(|_| drop(ask(&unified, &Ask::new("user"))));
    assert_eq!(totals(&decisions), (1, 2, 0));
    assert_eq!(keys(&decisions.snapshot().top_denied), [("user", 2.0)]);
}

#[test]
fn an_outage_is_a_failure_of_each_request() {
    let (decisions, admitted) = (Analytics::builder().clock(clock(0.0)).build().unwrap(), admissions());
    let rate = Limiter::builder(gcra(1.0, 1e6)).keyspace(Remote::new(DownStore)).build();
    let unified = Unified::builder().rate(rate).observer((decisions.clone(), admitted.clone())).build().unwrap();
    assert!(support::polled(unified.admit(&Ask::new("user")), 9).unwrap().is_err());
    assert_eq!((totals(&decisions), admitted.totals().failed), ((0, 0, 1), 1));
}

#[test]
fn no_output_for_debugging_shows_a_key() {
    let (analytics, admitted) = (Analytics::new(), AdmissionAnalytics::new());
    let unified = Unified::builder().rate(Limiter::new(gcra(1.0, 1e6))).observer((analytics.clone(), admitted.clone()));
    let unified = unified.build().unwrap();
    (0..3).for_each(|_| drop(ask(&unified, &Ask::new("the-key-itself"))));
    assert_eq!(keys(&analytics.snapshot().top_denied), [("the-key-itself", 2.0)]);
    let shown = format!("{analytics:?} {:?} {admitted:?} {:?}", analytics.snapshot(), admitted.snapshot());
    assert!(!shown.contains("the-key") && shown.contains("denied: 2"), "{shown}");
}
