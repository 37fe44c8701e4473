//! A service that is watched: what its metrics say while more is asked of it than it admits.
//!
//! ```text
//! cargo run --release -p examples --features plots --bin metrics [-- --quick] [-- --listen ADDRESS]
//! ```
//!
//! A server on loopback limits one route by a file, and has its metrics on an address of their own. A generator of load sends
//! to it: first less than it admits, then more, then less. Meanwhile the metrics are read over HTTP twice a second. It takes
//! 30 seconds, prints the last of them, and draws all into `docs/plots` if it is built with the feature `plots`. With
//! `--listen` the load goes on until Ctrl-C, for a Prometheus to look at.

#[path = "../address.rs"]
mod address;
mod course;
#[allow(dead_code)] // the other example says more of what became of its requests
#[path = "../overload/load.rs"]
mod load;
#[cfg(feature = "plots")]
#[allow(dead_code, unreachable_pub)] // it is public for the benches, which use the rest of it
#[path = "../../../bench/src/plot.rs"]
mod plot;
mod server;
#[path = "../start.rs"]
mod start;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use address::address;
use course::Course;
use load::Phase;
use server::Server;
use tokio::time::Instant;

const USAGE: &str = "\
A service that is watched: what its metrics say while more is asked of it than it admits.

Usage: metrics [--quick] [--listen ADDRESS]

  --quick           a tenth of the time: too short to mean anything, and draws nothing
  --listen ADDRESS  serve the metrics there, and go on until Ctrl-C
  -h, --help        print this";

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Options {
    quick: bool,
    listen: Option<SocketAddr>,
}

/// Requests a second, and for how long. The limits admit 120.
fn phases(quick: bool) -> Vec<Phase> {
    let length = Duration::from_millis(if quick { 1_000 } else { 10_000 });
    let phase = |(name, per_second)| Phase { name, per_second, length };
    [("within the limits", 60.0), ("beyond", 200.0), ("within again", 60.0)].map(phase).into()
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};
    let mut options = Options::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => options.quick = true,
            Long("listen") => options.listen = Some(arguments.value()?.parse_with(address)?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> ExitCode {
    start::start("metrics", USAGE, options(), async |options| run(&options).await).await
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let server = Server::start(options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
    let phases = phases(options.quick);
    if options.listen.is_some() {
        println!("metrics: http://{}/metrics", server.metrics);
        let load = async {
            loop {
                load::send(server.work, &phases, Instant::now()).await;
            }
        };
        tokio::select! {
            () = load => {}
            stop = tokio::signal::ctrl_c() => stop?,
        }
        return Ok(());
    }
    let start = Instant::now();
    let length = phases.iter().map(|phase| phase.length).sum();
    let (course, _) =
        tokio::join!(Course::watch(server.metrics, start, length), load::send(server.work, &phases, start));
    let course = course?;
    print!("{}", course.last);
    #[cfg(feature = "plots")]
    if !options.quick {
        course.draw(&phases)?;
    }
    Ok(())
}
