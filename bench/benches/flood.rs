//! A flood of new keys against the default bound, while a tenth of the table's keys stay in use.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use bench::args::Args;
use bench::clock::TscClock;
use bench::gauge::{Gauge, Goals};
use bench::keys::Chunk;
use bench::measure::median;
use bench::report::{self, Claims, Table, one};
use bench::rival::{Limit, Rival, ThroughLimiter, state_table};
use fastrand::Rng;
use quanta::Instant;
use serde_json::json;

/// New keys between two touches of keys in use. With a tenth of the bound in use, each such key is touched once in
/// `bound / 2` new keys on average: twice in the time in which the flood replaces the table once.
const NEW_PER_TOUCH: usize = 5;

/// New keys between two looks at the floor.
const NEW_PER_FLOOR: usize = 500_000;

#[allow(clippy::cast_precision_loss)] // counts of one run
fn per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e9 / count as f64
}

#[allow(clippy::cast_precision_loss)] // counts of one run
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let flood = args.keys.unwrap_or(if args.quick { 3_000_000 } else { 50_000_000 });
    let table = state_table(1)?;
    let bound = table.max_keys();
    let in_use = bound / 10;
    // A touch of a key that the table still knows is denied; one that it lost comes in as new and is admitted.
    let limiter = ThroughLimiter::new(table.clone(), Limit::SPENT, TscClock::new())?;
    let mut rng = Rng::with_seed(0xf100d);
    let mut chunk = Chunk::default();
    let mut used = Chunk::default();
    let (mut spent, mut touching) = (Vec::new(), Vec::new());
    let (mut new, mut touches, mut lost, mut largest) = (0, 0, 0, 0);
    let gauge = Gauge::new();
    let mut floors = Vec::new();

    used.fill(0..in_use as u64);
    limiter.run(&mut (), &used.keys());
    while new < flood {
        let first = (in_use + new) as u64;
        chunk.fill(first..first + Chunk::LENGTH as u64);
        let keys = chunk.keys();
        let start = Instant::now();
        let admitted = limiter.run(&mut (), &keys);
        spent.push(per(start.elapsed(), keys.len()));
        assert_eq!(admitted, keys.len(), "a new key met a state");
        new += keys.len();

        used.fill((0..Chunk::LENGTH / NEW_PER_TOUCH).map(|_| rng.u64(..in_use as u64)));
        let keys = used.keys();
        let start = Instant::now();
        lost += limiter.run(&mut (), &keys);
        touching.push(per(start.elapsed(), keys.len()));
        touches += keys.len();
        largest = largest.max(table.len());
        if floors.len() * NEW_PER_FLOOR < new {
            floors.push(gauge.ns(Duration::from_millis(1)));
        }
    }
    used.fill(0..in_use as u64);
    let gone = black_box(limiter.run(&mut (), &used.keys()));

    #[allow(clippy::cast_precision_loss)] // counts of one run
    let mean = spent.iter().sum::<f64>() / spent.len() as f64;
    let (spent, touching) = (median(spent), median(touching));
    let mut figures = Table::new(["figure", "value"]);
    figures.row(["bound".to_owned(), bound.to_string()]);
    figures.row(["largest size".to_owned(), largest.to_string()]);
    figures.row(["new keys".to_owned(), new.to_string()]);
    figures.row(["ns per new key, median of stretches of 1024".to_owned(), one(spent)]);
    figures.row(["ns per new key, mean with what the machine did".to_owned(), one(mean)]);
    figures.row(["keys in use".to_owned(), in_use.to_string()]);
    figures.row(["touches of keys in use".to_owned(), touches.to_string()]);
    figures.row(["ns per touch".to_owned(), one(touching)]);
    figures
        .row(["touches that found the key lost".to_owned(), format!("{lost} ({:.4}%)", 100.0 * share(lost, touches))]);
    figures.row(["keys in use lost at the end".to_owned(), format!("{gone} ({:.3}%)", 100.0 * share(gone, in_use))]);
    report::header("Flood");
    figures.print();
    let goals = Goals::at(median(floors));
    println!("{goals}\n");
    let mut claims = Claims::default();
    claims.at_most("size / bound", share(largest, bound), 1.0);
    claims.at_most("ns per new key", spent, goals.ns(300.0));
    claims.at_most("% of keys in use lost", 100.0 * share(gone, in_use), 1.0);
    claims.print();
    let result = json!({
        "bound": bound, "largest": largest, "new": new, "ns_per_new_key": spent, "ns_mean": mean, "in_use": in_use,
        "touches": touches, "touches_lost": lost, "lost_at_end": gone, "claims": claims.json(),
    });
    report::save("flood", result);
    Ok(())
}
