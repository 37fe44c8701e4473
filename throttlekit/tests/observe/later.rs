//! An observer that comes after a limit was built is told what it had been told if it had come before.

use std::sync::Arc;

use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::fair::FairEscrow;
use throttlekit::lease::TwoTier;
use throttlekit::sketch::{DenyListed, Screened, SketchLimiter};
use throttlekit::store::Remote;
use throttlekit::unified::Tap;
use throttlekit::{
    Admission, Admit, Ask, Consume, DynLimiter, FixedWindow, Gcra, Guard, KeyedGuard, Limiter, ManualClock, Multi,
    Observer, Outage, Priority, Queue, Run, TokenBucket, Unified,
};

use crate::support::held::done;
use crate::support::outage::{Flaky, ManualRuntime, Mood};
use crate::support::polled;
use crate::support::story::Story;
use crate::support::waits::call;

fn clock() -> ManualClock {
    ManualClock::new(60_000.0)
}

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(1_000.0).build().unwrap()
}

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(60_000.0).build().unwrap()
}

/// `limit` with `observer` to tell.
fn observed(limit: impl Admit, observer: &Story) -> Arc<dyn Admit> {
    let observer: Arc<dyn Observer> = Arc::new(observer.clone());
    Arc::new(limit).observed(&observer).expect("it has no observer")
}

/// The same of a limiter.
fn observed_limiter(limit: impl DynLimiter, observer: &Story) -> Arc<dyn DynLimiter> {
    let observer: Arc<dyn Observer> = Arc::new(observer.clone());
    Arc::new(limit).observed_limiter(&observer).expect("it has no observer")
}

/// What both are told of a few requests, of which some are refused: it is the same, and not nothing.
#[track_caller]
fn same(before: &dyn Admit, first: &Story, later: &dyn Admit, second: &Story) -> Vec<String> {
    for (key, cost, priority) in [
        ("a", 1.0, Priority::Normal),
        ("a", 2.0, Priority::High),
        ("b", 1.0, Priority::Low),
        ("a", 1.0, Priority::Normal),
        ("a", 1.0, Priority::Normal),
        ("a", 0.0, Priority::Normal),
        ("b", 1e9, Priority::Normal),
    ] {
        let ask = Ask::new(key).cost(cost).priority(priority);
        let answer = |admit: &dyn Admit| {
            let answer = polled(admit.admit(&ask), 64).expect("an answer");
            answer.map(|admission| (admission.decision, admission.axes)).map_err(|error| error.code())
        };
        assert_eq!(answer(before), answer(later));
    }
    let told = first.take();
    assert_eq!(told, second.take());
    assert!(!told.is_empty());
    told
}

/// The same of a limiter, asked as one too.
#[track_caller]
fn same_limiter(before: &impl DynLimiter, first: &Story, bare: impl DynLimiter, second: &Story) -> Vec<String> {
    let bare: Arc<dyn DynLimiter> = Arc::new(bare);
    let observer: Arc<dyn Observer> = Arc::new(second.clone());
    let later = Arc::clone(&bare).observed_limiter(&observer).expect("it has no observer");
    let of_admit = Arc::clone(&bare).observed(&observer).expect("it has no observer");
    assert_eq!((before.limit(), before.now_ms()), (later.limit(), later.now_ms()));
    for (key, cost) in [("x", 1.0), ("x", 1.0), ("x", -1.0)] {
        let one = polled(before.check(key, cost), 64).unwrap().map_err(|error| error.code());
        let other = polled(later.check(key, cost), 64).unwrap().map_err(|error| error.code());
        assert_eq!(one, other);
    }
    for limiter in [before as &dyn DynLimiter, &*later] {
        polled(limiter.check_many(&["x", "y"], 1.0), 64).unwrap().unwrap();
    }
    assert_eq!(first.take(), second.take());
    // Unobserved it goes on as it was, on the same keys.
    polled(bare.check("y", 1.0), 64).unwrap().unwrap();
    polled(before.check("y", 1.0), 64).unwrap().unwrap();
    assert!(second.take().is_empty());
    first.take();
    same(before, first, &*of_admit, second)
}

#[test]
fn of_a_limiter() {
    let (first, second) = (Story::default(), Story::default());
    let limiter = || Limiter::builder(gcra(4.0)).name("api").clock(clock());
    let told = same_limiter(&limiter().observer(first.clone()).build(), &first, limiter().build(), &second);
    assert_eq!(
        told[0],
        "decided api by gcra on Rate for \"a\": 1 normal at 60000, Check, Ok((true, 3)), local false, part false, timed true"
    );
}

