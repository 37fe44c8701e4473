//! Rate, work in flight and cost at once, in memory.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::unified::Prices;
use throttlekit::{
    Admission, Admit, Algorithm, Ask, Axis, Clock, Consume, Decision, Error, FixedWindow, Gcra, Guard, Limiter,
    ManualClock, Outcome, TokenBucket, Unified, UnifiedBuilder,
};

use crate::support::{CasStore, Recorder};

fn ask<C: Clock>(unified: &Unified<C>, ask: Ask<'_>) -> Admission {
    unified.admit(&ask).now().unwrap().unwrap()
}

fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

fn bucket(capacity: f64, refill_per_sec: f64) -> TokenBucket {
    TokenBucket::builder().capacity(capacity).refill_per_sec(refill_per_sec).build().unwrap()
}

type Rate = Limiter<Gcra, Table<<Gcra as throttlekit::Program>::State>, ManualClock>;
type Cost = Limiter<TokenBucket, Table<<TokenBucket as throttlekit::Program>::State>, ManualClock>;

struct Parts {
    clock: ManualClock,
    guard: Guard<ManualClock>,
    rate: Rate,
    cost: Cost,
}

impl Parts {
    fn new(slots: u32, rate: Gcra, cost: TokenBucket) -> Self {
        let clock = ManualClock::new(1_000_000.0);
        Self {
            guard: Guard::builder().fixed(slots).clock(clock.clone()).build().unwrap(),
            rate: Limiter::builder(rate).clock(clock.clone()).build(),
            cost: Limiter::builder(cost).clock(clock.clone()).build(),
            clock,
        }
    }

    fn builder(&self) -> UnifiedBuilder<ManualClock> {
        let builder = Unified::builder().concurrency(self.guard.clone()).rate(self.rate.clone());
        builder.cost(self.cost.clone()).clock(self.clock.clone())
    }

    fn build(&self, consume: Consume) -> Unified<ManualClock> {
        self.builder().consume(consume).build().unwrap()
    }
}

const BOTH: [Consume; 2] = [Consume::AllOrNothing, Consume::PerAxis];

fn decision(allowed: bool, limit: u64, remaining: u64, reset_at_ms: i64, retry_after_ms: u64) -> Decision {
    Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms }
}

#[test]
fn all_three_axes_admit() {
    for consume in BOTH {
        let parts = Parts::new(4, gcra(100.0, 60_000.0), bucket(1_000.0, 10.0));
        let unified = parts.build(consume);
        let mut admission = ask(&unified, Ask::new("a").cost(100.0));
        assert!(admission.decision.allowed && !admission.policy_denied());
        assert_eq!((admission.decision.limit, admission.binding, parts.guard.in_flight()), (4, None, 1));
        let axes = admission.axes;
        assert_eq!(axes.combined(), admission.decision);
        assert_eq!((axes.rate.unwrap().remaining, axes.cost.unwrap().remaining), (99, 900));
        admission.permit.settle(Outcome::Completed);
        assert_eq!(parts.guard.in_flight(), 0);
    }
}

#[test]
fn without_a_slot_nothing_else_is_asked() {
    for consume in BOTH {
        let parts = Parts::new(1, gcra(100.0, 60_000.0), bucket(1_000.0, 10.0));
        let unified = parts.build(consume);
        let held = ask(&unified, Ask::new("a"));
        let denied = ask(&unified, Ask::new("a"));
        assert_eq!((denied.binding, denied.axes.rate, denied.axes.cost), (Some(Axis::Concurrency), None, None));
        assert_eq!(denied.decision, denied.axes.concurrency.unwrap());
        assert_eq!(parts.rate.peek("a").unwrap().remaining, 99);
        drop(held);
    }
}

