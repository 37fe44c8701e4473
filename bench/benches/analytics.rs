//! What analytics and metrics add to a check in memory, on one thread.
//!
//! A check with an observer and one without take turns on the same keys; a figure is the median over the rounds of the
//! difference within a round. A slice is made of stretches of 1,024 checks, of which the median counts.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use bench::args::Args;
use bench::gauge::{Gauge, Goals};
use bench::keys::{Chunk, Spread, Traffic};
use bench::measure::{Plan, Slice, median};
use bench::report::{self, Claims, Table, one};
use fastrand::Rng;
use serde_json::json;
use throttlekit::analytics::{Analytics, SpaceSaving};
use throttlekit::prometheus::Metrics;
use throttlekit::{Gcra, Limiter, Observer, event_channel};

/// What an observer with analytics may add to a check, in nanoseconds.
const BUDGET_NS: f64 = 60.0;

/// Requests to come, and what becomes of them.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    traffic: Traffic,
    allowed: bool,
}

const ROWS: [Row; 5] = [
    Row { name: "hot key, allowed", traffic: Traffic::new(1, Spread::Uniform), allowed: true },
    Row { name: "hot key, denied", traffic: Traffic::new(1, Spread::Uniform), allowed: false },
    Row { name: "10k keys zipf, allowed", traffic: Traffic::new(10_000, Spread::Zipf), allowed: true },
    Row { name: "10k keys zipf, denied", traffic: Traffic::new(10_000, Spread::Zipf), allowed: false },
    // Nearly each key takes the counter of another one.
    Row { name: "1M keys, allowed", traffic: Traffic::new(1_000_000, Spread::Uniform), allowed: true },
];

/// What is done with the keys of one round.
type Work = Box<dyn FnMut(&[&str]) -> usize>;

/// Something to do with each key, and how long that took in each round.
struct Candidate {
    name: &'static str,
    work: Work,
    rounds: Vec<f64>,
}

impl Candidate {
    fn checks(name: &'static str, row: Row, observer: impl Observer + Clone) -> Result<Self, Box<dyn Error>> {
        let (limit, burst) = if row.allowed { (1e7, 1e9) } else { (1e-3, 1.0) };
        let gcra = Gcra::builder().limit(limit).period_ms(1e6).burst(burst).build()?;
        let limiter = Limiter::builder(gcra).name("api").observer(observer).build();
        let check = move |keys: &[&str]| {
            let allowed = |key: &&&str| black_box(&limiter).check(key).is_ok_and(|decision| decision.allowed);
            keys.iter().filter(allowed).count()
        };
        Ok(Self { name, work: Box::new(check), rounds: Vec::new() })
    }
}

fn candidates(row: Row) -> Result<Vec<Candidate>, Box<dyn Error>> {
    let mut heavy = SpaceSaving::new(10)?;
    let summary = move |keys: &[&str]| {
        for key in keys {
            black_box(&mut heavy).observe(key);
        }
        keys.len()
    };
    Ok(vec![
        Candidate::checks("no observer", row, ())?,
        Candidate::checks("analytics", row, Analytics::new())?,
        Candidate::checks("analytics, top 1,000", row, Analytics::builder().top_k(1_000).build()?)?,
        Candidate::checks("metrics without latency", row, Metrics::builder().latency(false).build()?)?,
        Candidate::checks("metrics", row, Metrics::new())?,
        Candidate::checks("channel, full", row, event_channel(1)?.0)?,
        Candidate { name: "summary alone, top 10", work: Box::new(summary), rounds: Vec::new() },
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    args.choose_among(ROWS.iter().map(|row| row.name))?;
    report::header("Analytics and metrics");
    let plan = Plan::new(args.quick);
    let gauge = Gauge::new();
    let (mut more_than_without, mut floors) = (Vec::new(), Vec::new());
    let mut table = Table::new(["requests", "observer", "ns a check", "ns more than without"]);
    let mut figures = Vec::new();
    for row in ROWS.into_iter().filter(|row| args.wants(row.name)) {
        let mut candidates = candidates(row)?;
        let mut rng = Rng::with_seed(7);
        let mut chunk = Chunk::default();
        for round in 0..=plan.rounds {
            chunk.draw(row.traffic, &mut rng);
            floors.push(gauge.ns(plan.budget.min(Duration::from_millis(20))));
            for candidate in &mut candidates {
                let mut slice = Slice::new(plan.budget.min(Duration::from_millis(20)));
                while !slice.is_full() {
                    let keys = chunk.keys();
                    slice.time(keys.len(), || (candidate.work)(&keys));
                    chunk.draw(row.traffic, &mut rng);
                }
                // The first round warms up, and takes what there is to take.
                if round > 0 {
                    let sample = slice.sample();
                    candidate.rounds.push(sample.ns);
                }
            }
        }
        let without = candidates.first().map(|first| first.rounds.clone()).unwrap_or_default();
        for Candidate { name, rounds, .. } in &candidates {
            let more = median(rounds.iter().zip(&without).map(|(with, without)| with - without).collect());
            let ns = median(rounds.clone());
            table.row([row.name.to_owned(), (*name).to_owned(), one(ns), one(more)]);
            figures.push(json!({ "row": row.name, "observer": name, "ns": ns, "more": more }));
            if *name == "analytics" {
                more_than_without.push((row.name, more));
            }
        }
    }
    table.print();
    let goals = Goals::at(median(floors));
    println!("{goals}\n");
    let mut claims = Claims::of_chosen(&args);
    for (name, more) in more_than_without {
        claims.at_most(format!("analytics, {name}: ns more than without"), more, goals.ns(BUDGET_NS));
    }
    claims.print();
    report::save("analytics", json!({ "figures": figures, "claims": claims.json() }));
    Ok(())
}