#[test]
fn of_a_limiter_over_a_store() {
    let (first, second, clock) = (Story::default(), Story::default(), clock());
    let limiter = || Limiter::builder(gcra(4.0)).clock(clock.clone()).keyspace(Remote::new(Flaky::default()));
    same_limiter(&limiter().observer(first.clone()).build(), &first, limiter().build(), &second);
}

#[test]
fn of_a_limiter_that_leases() {
    let (first, second) = (Story::default(), Story::default());
    let leased = || TwoTier::builder(window(6.0)).clock(clock()).batch(4.0);
    let bare = leased().build().unwrap();
    let told = same_limiter(&leased().observer(first.clone()).build().unwrap(), &first, bare.clone(), &second);
    assert!(told.iter().any(|line| line.starts_with("leased") && line.ends_with("spendable true")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("local true")), "{told:?}");
    assert_eq!(bare.keys_held(), 4, "the units are the same");
}

#[test]
fn of_a_limiter_that_remembers_denials() {
    let (first, second) = (Story::default(), Story::default());
    let cached = || TwoTier::builder(window(3.0)).clock(clock()).mode(throttlekit::lease::Mode::CachedDeny);
    let bare = cached().build().unwrap();
    same_limiter(&cached().observer(first.clone()).build().unwrap(), &first, bare, &second);
}

#[test]
fn of_a_budget() {
    let (first, second) = (Story::default(), Story::default());
    let budget = Budget::builder().budget(3.0).window_ms(60_000.0).build().unwrap();
    let budget = || TokenBudget::builder(budget).clock(clock());
    let told = same_limiter(&budget().observer(first.clone()).build(), &first, budget().build(), &second);
    assert!(told[0].contains("on Cost"), "{told:?}");
}

#[test]
fn of_a_fair_escrow() {
    let (first, second) = (Story::default(), Story::default());
    let fair = || FairEscrow::builder().limit(9.0).window_ms(60_000.0).clock(clock()).name("shared");
    let bare = fair().build().unwrap();
    same_limiter(&fair().observer(first.clone()).build().unwrap(), &first, bare, &second);
}

#[test]
fn of_sketches() {
    let (first, second) = (Story::default(), Story::default());
    let sketch = || SketchLimiter::builder().limit(3.0).window_ms(60_000.0).clock(clock());
    let bare = sketch().build().unwrap();
    same_limiter(&sketch().observer(first.clone()).build().unwrap(), &first, bare, &second);

    let screen = || Screened::builder(window(3.0)).clock(clock());
    let bare = screen().build().unwrap();
    same_limiter(&screen().observer(first.clone()).build().unwrap(), &first, bare, &second);
}

#[test]
fn of_several_dimensions() {
    let (first, second) = (Story::default(), Story::default());
    let multi = || Multi::all().dimension("one", gcra(4.0), 1.0).dimension("other", gcra(9.0), 2.0).clock(clock());
    let before = multi().observer(first.clone()).build().unwrap();
    same(&before, &first, &*observed(multi().build().unwrap(), &second), &second);

    let store = || multi().store(Remote::new(Flaky::default()));
    let before = store().observer(first.clone()).build().unwrap();
    same(&before, &first, &*observed(store().build().unwrap(), &second), &second);
}

#[test]
fn of_a_guard_and_those_who_wait_for_it() {
    let clock = clock();
    let (first, second) = (Story::default(), Story::default());
    let guard = || Guard::builder().fixed(1).name("work").clock(clock.clone());
    let queued = || guard().queue(Queue::new(2, 1_000.0), ManualRuntime::new(&clock));
    let keyed = || KeyedGuard::builder(queued());
    same(
        &guard().observer(first.clone()).build().unwrap(),
        &first,
        &*observed(guard().build().unwrap(), &second),
        &second,
    );

    let pairs: [(Arc<dyn Admit>, Arc<dyn Admit>); 2] = [
        (Arc::new(queued().observer(first.clone()).build().unwrap()), observed(queued().build().unwrap(), &second)),
        (
            Arc::new(KeyedGuard::builder(queued().observer(first.clone())).build().unwrap()),
            observed(keyed().build().unwrap(), &second),
        ),
    ];
    for (before, later) in pairs {
        for admit in [&*before, &*later] {
            let held = call(admit, "a").poll().expect("a free slot");
            let (mut waits, mut gives_up) = (call(admit, "b"), call(admit, "c"));
            assert!(waits.poll().is_none() && gives_up.poll().is_none());
            clock.advance(5.0);
            drop((gives_up, held));
            assert!(waits.poll().expect("its slot").decision.allowed);
            clock.set(60_000.0);
        }
        let told = first.take();
        assert_eq!(told, second.take());
        let waits = told.iter().filter(|line| line.starts_with("waited work by fixed: 5 ")).count();
        assert_eq!(waits, 2, "{told:?}");
    }
}

