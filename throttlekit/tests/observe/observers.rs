//! Observers: what they see, that they harm nobody, and that no event shows a key by accident.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use throttlekit::budget::Budget;
#[cfg(feature = "config")]
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::unified::Prices;
use throttlekit::{
    AdmissionEvent, Admit, Ask, Axis, CallKind, Disconnect, Error, Event, FixedWindow, Gauges, Gcra, Guard,
    GuardReport, GuardStats, Lane, LeaseEvent, Limiter, ManualClock, Observer, Priority, Program, Stage, TokenBucket,
    Unified, Wait, WaitOutcome,
};

use crate::support::CasStore;

/// One event, without its borrows.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    key: String,
    kind: &'static str,
    axis: Axis,
    cost: f64,
    took_ms: Option<f64>,
    local: bool,
    part: bool,
    result: Result<bool, &'static str>,
}

/// Keeps what it sees. Its stopwatch goes on by 4 ms with each reading.
#[derive(Default)]
struct Watcher {
    events: Mutex<Vec<Seen>>,
    wholes: Mutex<Vec<(String, Option<Lane>, f64)>>,
    others: Mutex<Vec<&'static str>>,
    debug: Mutex<Vec<String>>,
    reading_ns: AtomicU64,
    panics: AtomicU64,
}

impl Watcher {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    fn keys(&self) -> Vec<(String, &'static str)> {
        self.take().into_iter().map(|seen| (seen.key, seen.kind)).collect()
    }
}

impl Observer for Watcher {
    fn observe(&self, event: &Event<'_>) {
        self.debug.lock().unwrap().push(format!("{event:?}"));
        self.events.lock().unwrap().push(Seen {
            key: event.key().to_owned(),
            kind: event.kind.as_str(),
            axis: event.axis,
            cost: event.cost,
            took_ms: event.took_ms,
            local: event.local,
            part: event.part,
            result: event.result.map(|decision| decision.allowed).map_err(Error::code),
        });
    }

    fn stopwatch_ns(&self) -> Option<u64> {
        Some(self.reading_ns.fetch_add(4_000_000, Ordering::Relaxed))
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        self.debug.lock().unwrap().push(format!("{admission:?}"));
        self.wholes.lock().unwrap().push((admission.key().to_owned(), admission.lane(), admission.duration_ms));
    }

    fn waited(&self, wait: &Wait<'_>) {
        self.others.lock().unwrap().push(wait.outcome.as_str());
    }

    fn leased(&self, _: &LeaseEvent<'_>) {
        self.others.lock().unwrap().push("lease");
    }

    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        self.others.lock().unwrap().push(disconnect.stage.as_str());
    }

    fn attach(&self, gauges: Arc<dyn Gauges>) {
        let mut others = self.others.lock().unwrap();
        gauges.guards(&mut |_, report, stats| {
            assert_eq!(report.limit, stats.limit);
            others.push("guard");
        });
        gauges.tables(&mut |_, _| others.push("table"));
    }

    fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// Panics at everything, and counts that.
#[derive(Default)]
struct Broken {
    panics: AtomicU64,
}

impl Observer for Broken {
    fn observe(&self, _: &Event<'_>) {
        panic!("observe");
    }

    fn stopwatch_ns(&self) -> Option<u64> {
        panic!("stopwatch");
    }

    fn admitted(&self, _: &AdmissionEvent<'_>) {
        panic!("admitted");
    }

    fn disconnected(&self, _: &Disconnect<'_>) {
        panic!("disconnected");
    }

    fn attach(&self, _: Arc<dyn Gauges>) {
        panic!("attach");
    }

    fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        panic!("panicked");
    }
}

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(60_000.0).build().unwrap()
}

type Watched = Limiter<Gcra, Table<<Gcra as Program>::State>, ManualClock, Arc<Watcher>>;

