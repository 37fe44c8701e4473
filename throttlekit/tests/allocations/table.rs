//! What a key costs: the memory of a table is reserved when it is made, and no key takes any beyond it.

use allocation_counter::measure;
use throttlekit::store::memory::Table;
use throttlekit::{FixedWindow, Gcra, Limiter, ManualClock, Strategy};

const KEYS: u32 = 50_000;

/// How many bytes a table reserves for each of so many keys; filling it takes no more.
fn bytes_per_key<S: Strategy>(strategy: S) -> u64 {
    let mut table = None;
    let made = measure(|| table = Some(Table::<S::State>::bounded(KEYS as usize).unwrap()));
    let limiter = Limiter::builder(strategy).keyspace(table.unwrap()).clock(ManualClock::new(0.0)).build();
    let names: Vec<String> = (0..KEYS).map(|n| n.to_string()).collect();
    let filled = measure(|| names.iter().for_each(|name| assert!(limiter.check(name).unwrap().allowed)));
    assert_eq!(limiter.keyspace().len(), KEYS as usize, "all of them are held");
    // A shard that is rebuilt needs room for its keys meanwhile.
    assert_eq!(filled.bytes_current, 0, "{}", limiter.strategy().name());
    made.bytes_total / u64::from(KEYS)
}

#[test]
fn a_key_takes_at_most_40_bytes_for_an_instant_and_twice_that_for_two_numbers() {
    let instant = bytes_per_key(Gcra::per_hour(5).unwrap());
    assert!((16..=40).contains(&instant), "{instant}");
    let numbers = bytes_per_key(FixedWindow::builder().limit(5.0).window_ms(1e9).build().unwrap());
    assert!((32..=80).contains(&numbers), "{numbers}");
}