#[test]
fn of_what_is_behind_a_deny_list() {
    let (first, second) = (Story::default(), Story::default());
    let limiter = || Limiter::builder(gcra(1.0)).clock(clock());
    let before = limiter().observer(first.clone()).build();
    let before = DenyListed::builder(before).denials(2).clock(clock()).observer(first.clone()).build().unwrap();
    let bare = DenyListed::builder(limiter().build()).denials(2).clock(clock()).build().unwrap();
    let told = same(&before, &first, &*observed(bare, &second), &second);
    assert!(told.iter().any(|line| line.starts_with("decided denyList")), "{told:?}");

    // Either of them may have its own.
    let own = DenyListed::builder(limiter().observer(first.clone()).build()).denials(2).clock(clock()).build().unwrap();
    let other = DenyListed::builder(limiter().build()).denials(2).clock(clock()).observer(first.clone());
    let other = other.build().unwrap();
    for listed in [observed(own, &second), observed(other, &second)] {
        for _ in 0..4 {
            drop(done(listed.admit(&Ask::new("a"))));
        }
        assert_eq!(first.take().len() + second.take().len(), 4);
    }
}

#[test]
fn of_what_is_behind_a_tap() {
    let (first, second) = (Story::default(), Story::default());
    let tapped = Tap::new(Limiter::builder(gcra(4.0)).clock(clock()).build(), {
        let seen = second.clone();
        move |event| seen.admitted(event)
    });
    let before = Limiter::builder(gcra(4.0)).clock(clock()).observer(first.clone()).build();
    let before = Tap::new(before, {
        let seen = first.clone();
        move |event| seen.admitted(event)
    });
    same(&before, &first, &*observed(tapped, &second), &second);
}

#[test]
fn of_a_limiter_and_what_stands_in_for_it() {
    let (first, second) = (Story::default(), Story::default());
    let flaky = [Flaky::default(), Flaky::default()];
    let outages = [Outage::new(), Outage::new()];
    let shared = |index: usize| Limiter::builder(gcra(4.0)).keyspace(Remote::new(flaky[index].clone())).clock(clock());
    let local = || Limiter::builder(gcra(2.0)).name("local").clock(clock());
    let told = first.clone();
    let before = throttlekit::Fallback::new(shared(0).observer(first.clone()).build(), &outages[0], move || {
        Ok(Arc::new(local().observer(told.clone()).build()))
    });
    let bare =
        Arc::new(throttlekit::Fallback::new(shared(1).build(), &outages[1], move || Ok(Arc::new(local().build()))));
    let observer: Arc<dyn Observer> = Arc::new(second.clone());
    let later = Arc::clone(&bare).observed(&observer).expect("it has no observer");
    for mood in [Mood::Up, Mood::Down, Mood::Up] {
        for store in &flaky {
            store.set(mood);
        }
        for _ in 0..3 {
            for admit in [&before as &dyn Admit, &*later] {
                drop(polled(admit.admit(&Ask::new("a")), 8).unwrap().unwrap());
            }
        }
        let told = first.take();
        assert_eq!(told, second.take());
        assert_eq!(told.iter().any(|line| line.contains("decided local")), mood == Mood::Down, "{told:?}");
    }
    // What stands in is the same for both handles.
    flaky[1].set(Mood::Down);
    let left = |admit: &dyn Admit| polled(admit.admit(&Ask::new("a")), 8).unwrap().unwrap().decision.remaining;
    assert_eq!((left(&*later), left(&*bare)), (1, 0));
}