#[test]
fn a_rate_that_denies_frees_the_slot_and_takes_no_cost() {
    for consume in BOTH {
        let parts = Parts::new(4, gcra(1.0, 60_000.0), bucket(1_000.0, 10.0));
        let unified = parts.build(consume);
        drop(ask(&unified, Ask::new("a").cost(100.0)));
        let denied = ask(&unified, Ask::new("a").cost(100.0));
        assert_eq!((denied.binding, denied.permit.is_held()), (Some(Axis::Rate), false));
        assert_eq!((parts.guard.in_flight(), parts.cost.peek("a").unwrap().remaining), (0, 900));
        // Judged together, the cost shows what it has; one after the other, it is not asked.
        let cost = denied.axes.cost.map(|cost| (cost.allowed, cost.remaining, cost.retry_after_ms));
        assert_eq!(cost, (consume == Consume::AllOrNothing).then_some((true, 900, 0)));
    }
}

#[test]
fn a_cost_that_denies_frees_the_slot_and_the_rate() {
    for (consume, left) in [(Consume::AllOrNothing, 99), (Consume::PerAxis, 98)] {
        let parts = Parts::new(4, gcra(100.0, 60_000.0), bucket(10.0, 10.0));
        let unified = parts.build(consume);
        drop(ask(&unified, Ask::new("a").cost(10.0)));
        let denied = ask(&unified, Ask::new("a").cost(10.0));
        assert_eq!((denied.binding, parts.guard.in_flight()), (Some(Axis::Cost), 0));
        let rate = denied.axes.rate.unwrap();
        assert_eq!((rate.allowed, rate.remaining, rate.retry_after_ms), (true, left, 0));
        assert_eq!(parts.rate.peek("a").unwrap().remaining, left);
    }
}

/// The figures of a fused round trip, for three requests that pass and one that is refused by the rate.
#[test]
fn an_axis_that_was_spared_shows_what_it_has() {
    let parts = Parts::new(9, gcra(3.0, 60_000.0), bucket(1_000.0, 100.0));
    let unified = parts.build(Consume::AllOrNothing);
    let remaining = [(); 3].map(|()| ask(&unified, Ask::new("a").cost(100.0)).decision.remaining);
    assert_eq!(remaining, [2, 1, 0]);
    let denied = ask(&unified, Ask::new("a").cost(100.0));
    assert_eq!(denied.axes.rate, Some(decision(false, 3, 0, 1_060_000, 20_000)));
    assert_eq!(denied.axes.cost, Some(decision(true, 1_000, 700, 1_003_000, 0)));
    assert_eq!(parts.cost.peek("a").unwrap().remaining, 700);
}

/// Both allow until one does not, with the decisions of either axis alone.
#[test]
fn both_axes_decide_as_each_alone() {
    for consume in BOTH {
        let parts = Parts::new(9, gcra(5.0, 60_000.0), bucket(100.0, 10.0));
        let unified = parts.build(consume);
        let steps = [
            (2_000_000.0, 10.0, (true, 4, 2_012_000, 0), (true, 90, 2_001_000, 0)),
            (2_000_100.0, 30.0, (true, 3, 2_024_000, 0), (true, 61, 2_004_000, 0)),
            (2_000_300.0, 40.0, (true, 2, 2_036_000, 0), (true, 23, 2_008_000, 0)),
        ];
        for (now_ms, cost, rate, spent) in steps {
            parts.clock.set(now_ms);
            let axes = ask(&unified, Ask::new("a").cost(cost)).axes;
            let of =
                |limit, (allowed, remaining, reset, retry)| Some(decision(allowed, limit, remaining, reset, retry));
            assert_eq!((axes.rate, axes.cost), (of(5, rate), of(100, spent)));
        }
        parts.clock.set(2_000_400.0);
        let denied = ask(&unified, Ask::new("a").cost(50.0));
        assert_eq!(denied.axes.cost, Some(decision(false, 100, 24, 2_008_000, 2_600)));
        let rate = if consume == Consume::PerAxis {
            decision(true, 5, 1, 2_048_000, 0)
        } else {
            decision(true, 5, 2, 2_036_000, 0)
        };
        assert_eq!((denied.axes.rate, denied.binding), (Some(rate), Some(Axis::Cost)));
    }
}