fn watched(limit: f64) -> (Arc<Watcher>, Watched) {
    let watcher = Arc::new(Watcher::default());
    let builder = Limiter::builder(gcra(limit)).clock(ManualClock::new(0.0));
    (Arc::clone(&watcher), builder.observer(watcher).build())
}

#[test]
fn an_event_has_the_key_the_cost_and_the_decision() {
    let (watcher, limiter) = watched(5.0);
    let decision = limiter.run_check("k", 2.0).now().unwrap().unwrap();
    assert!(decision.allowed);
    let seen = Seen {
        key: "k".to_owned(),
        kind: "check",
        axis: Axis::Rate,
        cost: 2.0,
        took_ms: Some(4.0),
        local: false,
        part: false,
        result: Ok(true),
    };
    assert_eq!(watcher.take(), [seen]);
}

#[test]
fn events_come_in_the_order_of_keys_and_say_how_they_were_asked_for() {
    let (watcher, limiter) = watched(5.0);
    limiter.check("a").unwrap();
    limiter.run_check("b", 1.0).now().unwrap().unwrap();
    limiter.run_check_many(&["c", "d"], 1.0).now().unwrap().unwrap();
    limiter.check_many(&["e", "f"], 1.0).unwrap();
    let expected = [
        ("a", "checkSync"),
        ("b", "check"),
        ("c", "checkMany"),
        ("d", "checkMany"),
        ("e", "checkManySync"),
        ("f", "checkManySync"),
    ];
    assert_eq!(watcher.keys(), expected.map(|(key, kind)| (key.to_owned(), kind)));
    let kinds = [CallKind::Check, CallKind::CheckSync, CallKind::CheckMany, CallKind::CheckManySync];
    assert_eq!(kinds.map(|kind| kind.to_string()), ["check", "checkSync", "checkMany", "checkManySync"]);
}

#[test]
fn what_takes_nothing_gives_no_event() {
    let (watcher, limiter) = watched(3.0);
    assert_eq!(limiter.peek("k").unwrap().remaining, 3);
    assert_eq!(limiter.forecast("k", 1.0).unwrap().spendable_now, 3);
    limiter.reset("k").unwrap();
    assert_eq!(watcher.take(), []);
    assert_eq!(watcher.reading_ns.load(Ordering::Relaxed), 0, "nor is it timed");
}

#[test]
fn the_decisions_of_a_batch_share_its_time() {
    let (watcher, limiter) = watched(3.0);
    limiter.check_many(&["a", "b", "c", "d", "e"], 1.0).unwrap();
    let took: Vec<_> = watcher.take().into_iter().map(|seen| seen.took_ms.unwrap()).collect();
    assert_eq!(took, [0.8; 5]);
    assert!(limiter.check_many(&[], 1.0).unwrap().is_empty());
    assert_eq!(watcher.take(), []);
}