#[test]
fn of_a_unified_admission_its_waits_and_its_leases() {
    let clock = clock();
    let (first, second) = (Story::default(), Story::default());
    let cost = || TokenBucket::builder().capacity(3.0).refill_per_sec(1.0).build().unwrap();
    let unified = |story: Option<&Story>, consume| {
        let rate = TwoTier::builder(window(9.0)).clock(clock.clone()).batch(3.0);
        let cost = Limiter::builder(cost()).clock(clock.clone()).build();
        let guard = Guard::builder().fixed(2).clock(clock.clone()).build().unwrap();
        let unified = Unified::builder().concurrency(guard).cost(cost).consume(consume).clock(clock.clone());
        let unified = unified.rate(rate.build().unwrap()).name("all");
        match story {
            Some(story) => unified.observer(story.clone()).build().unwrap(),
            None => unified.build().unwrap(),
        }
    };
    for consume in [Consume::AllOrNothing, Consume::PerAxis] {
        let later = observed(unified(None, consume), &second);
        let asked = |admit: &dyn Admit| {
            for cost in [1.0, 2.0, 1.0, 0.0] {
                drop(polled(admit.admit(&Ask::new("a").cost(cost)), 64));
            }
        };
        asked(&unified(Some(&first), consume));
        asked(&*later);
        // The builder's observer is not that of the parts, so it misses what only these can tell.
        let (told, leases): (Vec<_>, Vec<_>) = second.take().into_iter().partition(|line| !line.starts_with("leased"));
        assert_eq!(told, first.take());
        assert!(told.iter().any(|line| line.starts_with("admitted all")), "{told:?}");
        assert_eq!(leases.len(), 1, "{leases:?}");
    }

    let guard = Guard::builder().fixed(1).clock(clock.clone()).queue(Queue::new(2, 9.0), ManualRuntime::new(&clock));
    let waiting = Unified::builder().concurrency(guard.build().unwrap()).clock(clock.clone()).build().unwrap();
    let later = observed(waiting.clone(), &second);
    let held = call(&*later, "a").poll().expect("a free slot");
    let mut waits = call(&*later, "b");
    assert!(waits.poll().is_none());
    drop(held);
    assert!(waits.poll().is_some());
    let told = second.take();
    let starting = |with: &str| told.iter().filter(|line| line.starts_with(with)).count();
    assert_eq!((starting("decided"), starting("admitted"), starting("waited")), (2, 2, 1), "{told:?}");
}

#[test]
fn joint_checks_and_prices_go_on_in_the_same_place() {
    let clock = clock();
    let (first, second) = (Story::default(), Story::default());
    let unified = || {
        let limiter = |units| Limiter::builder(gcra(units)).clock(clock.clone()).build();
        Unified::builder().rate(limiter(9.0)).cost(limiter(4.0)).clock(clock.clone()).remember_last(true)
    };
    let before = unified().observer(first.clone()).build().unwrap();
    let bare = unified().build().unwrap();
    let later = observed(bare.clone(), &second);
    same(&before, &first, &*later, &second);
    let last = |admit: &dyn Admit| {
        let admission = done(admit.admit(&Ask::new("z"))).unwrap();
        assert_eq!(bare.last_axes(), Some(admission.axes));
        admission.axes.cost.map(|decision| decision.remaining)
    };
    assert_eq!((last(&*later), last(&bare)), (Some(3), Some(2)));
}

#[test]
fn who_has_an_observer_keeps_it() {
    let (own, other) = (Story::default(), Story::default());
    let observer: Arc<dyn Observer> = Arc::new(other.clone());
    let limiter = Arc::new(Limiter::builder(gcra(4.0)).observer(own.clone()).build());
    assert!(Arc::clone(&limiter).observed(&observer).is_none());
    assert!(Arc::clone(&limiter).observed_limiter(&observer).is_none());
    let guard = Arc::new(Guard::builder().fixed(1).observer(own.clone()).build().unwrap());
    assert!(guard.observed(&observer).is_none());
    let later = observed_limiter(Limiter::new(gcra(4.0)), &own);
    assert!(later.observed_limiter(&observer).is_none(), "the first one counts");

    // Nobody is no observer, whatever its type.
    let nobody: [Arc<dyn Observer>; 3] = [Arc::new(()), Arc::new(None::<Story>), Arc::new(((), None::<Story>))];
    for nobody in nobody {
        let limiter = Limiter::builder(gcra(4.0)).observer(nobody).build();
        drop(done(observed(limiter, &other).admit(&Ask::new("a"))).unwrap());
        assert_eq!(other.take().len(), 1);
    }
}

#[test]
fn a_limit_of_ones_own_is_left_as_it_is() {
    struct Own;

    impl Admit for Own {
        fn admit(&self, _: &Ask<'_>) -> Run<Result<Admission, throttlekit::Error>> {
            Run::ready(Err(throttlekit::Error::unsupported("it decides nothing")))
        }
    }

    let observer: Arc<dyn Observer> = Arc::new(Story::default());
    assert!(Arc::new(Own).observed(&observer).is_none());
    assert!(Arc::new(Arc::new(Own)).observed(&observer).is_none());
}
