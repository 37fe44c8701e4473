//! The small single-threaded rows, for comparing two revisions of this project: criterion keeps the figures of the run
//! before. Against rivals read `check`, which interleaves them.

use std::error::Error;
use std::time::Duration;

use bench::clock::{GovernorClock, TscClock};
use bench::keys::{Chunk, Spread, Traffic};
use bench::rival::{
    Floor, Limit, Rival, Sharded, SipBuilder, ThroughAdmit, ThroughLimiter, ThroughTable, governor_with, state_table,
};
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use fastrand::Rng;
use foldhash::fast::RandomState;

/// One rival in one row: a stretch of checks an iteration, over keys that were all checked before.
fn bench<R: Rival>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, keys: u64, rival: &R) {
    let mut session = R::Session::default();
    let mut fill = Chunk::default();
    fill.fill(0..keys);
    rival.run(&mut session, &fill.keys());
    let mut chunk = Chunk::default();
    chunk.draw(Traffic::new(keys, Spread::Uniform), &mut Rng::with_seed(3));
    let keys = chunk.keys();
    group.bench_function(name, |bencher| bencher.iter(|| rival.run(&mut session, &keys)));
}

fn rows(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let clock = TscClock::new();
    let theirs = GovernorClock(clock.clone());
    for (title, limit) in [("allowed", Limit::GENEROUS), ("denied", Limit::SPENT)] {
        for (size, keys) in [("hot", 1_u64), ("10k", 10_000)] {
            let mut group = criterion.benchmark_group(format!("{size}, {title}"));
            group.throughput(Throughput::Elements(Chunk::LENGTH as u64));
            let table = state_table(1)?;
            bench(&mut group, "floor", keys, &Floor::new(usize::try_from(keys)?, limit, clock.clone()));
            bench(&mut group, "table", keys, &ThroughTable::new(table.clone(), limit, clock.clone())?);
            bench(&mut group, "limiter", keys, &ThroughLimiter::new(table.clone(), limit, clock.clone())?);
            bench(&mut group, "dyn Admit", keys, &ThroughAdmit::new(table, limit, clock.clone())?);
            bench(&mut group, "mutexes", keys, &Sharded::new(limit, clock.clone()));
            bench(&mut group, "governor", keys, &governor_with::<SipBuilder, _>(limit, theirs.clone()));
            bench(&mut group, "governor, foldhash", keys, &governor_with::<RandomState, _>(limit, theirs.clone()));
            group.finish();
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    rows(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
