use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_700_000_000_000;

/// A wall and a stopwatch that the test moves.
#[derive(Default)]
struct Script {
    wall_ms: AtomicI64,
    elapsed_us: AtomicU64,
}

impl Script {
    /// Real time passes; the wall follows it.
    fn pass(&self, ms: u64) {
        self.elapsed_us.fetch_add(ms * 1_000, Ordering::SeqCst);
        self.step(i64::try_from(ms).unwrap());
    }

    /// The wall steps.
    fn step(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Source for Arc<Script> {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed_us.load(Ordering::SeqCst))
    }
}

fn scripted() -> (Arc<Script>, Guard<Arc<Script>>) {
    let script = Arc::new(Script::default());
    script.step(START);
    (Arc::clone(&script), Guard::new(script))
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
            prop_assert!(stepped_to >= script.wall_ms());
            script.pass(passed);
            let now = guard.now_ms();
            prop_assert!(now >= script.wall_ms());
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
