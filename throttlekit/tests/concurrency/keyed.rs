//! Tenants: shares, borrowing, bounds, and who is next.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use allocation_counter::measure;
use proptest::prelude::*;
use throttlekit::{
    Admit, Algorithm, Ask, Axis, Decision, Gcra, Guard, KeyedGuard, KeyedGuardBuilder, Limiter, ManualClock, Outcome,
    Permit, Priority, Queue, Unified, WaitOutcome,
};

use crate::support::outage::ManualRuntime;
use crate::support::waits::{Told, call, call_as, now};

type Tenants = KeyedGuard<ManualClock>;

fn keyed(
    limit: u32,
    settings: impl FnOnce(KeyedGuardBuilder<ManualClock>) -> KeyedGuardBuilder<ManualClock>,
) -> Tenants {
    let builder = Guard::builder().fixed(limit).clock(ManualClock::new(0.0));
    settings(KeyedGuard::builder(builder)).build().unwrap()
}

/// With a queue for 100 and half a second.
fn queued(
    limit: u32,
    settings: impl FnOnce(KeyedGuardBuilder<ManualClock>) -> KeyedGuardBuilder<ManualClock>,
) -> (Tenants, ManualClock) {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().fixed(limit).queue(Queue::new(100, 500.0), ManualRuntime::new(&clock));
    (settings(KeyedGuard::builder(builder.clock(clock.clone()))).build().unwrap(), clock)
}

/// Takes slots until there is none.
fn fill(guard: &Tenants, key: &str) -> Vec<Permit> {
    std::iter::repeat_with(|| guard.acquire(key)).take_while(Permit::is_held).collect()
}

#[test]
fn alone_a_tenant_may_use_all() {
    let guard = keyed(5, |builder| builder);
    assert_eq!(fill(&guard, "a").len(), 5);
    assert_eq!((guard.in_flight(), guard.in_flight_of("a"), guard.tenants()), (0, 0, 1));
}

#[test]
fn shares_go_by_weight_and_are_rounded_down() {
    let guard = keyed(10, |builder| builder.weight("a", 3.0).weights([("b", 0.5), ("c", 0.5)]));
    assert_eq!(guard.guaranteed("d"), 10, "alone it would have all");
    for key in ["a", "b", "c", "d"] {
        guard.acquire(key).settle(Outcome::Completed);
    }
    // 10 times 3, 0.5, 0.5 and 1 of 5.
    assert_eq!(["a", "b", "c", "d"].map(|key| guard.guaranteed(key)), [6, 1, 1, 2]);
    assert_eq!(guard.guaranteed("new"), 1, "10 times 1 of 6");
}

#[test]
fn a_share_that_is_not_used_is_kept_for_its_tenant() {
    let guard = keyed(9, |builder| builder.weight("a", 2.0));
    drop(guard.acquire("a"));
    drop(guard.acquire("b"));
    // b has 3 of its own, and a's 6 are kept.
    let b = fill(&guard, "b");
    assert_eq!(b.len(), 3);
    let a = fill(&guard, "a");
    assert_eq!((a.len(), guard.in_flight()), (6, 9));
}

#[test]
fn what_rounding_leaves_is_for_whoever_comes() {
    let guard = keyed(10, |builder| builder);
    for key in ["a", "b", "c"] {
        drop(guard.acquire(key));
    }
    let a = fill(&guard, "a");
    assert_eq!(a.len(), 4, "3 of its own and the tenth");
    let [b, c] = ["b", "c"].map(|key| fill(&guard, key));
    assert_eq!((b.len(), c.len()), (3, 3));
}

#[test]
fn what_was_borrowed_comes_back_and_is_not_taken_away() {
    let guard = keyed(6, |builder| builder);
    let mut a = fill(&guard, "a");
    assert!(!guard.acquire("b").is_held());
    assert_eq!((guard.guaranteed("a"), guard.guaranteed("b"), a.len()), (3, 3, 6));
    let mut b = Vec::new();
    for held in [1, 2, 3] {
        a.pop();
        assert!(!guard.acquire("a").is_held(), "it holds more than its share");
        b.push(guard.acquire("b"));
        assert_eq!(guard.in_flight_of("b"), held);
    }
    assert!(b.iter().all(Permit::is_held));
    a.pop();
    assert!(guard.acquire("a").is_held(), "below its share again");
}

