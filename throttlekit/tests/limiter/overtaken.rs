//! A thread reads the clock, loses its core, and finds the key as others left it at a later instant.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use throttlekit::store::memory::Table;
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Clock, Decision, DynLimiter, FixedWindow, Gcra, Limiter, ManualClock, Multi, Quota, Refund, SlidingWindow,
    SlidingWindowLog, Strategy, TokenBucket,
};

use crate::support::{N, Recorder};

type Then = Box<dyn FnOnce() + Send>;

/// A clock whose next reading is followed by something else, before whoever read it goes on.
#[derive(Clone)]
struct Between {
    time: ManualClock,
    next: Arc<Mutex<Option<Then>>>,
}

impl Between {
    fn new(now_ms: f64) -> Self {
        Self { time: ManualClock::new(now_ms), next: Arc::default() }
    }

    fn after_the_next_reading(&self, then: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some(Box::new(then));
    }
}

impl Clock for Between {
    fn now_ms(&self) -> f64 {
        let now_ms = self.time.now_ms();
        let then = self.next.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        now_ms
    }
}

fn limiter<S: Strategy>(strategy: S, clock: &Between) -> Limiter<S, Table<S::State>, Between> {
    Limiter::builder(strategy).clock(clock.clone()).build()
}

/// How many checks are admitted until one is denied.
fn admitted<S: Strategy>(limiter: &Limiter<S, Table<S::State>, Between>) -> usize {
    (0..1_000).take_while(|_| limiter.check("k").unwrap().allowed).count()
}

/// One check is begun at `begun_ms`, and overtaken by as many as pass at `later_ms`; the decision on it, and how many passed.
fn overtaken<S: Strategy>(
    strategy: S,
    begun_ms: f64,
    later_ms: f64,
) -> (Decision, usize, Limiter<S, Table<S::State>, Between>) {
    let clock = Between::new(begun_ms);
    let limiter = limiter(strategy, &clock);
    let passed = Arc::new(Mutex::new(0));
    let (others, time, count) = (limiter.clone(), clock.time.clone(), Arc::clone(&passed));
    clock.after_the_next_reading(move || {
        time.set(later_ms);
        *count.lock().unwrap() = admitted(&others);
    });
    let decision = limiter.check("k").unwrap();
    let passed = *passed.lock().unwrap();
    (decision, passed, limiter)
}

fn fixed_window() -> FixedWindow {
    FixedWindow::builder().limit(50.0).window_ms(1_000.0).build().unwrap()
}

fn quota() -> Quota {
    Quota::builder().limit(50.0).cadence(Cadence::Fixed).period_ms(1_000.0).anchor_ms(500).build().unwrap()
}

fn sliding_window() -> SlidingWindow {
    SlidingWindow::builder().limit(50.0).window_ms(1_000.0).build().unwrap()
}

fn token_bucket() -> TokenBucket {
    TokenBucket::builder().capacity(50.0).refill_per_sec(1_000.0).build().unwrap()
}

#[track_caller]
fn is_denied_as_of_later<S: Strategy>(strategy: S, begun_ms: f64, later_ms: f64) {
    let (decision, passed, limiter) = overtaken(strategy, begun_ms, later_ms);
    assert_eq!(passed, 50);
    assert!(!decision.allowed, "{decision:?}");
    // As of then, and no state of an earlier instant is left behind.
    assert_eq!(limiter.check("k").unwrap(), decision);
}

#[test]
fn a_fixed_window_that_others_have_filled_is_not_opened_afresh() {
    is_denied_as_of_later(fixed_window(), 1_999.0, 2_000.0);
}

#[test]
fn a_quota_that_others_have_used_up_is_not_opened_afresh() {
    is_denied_as_of_later(quota(), 1_499.0, 1_500.0);
    let day = Quota::builder().limit(50.0).cadence(Cadence::CalendarDay).build().unwrap();
    is_denied_as_of_later(day, 86_399_999.0, 86_400_000.0);
}

#[test]
fn a_sliding_window_counts_what_others_took_in_a_later_bucket() {
    is_denied_as_of_later(sliding_window(), 1_999.0, 2_000.0);
    is_denied_as_of_later(sliding_window(), 1_950.0, 2_850.0);
}

