//! The tasks of this project. `cargo xtask help` lists them.

mod api;
mod bench;
mod ci;
mod dependencies;
mod fuzz;
mod licence;
mod minimal;
mod options;
mod packages;
mod process;
mod services;
mod test;
mod vectors;
mod workspace;

use std::num::NonZero;
use std::process::ExitCode;

use crate::ci::Outcome;
use crate::options::Options;
use crate::workspace::Workspace;

const USAGE: &str = "\
cargo xtask TASK

  test               sets up what is missing and runs all tests
  bench [NAME..]     runs the benchmark programs, or those named; --quick for short runs, --list for the names
  services           lists what tests and benches need from outside, and installs what is missing
  ci [GATE..]        runs the gates, or those named; --list for the names
  api                writes the public API of the published crates to docs/public-api
  loom               runs the model-checked tests of the lock-free parts
  miri               runs the tests named `miri_` under Miri
  fuzz               runs each fuzz target for a while; --seconds N (20)
";

/// What went wrong, for a person.
type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("xtask: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    let task = options.task.as_deref().unwrap_or("help");
    if task == "help" {
        print!("{USAGE}");
        return Ok(());
    }
    // Called by the task `api`, with the path of a description.
    if task == "print-api" {
        return api::print(options.names.first().map_or("", String::as_str));
    }
    let workspace = Workspace::load()?;
    match task {
        "test" => test::run(&workspace),
        "bench" => bench::run(&workspace, options),
        "services" => services::ensure(&services::ALL).and_then(|()| packages::ensure(&workspace.target())),
        "ci" => ci::run(&workspace, options),
        "api" => match api::check(&workspace, true)? {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(why) => Err(format!("nothing was written: {why}").into()),
        },
        "loom" => test::loom(&workspace).map(drop),
        "miri" => test::miri(&workspace)?.map(drop).ok_or_else(|| ci::NO_MIRI.into()),
        "fuzz" => fuzz::run(&workspace, options.seconds.map_or(fuzz::SECONDS, NonZero::get)),
        unknown => Err(format!("no task is called {unknown:?}\n\n{USAGE}").into()),
    }
}
