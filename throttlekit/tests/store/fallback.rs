//! A limit in memory that stands in while the store is out: when it begins, what it grants, and when it ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Weak};

use proptest::prelude::*;
use throttlekit::store::Remote;
use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, BuildError, Decision, DynLimiter, Error, Fallback, FixedWindow, Limiter, ManualClock, Meter, Multi,
    Outage, Run, Share,
};

use crate::support;
use crate::support::outage::{Flaky, Mood};
use crate::support::{Recorder, polled};

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(60_000.0).build().unwrap()
}

/// 5 a minute in the store, 2 in memory.
struct Setup {
    store: Flaky,
    limiter: Fallback,
    outage: Outage,
    made: Arc<AtomicU64>,
    observer: Arc<Recorder>,
}

fn setup() -> Setup {
    let (store, outage) = (Flaky::default(), Outage::new());
    let (made, observer) = (Arc::new(AtomicU64::new(0)), Arc::new(Recorder::default()));
    let clock = ManualClock::new(0.0);
    let shared = Limiter::builder(window(5.0)).keyspace(Remote::new(store.clone())).prefix("p").name("shared");
    let shared = shared.clock(clock.clone()).observer(observer.clone()).build();
    let limiter = Fallback::new(shared, &outage, {
        let (made, observer) = (made.clone(), observer.clone());
        move || {
            made.fetch_add(1, Ordering::SeqCst);
            let local = Limiter::builder(window(2.0)).name("local").clock(clock.clone()).observer(observer.clone());
            Ok(Arc::new(local.build()))
        }
    });
    Setup { store, limiter, outage, made, observer }
}