#[test]
fn an_idle_share_is_lent_once_its_tenant_is_gone() {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().fixed(4).clock(clock.clone());
    let guard = KeyedGuard::builder(builder).active_ms(100.0).build().unwrap();
    drop(guard.acquire("b"));
    let mut a = fill(&guard, "a");
    assert_eq!(a.len(), 2);
    clock.set(99.0);
    assert!(!guard.acquire("a").is_held());
    clock.set(100.0);
    a.push(guard.acquire("a"));
    assert!(a[2].is_held());
    assert_eq!(guard.tenants(), 1);

    // Holding a slot, a tenant stays; what it did last counts from when it gave it back.
    a.pop();
    let mut b = guard.acquire("b");
    clock.set(10_000.0);
    assert_eq!((fill(&guard, "a").len(), guard.tenants()), (0, 2), "one of b's two is in use, the other kept");
    b.settle(Outcome::Completed);
    clock.set(10_099.0);
    assert!(!guard.acquire("a").is_held());
    clock.set(10_100.0);
    assert!(guard.acquire("a").is_held());
}

#[test]
fn one_tenant_may_be_bounded() {
    let guard = keyed(10, |builder| builder.max_per_key(3));
    let a = fill(&guard, "a");
    assert_eq!((a.len(), guard.guaranteed("a")), (3, 3));
    let refused = now(&guard, "a").decision;
    assert_eq!((refused.allowed, refused.limit), (false, 3));
    // Of a's half, 5, it cannot use more than 3: the rest is not kept for it.
    assert_eq!(fill(&guard, "b").len(), 3);
}

#[test]
fn decisions_say_what_the_tenant_could_get() {
    let guard = keyed(10, |builder| builder);
    let alone = now(&guard, "a");
    let expected = Decision { allowed: true, limit: 10, remaining: 9, reset_at_ms: 0, retry_after_ms: 0 };
    assert_eq!((alone.decision, alone.axes.concurrency, alone.binding), (expected, Some(expected), None));
    let other = now(&guard, "b");
    assert_eq!(other.decision.remaining, 4, "four of a's five are not used and kept for it");
    let held = fill(&guard, "b");
    let refused = now(&guard, "b");
    let denial = Decision { allowed: false, remaining: 0, retry_after_ms: 1, ..expected };
    assert_eq!((refused.decision, refused.binding), (denial, Some(Axis::Concurrency)));
    assert!(!refused.permit.is_held());
    drop(held);
}

#[test]
fn low_priorities_leave_room_within_a_share_as_well() {
    let guard = keyed(10, |builder| builder);
    let low: Vec<_> = std::iter::repeat_with(|| call_as(&guard, "a", Priority::Low).poll().unwrap())
        .take_while(|admission| admission.decision.allowed)
        .collect();
    assert_eq!((low.len(), low[0].decision.remaining), (8, 7));
    assert_eq!(fill(&guard, "a").len(), 2);
}

#[test]
fn the_longest_idle_tenant_makes_room_for_a_new_one() {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().fixed(12).clock(clock.clone());
    let guard = KeyedGuard::builder(builder).max_keys(3).active_ms(1e6).build().unwrap();
    for key in ["a", "b", "c", "a"] {
        clock.advance(1.0);
        drop(guard.acquire(key));
    }
    clock.advance(1.0);
    let held = guard.acquire("d");
    assert_eq!((guard.tenants(), guard.guaranteed("c"), guard.guaranteed("a")), (3, 4, 4));
    assert_eq!(guard.guaranteed("b"), 3, "b is the one that would be new");
    drop(held);
}

