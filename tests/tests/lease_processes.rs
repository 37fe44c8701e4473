//! Several processes that lease from one store never admit more than the limit in a window, though they are killed and
//! stopped and their clocks are off.
//!
//! Each of the processes checks as fast as it may, and writes down
//! each request that it admits with the window of the grant that paid for it; what it wrote outlives it.
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

mod process_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use process_support::{Role, process, runtime};
use tests::dynamodb::DynamoDb;
use tests::folder::Folder;
use tests::postgres::Postgres;
use tests::process::{Process, wait};
use tests::redis::Redis;
use throttlekit::lease::TwoTier;
use throttlekit::store::Remote;
use throttlekit::{Clock, FixedWindow, SystemClock, TokioRuntime};

/// Units in a window of each key, and its length in milliseconds.
const LIMIT: f64 = 300.0;
const WINDOW_MS: f64 = 250.0;
/// Units of a lease.
const BATCH: f64 = 10.0;
const KEYS: [&str; 2] = ["a", "b"];
/// Windows of a run.
const WINDOWS: usize = 16;
/// Callers at a time in a process.
const CALLERS: usize = 6;
/// How often the others are looked at while one is stopped, at most.
const LOOKS: u32 = 100;

fn main() {
    if let Some(role) = Role::of_this_process() {
        runtime().block_on(lease(&role));
        return;
    }
    // Where the server has a clock, those of the processes may be off by anything.
    let hours = [0, 3_600_000, -7_200_000, 37_512];
    let redis = Redis::start();
    never_more_than_the_limit("redis", &redis.url(), hours);
    drop(redis);
    let postgres = Postgres::start();
    never_more_than_the_limit("postgres", &postgres.url(), hours);
    drop(postgres);
    // Where it has none, they may be off by parts of a window and by whole ones.
    let dynamodb = DynamoDb::start();
    never_more_than_the_limit("dynamodb", &dynamodb.address().to_string(), [0, 61, -83, 430]);
}

fn never_more_than_the_limit(store: &str, place: &str, offsets_ms: [i32; 4]) {
    let folder = Folder::new("leases");
    let start = |(at, offset_ms): (usize, &i32)| {
        let mut command = process(store, place);
        command.arg(offset_ms.to_string());
        Process::start(command, folder.join(at.to_string()))
    };
    let mut processes: Vec<Process> = offsets_ms.iter().enumerate().map(start).collect();
    // What happens goes by the windows that were seen, so that all of it does.
    let (mut seen, mut paused) = (0, false);
    for step in 1.. {
        let (until, mut looks) = (seen + 1, 0);
        let more = wait(|| {
            seen = windows(&processes).len();
            looks += 1;
            // One that is stopped may hold a lock that all others wait for.
            seen >= until || (paused && looks > LOOKS)
        });
        assert!(more, "{store}: nothing is admitted any more: {}", processes[0].log());
        if seen >= WINDOWS {
            break;
        }
        match step % 4 {
            1 => processes[1].pause(),
            2 => processes[2].restart(),
            3 => processes[1].resume(),
            _ => processes[3].restart(),
        }
        paused = matches!(step % 4, 1 | 2);
    }
    for process in &mut processes {
        process.kill();
    }

    let mut admitted: BTreeMap<(i64, String), f64> = BTreeMap::new();
    for (end, key) in processes.iter().flat_map(admissions) {
        *admitted.entry((end, key)).or_default() += 1.0;
    }
    for ((end, key), units) in &admitted {
        assert!(
            *units <= LIMIT,
            "{store}: {units} of {LIMIT} were admitted for {key} in the window that ended at {end}"
        );
    }
    // The first and the last windows were not whole.
    let ends = windows(&processes);
    let whole: BTreeSet<i64> = ends.iter().copied().skip(1).take(ends.len().saturating_sub(2)).collect();
    let used: f64 = admitted.iter().filter(|((end, _), _)| whole.contains(end)).map(|(_, units)| units).sum();
    #[allow(clippy::cast_precision_loss)] // a few
    let share = used / (LIMIT * (whole.len() * KEYS.len()) as f64);
    println!(
        "test never_more_than_the_limit on {store} ... ok, {:.1} % used in {} windows",
        share * 100.0,
        whole.len()
    );
    assert!(used > 0.0);
}

/// What a process wrote down: the end of a window and a key for each request.
fn admissions(process: &Process) -> Vec<(i64, String)> {
    let line = |line: &str| {
        let (end, key) = line.split_once(' ')?;
        Some((end.parse().ok()?, KEYS.iter().find(|known| **known == key)?.to_string()))
    };
    process.log().lines().filter_map(line).collect()
}

fn windows(processes: &[Process]) -> BTreeSet<i64> {
    processes.iter().flat_map(admissions).map(|(end, _)| end).collect()
}

/// A clock that is wrong.
struct Off(SystemClock, f64);

impl Clock for Off {
    fn now_ms(&self) -> f64 {
        self.0.now_ms() + self.1
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }
}

/// What one of the processes does until it is killed.
async fn lease(role: &Role) {
    let offset_ms = role.more.as_deref().unwrap().parse().unwrap();
    let store = role.open().await;
    let strategy = FixedWindow::builder().limit(LIMIT).window_ms(WINDOW_MS).build().unwrap();
    let limiter = TwoTier::builder(strategy)
        .keyspace(Remote::from_dyn(store))
        .clock(Arc::new(Off(SystemClock::new(), offset_ms)))
        .batch(BATCH)
        .low_water(2.0)
        .window_coupled(true)
        .return_idle_after_ms(100.0)
        .runtime(TokioRuntime)
        .build()
        .unwrap();
    let mut callers = tokio::task::JoinSet::<()>::new();
    for at in 0..CALLERS {
        let limiter = limiter.clone();
        callers.spawn(async move {
            let key = KEYS[at % KEYS.len()];
            loop {
                match limiter.check(key).await {
                    // One write for a line, so that none is torn.
                    Ok(decision) if decision.allowed => println!("{} {key}", decision.reset_at_ms),
                    Ok(denied) => tokio::time::sleep(Duration::from_millis(denied.retry_after_ms.min(20))).await,
                    // Other processes may have the table locked, or the server is busy.
                    Err(error) if error.is_store_unavailable() => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    // None ends before the process is killed.
    panic!("a caller ended: {:?}", callers.join_next().await);
}
