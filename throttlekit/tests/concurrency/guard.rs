//! The guard: slots, decisions, bounds of its settings, and who is told.

use std::sync::Arc;
use std::thread;

use allocation_counter::measure;
use proptest::prelude::*;
use throttlekit::{
    Admission, Admit, Algorithm, Ask, Axis, Clock, Decision, Guard, GuardBuilder, ManualClock, Observer, Outcome,
    Permit, Recalibration,
};

use crate::support::{CountingClock, Recorder};

fn admit<C: Clock, O: Observer + Clone>(guard: &Guard<C, O>) -> Admission {
    guard.admit(&Ask::new("any")).now().unwrap().unwrap()
}

fn pinned(limit: f64, clock: &ManualClock) -> Guard<ManualClock> {
    let builder = Guard::builder().algorithm(Algorithm::Gradient2);
    builder.min_limit(limit).max_limit(limit).clock(clock.clone()).build().unwrap()
}

fn decision(allowed: bool, limit: u64, remaining: u64, reset_at_ms: i64, retry_after_ms: u64) -> Decision {
    Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms }
}

#[test]
fn a_slot_as_a_decision() {
    let clock = ManualClock::new(1_000.0);
    let admission = admit(&pinned(4.0, &clock));
    assert_eq!(admission.decision, decision(true, 4, 3, 1_000, 0));
    assert_eq!((admission.axes.concurrency, admission.binding), (Some(admission.decision), None));
    assert!(admission.permit.is_held() && admission.axes.rate.is_none() && admission.axes.cost.is_none());

    let guard = pinned(3.0, &clock);
    let held: Vec<_> = (0..3).map(|_| admit(&guard)).collect();
    assert_eq!(held.iter().map(|admission| admission.decision.remaining).collect::<Vec<_>>(), [2, 1, 0]);
}

#[test]
fn a_refusal_as_a_decision() {
    let clock = ManualClock::new(1_000.0);
    for (last_ms, retry) in [(None, 1), (Some(37.0), 37), (Some(0.5), 1), (Some(2.5), 3)] {
        let guard = pinned(2.0, &clock);
        if let Some(ms) = last_ms {
            let mut permit = guard.acquire();
            clock.advance(ms);
            permit.settle(Outcome::Completed);
        }
        let held = [admit(&guard), admit(&guard)];
        let refused = admit(&guard);
        let now_ms = refused.decision.reset_at_ms;
        assert_eq!(refused.decision, decision(false, 2, 0, now_ms, retry));
        assert_eq!((refused.binding, refused.permit.is_held()), (Some(Axis::Concurrency), false));
        drop(held);
    }
}

#[test]
fn a_slot_joins_with_a_rate() {
    let clock = ManualClock::new(1_000.0);
    let rate = decision(true, 100, 50, 60_000, 0);
    let held = admit(&pinned(4.0, &clock));
    assert_eq!(held.decision.combine(rate), decision(true, 4, 3, 60_000, 0));

    let guard = pinned(1.0, &clock);
    let _held = admit(&guard);
    assert_eq!(admit(&guard).decision.combine(rate), decision(false, 1, 0, 60_000, 1));
}

#[test]
fn a_fixed_limit_stays() {
    let clock = ManualClock::new(0.0);
    let guard = Guard::builder().fixed(2).clock(clock.clone()).build().unwrap();
    for outcome in [Outcome::Completed, Outcome::Dropped, Outcome::Ignored] {
        let mut held = [guard.acquire(), guard.acquire()];
        clock.advance(1_000.0);
        assert!(!guard.acquire().is_held());
        for permit in &mut held {
            permit.settle(outcome);
        }
        let report = guard.report();
        assert_eq!((report.generation, report.in_flight, report.limit), (0, 0, 2));
    }
    let stats = guard.stats();
    assert_eq!((stats.dropped, stats.last_ms, stats.noload_ms, stats.estimate), (2, 0.0, 0.0, 2.0));
    assert_eq!((guard.name(), guard.algorithm_name()), ("fixed", "fixed"));
}

#[test]
fn a_change_of_the_limit_is_a_new_generation() {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0);
    let guard = builder.clock(clock.clone()).build().unwrap();
    let held = guard.acquire();
    assert_eq!(guard.report().generation, 0);
    guard.acquire().settle(Outcome::Dropped);
    let report = guard.report();
    assert_eq!((report.generation, report.in_flight, report.limit), (1, 1, 9));
    drop(held);
}

#[test]
fn a_falling_limit_keeps_what_is_in_flight() {
    let guard = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0).build().unwrap();
    let mut held: Vec<_> = (0..10).map(|_| guard.acquire()).collect();
    held.pop().unwrap().settle(Outcome::Dropped);
    held.pop().unwrap().settle(Outcome::Dropped);
    assert_eq!((guard.limit(), guard.in_flight()), (8, 8));
    assert!(!guard.acquire().is_held());
    held.pop();
    assert!(guard.acquire().is_held());
}

