//! Rate and cost that no atomic section holds together: what a refusal gives back, and what happens on the way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::sketch::DenyListed;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::unified::Tap;
use throttlekit::{
    Admission, Admit, Algorithm, Ask, Axis, Clock, Consume, DynLimiter, Error, Fallback, FixedWindow, Guard, Limiter,
    ManualClock, Outage, Project, Run, SlidingWindowLog, Unified, UnifiedBuilder,
};

use crate::support::CasStore;

/// A window that does not turn.
fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1e9).build().unwrap()
}

fn log(limit: f64) -> SlidingWindowLog {
    SlidingWindowLog::builder().limit(limit).window_ms(1e9).build().unwrap()
}

/// A store that can be switched off.
#[derive(Clone, Default)]
struct Switched {
    store: CasStore,
    off: Arc<AtomicBool>,
}

impl Store for Switched {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if self.off.load(Ordering::SeqCst) {
            return Err(Error::store_unavailable("it is switched off"));
        }
        self.store.run(call).await
    }
}

type Stored<S> = Limiter<S, Remote, ManualClock>;

fn stored<S: Project>(strategy: S, store: impl Store) -> Stored<S> {
    Limiter::builder(strategy).keyspace(Remote::new(store)).clock(ManualClock::new(0.0)).build()
}

fn local<S: Project>(strategy: S) -> impl DynLimiter + Clone {
    Limiter::builder(strategy).clock(ManualClock::new(0.0)).build()
}

/// In a ledger of this process, which takes no part in joint checks.
fn budget(units: f64) -> impl DynLimiter {
    let budget = Budget::builder().budget(units).window_ms(1e9).build().unwrap();
    TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build()
}

fn guard() -> Guard<ManualClock> {
    let builder = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0);
    builder.clock(ManualClock::new(0.0)).build().unwrap()
}

fn unified(guard: &Guard<ManualClock>, rate: impl DynLimiter, cost: impl DynLimiter) -> Unified<ManualClock> {
    builder(guard, rate, cost).build().unwrap()
}

fn builder(guard: &Guard<ManualClock>, rate: impl DynLimiter, cost: impl DynLimiter) -> UnifiedBuilder<ManualClock> {
    Unified::builder().concurrency(guard.clone()).rate(rate).cost(cost).clock(ManualClock::new(0.0))
}

async fn left(limiter: &dyn DynLimiter) -> u64 {
    limiter.peek("k").await.unwrap().remaining
}

/// Takes all that happened to a slot: whether it came back, and taught nothing.
fn untouched(guard: &Guard<ManualClock>) {
    assert_eq!((guard.in_flight(), guard.stats().dropped, guard.limit()), (0, 0, 10));
    assert_eq!(guard.stats().last_ms, 0.0);
}

#[tokio::test]
async fn a_refusal_of_the_second_gives_back_what_the_first_took() {
    let slots = guard();
    // Both in stores; in memory and in a store; the other way round.
    let (rate, cost) = (stored(window(10.0), CasStore::default()), stored(window(5.0), CasStore::default()));
    let (near_rate, near_cost) = (local(window(10.0)), local(window(5.0)));
    let (other_cost, other_rate) =
        (stored(window(5.0), CasStore::default()), stored(window(10.0), CasStore::default()));
    let pairs: [(&dyn DynLimiter, &dyn DynLimiter, Unified<ManualClock>); 3] = [
        (&rate, &cost, unified(&slots, rate.clone(), cost.clone())),
        (&near_rate, &other_cost, unified(&slots, near_rate.clone(), other_cost.clone())),
        (&other_rate, &near_cost, unified(&slots, other_rate.clone(), near_cost.clone())),
    ];
    for (rate, cost, unified) in pairs {
        let admitted = unified.admit(&Ask::new("k").cost(4.0)).await.unwrap();
        assert!(admitted.decision.allowed && admitted.permit.is_held());
        drop(admitted);
        let denied = unified.admit(&Ask::new("k").cost(4.0)).await.unwrap();
        assert_eq!((denied.binding, denied.decision.allowed), (Some(Axis::Cost), false));
        // What was given back shows in the answer, as it does where both are charged in one step.
        let shown = denied.axes.rate.map(|rate| (rate.allowed, rate.remaining, rate.retry_after_ms));
        assert!(shown.is_none() || shown == Some((true, 9, 0)), "{shown:?}");
        assert_eq!((left(rate).await, left(cost).await), (9, 1));
        untouched(&slots);
    }
}

