//! How long a check may have to wait while the table grows: every check of a run of new keys is timed.

use std::error::Error;
use std::hint::black_box;

use bench::args::Args;
use bench::clock::GovernorClock;
use bench::clock::{Time, TscClock};
use bench::keys::KeyText;
use bench::report::{self, Claims, Table, one};
use bench::rival::{Floor, Limit, Rival, Sharded, SipBuilder, ThroughLimiter, governor_with, state_table};
use serde_json::{Value, json};

const PASSES: usize = 3;

/// Times the check of each of `keys` new keys, in nanoseconds. `waits` is reused, so that its memory is there.
fn waits<R: Rival>(rival: &R, keys: usize, clock: &TscClock, waits: &mut Vec<u64>) {
    let mut session = R::Session::default();
    waits.clear();
    let mut before = clock.nanos();
    for id in 0..keys as u64 {
        black_box(rival.check(&mut session, KeyText::new(id).as_str()));
        let after = clock.nanos();
        waits.push(after - before);
        before = after;
    }
}

/// No table at all: what the machine itself puts into the figures.
struct Nothing;

impl Rival for Nothing {
    type Session = ();
    type Answer = ();

    fn check(&self, (): &mut (), key: &str) {
        black_box(key);
    }

    fn allowed((): &()) -> bool {
        true
    }
}

struct Pass {
    mean_ns: f64,
    p999_us: f64,
    p9999_us: f64,
    max_us: f64,
    over_50_us: usize,
    over_1_ms: usize,
}

#[allow(clippy::cast_precision_loss)] // sums of one pass
fn summary(waits: &mut [u64]) -> Pass {
    let mean_ns = waits.iter().sum::<u64>() as f64 / waits.len() as f64;
    waits.sort_unstable();
    // `share` of 10,000 waits are at most this.
    let at = |share: usize| waits[(waits.len() - 1) * share / 10_000] as f64 / 1e3;
    let over = |ns: u64| waits.len() - waits.partition_point(|&wait| wait <= ns);
    Pass {
        mean_ns,
        p999_us: at(9_990),
        p9999_us: at(9_999),
        max_us: at(10_000),
        over_50_us: over(50_000),
        over_1_ms: over(1_000_000),
    }
}

struct Output {
    table: Table,
    json: Vec<Value>,
}

impl Output {
    fn add(&mut self, name: &str, pass: &Pass) {
        self.table.row([
            name.to_owned(),
            one(pass.mean_ns),
            one(pass.p999_us),
            one(pass.p9999_us),
            one(pass.max_us),
            pass.over_50_us.to_string(),
            pass.over_1_ms.to_string(),
        ]);
        self.json.push(json!({
            "rival": name, "mean_ns": pass.mean_ns, "p999_us": pass.p999_us, "p9999_us": pass.p9999_us,
            "max_us": pass.max_us, "over_50_us": pass.over_50_us, "over_1_ms": pass.over_1_ms,
        }));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let keys = args.keys.unwrap_or(if args.quick { 500_000 } else { 5_000_000 });
    let clock = TscClock::new();
    let mut buffer = vec![1; keys];
    let mut output = Output {
        table: Table::new(["rival", "mean ns", "p99.9 us", "p99.99 us", "max us", "> 50 us", "> 1 ms"]),
        json: Vec::new(),
    };
    let mut worst = f64::INFINITY;
    report::header("Growth");
    println!("{keys} new keys into a table that starts empty, each check timed, {PASSES} passes.");
    println!(
        "The floor has its final size from the start; \"nothing\" is the timing alone: the machine's own jitter.\n"
    );
    for _ in 0..PASSES {
        let mut pass = |name: &str, buffer: &mut Vec<u64>| {
            let pass = summary(buffer);
            output.add(name, &pass);
            pass.max_us
        };
        waits(&Nothing, keys, &clock, &mut buffer);
        pass("nothing", &mut buffer);
        waits(&Floor::new(keys, Limit::GENEROUS, clock.clone()), keys, &clock, &mut buffer);
        pass("floor", &mut buffer);
        let ours = ThroughLimiter::new(state_table(keys)?, Limit::GENEROUS, clock.clone())?;
        waits(&ours, keys, &clock, &mut buffer);
        worst = worst.min(pass("ThrottleKit", &mut buffer));
        waits(&Sharded::new(Limit::GENEROUS, clock.clone()), keys, &clock, &mut buffer);
        pass("256 x Mutex<HashMap>", &mut buffer);
        let governor = governor_with::<SipBuilder, _>(Limit::GENEROUS, GovernorClock(clock.clone()));
        waits(&governor, keys, &clock, &mut buffer);
        pass("governor", &mut buffer);
    }
    output.table.print();
    let mut claims = Claims::default();
    // The table's own pauses recur in every pass; the machine's do not.
    claims.at_most("ThrottleKit: longest check of the best pass, us", worst, 1_000.0);
    claims.print();
    report::save("growth", json!({ "keys": keys, "passes": output.json, "claims": claims.json() }));
    Ok(())
}