#[test]
fn what_is_lost_before_the_work_teaches_nothing_and_after_it_is_a_drop() {
    let guard = Guard::builder().algorithm(Algorithm::Aimd).initial_limit(10.0).build().unwrap();
    drop(guard.acquire());
    assert_eq!((guard.limit(), guard.stats().dropped), (10, 0));
    let mut permit = guard.acquire();
    permit.begin();
    drop(permit);
    assert_eq!((guard.limit(), guard.stats().dropped, guard.in_flight()), (9, 1, 0));
}

#[test]
fn shadow_admits_all_and_tells_the_truth() {
    let told = Arc::new(Recorder::default());
    let builder = Guard::builder().fixed(1).shadow(true).name("trial").clock(ManualClock::new(5.0));
    let guard = builder.observer(Arc::clone(&told)).build().unwrap();
    let first = admit(&guard);
    let second = admit(&guard);
    assert_eq!(second.decision, decision(true, 1, 0, 5, 0));
    assert!(second.permit.is_held() && second.binding.is_none());
    assert_eq!(guard.in_flight(), 2);
    let events = told.take();
    let allowed: Vec<_> = events.iter().map(|event| event.result.unwrap().allowed).collect();
    assert_eq!(allowed, [true, false]);
    assert_eq!((events[1].policy.as_str(), events[1].strategy, events[1].now_ms), ("trial", "fixed", 5.0));
    drop((first, second));
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn what_is_ignored_is_not_the_last_latency() {
    let clock = ManualClock::new(0.0);
    let guard = Guard::builder().algorithm(Algorithm::Aimd).clock(clock.clone()).build().unwrap();
    for (outcome, last_ms) in [(Outcome::Completed, 7.0), (Outcome::Ignored, 7.0), (Outcome::Dropped, 9.0)] {
        let mut permit = guard.acquire();
        clock.advance(if outcome == Outcome::Completed { 7.0 } else { 9.0 });
        permit.settle(outcome);
        assert_eq!((guard.stats().last_ms, guard.stats().noload_ms), (last_ms, 7.0));
    }
}

#[test]
fn a_clock_that_goes_back_measures_nothing() {
    let clock = ManualClock::new(1_000.0);
    let guard = Guard::builder().algorithm(Algorithm::Gradient2).clock(clock.clone()).build().unwrap();
    let mut permit = guard.acquire();
    clock.set(400.0);
    permit.settle(Outcome::Completed);
    let stats = guard.stats();
    assert_eq!((stats.last_ms, stats.noload_ms, stats.in_flight), (0.0, 0.0, 0));
}

#[test]
fn the_clock_is_read_once_for_a_slot_and_once_when_it_comes_back() {
    let clock = CountingClock::default();
    let builder = || Guard::builder().min_limit(1.0).max_limit(1.0).clock(clock.clone());
    for (fixed, each) in [(true, 0), (false, 1)] {
        let guard = if fixed { builder().fixed(1).build() } else { builder().build() }.unwrap();
        assert_eq!(clock.take_readings(), 0, "none at construction");
        for (outcome, back) in [(Outcome::Completed, each), (Outcome::Dropped, each), (Outcome::Ignored, 0)] {
            let mut permit = guard.acquire();
            assert_eq!(clock.take_readings(), each);
            drop(guard.acquire());
            assert_eq!(clock.take_readings(), 0, "none for a refusal");
            permit.settle(outcome);
            assert_eq!(clock.take_readings(), back, "{outcome:?}");
        }
        let admission = admit(&guard);
        assert_eq!(clock.take_readings(), each + 1);
        let _ = admit(&guard);
        assert_eq!(clock.take_readings(), 1);
        drop(admission);
    }
}

#[test]
fn clones_share_the_slots() {
    let guard = Guard::fixed(1).unwrap();
    let held = guard.clone().acquire();
    assert!(held.is_held() && !guard.acquire().is_held());
    drop(guard);
    drop(held);
}

#[test]
fn nothing_is_allocated() {
    for algorithm in [Algorithm::Steady, Algorithm::Gradient2, Algorithm::Aimd] {
        let clock = ManualClock::new(0.0);
        let guard = Guard::builder().algorithm(algorithm).clock(clock.clone()).build().unwrap();
        let counted = measure(|| {
            for round in 0..1_000 {
                let mut admission = admit(&guard);
                clock.advance(f64::from(round % 7));
                admission.permit.settle(if round % 50 == 0 { Outcome::Dropped } else { Outcome::Completed });
            }
            let held = [(); 4].map(|()| admit(&guard));
            drop((admit(&guard), held));
        });
        assert_eq!(counted.count_total, 0, "{algorithm:?}");
    }
}

#[test]
fn bad_settings_name_the_option() {
    type Change = fn(GuardBuilder) -> GuardBuilder;
    let refused: [(Change, &str, &str); 25] = [
        (|b| b.min_limit(0.0), "minLimit", "0"),
        (|b| b.min_limit(f64::NAN), "minLimit", "NaN"),
        (|b| b.min_limit(f64::INFINITY), "minLimit", "inf"),
        (|b| b.min_limit(10.0).max_limit(5.0), "maxLimit", "5"),
        (|b| b.max_limit(f64::INFINITY), "maxLimit", "inf"),
        (|b| b.min_limit(10.0).initial_limit(5.0), "initialLimit", "5"),
        (|b| b.max_limit(8.0).initial_limit(20.0), "initialLimit", "20"),
        (|b| b.initial_limit(f64::NAN), "initialLimit", "NaN"),
        (|b| b.rtt_window(0.0), "rttWindow", "0"),
        (|b| b.rtt_window(f64::INFINITY), "rttWindow", "inf"),
        (|b| b.smoothing(0.0), "smoothing", "0"),
        (|b| b.smoothing(1.5), "smoothing", "1.5"),
        (|b| b.smoothing(f64::NAN), "smoothing", "NaN"),
        (|b| b.tolerance(0.5), "tolerance", "0.5"),
        (|b| b.tolerance(f64::INFINITY), "tolerance", "inf"),
        (|b| b.backoff_ratio(0.4), "backoffRatio", "0.4"),
        (|b| b.backoff_ratio(1.0), "backoffRatio", "1"),
        (|b| b.backoff_ratio(f64::NAN), "backoffRatio", "NaN"),
        (|b| b.recalibration(Recalibration::default().interval_ms(0.0)), "recalibration.intervalMs", "0"),
        (|b| b.recalibration(Recalibration::default().interval_ms(f64::NAN)), "recalibration.intervalMs", "NaN"),
        (|b| b.recalibration(Recalibration::default().probe_limit(0.0)), "recalibration.probeLimit", "0"),
        (
            |b| b.max_limit(10.0).recalibration(Recalibration::default().probe_limit(20.0)),
            "recalibration.probeLimit",
            "20",
        ),
        (|b| b.recalibration(Recalibration::default().probe_samples(0.0)), "recalibration.probeSamples", "0"),
        (|b| b.recalibration(Recalibration::default().probe_samples(f64::NAN)), "recalibration.probeSamples", "NaN"),
        (|b| b.algorithm(Algorithm::Steady).recalibration(Recalibration::default()), "recalibration", "given"),
    ];
    for (change, option, value) in refused {
        let error = change(Guard::builder().algorithm(Algorithm::Gradient2)).build().unwrap_err();
        assert_eq!(error.option(), format!("adaptiveConcurrency.{option}"));
        assert_eq!((error.value(), error.code()), (Some(value), "config_invalid"), "{error}");
    }
    for limit in [0, 1 << 24, u32::MAX] {
        assert_eq!(Guard::fixed(limit).unwrap_err().option(), "concurrency.limit");
    }
}

#[test]
fn the_first_bad_setting_is_named() {
    let recalibration = Recalibration::default().interval_ms(0.0).probe_limit(0.0).probe_samples(0.0);
    let builder = || Guard::builder().algorithm(Algorithm::Aimd).recalibration(recalibration);
    assert_eq!(builder().build().unwrap_err().option(), "adaptiveConcurrency.recalibration.intervalMs");
    let builder = builder().backoff_ratio(2.0);
    assert_eq!(builder.build().unwrap_err().option(), "adaptiveConcurrency.backoffRatio");
    let builder = Guard::builder().backoff_ratio(2.0).tolerance(0.0).smoothing(0.0).rtt_window(0.0);
    assert_eq!(builder.build().unwrap_err().option(), "adaptiveConcurrency.rttWindow");
}

#[test]
fn good_settings_at_their_bounds() {
    type Change = fn(GuardBuilder) -> GuardBuilder;
    let accepted: [Change; 6] = [
        |b| b.backoff_ratio(0.5),
        |b| b.smoothing(1.0),
        |b| b.min_limit(4.0).max_limit(4.0).initial_limit(4.0),
        |b| b.recalibration(Recalibration::default()),
        |b| b.min_limit(1.5).max_limit(1e300).rtt_window(1e300),
        |b| b.recalibration(Recalibration::default().interval_ms(1e300).probe_samples(1.9)),
    ];
    for change in accepted {
        assert!(change(Guard::builder().algorithm(Algorithm::Gradient2)).build().is_ok());
    }
}

#[test]
fn a_limit_beyond_what_can_be_counted_is_cut() {
    let builder = Guard::builder().min_limit(1e12).max_limit(1e300);
    assert_eq!(builder.build().unwrap().limit(), (1 << 24) - 1);
}

/// What one of several holders may do next.
#[derive(Clone, Debug)]
enum Act {
    Acquire,
    Admit,
    Begin(usize),
    Settle(usize, Outcome),
    Drop(usize),
    Panic(usize),
    Advance(u16),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Completed), Just(Outcome::Dropped), Just(Outcome::Ignored)]
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0..64_usize;
    prop_oneof![
        4 => Just(Act::Acquire),
        2 => Just(Act::Admit),
        2 => which.clone().prop_map(Act::Begin),
        4 => (which.clone(), outcome()).prop_map(|(which, outcome)| Act::Settle(which, outcome)),
        2 => which.clone().prop_map(Act::Drop),
        1 => which.prop_map(Act::Panic),
        3 => any::<u16>().prop_map(Act::Advance),
    ]
}

