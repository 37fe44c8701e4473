//! The kit for stores: it finds nothing wrong with a store that is right, and names what is wrong with one that is not.
#![cfg(all(feature = "testkit", feature = "tokio"))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throttlekit::store::{Call, Rule, Store, Write};
use throttlekit::testkit::{Harness, Report, Time, conformance};
use throttlekit::{Error, TokioRuntime};
use tokio::sync::OwnedMutexGuard;

use crate::support::{CasStore, DownStore, Mulberry};

const BY_CALL: Time = Time::Caller { expires: true };

/// Runs the kit, which may not take long.
async fn run(harness: Harness) -> Result<(), Report> {
    conformance(&harness.time_limit(TokioRuntime, Duration::from_secs(3_600))).await
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Others write between its read and its write.
    LosesUpdates,
    /// Only calls of one handle wait for each other.
    LocksPerHandle,
    IgnoresDeadlines,
    /// An entry is visible at its deadline.
    OneMillisecondMore,
    /// A time to live is rounded down.
    RoundsTimeToLiveDown,
    /// A read renews the deadline.
    ReadsRenew,
    /// 14 digits.
    RoundsNumbers,
    /// 255 bytes.
    CutsTexts,
    /// Makes the first write of a call only.
    HalfOfTheWrites,
    /// Makes the writes of a joint call one by one, with pauses in which others see them.
    OneWriteAtATime,
    DoesNotRemove,
    /// Upper and lower case are the same.
    FoldsKeys,
    /// Spaces at the end do not count.
    TrimsKeys,
    /// A call that failed leaves its keys locked.
    LocksAfterFailures,
    /// A call that was dropped leaves its keys locked.
    LocksAfterDrops,
    /// Locks keys in the order of the call.
    LocksInAnyOrder,
    /// Steps at a time of its own.
    OtherTime,
    /// Takes a state that does not parse for none.
    ForgivesGarbage,
    /// Writes what a failing call would have written before it failed.
    WritesBeforeFailures,
    /// A read-only call is answered from what a key was at first.
    StaleReads,
    /// Forgets to answer what has no keys.
    RefusesEmptyCalls,
}

#[derive(Default)]
struct Backend {
    rows: Mutex<HashMap<String, (String, f64)>>,
    first: Mutex<HashMap<String, Option<String>>>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Locks that nobody will give back.
    lost: Mutex<Vec<OwnedMutexGuard<()>>>,
}

/// A store of texts that locks keys, and has one fault at most.
struct Texts {
    backend: Arc<Backend>,
    own: Backend,
    fault: Fault,
}

/// Frees keys when dropped.
struct Locks<'a> {
    backend: &'a Backend,
    held: Vec<OwnedMutexGuard<()>>,
    fault: Fault,
    done: bool,
}

impl Locks<'_> {
    /// Never frees the keys.
    fn lose(&mut self) {
        self.backend.lost.lock().unwrap().append(&mut self.held);
    }
}

impl Drop for Locks<'_> {
    fn drop(&mut self) {
        if self.fault == Fault::LocksAfterDrops && !self.done {
            self.lose();
        }
    }
}

impl Texts {
    fn name(&self, key: &str) -> String {
        match self.fault {
            Fault::FoldsKeys => key.to_lowercase(),
            Fault::TrimsKeys => key.trim_end().to_owned(),
            _ => key.to_owned(),
        }
    }

