//! A sketch in front of a table: floods, and no admission beyond an exact limiter's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use throttlekit::sketch::{Accuracy, Carry, Screened, SketchHash};
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Admit, Ask, Clock, DynLimiter, ExactGcra, FixedWindow, Gcra, Limiter, ManualClock, Meter, Quota, SlidingWindow,
    SlidingWindowLog, TokenBucket,
};

use crate::support::{self, Mulberry, N};

const HASH: SketchHash = SketchHash::Keyed([21, 42]);

fn fixed(limit: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(60_000.0).build().unwrap()
}

/// One unit comes back each 125 ms: exact in binary.
fn gcra(burst: f64) -> Gcra {
    Gcra::builder().limit(8.0).period_ms(1_000.0).burst(burst).build().unwrap()
}

/// Writes a key without an allocation.
struct KeyText([u8; 12]);

impl KeyText {
    fn new(id: u32) -> Self {
        let mut text = *b"flood-000000";
        let mut id = id;
        for digit in text[6..].iter_mut().rev() {
            *digit = b'a' + u8::try_from(id % 26).unwrap();
            id /= 26;
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap()
    }
}

#[test]
fn a_flood_takes_constant_memory_and_no_live_state() {
    const LIVE: u32 = 1_000;
    const FLOOD: u32 = 1_200_000;
    const LIMIT: u32 = 100;
    let clock = ManualClock::new(0.0);
    let limiter = Screened::builder(fixed(f64::from(LIMIT))).max_keys(1_200).hash(HASH);
    let limiter = limiter.clock(clock.clone()).build().unwrap();
    let live: Vec<_> = (0..LIVE).map(|id| format!("live-{id}")).collect();
    let mut admitted = vec![0_u32; live.len()];
    let use_live = |admitted: &mut Vec<u32>, id: usize| {
        admitted[id] += u32::from(limiter.check(&live[id]).unwrap().allowed);
    };
    for id in 0..live.len() {
        (0..60).for_each(|_| use_live(&mut admitted, id));
    }
    assert!(live.iter().all(|key| limiter.is_exact(key)));
    let bytes = limiter.sketch_bytes();

    let mut passed = 0;
    let used = allocation_counter::measure(|| {
        for id in 0..FLOOD {
            passed += u32::from(limiter.check(KeyText::new(id).as_str()).unwrap().allowed);
            if id % 100 == 0 {
                use_live(&mut admitted, (id / 100) as usize % live.len());
            }
        }
    });
    assert_eq!((used.count_total, used.bytes_total), (0, 0), "the flood took memory");
    assert_eq!(limiter.sketch_bytes(), bytes);

    // Every live key kept its state, and nobody else got one.
    assert!(live.iter().all(|key| limiter.is_exact(key)));
    let stats = limiter.stats();
    assert_eq!((stats.exact_keys, stats.adopted, stats.crowded), (live.len(), u64::from(LIVE), 0));
    // The rest of each live key's limit is there, to the unit.
    for id in 0..live.len() {
        assert!(admitted[id] < LIMIT);
        (0..LIMIT).for_each(|_| use_live(&mut admitted, id));
    }
    assert!(admitted.iter().all(|count| *count == LIMIT));
    // Keys of the flood are new each: an exact limiter admits them all. N is 1.2 million in eight shards, and the limit is
    // above what the sketch shows of a new key.
    assert_eq!(passed, FLOOD);
    assert!(limiter.check("newcomer").unwrap().allowed);
}

#[test]
fn a_flood_beyond_the_accuracy_is_denied_and_gets_no_states() {
    let accuracy = Accuracy::new(0.05, 0.01).unwrap();
    let limiter = Screened::builder(fixed(20.0)).accuracy(accuracy).shards(1).hash(HASH);
    let limiter = limiter.clock(ManualClock::new(0.0)).build().unwrap();
    (0..30).for_each(|_| assert!(limiter.check("live").is_ok()));
    let passed = (0..100_000).filter(|id| limiter.check(KeyText::new(*id).as_str()).unwrap().allowed).count();
    // What the sketch can hold: the limit in each of its 275 counters.
    assert!(passed <= 20 * 275, "{passed}");
    assert!(limiter.is_exact("live"));
    // A few keys of the flood look used by chance.
    assert!(limiter.stats().adopted < 100, "{:?}", limiter.stats());
    let denied = limiter.check("newcomer").unwrap();
    assert_eq!((denied.allowed, denied.remaining, denied.retry_after_ms), (false, 0, 60_000));
}

#[test]
fn a_cost_that_cannot_be_counted_is_told_as_it_was_given() {
    let strategy = ExactGcra::builder().limit(8).period_ms(1_000).burst(12).build().unwrap();
    let screened = Screened::builder(strategy).threshold(5.0).clock(ManualClock::new(N)).build().unwrap();
    for _ in 0..3 {
        assert!(screened.check("k").unwrap().allowed);
    }
    let error = screened.check_cost("k", 0.5).unwrap_err();
    assert!(error.to_string().starts_with("cost is 0.5: must be a whole number"), "{error}");
}

/// Runs a stream over both limiters; what the screened one admits, the exact one must admit too.
fn never_more<S: Carry + Clone>(strategy: &S, whole: bool) {
    for (seed, epsilon, shards) in [(1, 0.2, 1), (2, 0.05, 4), (3, 0.01, 1)] {
        let clock = ManualClock::new(N);
        let screened = Screened::builder(strategy.clone())
            .accuracy(Accuracy::new(epsilon, 0.05).unwrap())
            .threshold(5.0)
            .max_keys(8)
            .shards(shards)
            .hash(HASH)
            .clock(clock.clone())
            .build()
            .unwrap();
        let exact = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
        let mut random = Mulberry::new(seed);
        let (mut admitted, mut asked) = (0, 0);
        for _ in 0..6_000 {
            // Bursts and pauses: some longer than the memory of the strategy.
            clock.advance(if random.draw() < 0.002 { random.below(3_000.0) } else { random.below(4.0) });
            // A few keys are used much.
            let key = format!("k{}", (random.draw().powi(3) * 60.0).floor());
            let cost = if random.draw() < 0.8 { 1.0 } else { 1.0 + random.below(4.0) };
            let cost = if whole { cost } else { cost / 2.0 };
            asked += 1;
            if screened.check_cost(&key, cost).unwrap().allowed {
                admitted += 1;
                let decision = exact.check_cost(&key, cost).unwrap();
                assert!(decision.allowed, "{} admitted {key} beyond its limit", strategy.name());
            }
        }
        assert!(admitted > 100 && admitted < asked, "{}: {admitted} of {asked}", strategy.name());
    }
}

#[test]
fn no_strategy_admits_more_than_alone() {
    for whole in [true, false] {
        never_more(&FixedWindow::builder().limit(12.0).window_ms(1_000.0).build().unwrap(), whole);
        never_more(&gcra(12.0), whole);
        never_more(&TokenBucket::builder().capacity(12.0).refill_per_sec(8.0).build().unwrap(), whole);
        never_more(&SlidingWindow::builder().limit(12.0).window_ms(1_000.0).buckets(10).build().unwrap(), whole);
        never_more(&SlidingWindowLog::builder().limit(12.0).window_ms(1_000.0).build().unwrap(), whole);
    }
    never_more(&ExactGcra::builder().limit(8).period_ms(1_000).burst(12).build().unwrap(), true);
}

/// What the sketch counts is whole, so it may come to more than a limit with a fraction.
#[test]
fn a_limit_with_a_fraction_is_not_passed() {
    fn admits<S: Carry + Clone>(strategy: S, limit: f64) {
        let name = strategy.name();
        let limiter = Screened::builder(strategy).threshold(10.0).shards(1).hash(HASH).clock(ManualClock::new(N));
        let limiter = limiter.accuracy(Accuracy::new(0.02, 0.05).unwrap()).build().unwrap();
        for id in 0..200 {
            assert!(limiter.check(KeyText::new(id).as_str()).unwrap().allowed);
        }
        // One that the sketch shows as it is, while it shows more of others.
        let new = |key: &String| limiter.peek(key).unwrap().remaining >= 10;
        let key = &(0..1_000).map(|id| format!("k{id}")).find(new).unwrap();
        let costs = [10.0, 0.5, 10.0, 0.5, 0.25, 0.125, 1.0];
        let admitted = costs.into_iter().filter(|cost| limiter.check_cost(key, *cost).unwrap().allowed).sum::<f64>();
        assert!(limiter.is_exact(key) && (10.0..=limit).contains(&admitted), "{name}: {admitted} of {limit}");
    }
    for limit in [10.5, 10.75, 11.0] {
        admits(fixed(limit), limit);
        admits(gcra(limit), limit);
        admits(TokenBucket::builder().capacity(limit).refill_per_sec(1.0).build().unwrap(), limit);
        admits(SlidingWindow::builder().limit(limit).window_ms(1_000.0).buckets(10).build().unwrap(), limit);
    }
}

/// With aligned windows and no keys that meet, nobody can tell it from the strategy alone.
fn same_answers<S: Carry + Clone>(strategy: S, step_ms: f64) {
    let clock = ManualClock::new(N);
    let screened = Screened::builder(strategy.clone()).hash(HASH).clock(clock.clone()).build().unwrap();
    let exact = Limiter::builder(strategy).clock(clock.clone()).build();
    let mut random = Mulberry::new(9);
    for _ in 0..20_000 {
        clock.advance(random.below(step_ms));
        let key = format!("k{}", random.below(7.0));
        let cost = 1.0 + random.below(3.0);
        assert_eq!(screened.peek(&key).unwrap().remaining, exact.peek(&key).unwrap().remaining);
        let spendable = |forecast: throttlekit::Forecast| forecast.spendable_now;
        assert_eq!(spendable(screened.forecast(&key, cost).unwrap()), spendable(exact.forecast(&key, cost).unwrap()));
        assert_eq!(screened.check_cost(&key, cost).unwrap(), exact.check_cost(&key, cost).unwrap());
    }
    assert!(screened.stats().adopted > 0);
}

#[test]
fn aligned_windows_answer_as_alone() {
    same_answers(FixedWindow::builder().limit(40.0).window_ms(1_000.0).build().unwrap(), 5.0);
    same_answers(Quota::builder().limit(40.0).cadence(Cadence::CalendarDay).build().unwrap(), 600_000.0);
}

#[test]
fn a_key_gets_a_state_once_it_is_used_more_than_the_threshold() {
    let clock = ManualClock::new(0.0);
    let limiter = Screened::builder(fixed(10.0)).threshold(4.0).clock(clock.clone()).build().unwrap();
    for remaining in [9, 8, 7, 6] {
        assert_eq!(limiter.check("k").unwrap().remaining, remaining);
        assert!(!limiter.is_exact("k"));
    }
    assert_eq!(limiter.check("k").unwrap().remaining, 5);
    assert!(limiter.is_exact("k"));
    assert_eq!(limiter.stats().adopted, 1);
    // An expired state goes when the sketch takes over: no thread whose clock lags can use it beside the sketch.
    clock.set(60_000.0);
    assert_eq!(limiter.stats().exact_keys, 1);
    assert_eq!(limiter.check("k").unwrap().remaining, 9);
    assert_eq!((limiter.stats().exact_keys, limiter.is_exact("k")), (0, false));
}

#[test]
fn a_denied_cost_waits_as_long_as_the_strategy_says() {
    let clock = ManualClock::new(N);
    let limiter = Screened::builder(gcra(10.0)).threshold(6.0).clock(clock.clone()).build().unwrap();
    assert!(limiter.check_cost("k", 4.0).unwrap().allowed);
    let denied = limiter.check_cost("k", 8.0).unwrap();
    // Two of twelve units are missing; each takes 125 ms.
    assert_eq!((denied.allowed, denied.remaining, denied.retry_after_ms), (false, 6, 250));
    clock.advance(250.0);
    assert!(limiter.check_cost("k", 8.0).unwrap().allowed);
    // What never fits gets no state.
    assert!(!limiter.check_cost("huge", 1e9).unwrap().allowed);
    assert!(!limiter.is_exact("huge"));
    assert_eq!(limiter.stats().adopted, 1);
}

#[test]
fn without_room_the_sketch_goes_on() {
    let clock = ManualClock::new(0.0);
    let limiter = Screened::builder(fixed(10.0)).max_keys(3).clock(clock.clone()).hash(HASH).build().unwrap();
    let keys: Vec<_> = (0..6).map(|id| format!("k{id}")).collect();
    let drain = |keys: &mut dyn Iterator<Item = &String>| {
        for key in keys {
            let allowed = (0..15).filter(|_| limiter.check(key).unwrap().allowed).count();
            assert_eq!(allowed, 10, "{key}");
        }
    };
    drain(&mut keys.iter());
    let exact = || keys.iter().filter(|key| limiter.is_exact(key)).cloned().collect::<Vec<_>>();
    assert_eq!(exact(), keys[..3]);
    assert!(limiter.stats().crowded > 0);
    // Expired states make room.
    clock.set(60_000.0);
    assert!(exact().is_empty());
    drain(&mut keys.iter().rev());
    assert_eq!(exact(), keys[3..]);
    assert_eq!(limiter.stats().exact_keys, 3);
}

#[test]
fn a_lagging_clock_gives_nothing_back() {
    let clock = ManualClock::new(59_999.0);
    let limiter = Screened::builder(fixed(10.0)).max_keys(1).shards(1).clock(clock.clone()).build().unwrap();
    let drain = |key: &str| (0..20).filter(|_| limiter.check(key).unwrap().allowed).count();
    assert_eq!(drain("a"), 10);
    // Another thread is ahead: the state of `a` makes room.
    clock.set(60_000.0);
    assert_eq!(drain("b"), 10);
    clock.set(59_999.0);
    let late = drain("a");
    clock.set(60_000.0);
    assert!(late + drain("a") <= 10);
    // A state of the window ahead is used by who lags.
    clock.set(59_999.0);
    assert_eq!(drain("b"), 0);
}

#[test]
fn threads_share_the_limit_exactly() {
    let limiter = Screened::builder(fixed(5_000.0)).threshold(1_000.0).clock(ManualClock::new(0.0)).build().unwrap();
    let admitted: [AtomicU32; 3] = Default::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3_000 {
                    for (id, admitted) in admitted.iter().enumerate() {
                        if limiter.check(["a", "b", "c"][id]).unwrap().allowed {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert!(admitted.iter().all(|count| count.load(Ordering::Relaxed) == 5_000), "{admitted:?}");
    assert_eq!(limiter.stats().adopted, 3);
}

/// Shows up to three milliseconds too little, as to threads that read the clock and then lose their core.
#[derive(Clone, Default)]
struct Lagging {
    time: ManualClock,
    readings: Arc<AtomicU32>,
}

impl Clock for Lagging {
    fn now_ms(&self) -> f64 {
        self.time.now_ms() - f64::from(self.readings.fetch_add(1, Ordering::Relaxed) % 4)
    }
}

/// Four threads ask for three keys, one of them moves the time; what was admitted, by key and reset.
fn by_threads(strategy: impl Carry, clock: &Lagging) -> HashMap<(&'static str, i64), u32> {
    let limiter = Screened::builder(strategy).threshold(3.0).max_keys(2).clock(clock.clone()).build().unwrap();
    let work = |moves: bool| {
        let mut admitted = HashMap::<_, u32>::new();
        for round in 0..8_000 {
            if moves && round % 16 == 0 {
                clock.time.advance(1.0);
            }
            let key = ["a", "b", "c"][round % 3];
            let decision = limiter.check(key).unwrap();
            if decision.allowed {
                *admitted.entry((key, decision.reset_at_ms)).or_default() += 1;
            }
        }
        admitted
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread == 0))).collect();
        threads.into_iter().fold(HashMap::new(), |mut all, thread| {
            thread.join().unwrap().into_iter().for_each(|(at, count)| *all.entry(at).or_default() += count);
            all
        })
    })
}