#[test]
fn keys_are_independent() {
    let parts = Parts::new(9, gcra(2.0, 60_000.0), bucket(100.0, 10.0));
    let unified = parts.build(Consume::AllOrNothing);
    let allowed = |key| ask(&unified, Ask::new(key)).decision.allowed;
    assert_eq!([allowed("a"), allowed("a"), allowed("a"), allowed("b")], [true, true, false, true]);
}

#[test]
fn a_cost_that_is_not_given_is_one() {
    let clock = ManualClock::new(0.0);
    let cost = Limiter::builder(bucket(3.0, 1.0)).clock(clock).build();
    let unified = Unified::builder().cost(cost).build().unwrap();
    let allowed = [(); 4].map(|()| ask(&unified, Ask::new("")).decision.allowed);
    assert_eq!(allowed, [true, true, true, false]);
}

#[test]
fn one_axis_is_enough() {
    let guard = Unified::builder().concurrency(Guard::fixed(1).unwrap()).build().unwrap();
    let held = ask(&guard, Ask::new("a").cost(f64::NAN));
    assert!(held.permit.is_held() && held.axes.rate.is_none());
    assert_eq!(ask(&guard, Ask::new("a")).binding, Some(Axis::Concurrency));

    let rate = Unified::builder().rate(Limiter::new(gcra(1.0, 60_000.0))).build().unwrap();
    let first = ask(&rate, Ask::new("a"));
    assert!(first.decision.allowed && !first.permit.is_held());
    assert_eq!(ask(&rate, Ask::new("a")).binding, Some(Axis::Rate));
}

#[test]
fn a_dropped_request_lowers_the_limit() {
    let builder = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0).backoff_ratio(0.5);
    let guard = builder.clock(ManualClock::new(0.0)).build().unwrap();
    let unified = Unified::builder().concurrency(guard.clone()).build().unwrap();
    ask(&unified, Ask::new("a")).permit.settle(Outcome::Dropped);
    assert_eq!(guard.limit(), 5);
}

#[test]
fn denials_leave_the_latency_without_load_alone() {
    for consume in BOTH {
        let clock = ManualClock::new(0.0);
        let builder = Guard::builder().algorithm(Algorithm::Gradient2).initial_limit(50.0);
        let guard = builder.clock(clock.clone()).build().unwrap();
        let rate = Limiter::builder(gcra(1.0, 3_600_000.0)).clock(clock.clone()).build();
        let builder = Unified::builder().concurrency(guard.clone()).rate(rate);
        let unified =
            builder.cost(Limiter::new(bucket(1e9, 1.0))).consume(consume).clock(clock.clone()).build().unwrap();
        drop(ask(&unified, Ask::new("a")));
        for _ in 0..20 {
            let before = guard.limit();
            let mut work: Vec<_> = (0..50).map(|_| guard.acquire()).collect();
            clock.advance(20.0);
            for _ in 0..50 {
                assert!(!ask(&unified, Ask::new("a")).decision.allowed);
            }
            for permit in &mut work {
                permit.settle(Outcome::Completed);
            }
            assert_eq!((guard.stats().noload_ms, guard.in_flight()), (20.0, 0));
            assert!(guard.limit() >= before);
        }
    }
}

#[test]
fn a_bad_cost_takes_nothing() {
    for consume in BOTH {
        let parts = Parts::new(1, gcra(1.0, 60_000.0), bucket(10.0, 10.0));
        let unified = parts.build(consume);
        for cost in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = unified.admit(&Ask::new("a").cost(cost)).now().unwrap().unwrap_err();
            assert_eq!(error.code(), "invalid_argument");
        }
        assert!(ask(&unified, Ask::new("a")).decision.allowed);
    }
}

