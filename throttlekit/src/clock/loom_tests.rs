//! Every interleaving, up to two or three preemptions, of threads that read while time goes on, steps back and catches up.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::guard::{Guard, Source, Wall};

/// Counts of the source in a millisecond: as few as a stopwatch takes.
const PER_MS: u64 = 1 << 14;

/// A source that stands still but where the model moves it. Everything goes by one count, so that a thread that saw an instant
/// finds none before it.
#[derive(Clone)]
struct Moved {
    ticks: Arc<AtomicU64>,
    /// Milliseconds by which the wall was put back.
    back: Arc<AtomicU64>,
    /// Of the span that the count comes to, the part that the system shows, in hundredths.
    pace: u64,
}

impl Moved {
    fn new(pace: u64) -> Self {
        Self { ticks: Arc::new(AtomicU64::new(0)), back: Arc::new(AtomicU64::new(0)), pace }
    }

    /// Lets time pass.
    fn pass(&self, ticks: u64) {
        self.ticks.fetch_add(ticks, Ordering::AcqRel);
    }

    /// The wall, as if it had not been put back.
    fn ms(ticks: u64) -> i64 {
        i64::try_from(1_000 + ticks / PER_MS).unwrap()
    }
}

impl Source for Moved {
    fn wall(&self) -> Wall {
        let ticks = self.ticks.load(Ordering::Acquire);
        let back = i64::try_from(self.back.load(Ordering::Acquire)).unwrap();
        Wall { ms: Self::ms(ticks) - back, lasts: PER_MS - ticks % PER_MS }
    }

    fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    fn ticks_per_ms(&self) -> u64 {
        PER_MS
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ticks.load(Ordering::Acquire) * 10_000 * self.pace / PER_MS)
    }
}

fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Reads, and checks that nobody read a later time before. `seen` orders the readings and nothing else: whoever finds a reading
/// there comes after it.
fn read(seen: &AtomicU64, read: impl Fn() -> u64) {
    let before = seen.load(Ordering::Acquire);
    let now = read();
    assert!(now >= before, "{now} after {before}");
    seen.fetch_max(now, Ordering::AcqRel);
}

/// One thread reads twice; another one has done each of `steps` before it reads, and reads once more.
fn readers(source: Moved, time: fn(&Guard<Moved>, &Moved) -> u64, steps: [fn(&Moved); 2]) {
    let guard = Arc::new(Guard::new(source.clone()));
    let seen = Arc::new(AtomicU64::new(0));
    let other = thread::spawn({
        let (guard, seen, source) = (Arc::clone(&guard), Arc::clone(&seen), source.clone());
        move || {
            for _ in 0..2 {
                read(&seen, || time(&guard, &source));
            }
        }
    });
    for step in steps.into_iter().chain([nothing as fn(&Moved)]) {
        step(&source);
        read(&seen, || time(&guard, &source));
    }
    other.join().unwrap();
}

fn nothing(_: &Moved) {}

fn wall(guard: &Guard<Moved>, _: &Moved) -> u64 {
    u64::try_from(guard.now_ms()).unwrap()
}

#[test]
fn loom_no_millisecond_is_shown_after_the_next_one() {
    explore(3, || {
        let source = Moved::new(100);
        let current = |guard: &Guard<Moved>, source: &Moved| {
            let from = u64::try_from(Moved::ms(source.ticks())).unwrap();
            let now = wall(guard, source);
            assert!(now >= from, "{now} in {from}");
            now
        };
        readers(source, current, [|source| source.pass(PER_MS), |source| source.pass(PER_MS)]);
    });
}

#[test]
fn loom_the_wall_steps_back_and_no_reading_does() {
    explore(3, || {
        let back = |source: &Moved| {
            // More than is held still.
            source.back.store(100, Ordering::Release);
            source.pass(PER_MS);
        };
        let caught_up = |source: &Moved| source.back.store(0, Ordering::Release);
        readers(Moved::new(100), wall, [back, caught_up]);
    });
}

#[test]
fn loom_no_span_shows_less_than_an_earlier_one() {
    // Less than the system shows, and more: the next span has to pay that off.
    for pace in [125, 80] {
        explore(2, move || {
            let time = |guard: &Guard<Moved>, _: &Moved| guard.elapsed_ns();
            readers(Moved::new(pace), time, [|source| source.pass(PER_MS / 8 - 1), |source| source.pass(2)]);
        });
    }
}