#[test]
fn a_token_bucket_and_a_log_go_by_the_later_instant() {
    is_denied_as_of_later(token_bucket(), N, N + 1.0);
    let log = SlidingWindowLog::builder().limit(50.0).window_ms(1_000.0).build().unwrap();
    is_denied_as_of_later(log, 1_999.0, 2_000.0);
}

#[test]
fn a_token_bucket_gets_no_span_credited_twice() {
    let clock = Between::new(N);
    let bucket = TokenBucket::builder().capacity(50.0).refill_per_sec(2_000.0).build().unwrap();
    let limiter = limiter(bucket, &clock);
    assert_eq!(admitted(&limiter), 50);
    for _ in 0..100 {
        let (others, time) = (limiter.clone(), clock.time.clone());
        clock.after_the_next_reading(move || {
            time.advance(1.0);
            assert!(others.check("k").unwrap().allowed);
        });
        // Two tokens have come back: one of them is for whoever was overtaken.
        assert!(limiter.check("k").unwrap().allowed);
        assert_eq!(admitted(&limiter), 0);
    }
}

#[test]
fn the_instant_that_counted_is_the_one_that_is_told() {
    let clock = Between::new(1_999.0);
    let seen = Arc::new(Recorder::default());
    let limiter = Limiter::builder(fixed_window()).clock(clock.clone()).observer(Arc::clone(&seen)).build();
    let overtake = |now_ms: f64| {
        let (others, time) = (limiter.clone(), clock.time.clone());
        clock.after_the_next_reading(move || {
            time.set(now_ms);
            others.check("k").unwrap();
            others.check("other").unwrap();
        });
    };

    overtake(2_000.0);
    assert_eq!(limiter.check("k").unwrap().remaining, 48);
    assert_eq!(seen.take().last().unwrap().now_ms, 2_000.0);

    overtake(3_000.0);
    let (now_ms, run) = limiter.check_timed("k", 1.0);
    assert_eq!((now_ms, run.now().unwrap().unwrap().remaining), (3_000.0, 48));
    assert_eq!(seen.take().last().unwrap().now_ms, 3_000.0);

    overtake(4_000.0);
    let resets: Vec<_> = limiter.check_many(&["k", "other"], 1.0).unwrap().iter().map(|it| it.reset_at_ms).collect();
    assert_eq!(resets, [5_000, 5_000]);
    assert_eq!(seen.take().last().unwrap().now_ms, 4_000.0);

    overtake(5_000.0);
    assert_eq!(limiter.peek("k").unwrap().remaining, 49);
    overtake(6_000.0);
    assert_eq!(limiter.forecast("k", 1.0).unwrap().full_at_ms, 7_000);
}

#[test]
fn a_refund_credits_no_span_twice() {
    let clock = Between::new(N);
    let limiter = limiter(token_bucket(), &clock);
    assert_eq!(admitted(&limiter), 50);
    let (others, time) = (limiter.clone(), clock.time.clone());
    clock.after_the_next_reading(move || {
        time.advance(10.0);
        assert_eq!(admitted(&others), 10);
    });
    assert_eq!(limiter.run_refund("k", Refund::new(1.0)).now().unwrap().unwrap().remaining, 1);
    assert_eq!(admitted(&limiter), 1);
}

#[test]
fn a_key_that_others_dropped_since_is_not_one_without_a_past() {
    // One place: a new key takes that of one that has expired.
    let clock = Between::new(1_000.0);
    let table = Table::builder().max_keys(1).build().unwrap();
    let limiter = Limiter::builder(fixed_window()).keyspace(table).clock(clock.clone()).build();
    assert_eq!(admitted(&limiter), 50);
    clock.time.set(1_999.0);
    let (others, time) = (limiter.clone(), clock.time.clone());
    clock.after_the_next_reading(move || {
        time.set(2_000.0);
        assert!(others.check("other").unwrap().allowed);
    });
    assert_eq!(limiter.check("k").unwrap().reset_at_ms, 3_000);
}

