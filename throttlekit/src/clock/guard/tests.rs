use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_700_000_000_000;

/// A wall, a stopwatch and a counter that the test moves.
#[derive(Default)]
struct Script {
    wall_ms: AtomicI64,
    elapsed_ns: AtomicU64,
    ticks: AtomicU64,
    /// How far it counts in a millisecond; 0 if it does not.
    ticks_per_ms: u64,
    /// For how much of its millisecond the wall still shows what it shows, in ticks.
    lasts: AtomicU64,
    readings: AtomicU64,
    /// How far a look at the counter moves it.
    ticks_per_look: AtomicU64,
    /// How often the stopwatch was read.
    timings: AtomicU64,
}

impl Script {
    /// Real time passes; the wall follows it.
    fn pass(&self, ms: u64) {
        self.elapsed_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
        self.step(i64::try_from(ms).unwrap());
    }

    /// The counter runs, and the stopwatch.
    fn run(&self, ticks: u64, ns: u64) {
        self.ticks.fetch_add(ticks, Ordering::SeqCst);
        self.elapsed_ns.fetch_add(ns, Ordering::SeqCst);
    }

    /// The wall steps.
    fn step(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Source for Arc<Script> {
    fn wall(&self) -> Wall {
        self.readings.fetch_add(1, Ordering::SeqCst);
        Wall { ms: self.wall_ms.load(Ordering::SeqCst), lasts: self.lasts.load(Ordering::SeqCst) }
    }

    fn ticks(&self) -> u64 {
        self.ticks.fetch_add(self.ticks_per_look.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    fn ticks_per_ms(&self) -> u64 {
        self.ticks_per_ms
    }

    fn elapsed(&self) -> Duration {
        self.timings.fetch_add(1, Ordering::SeqCst);
        Duration::from_nanos(self.elapsed_ns.load(Ordering::SeqCst))
    }
}

fn scripted() -> (Arc<Script>, Guard<Arc<Script>>) {
    let script = Arc::new(Script::default());
    script.step(START);
    (Arc::clone(&script), Guard::new(script))
}

/// With a counter that is at `ticks`, and the whole of a millisecond ahead.
fn counted(ticks: u64) -> (Arc<Script>, Guard<Arc<Script>>) {
    let script = Script { ticks_per_ms: 1_000, ..Script::default() };
    script.lasts.store(1_000, Ordering::SeqCst);
    script.ticks.store(ticks, Ordering::SeqCst);
    script.step(START);
    let script = Arc::new(script);
    (Arc::clone(&script), Guard::new(script))
}

/// How often the wall is asked for one reading of the guard.
fn asked(script: &Script, guard: &Guard<Arc<Script>>) -> (i64, u64) {
    let before = script.readings.load(Ordering::SeqCst);
    let now_ms = guard.now_ms();
    (now_ms, script.readings.load(Ordering::SeqCst) - before)
}

#[test]
fn the_wall_is_asked_once_in_a_millisecond() {
    // Also where the counter turns over.
    for start in [5, u64::MAX - 3, u64::MAX, 0] {
        let (script, guard) = counted(start);
        for ticks in [0, 1, 500, 999] {
            script.ticks.store(start.wrapping_add(ticks), Ordering::SeqCst);
            assert_eq!(asked(&script, &guard), (START, 0), "{ticks} after {start}");
        }
        script.step(1);
        script.ticks.store(start.wrapping_add(1_000), Ordering::SeqCst);
        assert_eq!(asked(&script, &guard), (START + 1, 1), "after {start}");
        assert_eq!(asked(&script, &guard), (START + 1, 0), "after {start}");
    }
}

#[test]
fn the_rest_of_a_millisecond_lasts_no_longer_than_that() {
    let (script, guard) = counted(0);
    script.lasts.store(300, Ordering::SeqCst);
    script.step(1);
    script.ticks.store(1_000, Ordering::SeqCst);
    assert_eq!(asked(&script, &guard), (START + 1, 1));
    script.ticks.store(1_299, Ordering::SeqCst);
    assert_eq!(asked(&script, &guard), (START + 1, 0));
    script.ticks.store(1_300, Ordering::SeqCst);
    assert_eq!(asked(&script, &guard), (START + 1, 1));
}

#[test]
fn a_counter_that_jumps_is_not_believed() {
    let (script, guard) = counted(1_000_000);
    for jump in [0, 999_999, 1_001_000, u64::MAX] {
        script.step(7);
        script.ticks.store(jump, Ordering::SeqCst);
        let now_ms = script.wall_ms.load(Ordering::SeqCst);
        assert_eq!(asked(&script, &guard), (now_ms, 1), "{jump}");
    }
}

#[test]
fn a_step_back_is_noticed_when_the_millisecond_ends() {
    let (script, guard) = counted(0);
    script.step(-3_600_000);
    assert_eq!(asked(&script, &guard), (START, 0));
    script.ticks.store(1_000, Ordering::SeqCst);
    assert_eq!(guard.now_ms(), START);
    // From here on the time is the guard's own, which no counter tells.
    for passed in 1..=10 {
        script.pass(10);
        assert_eq!(guard.now_ms(), START + 9 * passed);
    }
    script.step(3_600_000);
    let wall = START + 100;
    assert_eq!(guard.now_ms(), wall);
    assert_eq!(asked(&script, &guard), (wall, 1));
    assert_eq!(asked(&script, &guard), (wall, 0));
}

#[test]
fn follows_the_wall_and_its_forward_steps() {
    let (script, guard) = scripted();
    assert_eq!(guard.now_ms(), START);
    script.pass(5);
    assert_eq!(guard.now_ms(), START + 5);
    script.step(3_600_000);
    assert_eq!(guard.now_ms(), START + 3_600_005);
}

#[test]
fn a_step_back_of_20_ms_holds_still() {
    let (script, guard) = scripted();
    script.step(-20);
    assert_eq!(guard.now_ms(), START);
    script.pass(20);
    assert_eq!(guard.now_ms(), START);
    script.pass(1);
    assert_eq!(guard.now_ms(), START + 1);
}

#[test]
fn a_larger_step_back_goes_on_at_nine_tenths_until_it_is_paid_off() {
    let (script, guard) = scripted();
    script.step(-21);
    assert_eq!(guard.now_ms(), START);
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 90);
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 180);
    // A lead of 21 ms is paid off in 210: the line and the wall are then both 189 ms on.
    script.pass(10);
    assert_eq!(guard.now_ms(), START + 189);
    script.pass(10);
    assert_eq!(guard.now_ms(), START + 199);
}

#[test]
fn an_hour_back_is_no_outage() {
    let (script, guard) = scripted();
    script.step(-3_600_000);
    assert_eq!(guard.now_ms(), START);
    script.pass(60_000);
    assert_eq!(guard.now_ms(), START + 54_000);
    script.pass(36_000_000 - 60_000);
    assert_eq!(guard.now_ms(), START + 32_400_000);
    script.pass(1_000);
    assert_eq!(guard.now_ms(), START + 32_401_000);
}

#[test]
fn a_forward_step_shortens_the_pay_off() {
    let (script, guard) = scripted();
    script.step(-10_000);
    guard.now_ms();
    script.step(9_900);
    assert_eq!(guard.now_ms(), START);
    script.pass(1_000);
    assert_eq!(guard.now_ms(), START + 900);
    script.pass(1);
    assert_eq!(guard.now_ms(), START + 901);
}

#[test]
fn a_forward_step_past_the_time_ends_the_pay_off() {
    let (script, guard) = scripted();
    script.step(-10_000);
    guard.now_ms();
    script.pass(100);
    script.step(10_000);
    assert_eq!(guard.now_ms(), START + 100);
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 200);
}

#[test]
fn another_step_back_while_paying_off_is_no_freeze() {
    let (script, guard) = scripted();
    script.step(-1_000);
    guard.now_ms();
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 90);
    script.step(-86_400_000);
    assert_eq!(guard.now_ms(), START + 90);
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 180);
}

