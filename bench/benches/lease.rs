//! What a check costs that takes units held in process, and what leases save of the trips to a Redis server.
//!
//! The figures in process are of one thread: medians over the rounds, in each of which every candidate gets a slice. Those
//! on the server are of one thread with 64 callers, plain checks and leased ones in turn, on the same connection; the server
//! has one core and the load another.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench::args::Args;
use bench::cores::pin;
use bench::gauge::{FLOOR, Gauge, Goals};
use bench::measure::median;
use bench::report::{self, Claims, Table, one, two};
use bench::turns::{Figures, Turn};
use quanta::Instant;
use serde_json::json;
use tests::redis::Redis;
use throttlekit::lease::{LeaseSpender, TwoTier};
use throttlekit::store::memory::Table as Keys;
use throttlekit::store::{Keyspace, Remote};
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{Admit, Ask, Clock, FixedWindow, Limiter, SystemClock};
use throttlekit_redis::{RedisOptions, RedisStore};

/// Keys in turn.
const KEYS: usize = 1_000;
/// Units of a lease.
const BATCH: f64 = 100.0;
/// Units left at which the next lease is asked for, where it is asked for beforehand.
const LOW_WATER: f64 = 50.0;
/// Callers at a time on the server.
const CALLERS: usize = 64;

/// More units than a run takes, in windows that do not turn within it.
fn plenty() -> Result<FixedWindow, Box<dyn Error>> {
    Ok(FixedWindow::builder().limit(1e15).window_ms(86_400_000.0).build()?)
}

fn leased<K: Keyspace<Count>>(keys: K, batch: f64, low_water: f64) -> Result<TwoTier<FixedWindow, K>, Box<dyn Error>> {
    let limiter = TwoTier::builder(plenty()?).keyspace(keys).prefix(format!("leased-{low_water}"));
    Ok(limiter.batch(batch).low_water(low_water).window_coupled(true).build()?)
}

fn names() -> Vec<String> {
    (0..KEYS).map(|key| format!("user-{key}")).collect()
}

/// Spends what is held: no lease is needed within a run.
fn spend(name: &'static str, keys: usize) -> Result<Turn, Box<dyn Error>> {
    let (limiter, names) = (leased(Keys::new(), 1e12, 0.0)?, names());
    for name in &names {
        assert!(limiter.run_check(name, 1.0).now().is_ok_and(|decision| decision.is_ok()), "memory does not wait");
    }
    Ok(Turn::numbered(name, move |at| {
        black_box(&limiter).try_check(&names[at % keys], 1.0).is_ok_and(|decision| decision.is_some())
    }))
}

fn in_process() -> Result<Vec<Turn>, Box<dyn Error>> {
    let clock = SystemClock::new();
    let mut spender = LeaseSpender::new(100);
    spender.apply(1e15, 1e15);
    let (steady, steady_names) = (leased(Keys::new(), BATCH, 0.0)?, names());
    let (asked, asked_names) = (leased(Keys::new(), 1e12, 0.0)?, names());
    let (plain, plain_names) = (Limiter::new(plenty()?), names());
    Ok(vec![
        Gauge::new().turn(),
        Turn::new("clock, monotonic", move || black_box(&clock).monotonic_ns() > 0),
        Turn::new("LeaseSpender::spend", move || {
            black_box(&mut spender).spend(black_box(5.0), black_box(1.0)).is_ok_and(|decision| decision.is_some())
        }),
        spend("TwoTier::try_check, one key", 1)?,
        spend("TwoTier::try_check, 1,000 keys", KEYS)?,
        Turn::numbered("TwoTier, admit, 1,000 keys", move |at| {
            let admission = black_box(&asked).admit(&Ask::new(&asked_names[at % KEYS])).now();
            admission.is_ok_and(|admission| admission.is_ok_and(|admission| admission.decision.allowed))
        }),
        Turn::numbered("TwoTier, with a lease from memory for each 100", move |at| {
            let decision = black_box(&steady).run_check(&steady_names[at % KEYS], 1.0).now();
            decision.is_ok_and(|decision| decision.is_ok_and(|decision| decision.allowed))
        }),
        Turn::numbered("Limiter in memory, 1,000 keys", move |at| {
            black_box(&plain).check(&plain_names[at % KEYS]).is_ok_and(|decision| decision.allowed)
        }),
    ])
}

/// Checks of one kind on the server.
#[derive(Clone)]
enum Rival {
    Plain(Arc<Limiter<FixedWindow, Remote>>),
    Leased(TwoTier<FixedWindow, Remote>),
}