impl Setup {
    fn check(&self) -> Decision {
        answer(self.limiter.check("k", 1.0)).unwrap()
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

fn answer<T>(run: Run<Result<T, Error>>) -> Result<T, Error> {
    polled(run, 1).expect("an answer at once")
}

#[test]
fn the_store_decides_while_it_is_there() {
    let setup = setup();
    let allowed = (0..7).filter(|_| setup.check().allowed).count();
    assert_eq!((allowed, setup.made(), setup.outage.count()), (5, 0, 0));
    assert_eq!(setup.store.keys(), ["p:k"]);
}

#[test]
fn memory_decides_while_it_is_out_and_starts_empty_each_time() {
    let setup = setup();
    assert_eq!(setup.check().remaining, 4);
    for outage in 1..=3 {
        setup.store.set(Mood::Down);
        let decisions: Vec<_> = (0..4).map(|_| setup.check()).collect();
        let allowed: Vec<_> = decisions.iter().map(|decision| decision.allowed).collect();
        assert_eq!(allowed, [true, true, false, false], "outage {outage}");
        assert!(decisions.iter().all(|decision| decision.limit == 2));
        assert!(setup.outage.is_on());
        setup.store.set(Mood::Up);
        assert_eq!((setup.check().limit, setup.outage.is_on()), (5, false));
        assert_eq!((setup.made(), setup.outage.count()), (outage, outage));
    }
    assert_eq!(setup.check().remaining, 0, "the store has counted five, and none of those in memory");
}

#[test]
fn an_answer_of_the_store_that_is_an_error_ends_the_outage_and_is_no_admission() {
    let setup = setup();
    setup.store.set(Mood::Down);
    setup.check();
    setup.store.set(Mood::Broken);
    assert_eq!(answer(setup.limiter.check("k", 1.0)).unwrap_err().code(), "state_invalid");
    assert!(!setup.outage.is_on());
    setup.store.set(Mood::Down);
    assert_eq!(answer(setup.limiter.check("k", 0.0)).unwrap_err().code(), "invalid_argument");
    assert_eq!(setup.made(), 1);
}

#[test]
fn what_the_store_was_not_asked_for_does_not_end_the_outage() {
    let setup = setup();
    setup.store.set(Mood::Down);
    let limiter = &setup.limiter;
    assert_eq!([(); 3].map(|()| setup.check().allowed), [true, true, false]);
    let asked = setup.store.calls();
    for cost in [0.0, f64::NAN, 1e17] {
        assert_eq!(answer(limiter.check("k", cost)).unwrap_err().code(), "invalid_argument");
        assert_eq!(answer(limiter.check_many(&["k"], cost)).unwrap_err().code(), "invalid_argument");
        assert_eq!(answer(limiter.check_many(&[], cost)).unwrap_err().code(), "invalid_argument");
        assert_eq!(answer(limiter.debit("k", cost)).unwrap_err().code(), "invalid_argument");
        assert_eq!(answer(limiter.forecast("k", cost)).unwrap_err().code(), "invalid_argument");
        assert_eq!(answer(limiter.admit(&Ask::new("k").cost(cost))).unwrap_err().code(), "invalid_argument");
    }
    assert_eq!(answer(limiter.check_many(&[], 1.0)).unwrap(), []);
    assert_eq!((setup.store.calls(), setup.outage.is_on()), (asked, true));

    setup.store.set(Mood::Refusing);
    assert_eq!(answer(limiter.check("k", 1.0)).unwrap_err().code(), "invalid_argument");
    assert!(setup.outage.is_on());
    setup.store.set(Mood::Down);
    assert!(!setup.check().allowed);
    assert_eq!((setup.made(), setup.outage.count()), (1, 1));
}

#[test]
fn every_question_is_answered_in_memory() {
    let setup = setup();
    setup.store.set(Mood::Down);
    let limiter = &setup.limiter;
    assert_eq!(answer(limiter.peek("k")).unwrap().remaining, 2);
    assert_eq!(answer(limiter.forecast("k", 1.0)).unwrap().spendable_now, 2);
    let batch = answer(limiter.check_many(&["k", "other", "k", "k"], 1.0)).unwrap();
    assert_eq!(batch.iter().map(|decision| decision.allowed).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(answer(limiter.debit("other", 1.0)).unwrap().remaining, 0);
    assert!(!answer(limiter.admit(&Ask::new("other"))).unwrap().decision.allowed);
    assert!(answer(limiter.reset("k")).unwrap_err().is_store_unavailable(), "nothing was reset in the store");
    assert_eq!((limiter.limit(), limiter.strategy_name(), limiter.window_ms()), (5, "fixedWindow", Some(60_000.0)));
    assert_eq!(setup.made(), 1);
}

#[test]
fn it_is_no_dimension_of_a_joint_limit_which_would_ask_the_store_alone() {
    let limit = Multi::all().limiter("k", &setup().limiter, 1.0).store(Remote::new(Flaky::default()));
    let error = limit.build().unwrap_err();
    assert_eq!((error.option(), error.value()), ("multi.dimensions", Some("\"k\"")));
    let allowed = "a limiter that another one stands in for takes no part in joint checks";
    assert!(error.allowed().ends_with(allowed), "{error}");
}

#[test]
fn observers_see_the_failure_and_the_decision_in_memory() {
    let setup = setup();
    setup.store.set(Mood::Down);
    setup.check();
    let seen = setup.observer.take();
    let seen: Vec<_> =
        seen.iter().map(|event| (event.policy.as_str(), event.result.map(|decision| decision.allowed))).collect();
    assert_eq!(seen, [("shared", Err("store_unavailable")), ("local", Ok(true))]);
}

#[test]
fn its_memory_is_given_back_when_the_outage_is_over() {
    let table: Arc<std::sync::Mutex<Weak<Table<f64>>>> = Arc::default();
    let outage = Outage::new();
    let shared = Limiter::builder(window(5.0)).keyspace(Remote::new(support::DownStore)).build();
    let limiter = Fallback::new(shared, &outage, {
        let last = table.clone();
        move || {
            let alive = Arc::new(Table::<f64>::new());
            *last.lock().unwrap() = Arc::downgrade(&alive);
            let local = Limiter::builder(window(2.0)).observer(Arc::new(Holder { _alive: alive })).build();
            Ok(Arc::new(local))
        }
    });
    answer(limiter.check("k", 1.0)).unwrap();
    assert!(table.lock().unwrap().upgrade().is_some());
    outage.end(); // another limiter over the store had a success
    assert!(table.lock().unwrap().upgrade().is_none());
}

/// Keeps something alive as long as a limiter.
struct Holder {
    _alive: Arc<Table<f64>>,
}

impl throttlekit::Observer for Holder {
    fn observe(&self, _event: &throttlekit::Event<'_>) {}
}

#[test]
fn limiters_over_one_store_share_its_outage() {
    let (store, outage) = (Flaky::default(), Outage::new());
    let limiter = |local: f64| {
        let shared = Limiter::builder(window(5.0)).keyspace(Remote::new(store.clone())).build();
        Fallback::new(shared, &outage, move || Ok(Arc::new(Limiter::new(window(local)))))
    };
    let (one, two) = (limiter(1.0), limiter(1.0));
    store.set(Mood::Down);
    assert!(answer(one.check("k", 1.0)).unwrap().allowed);
    assert!(!answer(one.check("k", 1.0)).unwrap().allowed);
    store.set(Mood::Up);
    answer(two.check("other", 1.0)).unwrap();
    store.set(Mood::Down);
    assert!(answer(one.check("k", 1.0)).unwrap().allowed, "another outage, although this one saw no success");
    assert_eq!(outage.count(), 2);
}

/// The thread that ends an outage is held up by one limit while the next outage begins.
#[test]
fn the_late_end_of_one_outage_leaves_the_limits_of_the_next_alone() {
    let outage = Outage::new();
    let limiter = |make: Box<dyn Fn() + Send + Sync>| {
        let shared = Limiter::builder(window(5.0)).keyspace(Remote::new(support::DownStore)).build();
        Fallback::new(shared, &outage, move || {
            make();
            Ok(Arc::new(Limiter::builder(window(1.0)).clock(ManualClock::new(0.0)).build()))
        })
    };
    let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let slow = limiter(Box::new({
        let (entered, leave) = (entered.clone(), leave.clone());
        move || {
            entered.wait();
            leave.wait();
        }
    }));
    let made = Arc::new(AtomicU64::new(0));
    let other = limiter(Box::new({
        let made = made.clone();
        move || {
            made.fetch_add(1, Ordering::SeqCst);
        }
    }));
    std::thread::scope(|scope| {
        scope.spawn(|| answer(slow.check("k", 1.0)).unwrap());
        entered.wait();
        scope.spawn(|| outage.end());
        while outage.is_on() {
            std::thread::yield_now();
        }
        assert!(answer(other.check("k", 1.0)).unwrap().allowed);
        leave.wait();
    });
    assert!(!answer(other.check("k", 1.0)).unwrap().allowed);
    assert_eq!((made.load(Ordering::SeqCst), outage.count()), (1, 2));
}

#[test]
fn a_stand_in_that_cannot_be_made_is_an_unavailable_store() {
    let shared = Limiter::builder(window(5.0)).keyspace(Remote::new(support::DownStore)).build();
    let none = || Err(BuildError::new("table.maxKeys", 7, "must be less than the system has"));
    let limiter = Fallback::new(shared, &Outage::new(), none);
    let error = answer(limiter.check("k", 1.0)).unwrap_err();
    assert!(error.is_store_unavailable());
    assert!(error.to_string().contains("table.maxKeys is 7"), "{error}");
}

#[test]
fn a_dropped_check_leaves_nothing_behind() {
    let setup = setup();
    setup.store.set(Mood::Hung);
    for polls in 0..3 {
        assert!(polled(setup.limiter.check("k", 1.0), polls).is_none());
    }
    assert_eq!((setup.made(), setup.outage.count()), (0, 0));
    setup.store.set(Mood::Up);
    assert_eq!(setup.check().remaining, 4);
}

#[test]
fn shares_of_units() {
    for (share, units, expected) in [
        (1.0, 100.0, 100.0),
        (0.5, 100.0, 50.0),
        (0.5, 5.0, 2.0),
        (0.5, 1.0, 1.0),
        (0.1, 100.0, 10.0),
        (0.1, 99.0, 9.0),
        (0.1, 9.0, 1.0),
        (0.29, 100.0, 29.0),
        (0.07, 100.0, 7.0),
        (1.0 / 3.0, 3.0, 1.0),
        (1.0 / 3.0, 100.0, 33.0),
        (1.0 / 49.0, 49.0, 1.0),
        (0.999_999, 1_000_000.0, 999_999.0),
        (1e-9, 9_007_199_254_740_991.0, 9_007_199.0),
        (1e-300, 5.0, 1.0),
        (0.5, 2.5, 1.25),
        (0.25, 2.5, 1.0),
        (0.5, 0.5, 0.5),
    ] {
        assert_eq!(Share::new(share).unwrap().of(units), expected, "{share} of {units}");
    }
    for bad in [0.0, -0.0, -0.5, 1.000_1, 2.0, f64::NAN, f64::INFINITY] {
        let error = Share::new(bad).unwrap_err();
        assert_eq!((error.option(), error.allowed()), ("failMode.share", "must be a number above 0 and at most 1"));
    }
}

proptest! {
    #[test]
    fn a_share_is_never_more_than_the_whole_and_never_less_than_one(share in 1e-6..=1.0, units in 1_u32..) {
        let part = Share::new(share).unwrap().of(f64::from(units));
        prop_assert!(part >= 1.0 && part <= f64::from(units) && part.fract() == 0.0);
        prop_assert!((part - f64::from(units) * share).abs() < 1.0 || part == 1.0);
    }

    /// Any order of calls and moods: in memory never more than 2 pass in one outage.
    #[test]
    fn no_outage_admits_more_than_its_share(moods in prop::collection::vec(any::<bool>(), 1..100)) {
        let setup = setup();
        let (mut in_store, mut in_outage) = (0, 0);
        for up in moods {
            setup.store.set(if up { Mood::Up } else { Mood::Down });
            let allowed = u32::from(setup.check().allowed);
            if up {
                in_store += allowed;
                in_outage = 0;
            } else {
                in_outage += allowed;
            }
            prop_assert!(in_store <= 5 && in_outage <= 2);
        }
    }
}

#[test]
fn whoever_gives_units_back_can_tell_whose_they_are() {
    let setup = setup();
    let limiter: Arc<dyn Meter> = Arc::new(setup.limiter);
    let turns = || Meter::outage_turns(&limiter);
    let debit = || answer(limiter.debit("k", 1.0)).unwrap().limit;
    assert_eq!((turns(), debit(), turns()), (0, 5, 0));
    setup.store.set(Mood::Down);
    assert_eq!((turns(), debit(), turns()), (0, 2, 1));
    assert_eq!((turns(), debit(), turns()), (1, 2, 1));
    setup.store.set(Mood::Up);
    assert_eq!((turns(), debit(), turns()), (1, 5, 2));
    assert_eq!((turns(), debit(), turns()), (2, 5, 2));
}