#[test]
fn threads_are_charged_together_or_not_at_all() {
    let parts = Parts::new(1_000, gcra(100.0, 3_600_000.0), bucket(60.0, 1e-6));
    let unified = parts.build(Consume::AllOrNothing);
    let admitted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    admitted.fetch_add(usize::from(ask(&unified, Ask::new("a")).decision.allowed), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 60);
    assert_eq!((parts.rate.peek("a").unwrap().remaining, parts.guard.in_flight()), (40, 0));
}

#[test]
fn what_cannot_work_is_not_built() {
    let rate = || Limiter::new(gcra(1.0, 1_000.0));
    let cost = || Limiter::new(bucket(1.0, 1.0));
    let error = Unified::builder().build().unwrap_err();
    assert_eq!((error.option(), error.code()), ("unified", "throttlekit_error"));

    let table = Table::new();
    let shared = |limit| Limiter::builder(gcra(limit, 1_000.0)).keyspace(table.clone()).build();
    let error = Unified::builder().rate(shared(1.0)).cost(shared(2.0)).build().unwrap_err();
    assert_eq!(error.option(), "unified.cost");

    let store = Remote::new(CasStore::default());
    let stored = |prefix| Limiter::builder(gcra(1.0, 1_000.0)).keyspace(store.clone()).prefix(prefix).build();
    let error = Unified::builder().rate(stored("a")).cost(stored("a")).build().unwrap_err();
    assert_eq!(error.option(), "unified.cost");
    assert!(Unified::builder().rate(stored("a")).cost(stored("b")).build().is_ok());

    let elsewhere = Limiter::builder(gcra(1.0, 1_000.0)).keyspace(Remote::new(CasStore::default())).build();
    for apart in
        [Unified::builder().rate(rate()).cost(elsewhere.clone()), Unified::builder().rate(stored("a")).cost(elsewhere)]
    {
        let error = apart.consume(Consume::PerAxisAtOnce).build().unwrap_err();
        assert_eq!((error.option(), error.value()), ("unified.consume", Some("per-axis-at-once")));
    }
    let mixed = Unified::builder().rate(stored("a")).cost(cost()).consume(Consume::PerAxis);
    assert!(mixed.build().is_ok());

    let error = Unified::builder().rate(rate()).prices(Prices::new(0.0, 1.0)).build().unwrap_err();
    assert_eq!(error.option(), "unified.jointLp");
}

/// A store that waits a few times before it answers, and may fail.
#[derive(Default)]
struct Slow {
    store: CasStore,
    fails: bool,
}

impl Store for Slow {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        self.store.run(call).await?;
        if self.fails { Err(Error::store_unavailable("it is gone")) } else { Ok(()) }
    }
}

fn over(store: Slow, consume: Consume) -> (Unified<ManualClock>, Guard<ManualClock>) {
    let clock = ManualClock::new(0.0);
    let store = Remote::new(store);
    let guard = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0).clock(clock.clone()).build().unwrap();
    let rate = Limiter::builder(gcra(2.0, 60_000.0)).keyspace(store.clone()).prefix("r").clock(clock.clone()).build();
    let cost = Limiter::builder(bucket(10.0, 1.0)).keyspace(store).prefix("c").clock(clock.clone()).build();
    let builder = Unified::builder().concurrency(guard.clone()).rate(rate).cost(cost);
    (builder.consume(consume).clock(clock).build().unwrap(), guard)
}