#[test]
fn an_observer_without_a_stopwatch_has_no_time() {
    #[derive(Default)]
    struct Untimed(AtomicU64);
    impl Observer for Untimed {
        fn observe(&self, event: &Event<'_>) {
            assert_eq!(event.took_ms, None);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let untimed = Arc::new(Untimed::default());
    Limiter::builder(gcra(1.0)).observer(Arc::clone(&untimed)).build().check("k").unwrap();
    assert_eq!(untimed.0.load(Ordering::Relaxed), 1);
}

/// A store that is gone.
struct Gone;

impl Store for Gone {
    async fn run(&self, _: &mut Call) -> Result<(), Error> {
        Err(Error::store_unavailable("it is gone"))
    }
}

#[tokio::test]
async fn failures_are_seen_with_their_keys() {
    let watcher = Arc::new(Watcher::default());
    let builder = Limiter::builder(gcra(1.0)).clock(ManualClock::new(0.0)).observer(Arc::clone(&watcher));
    let limiter = builder.keyspace(Remote::new(Gone)).build();
    limiter.check("a").await.unwrap_err();
    limiter.check_many(&["b", "c"], 1.0).await.unwrap_err();
    limiter.check_cost("d", -1.0).await.unwrap_err();
    let seen: Vec<_> = watcher.take().into_iter().map(|seen| (seen.key, seen.result.unwrap_err())).collect();
    let expected =
        [("a", "store_unavailable"), ("b", "store_unavailable"), ("c", "store_unavailable"), ("d", "invalid_argument")];
    assert_eq!(seen, expected.map(|(key, code)| (key.to_owned(), code)));
}

#[test]
fn a_refused_cost_is_seen_in_memory() {
    let (watcher, limiter) = watched(1.0);
    limiter.check_cost("a", f64::NAN).unwrap_err();
    limiter.check_many(&["b"], 0.0).unwrap_err();
    assert!(limiter.run_check_many(&["c"], 0.0).now().unwrap().is_err());
    let seen: Vec<_> = watcher.take().into_iter().map(|seen| (seen.kind, seen.result)).collect();
    let code = "invalid_argument";
    assert_eq!(seen, [("checkSync", Err(code)), ("checkManySync", Err(code)), ("checkMany", Err(code))]);
}

#[tokio::test]
async fn keys_arrive_after_a_wait() {
    let watcher = Arc::new(Watcher::default());
    let builder = Limiter::builder(gcra(1.0)).clock(ManualClock::new(0.0)).observer(Arc::clone(&watcher));
    let limiter = builder.keyspace(Remote::new(CasStore::default())).prefix("p").build();
    limiter.check("a").await.unwrap();
    limiter.check_many(&["b", "c"], 1.0).await.unwrap();
    let expected = [("a", "check"), ("b", "checkMany"), ("c", "checkMany")];
    assert_eq!(watcher.keys(), expected.map(|(key, kind)| (key.to_owned(), kind)));
}

#[test]
fn a_broken_observer_harms_neither_requests_nor_other_observers() {
    let broken = Arc::new(Broken::default());
    let watcher = Arc::new(Watcher::default());
    let all = (Arc::clone(&broken), Arc::clone(&watcher), ());
    let limiter = Limiter::builder(gcra(2.0)).clock(ManualClock::new(0.0)).observer(all).build();
    let allowed = [(); 3].map(|()| limiter.check("k").unwrap().allowed);
    assert_eq!(allowed, [true, true, false]);
    let seen = watcher.take();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.took_ms == Some(4.0)), "the next stopwatch is read");
    assert_eq!(broken.panics.load(Ordering::Relaxed), 9, "two readings and an event for each check");
    assert_eq!(watcher.panics.load(Ordering::Relaxed), 9, "those beside it know");
}

#[test]
fn a_broken_observer_alone_changes_no_decision() {
    let clock = ManualClock::new(0.0);
    let broken = Arc::new(Broken::default());
    let limiter = Limiter::builder(gcra(2.0)).clock(clock.clone()).observer(Arc::clone(&broken)).build();
    assert_eq!([(); 3].map(|()| limiter.check("k").unwrap().allowed), [true, true, false]);
    let guard = Guard::builder().fixed(1).clock(clock.clone()).observer(Arc::clone(&broken)).build().unwrap();
    let unified = Unified::builder().concurrency(guard.clone()).clock(clock).observer(Arc::clone(&broken));
    let unified = unified.build().unwrap();
    let held = unified.admit(&Ask::new("k")).now().unwrap().unwrap();
    assert!(held.permit.is_held());
    assert!(!unified.admit(&Ask::new("k")).now().unwrap().unwrap().decision.allowed);
    drop(held);
    assert_eq!(guard.in_flight(), 0);
    // Of each check a reading and an event; of each request these of the guard, then a reading, an event and the whole.
    assert_eq!(broken.panics.load(Ordering::Relaxed), 3 * 2 + 2 * (2 + 3));
}

