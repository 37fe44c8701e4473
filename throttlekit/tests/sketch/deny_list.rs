//! The deny list: bounds, ends, threads, and what puts keys on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use throttlekit::sketch::{DenyList, DenyListed, SketchLimiter};
use throttlekit::store::Remote;
use throttlekit::{Admission, Admit, Ask, Axis, FixedWindow, Gcra, Guard, Limiter, ManualClock, Run};

use crate::support::{self, CasStore, N};

fn ask(admit: &impl Admit, key: &str) -> Admission {
    admit.admit(&Ask::new(key)).now().unwrap().unwrap()
}

fn window(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(1_000.0).build().unwrap()
}

#[test]
fn a_key_is_refused_until_its_end() {
    let list = DenyList::new(100).unwrap();
    assert_eq!(list.denied_until("a", N), None);
    list.deny("a", N, N + 10.0);
    assert_eq!(list.denied_until("a", N), Some(N + 10.0));
    assert_eq!(list.denied_until("a", N + 9.0), Some(N + 10.0));
    assert_eq!(list.denied_until("a", N + 10.0), None);
    assert_eq!(list.denied_until("b", N), None);
    assert_eq!((list.len(N), list.len(N + 10.0)), (1, 0));
    assert!(!list.is_empty(N) && list.is_empty(N + 10.0));
}

#[test]
fn the_later_end_counts() {
    let list = DenyList::new(100).unwrap();
    list.deny("a", 0.0, 10.0);
    list.deny("a", 0.0, 30.0);
    list.deny("a", 0.0, 20.0);
    assert_eq!(list.denied_until("a", 0.0), Some(30.0));
    assert_eq!(list.len(0.0), 1);
    // What has ended, or never ends, is no ban.
    for until_ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        list.deny("b", 0.0, until_ms);
        assert_eq!(list.denied_until("b", -5.0), None, "{until_ms}");
    }
}

#[test]
fn keys_come_off_the_list() {
    let list = DenyList::new(100).unwrap();
    for key in ["a", "b", "c"] {
        list.deny(key, 0.0, 10.0);
    }
    assert!(list.pardon("a") && !list.pardon("a") && !list.pardon("other"));
    assert_eq!((list.denied_until("a", 0.0), list.denied_until("b", 0.0)), (None, Some(10.0)));
    list.clear();
    assert_eq!((list.denied_until("b", 0.0), list.len(0.0)), (None, 0));
}

#[test]
fn memory_never_grows() {
    let list = DenyList::new(1_000).unwrap();
    assert_eq!(list.places(), 1_024);
    let keys: Vec<_> = (0..100_000).map(|id| format!("k{id}")).collect();
    let used = allocation_counter::measure(|| keys.iter().for_each(|key| list.deny(key, 0.0, 1_000.0)));
    assert_eq!(used.count_total, 0);
    assert!(list.len(0.0) <= 1_024, "{}", list.len(0.0));
    assert_eq!(keys.iter().filter(|key| list.denied_until(key, 0.0).is_some()).count(), list.len(0.0));
    // Nobody else is refused.
    assert!((0..100_000).all(|id| list.denied_until(&format!("other{id}"), 0.0).is_none()));
}

#[test]
fn with_twice_the_places_nearly_nothing_is_lost_early() {
    let list = DenyList::new(4_096).unwrap();
    let keys: Vec<_> = (0..2_048).map(|id| format!("k{id}")).collect();
    for key in &keys {
        list.deny(key, 0.0, 1_000.0);
    }
    // Four of eight places are used on average: more than eight are asked for in one of fifty buckets.
    assert!(list.len(0.0) > 2_000, "{}", list.len(0.0));
}

#[test]
fn in_a_full_bucket_what_ends_first_goes() {
    let list = DenyList::new(8).unwrap();
    (0..8).for_each(|id| list.deny(&format!("k{id}"), 0.0, 100.0 + f64::from(id)));
    list.deny("new", 0.0, 500.0);
    assert_eq!((list.denied_until("k0", 0.0), list.denied_until("new", 0.0)), (None, Some(500.0)));
    assert_eq!(list.denied_until("k1", 0.0), Some(101.0));
    // One that would end before all others finds no place.
    list.deny("short", 0.0, 50.0);
    assert_eq!((list.denied_until("short", 0.0), list.len(0.0)), (None, 8));
    // What has ended makes room first.
    list.deny("late", 101.0, 150.0);
    assert_eq!((list.denied_until("late", 101.0), list.denied_until("k2", 101.0)), (Some(150.0), Some(102.0)));
}

