//! Waiting for a slot: order, deadline, bounds, cancellation, and what is told.

use throttlekit::{
    Admit, Algorithm, Ask, Axis, BoxFuture, Decision, Gcra, Guard, GuardBuilder, KeyedGuard, Limiter, ManualClock,
    Outcome, Permit, Priority, Queue, Runtime, TaskHandle, Unified, WaitOutcome,
};

use crate::support::outage::ManualRuntime;
use crate::support::waits::{Caller, Told, call, call_as, now};

/// A guard with a queue for `max` and half a second, and its clock.
fn queued(limit: u32, max: u32) -> (Guard<ManualClock>, ManualClock) {
    build(Guard::builder().fixed(limit), max)
}

fn build(builder: GuardBuilder, max: u32) -> (Guard<ManualClock>, ManualClock) {
    let clock = ManualClock::new(0.0);
    let builder = builder.queue(Queue::new(max, 500.0), ManualRuntime::new(&clock));
    (builder.clock(clock.clone()).build().unwrap(), clock)
}

fn hold<const N: usize>(guard: &Guard<ManualClock>) -> [Permit; N] {
    [(); N].map(|()| now(guard, "holder").permit)
}

/// Gives slots back one by one; the order in which the callers get on. What they get, they give back.
fn order(held: Permit, callers: Vec<(&'static str, Caller)>) -> Vec<&'static str> {
    let mut waiting = callers;
    for (_, caller) in &mut waiting {
        assert!(caller.poll().is_none());
    }
    let mut order = Vec::new();
    drop(held);
    while let Some(index) = waiting.iter().position(|(_, caller)| caller.was_woken()) {
        let (name, mut caller) = waiting.remove(index);
        let admission = caller.poll().unwrap();
        assert!(admission.decision.allowed && admission.permit.is_held());
        assert!(waiting.iter().all(|(_, caller)| !caller.was_woken()), "one slot, one woken");
        order.push(name);
    }
    assert!(waiting.is_empty());
    order
}

#[test]
fn who_does_not_queue_is_refused_at_once() {
    let (guard, _) = queued(1, 10);
    let [held] = hold(&guard);
    let builder = Guard::builder().fixed(1).queue(Queue::new(10, 500.0), ManualRuntime::new(&ManualClock::new(0.0)));
    let tenants = KeyedGuard::builder(builder).build().unwrap();
    let other = tenants.admit(&Ask::new("a")).now().unwrap().unwrap();
    for limit in [&guard as &dyn Admit, &tenants] {
        let refused = limit.admit(&Ask::new("a").queues(false)).now().expect("an answer").unwrap();
        assert!(!refused.decision.allowed && refused.binding == Some(Axis::Concurrency));
        assert!(limit.admit(&Ask::new("a")).now().is_err(), "it waits");
    }
    drop((held, other));
    assert!(guard.admit(&Ask::new("a").queues(false)).now().expect("an answer").unwrap().decision.allowed);
}

#[test]
fn a_request_waits_for_a_slot() {
    let (guard, _) = queued(1, 10);
    let [mut held] = hold(&guard);
    let mut caller = call(&guard, "a");
    assert!(caller.poll().is_none());
    assert_eq!((guard.waiting(), guard.in_flight()), (1, 1));
    held.settle(Outcome::Completed);
    assert!(caller.was_woken());
    assert_eq!((guard.waiting(), guard.in_flight()), (0, 1), "the slot is handed over, not put back");
    let mut admission = caller.poll().unwrap();
    assert_eq!(
        admission.decision,
        Decision { allowed: true, limit: 1, remaining: 0, reset_at_ms: 0, retry_after_ms: 0 }
    );
    assert_eq!((admission.axes.concurrency, admission.binding), (Some(admission.decision), None));
    admission.permit.settle(Outcome::Completed);
    assert_eq!(guard.in_flight(), 0);
    assert!(now(&guard, "b").decision.allowed, "with nobody waiting all is as before");
}

#[test]
fn within_a_key_the_first_is_first() {
    let (guard, _) = queued(1, 10);
    let [held] = hold(&guard);
    let callers = ["1", "2", "3", "4"].map(|name| (name, call(&guard, "same")));
    assert_eq!(order(held, callers.into()), ["1", "2", "3", "4"]);
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn keys_take_turns() {
    let (guard, _) = queued(1, 10);
    let [held] = hold(&guard);
    let callers = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")];
    let callers = callers.map(|(name, key)| (name, call(&guard, key)));
    assert_eq!(order(held, callers.into()), ["a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn the_higher_priority_is_first() {
    let (guard, _) = queued(1, 10);
    let [held] = hold(&guard);
    let callers = [
        ("low 1", "a", Priority::Low),
        ("normal 1", "b", Priority::Normal),
        ("low 2", "c", Priority::Low),
        ("critical", "a", Priority::Critical),
        ("normal 2", "b", Priority::Normal),
        ("high", "d", Priority::High),
    ];
    let callers = callers.map(|(name, key, priority)| (name, call_as(&guard, key, priority)));
    assert_eq!(order(held, callers.into()), ["critical", "high", "normal 1", "normal 2", "low 1", "low 2"]);
}

#[test]
fn every_priority_may_use_all_slots_where_there_is_a_queue() {
    let (guard, _) = queued(5, 10);
    let held: Vec<_> = (0..5).map(|_| call_as(&guard, "a", Priority::Low)).collect();
    assert!(held.iter().all(Caller::is_ready));
}

#[test]
fn at_the_deadline_it_is_a_denial_like_any_other() {
    let (guard, clock) = queued(1, 10);
    let [held] = hold(&guard);
    let mut caller = call(&guard, "a");
    assert!(caller.poll().is_none());
    clock.set(499.0);
    assert!(caller.poll().is_none());
    clock.set(500.0);
    let refused = caller.poll().unwrap();
    let denial = Decision { allowed: false, limit: 1, remaining: 0, reset_at_ms: 500, retry_after_ms: 1 };
    assert_eq!((refused.decision, refused.binding), (denial, Some(Axis::Concurrency)));
    assert!(!refused.permit.is_held() && guard.waiting() == 0);
    drop(held);
    assert_eq!(guard.in_flight(), 0, "nothing is handed to one that has gone");
}

#[test]
fn a_slot_that_came_by_the_deadline_counts() {
    let (guard, clock) = queued(1, 10);
    let [held] = hold(&guard);
    let mut caller = call(&guard, "a");
    assert!(caller.poll().is_none());
    clock.set(500.0);
    drop(held);
    assert!(caller.poll().unwrap().decision.allowed);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (guard, _) = queued(1, 2);
    let held: [Permit; 1] = hold(&guard);
    let waiting = [call(&guard, "a"), call(&guard, "a")];
    let refused = now(&guard, "a");
    assert_eq!((refused.decision.allowed, refused.binding), (false, Some(Axis::Concurrency)));
    assert_eq!(guard.waiting(), 2);
    drop((held, waiting));
    assert_eq!(guard.waiting(), 0);
}

#[test]
fn a_key_cannot_keep_all_places_to_itself() {
    let (guard, _) = queued(1, 4);
    let held: [Permit; 1] = hold(&guard);
    let mut greedy: Vec<_> = (0..4).map(|_| call(&guard, "greedy")).collect();
    for caller in &mut greedy {
        assert!(caller.poll().is_none());
    }
    // Its last one gives way, until both have the same.
    let mut modest = [call(&guard, "modest"), call(&guard, "modest")];
    assert!(modest.iter_mut().all(|caller| caller.poll().is_none()));
    let answers: Vec<_> = greedy.iter_mut().map(|caller| caller.poll().map(|answer| answer.decision.allowed)).collect();
    assert_eq!(answers, [None, None, Some(false), Some(false)]);
    assert!(greedy[2].was_woken() && greedy[3].was_woken() && !greedy[1].was_woken());
    assert!(!now(&guard, "modest").decision.allowed && !now(&guard, "greedy").decision.allowed);
    // Another one has none: one of two gives way.
    assert!(call(&guard, "third").poll().is_none());
    drop(held);
}

#[test]
fn the_last_one_of_the_lowest_priority_gives_way() {
    let (guard, _) = queued(1, 3);
    let held: [Permit; 1] = hold(&guard);
    let mut low = [call_as(&guard, "a", Priority::Low), call_as(&guard, "b", Priority::Low)];
    let mut normal = call_as(&guard, "c", Priority::Normal);
    let mut high = call_as(&guard, "d", Priority::High);
    let mut states = || [low[0].poll(), low[1].poll(), normal.poll()].map(|answer| answer.is_some());
    assert_eq!(states(), [false, true, false]);
    let mut critical = call_as(&guard, "e", Priority::Critical);
    assert_eq!((low[0].poll().is_some(), high.poll().is_some(), critical.poll().is_some()), (true, false, false));
    let mut last = call_as(&guard, "f", Priority::Critical);
    assert!(normal.poll().is_some() && last.poll().is_none());
    assert!(call_as(&guard, "g", Priority::High).is_ready(), "its equals and betters are not displaced");
    drop(held);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let (guard, _) = queued(2, 10);
    let [first, second] = hold(&guard);
    let (mut one, mut two) = (call(&guard, "a"), call(&guard, "a"));
    drop(first);
    assert!(!guard.acquire().is_held(), "the slot was handed to one who waits");
    drop(second);
    assert!(!guard.acquire().is_held() && guard.waiting() == 0);
    let held = [one.poll().unwrap(), two.poll().unwrap()];
    drop(held);
    assert!(guard.acquire().is_held());
}

#[test]
fn a_wait_is_not_a_latency() {
    let clock = ManualClock::new(0.0);
    let told = Told::default();
    let builder = Guard::builder().algorithm(Algorithm::Aimd).min_limit(1.0).max_limit(1.0);
    let builder = builder.queue(Queue::new(5, 500.0), ManualRuntime::new(&clock)).observer(told.clone());
    let guard = builder.clock(clock.clone()).build().unwrap();
    let mut held = now(&guard, "a").permit;
    let mut caller = call_as(&guard, "a", Priority::High);
    assert!(caller.poll().is_none());
    clock.set(300.0);
    held.settle(Outcome::Completed);
    assert_eq!(guard.stats().last_ms, 300.0);
    // Handed over now; the work starts when the request gets on.
    clock.set(310.0);
    let mut admission = caller.poll().unwrap();
    clock.set(317.5);
    admission.permit.settle(Outcome::Completed);
    let stats = guard.stats();
    assert_eq!((stats.last_ms, stats.noload_ms), (7.5, 7.5));
    assert_eq!(told.waits(), [(Priority::High, 310.0, WaitOutcome::Admitted)]);
    assert_eq!(told.decisions(), [(Priority::Normal, true), (Priority::High, true)]);
}

#[test]
fn every_end_of_a_wait_is_told_once() {
    let clock = ManualClock::new(0.0);
    let told = Told::default();
    let builder = Guard::builder().fixed(1).queue(Queue::new(1, 500.0), ManualRuntime::new(&clock));
    let guard = builder.observer(told.clone()).clock(clock.clone()).build().unwrap();
    let held = now(&guard, "a");
    let mut displaced = call_as(&guard, "a", Priority::Low);
    clock.set(20.0);
    let mut late = call(&guard, "a");
    assert!(displaced.poll().is_some());
    drop(displaced);
    assert!(!now(&guard, "a").decision.allowed, "full: it never waited");
    clock.set(520.0);
    assert!(late.poll().is_some());
    drop(late);
    let cancelled = call(&guard, "a");
    clock.set(600.0);
    drop(cancelled);
    let waits = told.waits();
    let outcomes: Vec<_> = waits.iter().map(|(_, _, outcome)| *outcome).collect();
    assert_eq!(outcomes, [WaitOutcome::Displaced, WaitOutcome::TimedOut, WaitOutcome::Cancelled]);
    assert_eq!((waits[0].1, waits[2].1), (20.0, 80.0));
    let denied = told.decisions().iter().filter(|(_, allowed)| !allowed).count();
    assert_eq!(denied, 3, "displaced, full, late; a cancelled wait is no decision");
    drop(held);
}

/// A guard whose limit goes up by one with each good sample at half use, and is halved by a drop.
fn moving(initial: f64) -> (Guard<ManualClock>, ManualClock) {
    let builder = Guard::builder().algorithm(Algorithm::Aimd).backoff_ratio(0.5);
    build(builder.min_limit(1.0).max_limit(20.0).initial_limit(initial), 20)
}

#[test]
fn a_falling_limit_keeps_the_queue() {
    let (guard, _) = moving(4.0);
    let mut held: [Permit; 4] = hold(&guard);
    let mut callers: Vec<_> = (0..3).map(|_| call(&guard, "a")).collect();
    held[0].settle(Outcome::Dropped);
    held[1].settle(Outcome::Dropped);
    assert_eq!((guard.limit(), guard.in_flight(), guard.waiting()), (1, 2, 3));
    held[2].settle(Outcome::Ignored);
    assert_eq!((guard.in_flight(), guard.waiting()), (1, 3));
    held[3].settle(Outcome::Ignored);
    assert_eq!((guard.in_flight(), guard.waiting()), (1, 2));
    let report = guard.report();
    assert_eq!((report.generation, report.in_flight, report.limit), (2, 1, 1));
    let held = callers[0].poll();
    assert!(held.is_some() && callers[1].poll().is_none());
}

#[test]
fn a_rising_limit_lets_in_as_many_as_fit() {
    let (guard, _) = moving(2.0);
    let mut held: [Permit; 2] = hold(&guard);
    let mut callers: Vec<_> = (0..5).map(|_| call(&guard, "a")).collect();
    for caller in &mut callers {
        assert!(caller.poll().is_none());
    }
    held[0].settle(Outcome::Completed);
    assert_eq!((guard.limit(), guard.in_flight(), guard.waiting()), (3, 3, 3), "the slot and the new one");
    assert_eq!(callers.iter().filter(|caller| caller.was_woken()).count(), 2);
}

#[test]
fn one_that_leaves_makes_room_and_holds_nobody_up() {
    let (guard, _) = queued(1, 2);
    let [held] = hold(&guard);
    let first = call(&guard, "a");
    let mut second = call(&guard, "a");
    assert!(second.poll().is_none());
    drop(first);
    assert_eq!(guard.waiting(), 1);
    let mut third = call(&guard, "a");
    assert!(third.poll().is_none());
    drop(held);
    assert!(second.poll().unwrap().permit.is_held());
    assert!(third.poll().unwrap().permit.is_held(), "the second gave its slot back at once");
    assert_eq!((guard.in_flight(), guard.waiting()), (0, 0));
}

#[test]
fn a_slot_handed_to_one_that_leaves_goes_to_the_next() {
    let (guard, _) = moving(1.0);
    let [mut held] = hold(&guard);
    let gone = [call(&guard, "a"), call(&guard, "a")];
    let mut last = call(&guard, "a");
    assert!(last.poll().is_none());
    held.settle(Outcome::Ignored);
    assert_eq!((guard.in_flight(), guard.waiting(), last.was_woken()), (1, 2, false));
    drop(gone);
    assert!(last.was_woken());
    assert!(last.poll().unwrap().permit.is_held());
    assert_eq!((guard.in_flight(), guard.waiting(), guard.limit()), (0, 0, 1));
    assert_eq!(guard.stats().last_ms, 0.0, "nothing was learnt from those who left");
}

#[test]
fn a_panic_of_the_work_lets_the_next_one_in() {
    let (guard, _) = queued(1, 2);
    let [mut held] = hold(&guard);
    let mut caller = call(&guard, "a");
    assert!(caller.poll().is_none());
    let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        held.begin();
        std::panic::resume_unwind(Box::new("the work failed"));
    }));
    assert!(work.is_err() && caller.was_woken());
    assert!(caller.poll().unwrap().decision.allowed);
    assert_eq!((guard.in_flight(), guard.stats().dropped), (0, 1));
}

#[test]
fn a_runtime_that_panics_leaves_nobody_in_the_queue() {
    struct Broken;
    impl Runtime for Broken {
        fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
            TaskHandle::new(|| ())
        }

        fn sleep(&self, _span: std::time::Duration) -> BoxFuture<()> {
            std::panic::resume_unwind(Box::new("no runtime"))
        }
    }
    let guard = Guard::builder().fixed(1).queue(Queue::new(5, 500.0), Broken).build().unwrap();
    let held = guard.acquire();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guard.admit(&Ask::new("a")).now().is_ok()));
    assert!(asked.is_err());
    assert_eq!(guard.waiting(), 0);
    drop(held);
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn who_polled_last_is_woken() {
    let (guard, _) = queued(1, 2);
    let [held] = hold(&guard);
    let mut caller = call(&guard, "a");
    assert!(caller.poll().is_none());
    caller.move_on();
    assert!(caller.poll().is_none());
    drop(held);
    assert!(caller.was_woken() && caller.poll().is_some());
}

