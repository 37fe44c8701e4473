//! The limiter over a store that a user wrote: nothing is broken by races, outages and dropped futures.

use std::sync::{Arc, Mutex};

use throttlekit::store::{Call, Remote, Store};
use throttlekit::{Admit, Ask, Error, ErrorKind, ExactGcra, Gcra, Limiter, ManualClock, Meter};

use crate::support::{CasStore, CountingClock, DownStore, N, Recorder, Seen, allow, polled};

fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

#[test]
fn keys_and_texts_are_those_of_the_family() {
    let store = CasStore::default();
    let clock = ManualClock::new(N);
    let scoped = |prefix: &str| {
        let keys = Remote::new(store.clone());
        Limiter::builder(gcra(3.0, 1_000.0)).keyspace(keys).clock(clock.clone()).prefix(prefix).build()
    };
    polled(scoped("api").check("u1"), 100).unwrap().unwrap();
    assert_eq!(store.text("api:u1").as_deref(), Some("1700000000333.3333"));
    assert_eq!(polled(scoped("web").peek("u1"), 100).unwrap().unwrap().remaining, 3);
    polled(scoped("").check("u1"), 100).unwrap().unwrap();
    assert!(store.text("u1").is_some());
    let exact = ExactGcra::builder().limit(3).period_ms(1_000).burst(3).build().unwrap();
    let exact = Limiter::builder(exact).keyspace(Remote::new(store.clone())).clock(clock.clone()).prefix("api").build();
    polled(exact.check("u1"), 100).unwrap().unwrap();
    assert_eq!(store.text("api:exact:u1").as_deref(), Some("1700000000333:1"));
    polled(scoped("api").reset("u1"), 100).unwrap().unwrap();
    assert_eq!(store.text("api:u1"), None);
    assert!(store.text("u1").is_some());
}

// One thread, on which all tasks get to the store before the first of them writes.
#[tokio::test]
async fn two_hundred_tasks_share_a_limit_of_50() {
    let store = CasStore::default();
    let limiter = Limiter::builder(gcra(50.0, 3_600_000.0))
        .keyspace(Remote::new(store.clone()))
        .clock(ManualClock::new(0.0))
        .build();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.check("k").await.unwrap().allowed })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += u32::from(task.await.unwrap());
    }
    assert_eq!(allowed, 50);
    assert_eq!(store.calls(), 200);
    assert!(store.races() > 0, "no two tasks met, so nothing was tested");
}

#[tokio::test]
async fn a_batch_is_one_call() {
    let store = CasStore::default();
    let clock = CountingClock::default();
    let limiter =
        Limiter::builder(gcra(2.0, 1_000.0)).keyspace(Remote::new(store.clone())).clock(clock.clone()).build();
    let decisions = limiter.check_many(&["a", "b", "a", "a"], 1.0).await.unwrap();
    let allowed: Vec<_> = decisions.iter().map(|decision| decision.allowed).collect();
    assert_eq!(allowed, [true, true, true, false]);
    assert_eq!((store.calls(), clock.take_readings()), (1, 1));
    assert_eq!(limiter.check_many(&[], 1.0).await.unwrap(), []);
}