#[test]
fn a_late_writer_above_the_line_is_no_freeze() {
    let (script, guard) = scripted();
    script.step(-1_000_000);
    guard.now_ms();
    // What a thread does that read the wall before the step and was held up until now.
    guard.advance(START + 500_000);
    assert_eq!(guard.now_ms(), START + 500_000);
    script.pass(100);
    assert_eq!(guard.now_ms(), START + 500_090);
}

#[test]
fn a_wall_before_1970_moves() {
    let script = Arc::new(Script::default());
    script.step(-5_000);
    let guard = Guard::new(Arc::clone(&script));
    assert_eq!(guard.now_ms(), -5_000);
    script.pass(10);
    assert_eq!(guard.now_ms(), -4_990);
}

proptest! {
    #[test]
    fn never_goes_back_and_never_freezes(moves in prop::collection::vec((0_u64..5_000, -100_000_i64..100_000), 1..200)) {
        let (script, guard) = scripted();
        let mut before = guard.now_ms();
        for (passed, stepped) in moves {
            script.step(stepped);
            let stepped_to = guard.now_ms();
            prop_assert!(stepped_to >= before);
            prop_assert!(stepped_to >= script.wall().ms);
            script.pass(passed);
            let now = guard.now_ms();
            prop_assert!(now >= script.wall().ms);
            // One millisecond of rounding; the hold is the only time that may stand still.
            let least = i64::try_from(passed * 9 / 10).unwrap() - 1 - HOLD_MS;
            prop_assert!(now - stepped_to >= least, "{passed} ms gave {}", now - stepped_to);
            before = now;
        }
    }

    #[test]
    fn never_goes_back_across_threads(moves in prop::collection::vec((0_u64..50, -200_i64..200), 1..200)) {
        let (script, guard) = scripted();
        let published = AtomicI64::new(i64::MIN);
        let broken = thread::scope(|scope| {
            let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| {
                (0..500).any(|_| {
                    // Whatever another thread had read before this reading is a lower bound of it.
                    let floor = published.load(Ordering::SeqCst);
                    let now = guard.now_ms();
                    published.fetch_max(now, Ordering::SeqCst);
                    now < floor
                })
            })).collect();
            for (passed, stepped) in moves {
                script.pass(passed);
                script.step(stepped);
            }
            readers.into_iter().any(|reader| reader.join().unwrap())
        });
        prop_assert!(!broken);
    }
}