#[tokio::test]
async fn memory_is_asked_first_and_whoever_takes_nothing_back_last() {
    let slots = guard();
    let far = || stored(window(1.0), CasStore::default());
    // Of each pair, whether a refusal by the rate leaves the cost out.
    let pairs = [
        (unified(&slots, far(), stored(window(9.0), CasStore::default())), true),
        (unified(&slots, local(window(1.0)), stored(window(9.0), CasStore::default())), true),
        (unified(&slots, far(), local(window(9.0))), false),
        (unified(&slots, stored(log(1.0), CasStore::default()), stored(window(9.0), CasStore::default())), false),
        (unified(&slots, far(), local(log(9.0))), true),
        (unified(&slots, far(), budget(9.0)), false),
    ];
    for (index, (unified, left_out)) in pairs.into_iter().enumerate() {
        assert!(unified.admit(&Ask::new("k")).await.unwrap().decision.allowed);
        let denied = unified.admit(&Ask::new("k")).await.unwrap();
        assert_eq!((denied.binding, denied.axes.cost.is_none()), (Some(Axis::Rate), left_out), "pair {index}");
        if let Some(cost) = denied.axes.cost {
            assert_eq!((cost.allowed, cost.remaining), (true, 8), "pair {index}");
        }
    }
}

#[tokio::test]
async fn an_error_of_the_second_gives_back_what_the_first_took() {
    let slots = guard();
    let (near, store) = (local(window(10.0)), Switched::default());
    let unified = unified(&slots, near.clone(), stored(window(5.0), store.clone()));
    store.off.store(true, Ordering::SeqCst);
    let error = unified.admit(&Ask::new("k")).await.unwrap_err();
    assert!(error.is_store_unavailable());
    assert_eq!(left(&near).await, 10);
    untouched(&slots);
}

#[tokio::test]
async fn what_stands_in_for_a_store_decides_while_it_is_out() {
    let (slots, store) = (guard(), Switched::default());
    let keys = Remote::new(store.clone());
    let outage = Outage::new();
    let limiter = |limit, prefix: &str| {
        let shared = Limiter::builder(window(limit)).keyspace(keys.clone()).prefix(prefix);
        Fallback::new(shared.clock(ManualClock::new(0.0)).build(), &outage, move || Ok(Arc::new(local(window(3.0)))))
    };
    let unified = unified(&slots, limiter(10.0, "r"), limiter(20.0, "c"));
    assert_eq!(unified.admit(&Ask::new("k").cost(2.0)).await.unwrap().axes.cost.unwrap().remaining, 18);
    store.off.store(true, Ordering::SeqCst);
    let admitted = unified.admit(&Ask::new("k").cost(2.0)).await.unwrap();
    let shown = [admitted.axes.rate, admitted.axes.cost].map(|axis| axis.map(|axis| (axis.limit, axis.remaining)));
    assert_eq!(shown, [Some((3, 2)), Some((3, 1))]);
    let denied = unified.admit(&Ask::new("k").cost(2.0)).await.unwrap();
    assert_eq!((denied.binding, denied.decision.allowed), (Some(Axis::Cost), false));
    store.off.store(false, Ordering::SeqCst);
    assert_eq!(unified.admit(&Ask::new("k").cost(2.0)).await.unwrap().axes.cost.unwrap().remaining, 16);
}

/// The second one refuses, and meanwhile the first one's store is back.
#[tokio::test]
async fn what_stood_in_for_the_first_takes_nothing_out_of_its_store() {
    /// Switches another store on when it is asked.
    struct Rescuer(CasStore, Arc<AtomicBool>);
    impl Store for Rescuer {
        async fn run(&self, call: &mut Call) -> Result<(), Error> {
            self.1.store(false, Ordering::SeqCst);
            self.0.run(call).await
        }
    }
    let (slots, first) = (guard(), Switched::default());
    let rate = stored(window(10.0), first.clone());
    assert!(rate.run_check("k", 10.0).await.unwrap().allowed);
    first.off.store(true, Ordering::SeqCst);
    let second = stored(window(5.0), Rescuer(CasStore::default(), Arc::clone(&first.off)));
    let fallback = Fallback::new(rate.clone(), &Outage::new(), || Ok(Arc::new(local(window(3.0)))));
    let unified = unified(&slots, fallback, second);
    let denied = unified.admit(&Ask::new("k").cost(6.0)).await.unwrap();
    assert_eq!((denied.binding, denied.axes.rate.unwrap().limit), (Some(Axis::Cost), 3));
    assert_eq!(left(&rate).await, 0, "it gave none of what is given back");
    untouched(&slots);
}