#[test]
fn places_that_are_refused() {
    for bad in [0, DenyList::MAX_PLACES + 1] {
        assert_eq!(DenyList::new(bad).unwrap_err().option(), "denyList.places");
    }
}

/// Keys with ends of their own take turns in one bucket: a reader never sees the end of another key.
#[test]
fn an_end_is_that_of_its_key() {
    let list = DenyList::new(8).unwrap();
    let keys: Vec<_> = (0..9_u32).map(|id| (format!("k{id}"), 1_000.0 + f64::from(id))).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            while !done.load(Ordering::Relaxed) {
                for (key, end) in &keys {
                    assert!(list.denied_until(key, 0.0).is_none_or(|until_ms| until_ms == *end));
                }
            }
        };
        scope.spawn(reader);
        for round in 0..200_000 {
            let (key, end) = &keys[round % keys.len()];
            // Its end is first to go when the next key comes.
            list.pardon(&keys[(round + 1) % keys.len()].0);
            list.deny(key, 0.0, *end);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn who_is_denied_often_is_refused() {
    let clock = ManualClock::new(N);
    let limiter = Limiter::builder(window(1.0)).clock(clock.clone()).build();
    let recorder = Arc::new(support::Recorder::default());
    let guarded = DenyListed::builder(limiter.clone()).denials(3).window_ms(10_000.0).ttl_ms(5_000.0);
    let guarded = guarded.clock(clock.clone()).observer(Arc::clone(&recorder)).name("ban").build().unwrap();
    assert!(ask(&guarded, "bad").decision.allowed);
    for _ in 0..3 {
        let denied = ask(&guarded, "bad").decision;
        assert_eq!((denied.limit, denied.retry_after_ms), (1, 1_000));
    }
    assert!(recorder.take().is_empty());

    clock.advance(500.0);
    let refused = ask(&guarded, "bad");
    assert_eq!((refused.decision.allowed, refused.binding), (false, Some(Axis::Rate)));
    assert_eq!((refused.decision.limit, refused.decision.remaining, refused.decision.retry_after_ms), (0, 0, 4_500));
    #[allow(clippy::cast_possible_truncation)] // whole milliseconds
    let end = N as i64 + 5_000;
    assert_eq!(refused.decision.reset_at_ms, end);
    let seen = recorder.take();
    assert_eq!((seen.len(), seen[0].policy.as_str(), seen[0].strategy), (1, "ban", "denyList"));
    assert_eq!(seen[0].result, Ok(refused.decision));

    // The limit behind is not asked, and others are.
    clock.advance(1_000.0);
    assert!(!ask(&guarded, "bad").decision.allowed);
    assert_eq!(limiter.peek("bad").unwrap().remaining, 1);
    assert!(ask(&guarded, "good").decision.allowed);
    // The ban ends by itself, or by a pardon.
    clock.advance(3_500.0);
    assert!(ask(&guarded, "bad").decision.allowed);
    // The window of ten seconds still knows it: one more denial is enough.
    assert!(!ask(&guarded, "bad").decision.allowed);
    assert_eq!(ask(&guarded, "bad").decision.limit, 0);
    assert!(guarded.list().pardon("bad"));
    assert_eq!(ask(&guarded, "bad").decision.limit, 1);
}

#[test]
fn denials_of_past_windows_do_not_count() {
    let clock = ManualClock::new(0.0);
    let limiter = SketchLimiter::builder().limit(1.0).window_ms(100_000.0).clock(clock.clone()).build().unwrap();
    let guarded = DenyListed::builder(limiter).denials(3).window_ms(1_000.0).clock(clock.clone()).build().unwrap();
    for _ in 0..10 {
        (0..2).for_each(|_| _ = ask(&guarded, "slow"));
        clock.advance(1_000.0);
    }
    assert_eq!(guarded.list().len(0.0), 0);
}

/// Denials of many other keys, who come and go in a small summary, put nobody on the list.
#[test]
fn nobody_is_refused_for_what_others_did() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(window(1.0)).clock(clock.clone()).build();
    let guarded = DenyListed::builder(limiter).denials(5).tracked(10).clock(clock.clone()).build().unwrap();
    for id in 0..2_000 {
        let key = format!("k{id}");
        (0..5).for_each(|_| _ = ask(&guarded, &key));
    }
    // Each was denied four times, one less than it takes, while the summary counts hundreds for all.
    assert_eq!(guarded.list().len(0.0), 0);
    // A real offender stands out all the same.
    (0..1_500).for_each(|_| _ = ask(&guarded, "offender"));
    assert_eq!(guarded.list().len(0.0), 1);
    assert!(guarded.list().denied_until("offender", 0.0).is_some());
}