/// How often the system is asked for one reading of the stopwatch.
fn timed(script: &Script, guard: &Guard<Arc<Script>>) -> (u64, u64) {
    let before = script.timings.load(Ordering::SeqCst);
    let ns = guard.elapsed_ns();
    (ns, script.timings.load(Ordering::SeqCst) - before)
}

/// A counter of 1 GHz, so that a tick is a nanosecond.
fn gigahertz(start: u64) -> (Arc<Script>, Guard<Arc<Script>>) {
    let script = Arc::new(Script { ticks_per_ms: 1_000_000, ..Script::default() });
    script.ticks.store(start, Ordering::SeqCst);
    (Arc::clone(&script), Guard::new(script))
}

#[test]
fn the_stopwatch_asks_the_system_eight_times_in_a_millisecond() {
    // Also where the counter turns over.
    for start in [5, u64::MAX - 3, u64::MAX - 100_000, 0] {
        let (script, guard) = gigahertz(start);
        script.run(1_000, 1_000);
        assert_eq!(timed(&script, &guard), (1_000, 1), "after {start}");
        for ns in [0, 1, 60_000, 64_998] {
            script.run(ns, ns);
        }
        assert_eq!(timed(&script, &guard), (125_999, 0), "after {start}");
        script.run(1, 1);
        assert_eq!(timed(&script, &guard), (126_000, 1), "after {start}");
        assert_eq!(timed(&script, &guard), (126_000, 0), "after {start}");
    }
}

#[test]
fn without_a_counter_fine_enough_each_reading_asks_the_system() {
    for ticks_per_ms in [0, 1_000, 16_383] {
        let script = Arc::new(Script { ticks_per_ms, ..Script::default() });
        let guard = Guard::new(Arc::clone(&script));
        script.run(10, 7_000);
        assert_eq!(timed(&script, &guard), (7_000, 1));
        assert_eq!(timed(&script, &guard), (7_000, 1));
    }
}

#[test]
fn a_stopwatch_follows_the_system_over_a_counter_that_jumps() {
    let (script, guard) = gigahertz(1_000_000);
    script.run(0, 1_000);
    assert_eq!(timed(&script, &guard), (1_000, 1));
    // A machine that slept: its counter goes on, or starts again, and the system did not count the time.
    for jump in [u64::MAX / 2, 5, 3_600_000_000_000] {
        script.ticks.store(jump, Ordering::SeqCst);
        script.run(0, 200_000);
        let elapsed_ns = script.elapsed_ns.load(Ordering::SeqCst);
        assert_eq!(timed(&script, &guard), (elapsed_ns, 1), "{jump}");
    }
}