/// The second one refuses, and meanwhile the first one's store has gone.
#[tokio::test]
async fn what_cannot_be_given_back_stays_taken_and_is_a_denial_all_the_same() {
    /// Switches another store off when it is asked.
    struct Saboteur(CasStore, Arc<AtomicBool>);
    impl Store for Saboteur {
        async fn run(&self, call: &mut Call) -> Result<(), Error> {
            self.1.store(true, Ordering::SeqCst);
            self.0.run(call).await
        }
    }
    let slots = guard();
    let first = Switched::default();
    let rate = stored(window(10.0), first.clone());
    let second = Saboteur(CasStore::default(), Arc::clone(&first.off));
    let unified = unified(&slots, rate.clone(), stored(window(5.0), second));
    let denied = unified.admit(&Ask::new("k").cost(6.0)).await.unwrap();
    assert_eq!((denied.binding, denied.axes.rate.unwrap().remaining), (Some(Axis::Cost), 9));
    first.off.store(false, Ordering::SeqCst);
    assert_eq!(left(&rate).await, 9);
    untouched(&slots);
}

#[tokio::test]
async fn a_request_that_is_dropped_gives_back_what_it_took_in_memory() {
    for polls in 0..12 {
        let slots = guard();
        let near = local(window(10.0));
        let unified = unified(&slots, near.clone(), stored(window(5.0), CasStore::default()));
        let mut run = unified.admit(&Ask::new("k").cost(2.0));
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = None;
        for _ in 0..polls {
            if answer.is_none() {
                if let Poll::Ready(result) = Pin::new(&mut run).poll(&mut context) {
                    answer = Some(result.unwrap());
                }
            }
        }
        drop(run);
        let taken = u64::from(answer.is_some());
        assert_eq!((left(&near).await, u64::from(slots.in_flight())), (10 - taken, taken), "{polls}");
        drop(answer);
        untouched(&slots);
    }
}

/// A limiter that panics when it is asked, or when its answer is waited for.
struct Panicking {
    later: bool,
}

impl Store for Panicking {
    async fn run(&self, _call: &mut Call) -> Result<(), Error> {
        assert!(!self.later, "a store that panics later");
        Ok(())
    }
}

/// Panics at once.
#[derive(Clone, Debug)]
struct AtOnce;

impl Clock for AtOnce {
    fn now_ms(&self) -> f64 {
        panic!("a clock that panics")
    }
}

#[test]
fn a_panic_gives_back_the_slot_and_what_was_taken_in_memory() {
    let panics = |unified: &Unified<ManualClock>| {
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let mut run = unified.admit(&Ask::new("k"));
            let mut context = Context::from_waker(Waker::noop());
            while Pin::new(&mut run).poll(&mut context).is_pending() {}
        }));
        assert!(asked.is_err());
    };
    let slots = guard();
    let near = local(window(10.0));
    let rate = || local(window(10.0));
    panics(&unified(&slots, near.clone(), stored(window(5.0), Panicking { later: true })));
    let remote = Remote::new(CasStore::default());
    let at_once = || Limiter::builder(window(5.0)).keyspace(remote.clone()).clock(AtOnce).build();
    panics(&unified(&slots, near.clone(), at_once()));
    panics(&builder(&slots, at_once(), rate()).consume(Consume::PerAxis).build().unwrap());
    panics(&builder(&slots, rate(), at_once()).consume(Consume::PerAxis).build().unwrap());
    assert_eq!(near.peek("k").now().unwrap().unwrap().remaining, 10);
    untouched(&slots);
}

#[test]
fn whoever_cannot_take_back_is_not_asked_first() {
    let slots = guard();
    let logs = builder(&slots, local(log(1.0)), stored(log(1.0), CasStore::default())).build().unwrap_err();
    assert_eq!((logs.option(), logs.value()), ("unified.consume", Some("all-or-nothing")));
    let at_once = builder(&slots, local(window(1.0)), stored(window(1.0), CasStore::default()));
    let error = at_once.consume(Consume::PerAxisAtOnce).build().unwrap_err();
    assert_eq!((error.option(), error.value()), ("unified.consume", Some("per-axis-at-once")));
}

fn now<T>(run: Run<Result<T, Error>>) -> T {
    run.now().unwrap_or_else(|_| panic!("memory does not wait")).unwrap()
}

