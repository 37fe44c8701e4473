//! Checks on a Redis server: ours, one hand-written script per check, and the module redis-cell.
//!
//! The server has one core and the load another. All rivals go through the same client, each over a connection of its
//! own. A figure is the median over the rounds; ratios are medians of the ratio within a round.

mod rivals;

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bench::args::Args;
use bench::cores::pin;
use bench::measure::median;
use bench::report::{self, Claims, Table, one, two};
use quanta::Instant;
use serde_json::json;
use tests::redis::{Redis, Settings};

use rivals::Rival;

/// What is asked in a row: how many checks are under way at a time, over how many keys, and whether they pass.
struct Row {
    in_flight: usize,
    keys: usize,
    allowed: bool,
    /// The share of the usual number of checks that a round takes.
    share: f64,
}

const ROWS: [Row; 6] = [
    Row { in_flight: 1, keys: 10_000, allowed: true, share: 0.1 },
    Row { in_flight: 64, keys: 10_000, allowed: true, share: 1.0 },
    Row { in_flight: 512, keys: 10_000, allowed: true, share: 1.0 },
    Row { in_flight: 512, keys: 10_000, allowed: false, share: 1.0 },
    Row { in_flight: 512, keys: 1, allowed: true, share: 1.0 },
    Row { in_flight: 512, keys: 1, allowed: false, share: 1.0 },
];

impl Row {
    fn name(&self) -> String {
        let keys = if self.keys == 1 { "one key".to_owned() } else { format!("{} keys", self.keys) };
        format!("{} in flight, {keys}, {}", self.in_flight, if self.allowed { "allowed" } else { "denied" })
    }
}

/// What one rival did in one round.
#[derive(Clone, Copy)]
struct Sample {
    per_sec: f64,
    p50_us: f64,
    p99_us: f64,
    /// Processor time per check, in microseconds.
    client_us: f64,
    server_us: f64,
}

/// Microseconds that a process has been running on a core.
fn running_us(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e3)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts of one run
async fn measure(row: &Row, rival: &Rival, checks: usize, server: &str, warm: bool) -> Sample {
    let next = Arc::new(AtomicUsize::new(0));
    let (client_us, server_us) = (running_us("self"), running_us(server));
    let start = Instant::now();
    let workers: Vec<_> = (0..row.in_flight)
        .map(|_| {
            let (rival, next, keys, allowed) = (rival.clone(), Arc::clone(&next), row.keys, row.allowed);
            tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= checks {
                        return waits;
                    }
                    // In an order without a pattern, each key as often as another.
                    let key = format!("user-{}", n.wrapping_mul(2_654_435_761) % keys);
                    let begin = Instant::now();
                    // The first check of a key uses up what the denied ones want.
                    assert!(rival.check(&key, allowed).await == allowed || !warm, "a row is about one answer");
                    waits.push(begin.elapsed());
                }
            })
        })
        .collect();
    let mut waits: Vec<Duration> = Vec::with_capacity(checks);
    for worker in workers {
        waits.extend(worker.await.expect("a worker ends when the checks are done"));
    }
    let span = start.elapsed();
    waits.sort_unstable();
    let micros = |share: f64| waits[(waits.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    let checks = checks as f64;
    Sample {
        per_sec: checks / span.as_secs_f64(),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        client_us: (running_us("self") - client_us) / checks,
        server_us: (running_us(server) - server_us) / checks,
    }
}

fn start() -> (Redis, bool) {
    let cell = tests::find_installed("redis-cell/libredis_cell.so");
    let load = cell.iter().flat_map(|path| ["--loadmodule".to_owned(), path.display().to_string()]);
    let server = Redis::with(Settings { arguments: load.collect(), ..Settings::default() });
    (server, cell.is_some())
}

/// One thread, so that one core is all that the load takes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let names = ROWS.each_ref().map(Row::name);
    args.choose_among(names.iter().map(String::as_str))?;
    let (rounds, checks) = if args.quick { (3, 20_000) } else { (9, 200_000) };
    let (server, with_cell) = start();
    let info = server.cli(&["INFO", "server"]);
    let process = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap_or_default().trim().to_owned();
    // Ours first: a pinned process hands its core down.
    pin(&std::process::id().to_string(), 1);
    pin(&process, 0);
    let rivals = rivals::all(&server.url(), with_cell).await?;

    report::header("Checks on a Redis server");
    if !with_cell {
        println!("redis-cell is not there; `cargo xtask bench redis` builds it.\n");
    }
    let mut claims = Claims::of_chosen(&args);
    let mut saved = Vec::new();
    for row in ROWS.iter().filter(|row| args.wants(&row.name())) {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        let checks = (f64::from(checks) * row.share) as usize;
        // What every key is asked once does not count.
        for rival in &rivals {
            measure(row, rival, row.keys.max(checks / 4), &process, false).await;
        }
        let mut samples: Vec<Vec<Sample>> = rivals.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            let mut order: Vec<usize> = (0..rivals.len()).collect();
            fastrand::shuffle(&mut order);
            for rival in order {
                samples[rival].push(measure(row, &rivals[rival], checks, &process, true).await);
            }
        }
        println!("## {}\n", row.name());
        let mut table =
            Table::new(["rival", "checks/s", "x plain", "p50 us", "p99 us", "server us/check", "client us/check"]);
        let ratio = |rival: usize, of: usize, figure: fn(&Sample) -> f64| {
            median(samples[rival].iter().zip(&samples[of]).map(|(a, b)| figure(a) / figure(b)).collect())
        };
        let index = |name: &str| rivals.iter().position(|rival| rival.name() == name);
        let (Some(ours), Some(plain), Some(bare)) = (index(rivals::OURS), index(rivals::PLAIN), index(rivals::BARE))
        else {
            return Err("a rival is missing".into());
        };
        for (at, rival) in rivals.iter().enumerate() {
            let of = |figure: fn(&Sample) -> f64| median(samples[at].iter().map(figure).collect());
            let figures = [
                of(|s| s.per_sec),
                ratio(at, plain, |s| s.per_sec),
                of(|s| s.p50_us),
                of(|s| s.p99_us),
                of(|s| s.server_us),
                of(|s| s.client_us),
            ];
            table.row([
                rival.name().to_owned(),
                format!("{:.0}", figures[0]),
                two(figures[1]),
                one(figures[2]),
                one(figures[3]),
                two(figures[4]),
                two(figures[5]),
            ]);
            saved.push(json!({ "row": row.name(), "rival": rival.name(), "figures": figures }));
        }
        table.print();
        match (row.in_flight, row.keys) {
            (1, _) => {
                claims.at_most(format!("{}: median wait, x bare", row.name()), ratio(ours, bare, |s| s.p50_us), 1.1);
            }
            (_, 1) => claims.at_least(format!("{}: x plain", row.name()), ratio(ours, plain, |s| s.per_sec), 5.0),
            _ => {
                claims.at_least(format!("{}: x plain", row.name()), ratio(ours, plain, |s| s.per_sec), 2.0);
                let cell = index(rivals::CELL).map_or(f64::NAN, |cell| ratio(ours, cell, |s| s.per_sec));
                claims.at_least(format!("{}: x redis-cell", row.name()), cell, 1.0);
            }
        }
        claims.at_most(format!("{}: p99, x plain", row.name()), ratio(ours, plain, |s| s.p99_us), 1.0);
    }
    claims.print();
    report::save("redis", json!({ "rows": saved, "claims": claims.json(), "hold": claims.hold() }));
    Ok(())
}