#[test]
fn joint_checks_go_by_the_later_instant() {
    for all in [true, false] {
        let clock = Between::new(1_999.0);
        let multi = if all { Multi::all() } else { Multi::any() };
        let multi = multi
            .dimension("fixed", fixed_window(), 1.0)
            .dimension("quota", quota(), 1.0)
            .dimension("sliding", sliding_window(), 1.0)
            .dimension("bucket", TokenBucket::builder().capacity(50.0).refill_per_sec(1.0).build().unwrap(), 1.0)
            .clock(clock.clone())
            .build()
            .unwrap();
        let multi = Arc::new(multi);
        let (others, time) = (Arc::clone(&multi), clock.time.clone());
        clock.after_the_next_reading(move || {
            time.set(2_500.0);
            assert_eq!((0..60).filter(|_| others.check(&["k"; 4]).unwrap().allowed).count(), 50);
        });
        let denied = multi.check(&["k"; 4]).unwrap();
        assert!(!denied.allowed, "{denied:?}");
        assert_eq!(multi.check(&["k"; 4]).unwrap(), denied);
    }
}

#[test]
fn a_clock_that_steps_back_has_the_effect_that_the_rule_says() {
    let clock = Between::new(1_000.0);
    let window = FixedWindow::builder().limit(3.0).window_ms(1_000.0).build().unwrap();
    let windows = limiter(window, &clock);
    assert_eq!(admitted(&windows), 3);
    clock.time.set(999.0);
    assert_eq!((windows.check_cost("k", 3.0).unwrap().reset_at_ms, admitted(&windows)), (1_000, 0));
    clock.time.set(1_000.0);
    assert_eq!(admitted(&windows), 3);

    clock.time.set(1_500.0);
    let window = SlidingWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap();
    let sliding = limiter(window, &clock);
    assert_eq!(admitted(&sliding), 10);
    clock.time.set(400.0);
    assert_eq!(sliding.check("k").unwrap().remaining, 9);
    clock.time.set(1_500.0);
    assert_eq!(sliding.check("k").unwrap().remaining, 9);
}

/// Moves on with its readings; and who has read it lets others go first.
#[derive(Clone, Default)]
struct Ticking(Arc<AtomicU64>);

impl Clock for Ticking {
    #[allow(clippy::cast_precision_loss)] // a few thousand
    fn now_ms(&self) -> f64 {
        let now = self.0.fetch_add(1, Ordering::SeqCst);
        if now % 3 == 0 {
            std::thread::yield_now();
        }
        (now / 8) as f64
    }
}

/// What four threads get of one key, by the reset that the decisions show; and the time at the end.
fn by_threads<S: Strategy>(strategy: S, checks: usize) -> (HashMap<i64, u32>, f64) {
    let clock = Ticking::default();
    let limiter = Limiter::builder(strategy).clock(clock.clone()).build();
    let work = || {
        let mut admitted = HashMap::<i64, u32>::new();
        for _ in 0..checks {
            let decision = limiter.check("k").unwrap();
            *admitted.entry(decision.reset_at_ms).or_default() += u32::from(decision.allowed);
        }
        admitted
    };
    let admitted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().fold(HashMap::new(), |mut all, thread| {
            thread.join().unwrap().into_iter().for_each(|(reset, count)| *all.entry(reset).or_default() += count);
            all
        })
    });
    (admitted, clock.now_ms())
}

#[test]
fn threads_get_no_more_than_the_limit_in_any_window() {
    let window = FixedWindow::builder().limit(10.0).window_ms(5.0).build().unwrap();
    let quota = Quota::builder().limit(10.0).cadence(Cadence::Fixed).period_ms(5.0).build().unwrap();
    for (admitted, _) in [by_threads(window, 10_000), by_threads(quota, 10_000)] {
        assert!(admitted.len() > 500, "{}", admitted.len());
        assert_eq!(admitted.values().max(), Some(&10));
    }
}

#[test]
fn threads_get_no_more_tokens_than_come_back() {
    let bucket = TokenBucket::builder().capacity(10.0).refill_per_sec(1_000.0).build().unwrap();
    let gcra = Gcra::builder().limit(1.0).period_ms(1.0).burst(10.0).build().unwrap();
    for (admitted, end_ms) in [by_threads(bucket, 10_000), by_threads(gcra, 10_000)] {
        let admitted: u32 = admitted.values().sum();
        assert!(f64::from(admitted) <= 10.0 + end_ms, "{admitted} in {end_ms} ms");
    }
}