#[test]
fn slices_and_options_hand_everything_on() {
    let watcher = Arc::new(Watcher::default());
    let observers: Arc<[Option<Arc<dyn Observer>>]> = Arc::new([None, Some(watcher.clone()), Some(watcher.clone())]);
    let limiter = Limiter::builder(gcra(2.0)).observer(Arc::clone(&observers)).build();
    limiter.check("k").unwrap();
    assert_eq!(watcher.take().len(), 2);
    observers.disconnected(&Disconnect::new("api", Stage::Working));
    (Broken::default(), observers).disconnected(&Disconnect::new("api", Stage::Answering));
    assert_eq!(*watcher.others.lock().unwrap(), ["working", "working", "answering", "answering"]);
    assert_eq!(Stage::ALL.map(Stage::as_str), ["deciding", "working", "answering"]);
    assert_eq!(WaitOutcome::ALL.map(WaitOutcome::as_str), ["admitted", "timed_out", "displaced", "cancelled"]);
}

/// What every member of a tuple, a slice or an `Option` may read.
struct One(Guard);

impl Gauges for One {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        tell("work", self.0.report(), self.0.stats());
    }
}

#[test]
fn gauges_are_handed_on_and_a_broken_observer_keeps_nobody_from_them() {
    let gauges = || Arc::new(One(Guard::fixed(1).unwrap()));
    let [watchers @ .., last] = [(); 3].map(|()| Arc::new(Watcher::default()));
    let broken = Arc::new(Broken::default());
    (Arc::clone(&broken), watchers.clone().to_vec().into_iter().next(), Arc::clone(&last)).attach(gauges());
    watchers[..].attach(gauges());
    let told = [&watchers[0], &watchers[1], &last].map(|watcher| watcher.others.lock().unwrap().clone());
    assert_eq!(told, [vec!["guard", "guard"], vec!["guard"], vec!["guard"]]);
    assert_eq!(broken.panics.load(Ordering::Relaxed), 1);
    assert_eq!(last.panics.load(Ordering::Relaxed), 1, "all that stand beside it are told");
}

#[cfg(feature = "config")]
#[test]
fn policies_give_their_gauges_to_the_observer_that_they_are_loaded_with() {
    let text = "limiters: { work: { concurrency: { limit: 8 } }, api: { strategy: gcra, limit: 9, period: 1s } }";
    let (watcher, broken) = (Arc::new(Watcher::default()), Arc::new(Broken::default()));
    let options = LoadOptions::new().observer((Arc::clone(&watcher), Arc::clone(&broken)));
    let policies = Policies::load(text, options).unwrap();
    assert_eq!(*watcher.others.lock().unwrap(), ["guard", "table"]);
    let gauges = policies.gauges();
    assert!(!gauges.is_gone());
    drop(policies);
    assert!(gauges.is_gone());
    gauges.guards(&mut |name, _, _| panic!("{name} is gone"));
    gauges.tables(&mut |name, _| panic!("{name} is gone"));
    let options = LoadOptions::new().observer(broken);
    assert!(Policies::load(text, options).is_ok(), "nobody fails by an observer");
}

#[test]
fn a_leased_budget_is_of_the_cost_axis_wherever_it_decides() {
    let watcher = Arc::new(Watcher::default());
    let budget = Budget::builder().budget(100.0).window_ms(60_000.0).build().unwrap();
    let leased =
        budget.leased().batch(10.0).clock(ManualClock::new(0.0)).observer(Arc::clone(&watcher)).build().unwrap();
    for _ in 0..2 {
        assert!(leased.run_check("k", 3.0).now().unwrap().unwrap().allowed);
    }
    let seen: Vec<_> = watcher.take().into_iter().map(|seen| (seen.axis, seen.local, seen.took_ms.is_some())).collect();
    assert_eq!(seen, [(Axis::Cost, false, true), (Axis::Cost, true, true)]);
}