#[test]
fn threads_whose_clocks_lag_get_no_more_in_any_window() {
    let window = FixedWindow::builder().limit(10.0).window_ms(5.0).build().unwrap();
    let admitted = by_threads(window, &Lagging::default());
    assert!(admitted.len() > 200, "{}", admitted.len());
    let most = admitted.values().max().unwrap();
    assert!(*most == 10, "{most} units in one window");
}

#[test]
fn threads_whose_clocks_lag_get_no_more_than_comes_back() {
    // A unit each two milliseconds, four at once: states live for eight.
    let gcra = Gcra::builder().limit(1.0).period_ms(2.0).burst(4.0).build().unwrap();
    let clock = Lagging::default();
    let admitted = by_threads(gcra, &clock);
    for key in ["a", "b", "c"] {
        let units: u32 = admitted.iter().filter(|((of, _), _)| *of == key).map(|(_, count)| count).sum();
        // The first reading may lag by three milliseconds.
        let most = 4.0 + 0.5 * (clock.time.now_ms() + 3.0);
        assert!(f64::from(units) <= most, "{key}: {units} of {most}");
        assert!(f64::from(units) > most / 4.0, "{key}: {units} of {most}");
    }
}

#[test]
fn options_that_are_refused() {
    let option = |result: Result<Screened<FixedWindow>, throttlekit::BuildError>| result.unwrap_err().option();
    for bad in [0.0, -1.0, 10.5, f64::NAN] {
        assert_eq!(option(Screened::builder(fixed(10.0)).threshold(bad).build()), "screen.threshold");
    }
    assert_eq!(option(Screened::builder(fixed(10.0)).max_keys(0).build()), "screen.maxKeys");
    assert_eq!(option(Screened::builder(fixed(10.0)).shards(0).build()), "screen.shards");
    assert_eq!(option(Screened::new(fixed(0.5))), "screen.limit");
    assert_eq!(option(Screened::new(fixed(4_294_967_296.0))), "screen.limit");
    for cost in [0.0, f64::NAN] {
        let limiter = Screened::new(fixed(10.0)).unwrap();
        assert_eq!(limiter.check_cost("k", cost).unwrap_err().code(), "invalid_argument");
    }
}

