//! The memory table under threads. Miri runs these with fewer rounds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use throttlekit::store::memory::{AsPair, Pair, Table};
use throttlekit::{Program, State, Step};

use crate::support::log::{Append, Log};

const THREADS: u64 = if cfg!(miri) { 3 } else { 8 };
const ROUNDS: u64 = if cfg!(miri) { 40 } else { 20_000 };
/// A bound that no test reaches. Miri looks at each word of a slice whenever it is borrowed.
const MANY: usize = if cfg!(miri) { 400 } else { 1 << 18 };

/// A state of two words that belong together.
#[derive(Clone, Copy, Debug)]
struct Twins {
    count: u64,
    again: u64,
}

impl AsPair for Twins {
    fn to_words(self) -> [u64; 2] {
        [self.count, self.again]
    }
    fn from_words([count, again]: [u64; 2]) -> Self {
        Self { count, again }
    }
}

impl State for Twins {
    type Layout = Pair;
    fn encode(&self) -> String {
        self.count.to_string()
    }
    fn decode(text: &str) -> Option<Self> {
        text.parse::<u64>().ok().map(|count| Self { count, again: !count })
    }
}

/// Counts up to a limit, and notices a torn state.
#[derive(Clone, Debug)]
struct UpTo(u64);

impl Program for UpTo {
    type State = Twins;
    type Change = Twins;
    type Request = ();
    type Outcome = bool;
    type Reply = bool;

    fn step(&self, state: Option<&Twins>, _now_ms: f64, _request: &()) -> Step<Twins, bool> {
        let count = state.map_or(0, |twins| {
            assert_eq!(twins.again, !twins.count, "a torn state reached a step");
            twins.count
        });
        if count == self.0 {
            return Step::Keep(false);
        }
        Step::Write { change: Twins { count: count + 1, again: !(count + 1) }, ttl_ms: 1e9, outcome: true }
    }

    fn reply(&self, _now_ms: f64, _request: &(), outcome: bool) -> bool {
        outcome
    }
}

#[test]
fn miri_exactly_the_limit_is_admitted() {
    let table: Table<Twins> = Table::bounded(1_000).unwrap();
    let limit = THREADS * ROUNDS / 2;
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mine = (0..ROUNDS).filter(|_| table.apply("hot", 0.0, &UpTo(limit), &()).unwrap()).count();
                admitted.fetch_add(mine as u64, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(admitted.into_inner(), limit);
}

#[test]
fn miri_counts_survive_growth() {
    let table: Table<Twins> = Table::builder().max_keys(MANY).shards(4).build().unwrap();
    let keys: Vec<String> = (0..ROUNDS / 4).map(|n| n.to_string()).collect();
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..usize::try_from(THREADS).unwrap() {
            let (table, keys, admitted) = (&table, &keys, &admitted);
            scope.spawn(move || {
                // Each thread starts elsewhere, so that some find what others insert and move.
                let start = thread * keys.len() / usize::try_from(THREADS).unwrap();
                for key in keys[start..].iter().chain(&keys[..start]) {
                    let mine = u64::from(table.apply(key, 0.0, &UpTo(2), &()).unwrap());
                    admitted.fetch_add(mine, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(table.len(), keys.len());
    assert_eq!(admitted.into_inner(), keys.len() as u64 * 2);
}

#[test]
fn miri_a_flood_tears_no_state_and_passes_no_bound() {
    let max_keys = if cfg!(miri) { 20 } else { 2_000 };
    let table: Table<Twins> = Table::builder().max_keys(max_keys).shards(2).build().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for n in 0..10 {
                        table.apply(&format!("hot-{n}"), 0.0, &UpTo(u64::MAX), &()).unwrap();
                    }
                    assert!(table.len() <= max_keys);
                }
            });
        }
        let flood = |thread: u64| {
            let table = &table;
            move || {
                for n in 0..ROUNDS {
                    table.apply(&format!("{thread}:{n}"), 0.0, &UpTo(1), &()).unwrap();
                }
            }
        };
        let floods = [scope.spawn(flood(0)), scope.spawn(flood(1))];
        let ended = floods.map(thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(table.len(), max_keys);
}

#[test]
fn miri_large_states_lose_no_change() {
    // Few keys beside the hot one, so that it is never evicted: it is used between any two laps of the hand.
    let table: Table<Log> = Table::builder().max_keys(MANY).shards(4).build().unwrap();
    let (append, rounds) = (Append { limit: usize::MAX }, ROUNDS / 10);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, append) = (&table, &append);
            scope.spawn(move || {
                for n in 0..rounds {
                    table.apply("hot", 0.0, append, &n).unwrap();
                    table.apply(&format!("{thread}:{}", n % 100), 0.0, append, &n).unwrap();
                }
            });
        }
    });
    assert_eq!(table.apply("hot", 0.0, &append, &0).unwrap() as u64, THREADS * rounds + 1);
}
