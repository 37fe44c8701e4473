//! The memory table: what it keeps, for how long, and what it gives up first.

use std::collections::HashSet;

use throttlekit::store::Keyspace;
use throttlekit::store::memory::{DEFAULT_MAX_KEYS, Table};
use throttlekit::{Error, Gcra, Limiter, Program, Step};

use crate::support::log::{Append, Log};

/// Adds one and keeps the count for the given milliseconds.
#[derive(Clone, Copy, Debug)]
struct Counter;

impl Program for Counter {
    type State = f64;
    type Change = f64;
    type Request = f64;
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, state: Option<&f64>, _now_ms: f64, ttl_ms: &f64) -> Step<f64, f64> {
        let count = state.copied().unwrap_or(0.0) + 1.0;
        Step::Write { change: count, ttl_ms: *ttl_ms, outcome: count }
    }

    fn reply(&self, _now_ms: f64, _ttl_ms: &f64, outcome: f64) -> f64 {
        outcome
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Read,
    Forget,
    Refuse,
}

#[derive(Clone, Copy, Debug)]
struct Look;

impl Program for Look {
    type State = f64;
    type Change = f64;
    type Request = Act;
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, state: Option<&f64>, _now_ms: f64, act: &Act) -> Step<f64, f64> {
        let count = state.copied().unwrap_or(0.0);
        match act {
            Act::Read => Step::Keep(count),
            Act::Forget => Step::Remove(count),
            Act::Refuse => Step::Fail(Error::invalid_argument("refused")),
        }
    }

    fn reply(&self, _now_ms: f64, _act: &Act, outcome: f64) -> f64 {
        outcome
    }
}

fn seeded(max_keys: usize, seed: u64) -> Table<f64> {
    Table::builder().max_keys(max_keys).shards(1).seed([seed, 2]).build().unwrap()
}

fn small(max_keys: usize) -> Table<f64> {
    seeded(max_keys, 1)
}

fn count(table: &Table<f64>, key: &str, now_ms: f64, ttl_ms: f64) -> f64 {
    table.apply(key, now_ms, &Counter, &ttl_ms).unwrap()
}

fn act(table: &Table<f64>, key: &str, act: Act) -> f64 {
    table.apply(key, 0.0, &Look, &act).unwrap()
}

#[test]
fn a_state_lives_until_its_deadline() {
    let table = small(10);
    assert_eq!(count(&table, "k", 0.0, 1_000.0), 1.0);
    assert_eq!(count(&table, "k", 999.0, 1_000.0), 2.0);
    assert!(table.contains("k", 1_998.0));
    assert!(!table.contains("k", 1_999.0), "a deadline that is now has passed");
    assert_eq!(count(&table, "k", 2_000.0, 1_000.0), 1.0);
}

#[test]
fn keeping_and_failing_leave_no_trace() {
    let table = small(10);
    assert_eq!(act(&table, "k", Act::Read), 0.0);
    assert_eq!(act(&table, "k", Act::Forget), 0.0);
    assert!(table.apply("k", 0.0, &Look, &Act::Refuse).is_err());
    assert!(table.is_empty());
}

#[test]
fn keys_and_prefixes_do_not_meet() {
    let table = small(100);
    let scoped = |prefix| Keyspace::<f64>::scoped(&table, prefix);
    assert_eq!(count(&table, "a", 0.0, 1e5), 1.0);
    assert_eq!(count(&table, "a", 0.0, 1e5), 2.0);
    assert_eq!(count(&table, "b", 0.0, 1e5), 1.0);
    assert_eq!(count(&scoped("api"), "a", 0.0, 1e5), 1.0);
    assert_eq!(count(&scoped("web"), "a", 0.0, 1e5), 1.0);
    assert_eq!(count(&scoped("api"), "a", 0.0, 1e5), 2.0);
    assert_eq!(count(&scoped(""), "a", 0.0, 1e5), 3.0);
    assert_eq!(count(&table, "", 0.0, 1e5), 1.0, "the empty key is a key");
    assert_eq!(table.len(), 5);
}

#[test]
fn forgetting_starts_anew() {
    let table = small(10);
    count(&table, "k", 0.0, 1e5);
    assert_eq!(act(&table, "k", Act::Forget), 1.0);
    assert_eq!(table.len(), 0);
    assert_eq!(count(&table, "k", 0.0, 1e5), 1.0);
}

#[test]
fn the_bound_holds_in_total() {
    for shards in [1, 4, 64] {
        let table: Table<f64> = Table::builder().max_keys(3).shards(shards).seed([3, 4]).build().unwrap();
        for n in 0..200 {
            assert_eq!(count(&table, &n.to_string(), 0.0, 1e5), 1.0);
            assert!(table.len() <= 3);
        }
        assert_eq!(table.len(), 3);
        assert_eq!((0..200).filter(|n| table.contains(&n.to_string(), 0.0)).count(), 3);
    }
}