#[test]
fn doors_can_use_it() {
    let recorder = Arc::new(support::Recorder::default());
    let clock = ManualClock::new(0.0);
    let limiter = Screened::builder(fixed(2.0)).clock(clock).observer(Arc::clone(&recorder)).name("api");
    let limiter: Arc<dyn DynLimiter> = Arc::new(limiter.build().unwrap());
    assert_eq!((limiter.strategy_name(), limiter.limit(), limiter.window_ms()), ("fixedWindow", 2, Some(60_000.0)));
    assert_eq!(limiter.now_ms(), 0.0);
    assert!(limiter.admit(&Ask::new("k")).now().unwrap().unwrap().decision.allowed);
    assert!(limiter.debit("k", 1.0).now().unwrap().unwrap().allowed);
    let many = limiter.check_many(&["k", "a"], 1.0).now().unwrap().unwrap();
    assert_eq!(many.iter().map(|decision| decision.allowed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(limiter.peek("k").now().unwrap().unwrap().retry_after_ms, 60_000);
    assert_eq!(limiter.reset("k").now().unwrap().unwrap_err().code(), "throttlekit_error");
    assert!(limiter.dimension().is_err() && !limiter.refunds());
    let seen = recorder.take();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|seen| (seen.policy.as_str(), seen.strategy) == ("api", "fixedWindow")));
}

#[test]
fn debug_shows_no_keys() {
    let limiter = Screened::builder(fixed(2.0)).hash(SketchHash::Keyed([123_456_789, 0])).build().unwrap();
    (0..5).for_each(|_| assert!(limiter.check("secret-key").is_ok()));
    let shown = format!("{limiter:?} {:?}", limiter.stats());
    assert!(!shown.contains("secret-key") && !shown.contains("123456789"), "{shown}");
    assert!(limiter.clock().now_ms() > 0.0);
}