/// Checks in a second, made by all callers together.
#[allow(clippy::cast_precision_loss)] // counts of one run
async fn per_sec(rival: &Rival, checks: usize) -> f64 {
    const LIVES: &str = "the server lives as long as the run";
    let (next, names) = (Arc::new(AtomicUsize::new(0)), Arc::new(names()));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (rival, next, names) = (rival.clone(), Arc::clone(&next), Arc::clone(&names));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= checks {
                        return;
                    }
                    // In an order without a pattern, each key as often as another.
                    let key = &names[n.wrapping_mul(2_654_435_761) % KEYS];
                    let decision = match &rival {
                        Rival::Plain(limiter) => limiter.check(key).await.expect(LIVES),
                        Rival::Leased(limiter) => limiter.check(key).await.expect(LIVES),
                    };
                    assert!(decision.allowed, "there is plenty");
                    // As tasks do that read and write: one that never waits gives way to the others now and then.
                    tokio::task::coop::consume_budget().await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller ends when the checks are done");
    }
    checks as f64 / start.elapsed().as_secs_f64()
}

/// What was measured on the server, as medians over the rounds.
struct OnServer {
    /// Checks in a second: plain ones, leased ones, and leased ones whose next lease is asked for beforehand.
    per_sec: [f64; 3],
    /// How many leased checks there are in the time of a plain one, within a round, for the last two.
    ratios: [f64; 2],
}

async fn on_a_server(quick: bool) -> Result<OnServer, Box<dyn Error>> {
    let (rounds, checks) = if quick { (3, 20_000) } else { (9, 100_000) };
    let server = Redis::start();
    let info = server.cli(&["INFO", "server"]);
    let process = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap_or_default().trim();
    pin(&std::process::id().to_string(), 1);
    pin(process, 0);
    let options = RedisOptions::single(server.url())?.response_timeout(Duration::from_secs(30))?;
    let keys = Remote::new(RedisStore::new(&options)?);
    let plain = Limiter::builder(plenty()?).prefix("plain").keyspace(keys.clone()).build();
    let rivals = [
        Rival::Plain(Arc::new(plain)),
        Rival::Leased(leased(keys.clone(), BATCH, 0.0)?),
        Rival::Leased(leased(keys, BATCH, LOW_WATER)?),
    ];
    let (mut each, mut ratios) = ([const { Vec::new() }; 3], [const { Vec::new() }; 2]);
    for round in 0..=rounds {
        let mut figures = [0.0; 3];
        for (at, rival) in rivals.iter().enumerate() {
            // As long as the plain ones take, or so.
            figures[at] = per_sec(rival, if at == 0 { checks } else { checks * 50 }).await;
        }
        if round > 0 {
            for (all, figure) in each.iter_mut().zip(figures) {
                all.push(figure);
            }
            for (all, figure) in ratios.iter_mut().zip(&figures[1..]) {
                all.push(figure / figures[0]);
            }
        }
    }
    Ok(OnServer { per_sec: each.map(median), ratios: ratios.map(median) })
}

/// One thread, so that one core is all that the load takes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    report::header("Leases");
    let figures = Figures::measure(in_process()?, args.quick);
    let mut table = Table::new(["in process", "ns", "million a second"]);
    for (name, ns) in figures.iter() {
        table.row([name.to_owned(), one(ns), two(1e3 / ns)]);
    }
    table.print();

    let server = on_a_server(args.quick).await?;
    let [plain, leased, beforehand] = server.per_sec;
    let mut table = Table::new(["on Redis, 64 callers, 1,000 keys", "thousand a second", "x plain"]);
    table.row(["plain checks".to_owned(), one(plain / 1e3), two(1.0)]);
    table.row(["leased, 100 at a time".to_owned(), one(leased / 1e3), two(server.ratios[0])]);
    let name = "leased, 100 at a time, asked for with 50 left";
    table.row([name.to_owned(), one(beforehand / 1e3), two(server.ratios[1])]);
    table.print();

    let goals = Goals::at(figures.of(FLOOR));
    println!("{goals}\n");
    let mut claims = Claims::default();
    claims.at_most("spending what a client holds, ns", figures.of("LeaseSpender::spend"), goals.ns(12.0));
    let steady = 1e3 / figures.of("TwoTier, with a lease from memory for each 100");
    claims.at_least("steady state on one core, million checks a second", steady, 5.0);
    claims.at_least("leased over plain checks on Redis", server.ratios[0], 50.0);
    claims.at_least("leased over plain checks on Redis, asked for with 50 left", server.ratios[1], 50.0);
    claims.print();
    let in_process: Vec<_> = figures.iter().map(|(name, ns)| json!({ "name": name, "ns": ns })).collect();
    let on_redis = json!({ "per_sec": server.per_sec, "x_plain": server.ratios });
    report::save("lease", json!({ "figures": in_process, "on_redis": on_redis, "claims": claims.json() }));
    Ok(())
}