fn any_guard() -> impl Strategy<Value = (Guard<ManualClock>, ManualClock)> {
    let algorithm = prop_oneof![Just(Algorithm::Steady), Just(Algorithm::Gradient2), Just(Algorithm::Aimd)];
    (prop::option::of(1..8_u32), algorithm, 1.0..4.0_f64, 0.0..8.0_f64, any::<bool>()).prop_map(
        |(fixed, algorithm, min, room, probes)| {
            let clock = ManualClock::new(0.0);
            let mut builder = Guard::builder().algorithm(algorithm).min_limit(min).max_limit(min + room);
            if probes && algorithm != Algorithm::Steady {
                let probes = Recalibration::default().interval_ms(1_000.0).probe_limit(1.0).probe_samples(2.0);
                builder = builder.recalibration(probes);
            }
            if let Some(limit) = fixed {
                builder = builder.fixed(limit);
            }
            (builder.clock(clock.clone()).build().unwrap(), clock)
        },
    )
}

proptest! {
    /// Whatever holders do, in whichever order: no slot beyond the limit, no slot lost, no slot given back twice.
    #[test]
    fn slots_are_given_within_the_limit_and_come_back_once(
        (guard, clock) in any_guard(),
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let mut permits: Vec<Permit> = Vec::new();
        for act in acts {
            let before = guard.report();
            match act {
                Act::Acquire | Act::Admit => {
                    let permit = if matches!(act, Act::Admit) { admit(&guard).permit } else { guard.acquire() };
                    if permit.is_held() {
                        prop_assert!(before.in_flight < before.limit);
                    }
                    permits.push(permit);
                }
                Act::Begin(which) => {
                    if let Some(permit) = permits.get_mut(which) {
                        permit.begin();
                    }
                }
                Act::Settle(which, outcome) => {
                    if let Some(permit) = permits.get_mut(which) {
                        permit.settle(outcome);
                    }
                }
                Act::Drop(which) => {
                    if which < permits.len() {
                        drop(permits.swap_remove(which));
                    }
                }
                Act::Panic(which) => {
                    if which < permits.len() {
                        let permit = permits.swap_remove(which);
                        let work = std::panic::AssertUnwindSafe(move || {
                            let _permit = permit;
                            std::panic::resume_unwind(Box::new("the work failed"));
                        });
                        prop_assert!(std::panic::catch_unwind(work).is_err());
                    }
                }
                Act::Advance(ms) => clock.advance(f64::from(ms) / 16.0),
            }
            let held = permits.iter().filter(|permit| permit.is_held()).count();
            prop_assert_eq!(guard.in_flight() as usize, held);
        }
        drop(permits);
        prop_assert_eq!(guard.in_flight(), 0);
    }
}

#[test]
fn threads_never_hold_more_than_the_limit() {
    for algorithm in [None, Some(Algorithm::Steady), Some(Algorithm::Aimd)] {
        let builder = Guard::builder().min_limit(2.0).max_limit(6.0).initial_limit(3.0);
        let guard = match algorithm {
            None => builder.fixed(6).build().unwrap(),
            Some(algorithm) => builder.algorithm(algorithm).build().unwrap(),
        };
        let held = std::sync::atomic::AtomicU32::new(0);
        thread::scope(|scope| {
            for worker in 0..8_u32 {
                let (guard, held) = (&guard, &held);
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let mut permit = guard.acquire();
                        if !permit.is_held() {
                            thread::yield_now();
                            continue;
                        }
                        let now = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                        assert!(now <= 6, "{now} hold a slot");
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        let dropped = (round + worker) % 64 == 0;
                        permit.settle(if dropped { Outcome::Dropped } else { Outcome::Completed });
                        permit.settle(Outcome::Completed);
                    }
                });
            }
        });
        assert_eq!(guard.in_flight(), 0);
        assert!((2..=6).contains(&guard.limit()));
    }
}

#[test]
fn it_can_be_sent_and_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Guard>();
    shared::<GuardBuilder>();
}
