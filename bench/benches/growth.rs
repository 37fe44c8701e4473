//! How long a check may have to wait while the table grows: every check of a run of new keys is timed.
//!
//! Each rival gets the same keys and the same hash secret in every pass, so it grows at the same keys. Of each check the
//! shortest time over the passes counts: a pause of the table's own comes back in every pass, one that the machine made
//! does not.

use std::error::Error;
use std::hint::black_box;

use bench::args::Args;
use bench::clock::{GovernorClock, Time, TscClock};
use bench::keys::KeyText;
use bench::report::{self, Claims, Table, one};
use bench::rival::{Floor, Limit, Rival, Sharded, SipBuilder, ThroughLimiter, governor_with, seeded_table};
use serde_json::{Value, json};

const OURS: &str = "ThrottleKit";

/// The times of one rival's checks, in nanoseconds, by key.
struct Waits {
    name: &'static str,
    shortest: Vec<u64>,
    /// Checks over a millisecond, in all passes, whatever made them so.
    raw_over_1_ms: usize,
}

impl Waits {
    fn new(name: &'static str, keys: usize) -> Self {
        Self { name, shortest: vec![u64::MAX; keys], raw_over_1_ms: 0 }
    }

    /// One pass over an empty table.
    fn pass<R: Rival>(&mut self, rival: &R, clock: &TscClock) {
        let mut session = R::Session::default();
        let mut before = clock.nanos();
        for (id, shortest) in (0..).zip(&mut self.shortest) {
            black_box(rival.check(&mut session, KeyText::new(id).as_str()));
            let after = clock.nanos();
            let wait = after - before;
            *shortest = wait.min(*shortest);
            self.raw_over_1_ms += usize::from(wait > 1_000_000);
            before = after;
        }
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

struct Summary {
    mean_ns: f64,
    p999_us: f64,
    p9999_us: f64,
    max_us: f64,
    over_50_us: usize,
    over_1_ms: usize,
}

#[allow(clippy::cast_precision_loss)] // sums of one run
fn summary(mut waits: Vec<u64>) -> Summary {
    waits.sort_unstable();
    // `share` of 10,000 waits are at most this.
    let at = |share: usize| waits[(waits.len() - 1) * share / 10_000] as f64 / 1e3;
    let over = |ns: u64| waits.len() - waits.partition_point(|&wait| wait <= ns);
    Summary {
        mean_ns: waits.iter().sum::<u64>() as f64 / waits.len() as f64,
        p999_us: at(9_990),
        p9999_us: at(9_999),
        max_us: at(10_000),
        over_50_us: over(50_000),
        over_1_ms: over(1_000_000),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    let keys = args.keys.unwrap_or(if args.quick { 500_000 } else { 5_000_000 });
    let passes = if args.quick { 3 } else { 5 };
    let clock = TscClock::new();
    let limit = Limit::GENEROUS;
    let [mut nothing, mut floor, mut ours, mut mutexes, mut governor] =
        ["nothing", "floor", OURS, "256 x Mutex<HashMap>", "governor"].map(|name| Waits::new(name, keys));
    for _ in 0..passes {
        // The rivals draw their secrets from here.
        fastrand::seed(0x6804);
        nothing.pass(&Nothing, &clock);
        floor.pass(&Floor::new(keys, limit, clock.clone()), &clock);
        ours.pass(&ThroughLimiter::new(seeded_table(keys)?, limit, clock.clone())?, &clock);
        mutexes.pass(&Sharded::new(limit, clock.clone()), &clock);
        governor.pass(&governor_with::<SipBuilder, _>(limit, GovernorClock(clock.clone())), &clock);
    }

    report::header("Growth");
    println!(
        "{keys} new keys into a table that starts empty, each check timed; of each the shortest of {passes} passes."
    );
    println!(
        "The floor has its final size from the start; \"nothing\" is the timing alone. \"Raw\" counts every pass.\n"
    );
    let head = ["rival", "mean ns", "p99.9 us", "p99.99 us", "max us", "> 50 us", "> 1 ms", "raw > 1 ms a pass"];
    let mut table = Table::new(head);
    let mut figures: Vec<Value> = Vec::new();
    let mut claims = Claims::default();
    for waits in [nothing, floor, ours, mutexes, governor] {
        let (name, raw) = (waits.name, waits.raw_over_1_ms);
        let found = summary(waits.shortest);
        table.row([
            name.to_owned(),
            one(found.mean_ns),
            one(found.p999_us),
            one(found.p9999_us),
            one(found.max_us),
            found.over_50_us.to_string(),
            found.over_1_ms.to_string(),
            (raw / passes).to_string(),
        ]);
        figures.push(json!({
            "rival": name, "mean_ns": found.mean_ns, "p999_us": found.p999_us, "p9999_us": found.p9999_us,
            "max_us": found.max_us, "over_50_us": found.over_50_us, "over_1_ms": found.over_1_ms,
            "raw_over_1_ms": raw, "passes": passes,
        }));
        if name == OURS {
            claims.at_most(format!("{OURS}: longest check, us"), found.max_us, 1_000.0);
        }
    }
    table.print();
    claims.print();
    report::save("growth", json!({ "keys": keys, "rivals": figures, "claims": claims.json() }));
    Ok(())
}