#[test]
fn a_stopwatch_that_is_ahead_of_the_system_is_slower_until_it_is_not() {
    let (script, guard) = gigahertz(0);
    assert_eq!(guard.elapsed_ns(), 0);
    // The counter is a hundredth too fast.
    script.run(125_000, 123_750);
    assert_eq!(timed(&script, &guard), (125_000, 1));
    script.run(124_999, 124_999);
    let (ns, asked) = timed(&script, &guard);
    assert_eq!(asked, 0);
    assert!((248_747..=248_749).contains(&ns), "{ns} is what the system shows");
    // As fast as can be that the lead grows no further than that of a few spans.
    for _ in 0..100 {
        script.run(125_000, 30_000);
        let ahead = guard.elapsed_ns() - script.elapsed_ns.load(Ordering::SeqCst);
        assert!(ahead < 4_000_000, "{ahead}");
    }
}

#[test]
fn a_core_whose_count_is_a_little_behind_is_held_at_the_begin() {
    let (script, guard) = gigahertz(1_000_000);
    script.run(0, 70_000);
    assert_eq!(timed(&script, &guard), (70_000, 1));
    script.ticks.store(999_990, Ordering::SeqCst);
    assert_eq!(timed(&script, &guard), (70_000, 0));
}

#[test]
fn a_reading_that_was_interrupted_begins_no_span() {
    let (script, guard) = gigahertz(0);
    script.run(1_000, 1_000);
    // Each look at the counter finds it much further on.
    script.ticks_per_look.store(20_000, Ordering::SeqCst);
    script.run(0, 500_000);
    assert_eq!(timed(&script, &guard).1, 2);
    let before = guard.elapsed_ns();
    script.ticks_per_look.store(0, Ordering::SeqCst);
    assert!(guard.elapsed_ns() >= before);
}

proptest! {
    /// Counters that are faster or slower than the system, pauses, jumps, and readings in between.
    #[test]
    fn the_stopwatch_never_goes_back(
        start in any::<u64>(),
        moves in prop::collection::vec((0_u64..300_000, 0_u64..300, prop::option::weighted(0.03, any::<u64>())), 1..300),
    ) {
        let (script, guard) = gigahertz(start);
        let mut before = 0;
        for (ticks, percent, jump) in moves {
            if let Some(jump) = jump {
                script.ticks.store(jump, Ordering::SeqCst);
                // The machine was not running in the meantime, and is now.
                script.run(0, 130_000);
            }
            script.run(ticks, ticks * percent / 100);
            let ns = guard.elapsed_ns();
            prop_assert!(ns >= before, "{ns} after {before}");
            before = ns;
        }
        // And catches up with the system.
        script.run(0, 1 << 40);
        script.ticks.fetch_add(1 << 50, Ordering::SeqCst);
        prop_assert_eq!(guard.elapsed_ns(), script.elapsed_ns.load(Ordering::SeqCst));
    }
}

/// A counter that each look moves on, and a system that is now faster and now slower than it.
#[derive(Default)]
struct Wobble(AtomicU64);

impl Source for Arc<Wobble> {
    fn wall(&self) -> Wall {
        Wall { ms: 0, lasts: 0 }
    }

    fn ticks(&self) -> u64 {
        self.0.fetch_add(50, Ordering::SeqCst)
    }

    fn ticks_per_ms(&self) -> u64 {
        1_000_000
    }

    fn elapsed(&self) -> Duration {
        let ticks = self.0.load(Ordering::SeqCst);
        Duration::from_nanos(ticks - ticks / 100 + ticks % 100_000 / 200)
    }
}

#[test]
fn the_stopwatch_never_goes_back_across_threads() {
    let guard = Guard::new(Arc::new(Wobble::default()));
    let published = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    let floor = published.load(Ordering::SeqCst);
                    let now = guard.elapsed_ns();
                    published.fetch_max(now, Ordering::SeqCst);
                    assert!(now >= floor, "{now} after {floor}");
                }
            });
        }
    });
}