#[test]
fn a_request_that_is_dropped_while_it_waits_gives_its_slot_back() {
    for consume in BOTH {
        for polls in 0..10 {
            let (unified, guard) = over(Slow::default(), consume);
            let mut run = unified.admit(&Ask::new("a").cost(2.0));
            let mut context = Context::from_waker(Waker::noop());
            let mut answered = false;
            for _ in 0..polls {
                if !answered {
                    answered = Pin::new(&mut run).poll(&mut context).is_ready();
                }
            }
            drop(run);
            assert_eq!((guard.in_flight(), guard.stats().dropped, guard.limit()), (0, 0, 10), "{consume:?} {polls}");
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_gives_the_slot_back() {
    for consume in BOTH {
        let (unified, guard) = over(Slow { fails: true, ..Slow::default() }, consume);
        let error = unified.admit(&Ask::new("a")).await.unwrap_err();
        assert!(error.is_store_unavailable());
        assert_eq!((guard.in_flight(), guard.stats().last_ms), (0, 0.0));
    }
}

#[tokio::test]
async fn in_a_store_all_or_nothing_is_one_call() {
    let store = CasStore::default();
    let (unified, guard) = over(Slow { store: store.clone(), fails: false }, Consume::AllOrNothing);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(unified.admit(&Ask::new("a").cost(3.0)).await.unwrap());
    }
    let denied = unified.admit(&Ask::new("a").cost(3.0)).await.unwrap();
    assert_eq!((denied.binding, guard.in_flight()), (Some(Axis::Rate), 2));
    let cost = denied.axes.cost.unwrap();
    assert_eq!((cost.allowed, cost.remaining, cost.retry_after_ms), (true, 4, 0));
    assert_eq!(denied.axes.combined(), denied.decision);
    assert_eq!(store.calls(), 3, "the call that denies shows what is left, too");
}

/// Two requests at once never see each other's decisions.
#[tokio::test]
async fn racing_requests_get_their_own_answers() {
    let (unified, _guard) = over(Slow::default(), Consume::PerAxis);
    let mut runs: Vec<_> = (0..3).map(|_| unified.admit(&Ask::new("a"))).collect();
    let mut context = Context::from_waker(Waker::noop());
    let mut answers: Vec<Option<Admission>> = vec![None, None, None];
    for _ in 0..100 {
        for (run, answer) in runs.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                if let Poll::Ready(result) = Pin::new(run).poll(&mut context) {
                    *answer = Some(result.unwrap());
                }
            }
        }
    }
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| answer.decision.allowed).count(), 2);
    for answer in &answers {
        let binding = (!answer.decision.allowed).then_some(Axis::Rate);
        assert_eq!((answer.binding, answer.axes.binding()), (binding, binding));
        assert_eq!(answer.axes.cost.is_some(), answer.decision.allowed);
    }
}

#[test]
fn each_axis_that_was_asked_is_seen_once() {
    let told = Arc::new(Recorder::default());
    let parts = Parts::new(1, gcra(1.0, 60_000.0), bucket(10.0, 10.0));
    let unified = parts.builder().observer(Arc::clone(&told)).name("api").build().unwrap();
    let seen = |cost| {
        let admission = ask(&unified, Ask::new("a").cost(cost));
        let events = told.take();
        let events = events.iter().map(|event| {
            assert_eq!((event.policy.as_str(), event.strategy, event.now_ms), ("api", "unified", 1_000_000.0));
            (event.cost, event.result.unwrap().allowed)
        });
        (events.collect::<Vec<_>>(), admission)
    };
    let (events, held) = seen(3.0);
    assert_eq!(events, [(1.0, true), (1.0, true), (3.0, true)]);
    assert_eq!(seen(3.0).0, [(1.0, false)]);
    drop(held);
    assert_eq!(seen(4.0).0, [(1.0, true), (1.0, false), (4.0, true)]);
}

#[test]
fn a_concurrency_axis_may_be_shared() {
    let guard = Arc::new(Guard::fixed(1).unwrap());
    let unified = |limit| {
        let rate = Limiter::new(FixedWindow::builder().limit(limit).window_ms(60_000.0).build().unwrap());
        Unified::builder().concurrency(Arc::clone(&guard)).rate(rate).build().unwrap()
    };
    let held = ask(&unified(5.0), Ask::new("a"));
    assert_eq!(ask(&unified(5.0), Ask::new("b")).binding, Some(Axis::Concurrency));
    drop(held);
}