#[tokio::test]
async fn a_bad_cost_never_reaches_clock_or_store() {
    let store = CasStore::default();
    let clock = CountingClock::default();
    let limiter =
        Limiter::builder(gcra(2.0, 1_000.0)).keyspace(Remote::new(store.clone())).clock(clock.clone()).build();
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(limiter.check_cost("k", cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(limiter.check_many(&["k"], cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(limiter.forecast("k", cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(limiter.debit("k", cost).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(limiter.admit(&Ask::new("k").cost(cost)).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!((store.calls(), clock.take_readings()), (0, 0));
}

#[tokio::test]
async fn an_outage_is_an_error_and_one_event() {
    let recorder = Arc::new(Recorder::default());
    let limiter = Limiter::builder(gcra(2.0, 1_000.0))
        .keyspace(Remote::new(DownStore))
        .clock(ManualClock::new(5.0))
        .observer(Arc::clone(&recorder))
        .build();
    let error = limiter.check("k").await.unwrap_err();
    assert!(error.is_store_unavailable());
    let seen =
        Seen { policy: "gcra".into(), strategy: "gcra", cost: 1.0, now_ms: 5.0, result: Err("store_unavailable") };
    assert_eq!(recorder.take(), std::slice::from_ref(&seen));
    assert!(limiter.check_many(&["a", "b"], 1.0).await.unwrap_err().is_store_unavailable());
    assert_eq!(recorder.take(), [seen.clone(), seen]);
    assert!(limiter.peek("k").await.unwrap_err().is_store_unavailable());
    assert!(limiter.reset("k").await.unwrap_err().is_store_unavailable());
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn a_text_that_does_not_parse_is_never_admitted() {
    let store = CasStore::default();
    store.put("k", "{\"tokens\":1}");
    let limiter = Limiter::builder(gcra(2.0, 1_000.0)).keyspace(Remote::new(store.clone())).build();
    assert_eq!(limiter.check("k").await.unwrap_err().kind(), ErrorKind::StateInvalid);
    assert_eq!(limiter.peek("k").await.unwrap_err().kind(), ErrorKind::StateInvalid);
    assert_eq!(store.text("k").as_deref(), Some("{\"tokens\":1}"));
    limiter.reset("k").await.unwrap();
    assert!(limiter.check("k").await.unwrap().allowed);
}

/// A store that only looks at what it is asked.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Vec<(bool, bool)>>>);

impl Store for Spy {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        self.0.lock().unwrap().push((call.read_only(), call.ignores_state()));
        call.step(&vec![None; call.keys().len()], call.now_ms()).map(drop)
    }
}

#[tokio::test]
async fn a_store_can_tell_what_needs_no_read_and_what_needs_no_write() {
    let spy = Spy::default();
    let limiter = Limiter::builder(gcra(2.0, 1_000.0)).keyspace(Remote::new(spy.clone())).build();
    limiter.check("k").await.unwrap();
    limiter.peek("k").await.unwrap();
    limiter.reset("k").await.unwrap();
    assert_eq!(*spy.0.lock().unwrap(), [(false, false), (true, false), (false, true)]);
}

#[tokio::test]
async fn an_observer_sees_one_event_for_each_answer() {
    let recorder = Arc::new(Recorder::default());
    let limiter = Limiter::builder(gcra(2.0, 1_000.0))
        .keyspace(Remote::new(CasStore::default()))
        .clock(ManualClock::new(0.0))
        .observer(Arc::clone(&recorder))
        .name("login")
        .build();
    limiter.check("k").await.unwrap();
    limiter.check_many(&["a", "b", "c"], 2.0).await.unwrap();
    let seen = recorder.take();
    assert_eq!(seen.len(), 4);
    assert_eq!((seen[0].policy.as_str(), seen[0].result), ("login", Ok(allow(2, 1, 500))));
    assert!(seen[1..].iter().all(|event| event.cost == 2.0 && event.result == Ok(allow(2, 0, 1_000))));
}

/// Whatever a dropped check did, the key is whole: it was counted once or not at all, and the next check goes on.
#[test]
fn checks_that_are_dropped_leave_the_key_whole() {
    let mut answered = 0;
    for polls in 0..8 {
        let store = CasStore::default();
        let recorder = Arc::new(Recorder::default());
        let limiter = Limiter::builder(gcra(5.0, 1_000.0))
            .keyspace(Remote::new(store.clone()))
            .clock(ManualClock::new(0.0))
            .observer(Arc::clone(&recorder))
            .build();
        let answer = polled(limiter.check("k"), polls);
        answered += usize::from(answer.is_some());
        let counted = store.text("k").is_some();
        // This store writes at the end, so an answer and a count come together.
        assert_eq!(answer.is_some(), counted, "after {polls} polls");
        assert_eq!(recorder.take().len(), usize::from(counted), "after {polls} polls");
        let next = polled(limiter.check("k"), 100).unwrap().unwrap();
        assert_eq!(next.remaining, if counted { 3 } else { 4 }, "after {polls} polls");
    }
    assert!((1..8).contains(&answered), "the drops must fall before and after the answer: {answered}");
}

#[test]
fn other_calls_that_are_dropped_take_nothing() {
    for polls in 0..8 {
        let limiter = Limiter::builder(gcra(5.0, 1_000.0))
            .keyspace(Remote::new(CasStore::default()))
            .clock(ManualClock::new(0.0))
            .build();
        polled(limiter.check("k"), 100).unwrap().unwrap();
        drop(polled(limiter.peek("k"), polls));
        drop(polled(limiter.forecast("k", 1.0), polls));
        assert_eq!(polled(limiter.peek("k"), 100).unwrap().unwrap().remaining, 4);
        drop(polled(limiter.reset("k"), polls));
        assert!([4, 5].contains(&polled(limiter.peek("k"), 100).unwrap().unwrap().remaining));
    }
}