#[test]
fn a_used_key_gets_a_second_chance() {
    for seed in 0..50 {
        let table = seeded(2, seed);
        for key in ["a", "b", "a", "c"] {
            count(&table, key, 0.0, 1e5);
        }
        assert!(table.contains("a", 0.0) && table.contains("c", 0.0) && !table.contains("b", 0.0));
        assert_eq!(table.len(), 2);
    }
}

#[test]
fn reading_counts_as_use() {
    for seed in 0..50 {
        let table = seeded(2, seed);
        count(&table, "a", 0.0, 1e5);
        count(&table, "b", 0.0, 1e5);
        act(&table, "a", Act::Read);
        count(&table, "c", 0.0, 1e5);
        assert!(table.contains("a", 0.0) && !table.contains("b", 0.0));
    }
}

#[test]
fn a_freed_slot_is_used_before_anyone_is_evicted() {
    for seed in 0..50 {
        let table = seeded(2, seed);
        count(&table, "a", 0.0, 1e5);
        count(&table, "b", 0.0, 1e5);
        act(&table, "b", Act::Forget);
        count(&table, "c", 0.0, 1e5);
        assert!(table.contains("c", 0.0));
        assert_eq!(count(&table, "a", 0.0, 1e5), 2.0);
        assert_eq!(table.evicted(), 0, "who was asked to go did not give way");
    }
}

/// Whatever the number of shards: what came and did not stay was evicted, if it was live.
#[test]
fn live_keys_that_give_way_are_counted() {
    for shards in [1, 4] {
        let table: Table<f64> = Table::builder().max_keys(64).shards(shards).seed([7, 9]).build().unwrap();
        for n in 0..500_u64 {
            count(&table, &n.to_string(), 0.0, 1e5);
            assert_eq!(table.evicted() + table.len() as u64, n + 1, "{shards} shards");
        }
        assert_eq!(table.evicted(), 500 - 64);
    }
}

#[test]
fn an_expired_key_goes_before_a_live_one() {
    for seed in 0..50 {
        let table = seeded(2, seed);
        count(&table, "expiring", 0.0, 500.0);
        count(&table, "expiring", 0.0, 500.0);
        count(&table, "live", 0.0, 1e5);
        assert_eq!(count(&table, "new", 600.0, 1e5), 1.0);
        assert!(table.contains("live", 600.0));
        assert_eq!(count(&table, "live", 600.0, 1e5), 2.0);
        assert_eq!((table.len(), table.evicted()), (2, 0));
    }
}

#[test]
fn an_expired_key_nearby_goes_before_a_live_one_whatever_the_number_of_shards() {
    for seed in 0..50 {
        // Shards of so few lines that nearly the whole of each is near.
        let table: Table<f64> = Table::builder().max_keys(16).shards(2).seed([seed, 1]).build().unwrap();
        for n in 0..16 {
            count(&table, &n.to_string(), 0.0, if n % 2 == 0 { 1e9 } else { 500.0 });
        }
        count(&table, "new", 600.0, 1e9);
        assert_eq!(table.evicted(), 0, "seed {seed}");
    }
}

#[test]
fn eviction_repeats_with_one_shard_and_one_seed() {
    let survivors = || {
        let table = small(30);
        for n in 0..500_u32 {
            count(&table, &(n * n % 97).to_string(), 0.0, 1e5);
        }
        (0..97).filter(|n| table.contains(&n.to_string(), 0.0)).collect::<Vec<_>>()
    };
    assert_eq!(survivors(), survivors());
    assert_eq!(survivors().len(), 30, "49 keys came, 30 fit");
}

/// Which keys stay depends on where their fingerprints place them. Keys chosen to meet in one table are nothing special in
/// another, nor in the same one after a restart.
#[test]
fn every_table_draws_a_secret_of_its_own() {
    let survivors = |_| {
        let table: Table<f64> = Table::bounded(64).unwrap();
        for n in 0..1_000_u32 {
            count(&table, &n.to_string(), 0.0, 1e5);
        }
        (0..1_000).filter(|n| table.contains(&n.to_string(), 0.0)).collect::<Vec<_>>()
    };
    let tables: HashSet<_> = (0..8).map(survivors).collect();
    assert_eq!(tables.len(), 8, "of 64 keys that stay out of a thousand");
}

#[test]
fn tables_are_bounded_unless_told_otherwise() {
    assert_eq!(DEFAULT_MAX_KEYS, 1_000_000);
    assert_eq!(Table::<f64>::new().max_keys(), DEFAULT_MAX_KEYS);
    assert_eq!(Table::<f64>::default().max_keys(), DEFAULT_MAX_KEYS);
    assert_eq!(Limiter::new(Gcra::per_second(1).unwrap()).keyspace().max_keys(), DEFAULT_MAX_KEYS);
}