#[test]
fn where_all_tenants_are_busy_a_new_one_is_refused() {
    let guard = keyed(10, |builder| builder.max_keys(2));
    let held = [guard.acquire("a"), guard.acquire("b")];
    let refused = now(&guard, "c");
    assert_eq!((refused.decision.allowed, refused.binding, guard.tenants()), (false, Some(Axis::Concurrency), 2));
    drop(held);
    assert!(now(&guard, "c").decision.allowed);
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn weights_may_come_from_a_function() {
    let guard = keyed(12, |builder| {
        let builder = builder.weight("named", 4.0);
        builder.weight_of(|key| key.parse().unwrap_or(f64::NAN))
    });
    for (key, alone) in [("named", 12), ("2", 4), ("text", 1), ("1e9", 11), ("-1", 0)] {
        assert_eq!(guard.guaranteed(key), alone, "{key}");
        drop(guard.acquire(key));
    }
}

#[test]
fn a_function_of_weights_may_ask_the_guard() {
    use std::sync::OnceLock;
    static GUARD: OnceLock<KeyedGuard> = OnceLock::new();
    let ask = |_: &str| GUARD.get().map_or(1.0, |guard| f64::from(guard.limit() + guard.in_flight_of("x")));
    let guard = KeyedGuard::builder(Guard::builder().fixed(2)).weight_of(ask).build().unwrap();
    let guard = GUARD.get_or_init(|| guard);
    assert!(guard.acquire("a").is_held(), "its lock is not held meanwhile");
}

#[test]
fn all_tenants_teach_one_learner() {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().algorithm(Algorithm::Aimd).min_limit(4.0).max_limit(8.0).clock(clock.clone());
    let guard = KeyedGuard::builder(builder).build().unwrap();
    let mut a = [guard.acquire("a"), guard.acquire("a")];
    let mut b = [guard.acquire("b"), guard.acquire("b")];
    clock.set(7.5);
    a[1].settle(Outcome::Completed);
    assert_eq!((guard.limit(), guard.stats().last_ms, guard.stats().noload_ms), (5, 0.0 + 7.5, 7.5));
    b[1].settle(Outcome::Completed);
    assert_eq!((guard.limit(), guard.report().generation), (6, 2));
    b[0].settle(Outcome::Dropped);
    assert_eq!((guard.limit(), guard.stats().dropped, guard.report().in_flight), (5, 1, 1));
    a[0].settle(Outcome::Ignored);
    assert_eq!((guard.limit(), guard.in_flight()), (5, 0));
}

#[test]
fn below_its_share_nobody_waits_behind_one_above() {
    let (guard, _) = queued(4, |builder| builder);
    let mut a = fill(&guard, "a");
    let mut greedy = [call_as(&guard, "a", Priority::Critical), call(&guard, "a")];
    let mut modest = [call(&guard, "b"), call_as(&guard, "b", Priority::Low), call(&guard, "b")];
    for caller in greedy.iter_mut().chain(&mut modest) {
        assert!(caller.poll().is_none());
    }
    // Two are b's share, whatever the priorities; then the priority decides.
    let mut order = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..4 {
        a.pop();
        for (name, caller) in ["a critical", "a"]
            .into_iter()
            .zip(&mut greedy)
            .chain(["b", "b low", "b last"].into_iter().zip(&mut modest))
        {
            if caller.was_woken() {
                order.push(name);
                kept.push(caller.poll().unwrap());
            }
        }
    }
    assert_eq!(order, ["b", "b last", "a critical", "a"]);
}

#[test]
fn who_holds_least_for_its_weight_is_next() {
    let (guard, _) = queued(6, |builder| builder.weight("a", 2.0));
    let mut held = fill(&guard, "other");
    let mut waiting: Vec<_> = ["b", "b", "b", "a", "a", "a"].map(|key| (key, call(&guard, key))).into();
    for (_, caller) in &mut waiting {
        assert!(caller.poll().is_none());
    }
    let mut order = String::new();
    let mut kept = Vec::new();
    while held.pop().is_some() {
        for (key, caller) in &mut waiting {
            if caller.was_woken() {
                order.push_str(key);
                kept.push(caller.poll().unwrap());
            }
        }
    }
    // Slots for weight 1 after the next: b 1, 2, 3; a 1/2, 1, 3/2. Among equals in turns: b came first, then a had its turn.
    assert_eq!(order, "abaabb");
}

#[test]
fn one_at_its_bound_holds_nobody_up() {
    let (guard, _) = queued(4, |builder| builder.max_per_key(2));
    let mut a = fill(&guard, "a");
    let mut waiting = call(&guard, "a");
    assert!(waiting.poll().is_none());
    assert!(now(&guard, "b").decision.allowed, "there are slots that a may not have");
    assert!(!waiting.was_woken());
    a.pop();
    assert!(waiting.was_woken() && waiting.poll().unwrap().permit.is_held());
}

#[test]
fn deadlines_and_cancelled_waits_leave_nothing_behind() {
    let (guard, clock) = queued(1, |builder| builder.max_keys(4));
    let held = guard.acquire("a");
    let (mut late, gone, handed, mut last) =
        (call(&guard, "b"), call(&guard, "c"), call(&guard, "d"), call(&guard, "a"));
    assert_eq!((guard.tenants(), guard.waiting()), (4, 4));
    assert!(!now(&guard, "e").decision.allowed, "all four are busy");
    drop(gone);
    clock.set(500.0);
    let refused = late.poll().unwrap();
    assert_eq!((refused.decision.allowed, refused.binding), (false, Some(Axis::Concurrency)));
    assert_eq!(guard.waiting(), 2);
    drop(held);
    assert_eq!((guard.in_flight_of("d"), guard.waiting()), (1, 1), "handed to d, which does not know it yet");
    drop(handed);
    assert_eq!((guard.in_flight_of("d"), guard.in_flight_of("a"), guard.waiting()), (0, 1, 0));
    assert!(last.poll().unwrap().permit.is_held());
    assert_eq!(guard.in_flight(), 0);
}

#[test]
fn a_wait_is_told_and_is_not_a_latency() {
    let clock = ManualClock::new(0.0);
    let told = Told::default();
    let builder = Guard::builder().algorithm(Algorithm::Aimd).min_limit(1.0).max_limit(1.0);
    let builder = builder.queue(Queue::new(5, 500.0), ManualRuntime::new(&clock)).observer(told.clone());
    let guard = KeyedGuard::builder(builder.clock(clock.clone())).build().unwrap();
    let held = guard.acquire("a");
    let mut caller = call_as(&guard, "b", Priority::High);
    assert!(caller.poll().is_none());
    clock.set(80.0);
    drop(held);
    clock.set(90.0);
    let mut admission = caller.poll().unwrap();
    clock.set(92.5);
    admission.permit.settle(Outcome::Completed);
    assert_eq!(guard.stats().last_ms, 2.5);
    assert_eq!(told.waits(), [(Priority::High, 90.0, WaitOutcome::Admitted)]);
    assert_eq!(told.decisions(), [(Priority::High, true)]);
}

#[test]
fn a_shadow_admits_at_once_and_tells_the_truth() {
    for queue in [false, true] {
        let clock = ManualClock::new(0.0);
        let told = Told::default();
        let mut builder = Guard::builder().fixed(4).shadow(true);
        if queue {
            builder = builder.queue(Queue::new(5, 500.0), ManualRuntime::new(&clock));
        }
        let builder = builder.observer(told.clone()).clock(clock);
        let guard = KeyedGuard::builder(builder).max_keys(2).build().unwrap();
        let mut held: Vec<_> = ["a", "a", "b", "b", "b", "new"].map(|key| now(&guard, key)).into();
        assert!(held.iter().all(|admission| admission.decision.allowed && admission.permit.is_held()));
        assert_eq!((guard.in_flight(), guard.in_flight_of("b"), guard.in_flight_of("new")), (6, 3, 0));
        let decided: Vec<_> = told.decisions().iter().map(|(_, allowed)| *allowed).collect();
        assert_eq!(decided, [true, true, true, true, false, false]);
        held.clear();
        assert_eq!((guard.in_flight(), guard.in_flight_of("b"), guard.waiting()), (0, 0, 0));
    }
}

#[test]
fn beside_a_rate_it_is_a_concurrency_axis_like_any_other() {
    let guard = keyed(2, |builder| builder);
    let clock = ManualClock::new(0.0);
    let rate = Limiter::builder(Gcra::per_minute(2).unwrap()).clock(clock.clone()).build();
    let unified = Unified::builder().concurrency(guard.clone()).rate(rate).clock(clock).build().unwrap();
    let held = [now(&unified, "a"), now(&unified, "a")];
    assert_eq!(now(&unified, "a").binding, Some(Axis::Concurrency));
    drop(held);
    assert_eq!((now(&unified, "a").binding, guard.in_flight()), (Some(Axis::Rate), 0));
}

#[test]
fn bad_settings_name_the_option() {
    type Change = fn(KeyedGuardBuilder) -> KeyedGuardBuilder;
    let refused: [(Change, &str); 11] = [
        (|b| b.max_keys(0), "maxKeys"),
        (|b| b.max_keys(1 << 24), "maxKeys"),
        (|b| b.max_per_key(0), "maxPerKey"),
        (|b| b.max_per_key(u32::MAX), "maxPerKey"),
        (|b| b.active_ms(0.0), "activeMs"),
        (|b| b.active_ms(f64::NAN), "activeMs"),
        (|b| b.active_ms(1e16), "activeMs"),
        (|b| b.weight("a", 0.0), "weights"),
        (|b| b.weight("a", f64::NAN), "weights"),
        (|b| b.weight("a", f64::INFINITY), "weights"),
        (|b| b.weights([("a", 1.0), ("b", 1_000_001.0)]), "weights"),
    ];
    for (change, option) in refused {
        let error = change(KeyedGuard::builder(Guard::builder())).build().unwrap_err();
        assert_eq!((error.option(), error.code()), (format!("concurrency.keyed.{option}").as_str(), "config_invalid"));
    }
    assert!(KeyedGuard::builder(Guard::builder()).weight("a", 0.001).weight("b", 1e6).build().is_ok());
    let error = KeyedGuard::builder(Guard::builder().fixed(0)).build().unwrap_err();
    assert_eq!(error.option(), "concurrency.limit", "what is wrong with the guard is said of the guard");
}

#[test]
fn debug_shows_no_key() {
    let guard = keyed(2, |builder| builder.weight("secret", 2.0));
    let _held = guard.acquire("secret");
    assert!(!format!("{guard:?}").contains("secret"));
    let builder = KeyedGuard::builder(Guard::builder()).weight("secret", 2.0);
    assert!(!format!("{builder:?}").contains("secret"));
}

proptest! {
    /// Once all are active and nothing is borrowed, a tenant below its share always finds a slot, whatever the others do.
    #[test]
    fn a_guarantee_holds_whatever_the_others_do(
        limit in 1..40_u32,
        weights in prop::collection::vec(0.5..8.0_f64, 1..6),
        acts in prop::collection::vec((0..6_usize, 0..40_usize, any::<bool>()), 1..300),
    ) {
        let keys: Vec<String> = (0..weights.len()).map(|key| key.to_string()).collect();
        let guard = keyed(limit, |builder| builder.weights(keys.clone().into_iter().zip(weights)));
        for key in &keys {
            drop(guard.acquire(key));
        }
        let mut held: Vec<Vec<Permit>> = keys.iter().map(|_| Vec::new()).collect();
        let shares: Vec<_> = keys.iter().map(|key| guard.guaranteed(key) as usize).collect();
        prop_assert!(shares.iter().sum::<usize>() <= limit as usize);
        for (key, which, take) in acts {
            let key = key % keys.len();
            if take {
                let permit = guard.acquire(&keys[key]);
                prop_assert!(permit.is_held() || held[key].len() >= shares[key]);
                held[key].extend(permit.is_held().then_some(permit));
            } else if which < held[key].len() {
                drop(held[key].swap_remove(which));
            }
            prop_assert!(guard.in_flight() <= limit);
        }
    }
}

#[test]
fn threads_never_hold_more_than_the_limit_or_the_bound() {
    let builder = Guard::builder().min_limit(2.0).max_limit(6.0).initial_limit(3.0);
    let guard = KeyedGuard::builder(builder).max_per_key(4).build().unwrap();
    let (all, each) = (AtomicU32::new(0), [const { AtomicU32::new(0) }; 3]);
    thread::scope(|scope| {
        for worker in 0..6_usize {
            let (guard, all, one) = (&guard, &all, &each[worker % 3]);
            scope.spawn(move || {
                for round in 0..3_000 {
                    let mut permit = guard.acquire(["a", "b", "c"][worker % 3]);
                    if !permit.is_held() {
                        thread::yield_now();
                        continue;
                    }
                    let now = (all.fetch_add(1, Ordering::SeqCst) + 1, one.fetch_add(1, Ordering::SeqCst) + 1);
                    assert!(now.0 <= 6 && now.1 <= 4, "{now:?} hold a slot");
                    one.fetch_sub(1, Ordering::SeqCst);
                    all.fetch_sub(1, Ordering::SeqCst);
                    let dropped = (round + worker) % 64 == 0;
                    permit.settle(if dropped { Outcome::Dropped } else { Outcome::Completed });
                    permit.settle(Outcome::Completed);
                }
            });
        }
    });
    assert_eq!((guard.in_flight(), ["a", "b", "c"].map(|key| guard.in_flight_of(key))), (0, [0; 3]));
}

#[test]
fn tenants_that_are_known_cost_no_allocation() {
    let clock = ManualClock::new(0.0);
    let builder = Guard::builder().fixed(64).clock(clock.clone());
    let guard = KeyedGuard::builder(builder).max_keys(64).active_ms(1e9).build().unwrap();
    let keys: Vec<_> = (0..64).map(|key| key.to_string()).collect();
    let mut held = Vec::with_capacity(keys.len());
    let mut rounds = || {
        for _ in 0..20 {
            held.extend(keys.iter().map(|key| guard.admit(&Ask::new(key)).now().unwrap().unwrap()));
            assert!(held.iter().all(|admission| admission.decision.allowed));
            clock.advance(1.0);
            held.clear();
        }
    };
    rounds();
    let counted = measure(rounds);
    assert_eq!((guard.tenants(), counted.count_total), (64, 0));
}

#[test]
fn it_can_be_sent_and_shared() {
    fn shared<T: Admit>() {}
    shared::<KeyedGuard>();
}