#[test]
fn a_guard_tells_who_asked_and_how_much_it_matters() {
    #[derive(Default)]
    struct Shed(Mutex<Vec<(String, Priority, bool)>>);
    impl Observer for Shed {
        fn observe(&self, event: &Event<'_>) {
            let allowed = event.result.is_ok_and(|decision| decision.allowed);
            self.0.lock().unwrap().push((event.key().to_owned(), event.priority, allowed));
        }
    }
    let shed = Arc::new(Shed::default());
    let guard = Guard::builder().fixed(1).observer(Arc::clone(&shed)).build().unwrap();
    let held = guard.admit(&Ask::new("a")).now().unwrap().unwrap();
    let _ = guard.admit(&Ask::new("b").priority(Priority::High)).now().unwrap().unwrap();
    drop(held);
    let expected = [("a".to_owned(), Priority::Normal, true), ("b".to_owned(), Priority::High, false)];
    assert_eq!(*shed.0.lock().unwrap(), expected);
}

#[test]
fn a_unified_request_is_told_by_axis_and_as_a_whole() {
    let (clock, watcher) = (ManualClock::new(0.0), Arc::new(Watcher::default()));
    let rate = Limiter::builder(FixedWindow::builder().limit(3.0).window_ms(60_000.0).build().unwrap());
    let cost = Limiter::builder(TokenBucket::builder().capacity(10.0).refill_per_sec(1.0).build().unwrap());
    let unified = Unified::builder()
        .concurrency(Guard::builder().fixed(1).clock(clock.clone()).build().unwrap())
        .rate(rate.clock(clock.clone()).build())
        .cost(cost.clock(clock.clone()).build())
        .prices(Prices::new(0.0, 1.0))
        .clock(clock)
        .observer(Arc::clone(&watcher))
        .build()
        .unwrap();
    let ask = |cost, value| unified.admit(&Ask::new("k").cost(cost).value(value)).now().unwrap().unwrap();
    let held = ask(1.0, 1.0);
    drop(ask(1.0, 1.0));
    drop(held);
    drop(ask(1.0, 0.5));
    drop(ask(11.0, 11.0));
    let wholes = std::mem::take(&mut *watcher.wholes.lock().unwrap());
    let lanes = [None, Some(Lane::Concurrency), Some(Lane::Policy), Some(Lane::Cost)];
    assert_eq!(wholes, lanes.map(|lane| ("k".to_owned(), lane, 4.0)));
    let seen = watcher.take();
    assert!(seen.iter().all(|seen| seen.part && seen.key == "k" && seen.took_ms == Some(4.0)));
    let axes: Vec<_> = seen.iter().map(|seen| seen.axis).collect();
    let all = [Axis::Concurrency, Axis::Rate, Axis::Cost];
    assert_eq!(axes, [&all[..], &all[..1], &all[..1], &all[..]].concat());
}

#[tokio::test]
async fn a_unified_request_that_fails_is_seen() {
    let watcher = Arc::new(Watcher::default());
    let rate = Limiter::builder(gcra(1.0)).keyspace(Remote::new(Gone)).build();
    let unified = Unified::builder().rate(rate).observer(Arc::clone(&watcher)).build().unwrap();
    unified.admit(&Ask::new("k")).await.unwrap_err();
    let seen: Vec<_> = watcher.take().into_iter().map(|seen| (seen.key, seen.result)).collect();
    assert_eq!(seen, [("k".to_owned(), Err("store_unavailable"))]);
    assert_eq!(watcher.wholes.lock().unwrap().len(), 0);
}

#[test]
fn no_event_shows_its_key() {
    let (watcher, limiter) = watched(1.0);
    limiter.check("secret-key").unwrap();
    let unified = Unified::builder().rate(limiter).observer(Arc::clone(&watcher)).build().unwrap();
    let _ = unified.admit(&Ask::new("secret-key")).now().unwrap().unwrap();
    let debug = watcher.debug.lock().unwrap().concat();
    assert!(debug.contains("Event") && debug.contains("AdmissionEvent") && debug.contains("gcra"), "{debug}");
    assert!(!debug.contains("secret-key"), "{debug}");
    assert!(watcher.keys().iter().all(|(key, _)| key == "secret-key"));
}