#[tokio::test]
async fn at_once_each_axis_is_charged_by_its_own_verdict() {
    let slots = guard();
    let store = Remote::new(CasStore::default());
    let in_store = |limit, prefix: &str| {
        let builder = Limiter::builder(window(limit)).keyspace(store.clone()).prefix(prefix);
        builder.clock(ManualClock::new(0.0)).build()
    };
    let (near_rate, near_cost) = (local(window(2.0)), local(window(10.0)));
    let (far_rate, far_cost) = (in_store(2.0, "r"), in_store(10.0, "c"));
    let pairs: [(&dyn DynLimiter, &dyn DynLimiter, UnifiedBuilder<ManualClock>); 2] = [
        (&near_rate, &near_cost, builder(&slots, near_rate.clone(), near_cost.clone())),
        (&far_rate, &far_cost, builder(&slots, far_rate.clone(), far_cost.clone())),
    ];
    for (rate, cost, builder) in pairs {
        let unified = builder.consume(Consume::PerAxisAtOnce).build().unwrap();
        // The cost refuses: the rate has given its unit.
        let denied = unified.admit(&Ask::new("k").cost(11.0)).await.unwrap();
        assert_eq!((denied.binding, denied.axes.rate.unwrap().remaining), (Some(Axis::Cost), 1));
        assert_eq!((left(rate).await, left(cost).await), (1, 10));
        assert!(unified.admit(&Ask::new("k").cost(4.0)).await.unwrap().decision.allowed);
        // The rate refuses: the cost is taken all the same.
        let denied = unified.admit(&Ask::new("k").cost(5.0)).await.unwrap();
        assert_eq!((denied.binding, denied.axes.cost.unwrap().remaining), (Some(Axis::Rate), 1));
        assert_eq!((left(rate).await, left(cost).await), (0, 1));
        assert_eq!(denied.axes.combined(), denied.decision);
        untouched(&slots);
    }
}

#[test]
fn the_last_decisions_can_be_looked_at() {
    let slots = guard();
    let forgetful = unified(&slots, local(window(1.0)), local(window(10.0)));
    drop(now(forgetful.admit(&Ask::new("k"))));
    assert_eq!(forgetful.last_axes(), None);

    let unified = builder(&slots, local(window(1.0)), local(window(10.0))).remember_last(true).build().unwrap();
    assert_eq!(unified.last_axes(), Some(throttlekit::Axes::default()));
    let admissions: Vec<Admission> = (0..2).map(|_| now(unified.admit(&Ask::new("k")))).collect();
    assert_eq!(unified.last_axes(), Some(admissions[1].axes));
    assert_ne!(admissions[0].axes, admissions[1].axes);
}

#[tokio::test]
async fn no_key_has_an_empty_hash_tag() {
    for (key, tagged) in [("}x", "{1.x}."), ("}}", "{2.}."), ("", "{0.}."), ("a}b", "{a}b}"), ("1.x", "{1.x}")] {
        let store = CasStore::default();
        let keys = Remote::new(store.clone());
        let limiter = |prefix: &str| Limiter::builder(window(5.0)).keyspace(keys.clone()).prefix(prefix).build();
        let unified = Unified::builder().rate(limiter("r")).cost(limiter("c")).hash_tag(true).build().unwrap();
        assert!(unified.admit(&Ask::new(key)).await.unwrap().decision.allowed);
        for prefix in ["r", "c"] {
            assert!(store.text(&format!("{prefix}:{tagged}")).is_some(), "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_hash_tag_puts_keys_into_braces() {
    let store = CasStore::default();
    let keys = Remote::new(store.clone());
    let limiter = |prefix: &str| Limiter::builder(window(5.0)).keyspace(keys.clone()).prefix(prefix).build();
    let unified = Unified::builder().rate(limiter("r")).cost(limiter("c")).hash_tag(true).build().unwrap();
    assert!(unified.admit(&Ask::new("k")).await.unwrap().decision.allowed);
    assert!(store.text("r:{k}").is_some() && store.text("c:{k}").is_some());
    assert!(!unified.admit(&Ask::new("k").cost(5.0)).await.unwrap().decision.allowed);
}

#[test]
fn what_is_around_a_limit_says_its_units_and_its_key() {
    let unified = Unified::builder().rate(local(window(5.0))).cost(local(window(5.0))).hash_tag(true).build().unwrap();
    let listed = DenyListed::builder(Tap::new(Arc::new(unified), |_| {})).build().unwrap();
    let ask = Ask::new("k").cost(3.0);
    assert_eq!([0, 1, 2].map(|place| listed.units_of(&ask, place)), [Some(1.0), Some(3.0), None]);
    assert_eq!(listed.key_of("k"), "{k}");
}