#[test]
fn want_of_a_slot_is_nobodys_fault() {
    let clock = ManualClock::new(0.0);
    let guard = Guard::builder().fixed(1).clock(clock.clone()).build().unwrap();
    let held = ask(&guard, "holder");
    let guarded = DenyListed::builder(guard.clone()).denials(1).clock(clock).build().unwrap();
    for _ in 0..10 {
        let denied = ask(&guarded, "k");
        assert_eq!((denied.decision.allowed, denied.binding), (false, Some(Axis::Concurrency)));
    }
    assert_eq!(guarded.list().len(0.0), 0);
    drop(held);
    assert!(ask(&guarded, "k").decision.allowed);
}

#[test]
fn lists_are_shared() {
    let clock = ManualClock::new(0.0);
    let list = Arc::new(DenyList::new(100).unwrap());
    let behind = |limit| {
        let limiter = Limiter::builder(window(limit)).clock(clock.clone()).build();
        DenyListed::builder(limiter).denials(1).list(Arc::clone(&list)).clock(clock.clone()).build().unwrap()
    };
    let (strict, lenient) = (behind(1.0), behind(1e6));
    (0..2).for_each(|_| _ = ask(&strict, "k"));
    assert_eq!(ask(&lenient, "k").decision.limit, 0);
}

#[tokio::test]
async fn answers_that_are_awaited_count_too() {
    let clock = ManualClock::new(N);
    let limiter = Limiter::builder(Gcra::per_hour(1).unwrap()).keyspace(Remote::new(CasStore::default()));
    let limiter = limiter.clock(clock.clone()).build();
    let guarded = DenyListed::builder(limiter).denials(2).ttl_ms(60_000.0).clock(clock).build().unwrap();
    let ask = async || guarded.admit(&Ask::new("k")).await.unwrap().decision;
    assert!(ask().await.allowed);
    assert_eq!((ask().await.limit, ask().await.limit), (1, 1));
    let run = guarded.admit(&Ask::new("k"));
    assert!(matches!(&run, Run::Ready(_)), "a refusal waits for nobody");
    assert_eq!(run.await.unwrap().decision.retry_after_ms, 60_000);
}

#[test]
fn options_that_are_refused() {
    let limiter = || Limiter::new(window(1.0));
    let option = |builder: throttlekit::sketch::DenyListedBuilder<_>| builder.build().unwrap_err().option();
    assert_eq!(option(DenyListed::builder(limiter()).denials(0)), "denyList.denials");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(option(DenyListed::builder(limiter()).window_ms(bad)), "denyList.windowMs");
        assert_eq!(option(DenyListed::builder(limiter()).ttl_ms(bad)), "denyList.ttlMs");
    }
    assert_eq!(option(DenyListed::builder(limiter()).places(0)), "denyList.places");
    assert_eq!(option(DenyListed::builder(limiter()).tracked(0)), "spaceSaving.capacity");
}

#[test]
fn nothing_shows_a_key() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(window(1.0)).clock(clock.clone()).build();
    let guarded = DenyListed::builder(limiter).denials(1).clock(clock).build().unwrap();
    (0..3).for_each(|_| _ = ask(&guarded, "secret-key"));
    assert!(!format!("{guarded:?} {:?}", guarded.list()).contains("secret-key"));
}

#[test]
fn who_is_pardoned_comes_back_for_as_many_new_denials() {
    // Few keys and many are counted in different ways.
    for tracked in [4, 10_000] {
        let (clock, list) = (ManualClock::new(0.0), Arc::new(DenyList::new(64).unwrap()));
        let limited = |denials: u32| {
            let limiter = Limiter::builder(window(1.0)).clock(clock.clone()).build();
            let listed = DenyListed::builder(limiter).list(Arc::clone(&list)).denials(denials).tracked(tracked);
            listed.clock(clock.clone()).build().unwrap()
        };
        // Of two that share the list, the other one has counted too.
        let (guarded, other) = (limited(3), limited(2));
        let is_listed = || list.denied_until("a", 0.0).is_some();
        let denied = |times: u32| (0..times).for_each(|_| assert!(!ask(&guarded, "a").decision.allowed));
        let denied_there = || assert!(!ask(&other, "a").decision.allowed);
        let take_off: [fn(&DenyList); 2] = [|list| assert!(list.pardon("a")), DenyList::clear];
        drop((ask(&guarded, "a"), ask(&other, "a")));
        denied_there();
        for take_off in take_off {
            denied(3);
            assert!(is_listed());
            take_off(&list);
            denied_there();
            assert!(!is_listed(), "one denial there, and two make a ban");
            denied(2);
            assert!(!is_listed());
            denied(1);
            assert!(is_listed());
            take_off(&list);
        }
    }
}