    async fn lock(&self, mut keys: Vec<String>) -> Locks<'_> {
        if self.fault != Fault::LocksInAnyOrder {
            keys.sort();
        }
        keys.dedup();
        let backend = if self.fault == Fault::LocksPerHandle { &self.own } else { &*self.backend };
        let mut locks = Locks { backend, held: Vec::new(), fault: self.fault, done: false };
        if self.fault == Fault::LosesUpdates {
            return locks;
        }
        for key in keys {
            let lock = Arc::clone(backend.locks.lock().unwrap().entry(key).or_default());
            // In a deadlock nothing moves but the clock, so that the time limit passes.
            locks.held.push(lock.lock_owned().await);
            if self.fault == Fault::LocksInAnyOrder {
                tokio::task::yield_now().await;
            }
        }
        locks
    }

    /// What a key holds.
    fn read(&self, key: &str, now_ms: f64) -> Option<String> {
        let mut rows = self.backend.rows.lock().unwrap();
        let (text, until) = rows.get_mut(key)?;
        let live = match self.fault {
            Fault::IgnoresDeadlines => true,
            Fault::OneMillisecondMore => *until >= now_ms,
            _ => *until > now_ms,
        };
        if live && self.fault == Fault::ReadsRenew {
            *until += 1.0;
        }
        live.then(|| text.clone())
    }

    fn write(&self, key: String, state: Option<(String, f64)>, now_ms: f64) {
        let mut rows = self.backend.rows.lock().unwrap();
        match state {
            None if self.fault == Fault::DoesNotRemove => {}
            None => {
                rows.remove(&key);
            }
            Some((mut text, ttl_ms)) => {
                if self.fault == Fault::CutsTexts {
                    text = text.chars().take(255).collect();
                }
                if self.fault == Fault::RoundsNumbers {
                    text = text.parse::<f64>().map_or(text, |number| format!("{number:.13e}"));
                }
                let ttl_ms = if self.fault == Fault::RoundsTimeToLiveDown { ttl_ms.floor() } else { ttl_ms.ceil() };
                rows.insert(key, (text, now_ms + ttl_ms.max(1.0)));
            }
        }
    }

    async fn make(&self, writes: Vec<Write>, names: &[String], now_ms: f64) {
        let some = if self.fault == Fault::HalfOfTheWrites { 1 } else { writes.len() };
        for write in writes.into_iter().take(some) {
            self.write(names[write.key].clone(), write.state, now_ms);
            if self.fault == Fault::OneWriteAtATime {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Store for Texts {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if self.fault == Fault::RefusesEmptyCalls && call.keys().is_empty() {
            return Err(Error::store_unavailable("the request has no keys"));
        }
        let now_ms = if self.fault == Fault::OtherTime { call.now_ms() + 1.0 } else { call.now_ms() };
        let names: Vec<String> = call.keys().iter().map(|key| self.name(key)).collect();
        tokio::task::yield_now().await;
        if self.fault == Fault::OneWriteAtATime && call.read_only() {
            // Reads take no lock here.
            let states: Vec<_> = names.iter().map(|name| self.read(name, now_ms)).collect();
            return call.step(&states, now_ms).map(drop);
        }
        let mut locks = self.lock(names.clone()).await;
        let mut states: Vec<_> = names.iter().map(|name| self.read(name, now_ms)).collect();
        tokio::task::yield_now().await;
        if self.fault == Fault::StaleReads && call.read_only() {
            let mut first = self.backend.first.lock().unwrap();
            for (state, name) in states.iter_mut().zip(&names) {
                state.clone_from(first.entry(name.clone()).or_insert_with(|| state.clone()));
            }
        }
        let mut stepped = call.step(&states, now_ms);
        if self.fault == Fault::ForgivesGarbage && stepped.is_err() {
            stepped = call.step(&vec![None; names.len()], now_ms);
        }
        if stepped.is_err() && self.fault == Fault::LocksAfterFailures {
            locks.lose();
        }
        if stepped.is_err() && self.fault == Fault::WritesBeforeFailures && call.rule() == Rule::All {
            self.write(names[0].clone(), Some(("7".to_owned(), 1e6)), now_ms);
        }
        let writes = stepped?;
        self.make(writes, &names, now_ms).await;
        locks.done = true;
        Ok(())
    }
}

fn texts(fault: Fault) -> Harness {
    texts_at(BY_CALL, fault)
}

fn texts_at(time: Time, fault: Fault) -> Harness {
    let backend = Arc::<Backend>::default();
    Harness::new(move || Arc::new(Texts { backend: Arc::clone(&backend), own: Backend::default(), fault }), time)
        .stream_steps(10)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_right_passes() {
    run(texts(Fault::None)).await.unwrap();
}

/// For as long as the streams are: its answers are compared with those in memory, and both with the digests.
#[tokio::test(start_paused = true)]
async fn a_store_that_compares_and_sets_passes() {
    let store = CasStore::default();
    run(Harness::new(move || Arc::new(store.clone()), BY_CALL)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_found_and_named() {
    let faults = [
        (Fault::LosesUpdates, "concurrent calls lose nothing"),
        (Fault::LocksPerHandle, "concurrent calls of two handles lose nothing"),
        (Fault::IgnoresDeadlines, "an entry expires at its deadline"),
        (Fault::OneMillisecondMore, "an entry expires at its deadline"),
        (Fault::RoundsTimeToLiveDown, "an entry expires at its deadline"),
        (Fault::ReadsRenew, "an entry expires at its deadline"),
        (Fault::RoundsNumbers, "numbers come back exactly"),
        (Fault::CutsTexts, "texts come back whole"),
        (Fault::HalfOfTheWrites, "all changes count or none"),
        (Fault::OneWriteAtATime, "concurrent joint calls are atomic"),
        (Fault::DoesNotRemove, "a reset forgets"),
        (Fault::FoldsKeys, "keys do not meet"),
        (Fault::TrimsKeys, "keys do not meet"),
        (Fault::LocksAfterFailures, "a failure changes nothing and holds nothing"),
        (Fault::LocksAfterDrops, "a dropped call leaves its key usable"),
        (Fault::LocksInAnyOrder, "concurrent joint calls are atomic"),
        (Fault::OtherTime, "programs step at the time of the call"),
        (Fault::ForgivesGarbage, "an unreadable state is refused until it is reset"),
        (Fault::WritesBeforeFailures, "a failure in a joint call changes nothing"),
        (Fault::StaleReads, "reads see what is there and write nothing"),
        (Fault::RefusesEmptyCalls, "a call without programs is answered"),
    ];
    for (fault, case) in faults {
        let Err(report) = run(texts(fault)).await else { panic!("{fault:?} was not found") };
        let found: Vec<_> = report.failures().iter().map(|failure| failure.case).collect();
        assert!(found.contains(&case), "{fault:?}: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_reads_well() {
    let report = run(texts(Fault::RefusesEmptyCalls)).await.unwrap_err();
    let failed = "a call without programs is answered: a call: failed as store_unavailable: store is unavailable: the \
                  request has no keys";
    assert_eq!(report.to_string(), format!("1 of {} cases failed\n- {failed}", texts(Fault::None).cases().count()));
    assert_eq!(format!("{report:?}"), report.to_string());
    let [failure] = report.failures() else { panic!("{report}") };
    assert_eq!(format!("{}: {}", failure.case, failure.message), failed);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_fails_every_case() {
    let harness = Harness::new(|| Arc::new(DownStore), BY_CALL);
    let cases: Vec<_> = harness.cases().collect();
    let report = run(harness).await.unwrap_err();
    assert!(report.failures().iter().map(|failure| failure.case).eq(cases), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_reported() {
    struct Silent;
    impl Store for Silent {
        async fn run(&self, _call: &mut Call) -> Result<(), Error> {
            std::future::pending().await
        }
    }
    let report = run(Harness::new(|| Arc::new(Silent), BY_CALL)).await.unwrap_err();
    assert_eq!(report.failures()[0].message, "did not end in time");
}

/// A clock of the store, which the caller's has no part in.
struct OwnTime(CasStore, Arc<Mutex<f64>>);

impl Store for OwnTime {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let now_ms = *self.1.lock().unwrap();
        self.0.run_at(call, now_ms).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_with_a_time_of_its_own_passes() {
    let (store, clock) = (CasStore::default(), Arc::new(Mutex::new(1_800_000_000_000.0)));
    let time = Arc::clone(&clock);
    let harness = Harness::new(move || Arc::new(OwnTime(store.clone(), Arc::clone(&time))), Time::Store);
    assert!(!harness.cases().any(|case| case.contains("expires")));
    let harness = harness.wait_with(move |span| {
        *clock.lock().unwrap() += span.as_secs_f64() * 1_000.0;
        Box::pin(async {})
    });
    assert!(harness.cases().any(|case| case == "an entry expires in time"));
    run(harness).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_believes_its_callers_has_no_time_of_its_own() {
    let report = run(texts_at(Time::Store, Fault::None)).await.unwrap_err();
    assert_eq!(report.failures()[0].case, "programs step at the store's time");
}

#[tokio::test(start_paused = true)]
async fn golden_vectors_are_replayed() {
    let vectors = |remaining: u32| {
        format!(
            r#"{{"suites":[{{"primitive":"other"}},{{"name":"one","primitive":"rateLimit","key":"k",
            "strategy":{{"kind":"fixedWindow","options":{{"limit":5,"windowMs":1000}}}},
            "ops":[{{"now":123,"cost":2,"expect":
            {{"allowed":true,"limit":5,"remaining":{remaining},"resetAt":1000,"retryAfterMs":0}}}}]}}]}}"#
        )
    };
    let harness = |vectors: String| texts(Fault::None).golden(vectors);
    run(harness(vectors(3))).await.unwrap();
    for (wrong, message) in [
        (vectors(4), "one, check 0: got"),
        ("{}".to_owned(), "no list `suites`"),
        (r#"{"suites":[]}"#.to_owned(), "no suite of a rate limit"),
        ("no".to_owned(), "are no JSON"),
    ] {
        let report = run(harness(wrong)).await.unwrap_err();
        let [failure] = report.failures() else { panic!("{report}") };
        assert_eq!(failure.case, "golden vectors");
        assert!(failure.message.contains(message), "{report}");
    }
}

#[test]
fn keys_of_two_runs_do_not_meet() {
    let prefix = || format!("{:?}", texts(Fault::None));
    assert_ne!(prefix(), prefix());
    assert!(format!("{:?}", texts(Fault::None).prefix("{tag}")).contains("{tag}"));
}

#[test]
fn the_generator_of_the_streams_starts_as_published() {
    let mut random = Mulberry::new(1);
    assert_eq!(
        [random.draw(), random.draw(), random.draw()],
        [0.627_073_940_588_161_3, 0.002_735_721_180_215_478, 0.527_447_039_959_952_2]
    );
}