#[test]
fn room_comes_back_without_a_task() {
    let table: Table<f64> = Table::bounded(100_000).unwrap();
    for round in 0..20 {
        for n in 0..5_000 {
            count(&table, &format!("{round}:{n}"), f64::from(round) * 2_000.0, 1_000.0);
        }
    }
    assert!(table.len() < 20_000, "100,000 keys came, 5,000 are live, {} are held", table.len());
}

#[test]
fn growing_loses_nobody() {
    let table: Table<f64> = Table::builder().max_keys(200_000).shards(8).build().unwrap();
    let keys: Vec<String> = (0..100_000).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        assert_eq!(count(&table, key, 0.0, 1e9), 1.0);
    }
    assert_eq!(table.len(), keys.len());
    for key in &keys {
        assert_eq!(count(&table, key, 0.0, 1e9), 2.0);
    }
    for key in keys.iter().step_by(2) {
        assert_eq!(act(&table, key, Act::Forget), 2.0);
    }
    assert_eq!(table.len(), keys.len() / 2);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(act(&table, key, Act::Read), if n % 2 == 0 { 0.0 } else { 2.0 });
    }
}

#[test]
fn a_batch_is_the_checks_one_by_one() {
    let (one, many) = (small(1_000), small(1_000));
    let keys: Vec<String> = (0..100).map(|n| (n % 37).to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let by_one: Vec<f64> = keys.iter().map(|key| count(&one, key, 0.0, 1e5)).collect();
    assert_eq!(many.apply_many(&keys, 0.0, &Counter, &1e5).unwrap(), by_one);
    assert!(many.apply_many(&[], 0.0, &Counter, &1e5).unwrap().is_empty());
    assert!(many.apply_many(&keys, 0.0, &Look, &Act::Refuse).is_err());
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let error = Table::<f64>::bounded(0).unwrap_err();
    assert_eq!(error.to_string(), "memory.maxKeys is 0: must be a whole number from 1 to 2^32");
    let error = Table::<f64>::bounded(1 << 32).map(|_| ()).err();
    let refused = "memory.maxKeys is 4294967296: must be small enough for the memory to be reserved";
    assert!(error.is_none_or(|error| error.to_string() == refused), "200 GB, where a system reserves that");
    for shards in [0, 65_537, usize::MAX] {
        let error = Table::builder().shards(shards).build::<f64>().unwrap_err();
        assert_eq!(error.option(), "memory.shards");
    }
    let error = Table::builder().max_keys(1 << 20).shards(7).build::<f64>().unwrap_err();
    assert_eq!(error.to_string(), "memory.shards is 7: must be a whole number from 8 to 65536");
}

#[test]
fn nothing_is_shown_by_debug() {
    let table = small(10);
    count(&table, "secret-key", 0.0, 1e5);
    assert_eq!(format!("{table:?}"), "Table { len: 1, max_keys: 10, .. }");
}

#[test]
fn a_large_state_is_changed_in_place_and_freed() {
    let table: Table<Log> = Table::bounded(10).unwrap();
    let program = Append { limit: 3 };
    let lens: Vec<usize> = (0..5).map(|n| table.apply("k", 0.0, &program, &n).unwrap()).collect();
    assert_eq!(lens, [1, 2, 3, 3, 3]);
    for n in 0..1_000 {
        assert_eq!(table.apply(&n.to_string(), 0.0, &program, &n).unwrap(), 1);
    }
    assert_eq!(table.len(), 10);
    assert_eq!(table.apply("999", 2e9, &program, &1).unwrap(), 1, "an expired log is none");
}

#[test]
fn a_change_that_panics_drops_its_key_only() {
    let table: Table<Log> = Table::bounded(10).unwrap();
    let program = Append { limit: 9 };
    for key in ["a", "b"] {
        table.apply(key, 0.0, &program, &1).unwrap();
    }
    let run = || table.apply("a", 0.0, &program, &u64::MAX);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert_eq!(table.apply("a", 0.0, &program, &1).unwrap(), 1);
    assert_eq!(table.apply("b", 0.0, &program, &1).unwrap(), 2);
}

#[test]
fn a_first_change_that_panics_is_not_counted() {
    let table: Table<Log> = Table::bounded(10).unwrap();
    let program = Append { limit: 9 };
    let run = || table.apply("a", 0.0, &program, &u64::MAX);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert_eq!(table.len(), 0);
    for n in 0..10 {
        table.apply(&n.to_string(), 0.0, &program, &1).unwrap();
    }
    assert_eq!(table.len(), 10, "the whole bound is there to be used");
    assert_eq!(table.apply("0", 0.0, &program, &1).unwrap(), 2, "nobody was evicted");
}