#[test]
fn a_shadow_admits_at_once_and_tells_what_would_not_have_got_on() {
    let clock = ManualClock::new(0.0);
    let told = Told::default();
    let builder = Guard::builder().fixed(1).shadow(true).queue(Queue::new(5, 500.0), ManualRuntime::new(&clock));
    let guard = builder.observer(told.clone()).clock(clock).build().unwrap();
    let held = [now(&guard, "a"), now(&guard, "a"), now(&guard, "b")];
    assert!(held.iter().all(|admission| admission.decision.allowed && admission.permit.is_held()));
    assert_eq!((guard.in_flight(), guard.waiting()), (3, 0));
    assert_eq!(told.decisions().iter().filter(|(_, allowed)| !allowed).count(), 2);
    assert_eq!(told.waits(), []);
    drop(held);
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn a_guard_goes_on_while_somebody_waits_on_it() {
    let (guard, _) = queued(1, 2);
    let [held] = hold(&guard);
    let mut caller = call(&guard, "a");
    drop(guard);
    assert!(caller.poll().is_none());
    drop(held);
    assert!(caller.poll().unwrap().decision.allowed);
}

#[test]
fn beside_a_rate_the_slot_of_one_that_waited_comes_back() {
    let (guard, clock) = queued(1, 2);
    let rate = Limiter::builder(Gcra::per_minute(1).unwrap()).clock(clock.clone()).build();
    let unified = Unified::builder().concurrency(guard.clone()).rate(rate).clock(clock).build().unwrap();
    let held = now(&unified, "a");
    assert!(held.decision.allowed);
    let mut caller = call(&unified, "a");
    assert!(caller.poll().is_none());
    drop(held);
    let refused = caller.poll().unwrap();
    assert_eq!((refused.binding, guard.in_flight(), guard.waiting()), (Some(Axis::Rate), 0, 0));

    let held = guard.acquire();
    let mut gone = call(&unified, "a");
    assert!(gone.poll().is_none() && guard.waiting() == 1);
    drop(gone);
    assert_eq!(guard.waiting(), 0);
    drop(held);
    assert_eq!((guard.in_flight(), guard.stats().dropped), (0, 0));
}

#[test]
fn bad_settings_name_the_option() {
    let built = |max, timeout_ms| {
        let runtime = ManualRuntime::new(&ManualClock::new(0.0));
        Guard::builder().fixed(1).queue(Queue::new(max, timeout_ms), runtime).build()
    };
    for max in [0, 1 << 24] {
        assert_eq!(built(max, 10.0).unwrap_err().option(), "concurrency.queue.max");
    }
    for timeout_ms in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert_eq!(built(1, timeout_ms).unwrap_err().option(), "concurrency.queue.timeoutMs");
    }
    assert!(built(1, 0.001).is_ok() && built((1 << 24) - 1, 9_007_199_254_740_991.0).is_ok());

    let runtime = ManualRuntime::new(&ManualClock::new(0.0));
    let both = Guard::builder().fixed(1).queue(Queue::new(1, 1.0), runtime).priority_share(Priority::Low, 0.5);
    assert_eq!(
        both.build().unwrap_err().to_string(),
        "concurrency.priorities.low is 0.5: must not be given with a queue, which orders by priority"
    );
}

#[test]
fn what_waits_can_be_sent() {
    fn sent<T: Send + 'static>(_: &T) {}
    let (guard, _) = queued(1, 2);
    let _held: [Permit; 1] = hold(&guard);
    sent(&guard.admit(&Ask::new("a")));
}
