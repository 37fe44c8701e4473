//! A server that gets more requests than it can answer, with and without a limit on the work in flight.
//!
//! ```text
//! cargo run --release -p examples --features plots --bin overload [-- --quick]
//! ```
//!
//! Two servers on loopback do the same work: one limits it by a file of one line, the other takes everything. A generator of
//! load sends to both at once, whatever they answer: first less than they can do, then half as much again, then less. It takes
//! 18 seconds, prints what came of it, and draws it into `docs/plots` if it is built with the feature `plots`.

mod load;
#[cfg(feature = "plots")]
#[allow(dead_code, unreachable_pub)] // it is public for the benches, which use the rest of it
#[path = "../../../bench/src/plot.rs"]
mod plot;
mod server;
#[path = "../start.rs"]
mod start;
mod tally;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use load::Phase;
use server::Server;
use tally::Tally;
use tokio::time::Instant;

const USAGE: &str = "\
A server that gets more requests than it can answer, with and without a limit on the work in flight.

Usage: overload [--quick]

  --quick     a tenth of the time: too short to mean anything, and draws nothing
  -h, --help  print this";

/// How many requests the server works on at once, and how long each takes then.
const WORKERS: usize = 20;
const WORK: Duration = Duration::from_millis(50);

/// How long a client waits.
const PATIENCE: Duration = Duration::from_millis(400);

/// What the server can answer in a second.
fn capacity() -> f64 {
    f64::from(u32::try_from(WORKERS).unwrap_or(u32::MAX)) / WORK.as_secs_f64()
}

/// The load, as a part of the capacity.
fn phases(quick: bool) -> Vec<Phase> {
    let seconds = |seconds: u64| Duration::from_millis(seconds * if quick { 100 } else { 1_000 });
    [("below capacity", 0.6, 3), ("overload", 1.5, 7), ("below capacity again", 0.6, 8)]
        .map(|(name, load, length)| Phase { name, per_second: load * capacity(), length: seconds(length) })
        .into()
}

fn options() -> Result<Option<bool>, lexopt::Error> {
    use lexopt::prelude::{Long, Short};
    let mut quick = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => quick = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(quick))
}

#[tokio::main]
async fn main() -> ExitCode {
    start::start("overload", USAGE, options(), run).await
}

async fn run(quick: bool) -> Result<(), Box<dyn Error>> {
    let phases = phases(quick);
    let start = Instant::now();
    let (without, with) = tokio::try_join!(under(&phases, start, false), under(&phases, start, true))?;
    println!(
        "{WORKERS} workers, {} ms each: {} requests a second. Clients wait for {} ms.\n",
        WORK.as_millis(),
        capacity(),
        PATIENCE.as_millis()
    );
    println!("{}", tally::HEAD);
    for (name, tally) in [("none", &without), ("steady", &with)] {
        for line in tally.lines(name, &phases) {
            println!("{line}");
        }
    }
    #[cfg(feature = "plots")]
    if !quick {
        tally::draw(&without, &with, &phases)?;
    }
    Ok(())
}

/// A server under the load of all phases.
async fn under(phases: &[Phase], start: Instant, limited: bool) -> Result<Tally, Box<dyn Error>> {
    let server = Server::start(start, limited).await?;
    let answers = load::send(server.address(), phases, start).await;
    Ok(Tally { answers, looks: server.stop() })
}
