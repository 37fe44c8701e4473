//! The programs from outside that tests and benches use: one row each.

use std::process::Command;

use crate::Error;
use crate::process::{run, succeeds};

/// A program that this project uses and does not build.
pub(crate) struct Service {
    name: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// A command that succeeds if it is there.
    probe: &'static [&'static str],
    /// The Debian package that brings it.
    package: &'static str,
}

const PYTHON: Service =
    Service { name: "python3", purpose: "tests: golden vectors", probe: &["python3", "--version"], package: "python3" };
const PIP: Service = Service {
    name: "pip",
    purpose: "tests: golden vectors",
    probe: &["python3", "-m", "pip", "--version"],
    package: "python3-pip",
};
const TAR: Service =
    Service { name: "tar", purpose: "tests: golden vectors", probe: &["tar", "--version"], package: "tar" };
const VALGRIND: Service = Service {
    name: "valgrind",
    purpose: "bench: instruction counts",
    probe: &["valgrind", "--version"],
    package: "valgrind",
};
// wrk exits with 1 when asked for its version.
const WRK: Service =
    Service { name: "wrk", purpose: "bench: load on the quickstart", probe: &["which", "wrk"], package: "wrk" };

/// What the tests need.
pub(crate) const TESTS: [Service; 3] = [PYTHON, PIP, TAR];
/// What the benches need.
pub(crate) const BENCHES: [Service; 2] = [VALGRIND, WRK];
/// Everything.
pub(crate) const ALL: [Service; 5] = [PYTHON, PIP, TAR, VALGRIND, WRK];

/// Lists `services` and installs those that are missing.
///
/// One that cannot be installed is an error: what needs it must fail, not be left out.
pub(crate) fn ensure(services: &[Service]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for service in services {
        let there = service.is_there();
        let state = if there { "there" } else { "missing" };
        eprintln!("{:<10} {state:<8} {}", service.name, service.purpose);
        if !there {
            missing.push(service);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|service| service.package).collect();
    let by_hand = format!("install these by hand: {}", packages.join(" "));
    run(&mut apt(&["update", "--quiet"])).map_err(|error| format!("{error}; {by_hand}"))?;
    run(apt(&["install", "--quiet", "--yes", "--no-install-recommends"]).args(&packages))
        .map_err(|error| format!("{error}; {by_hand}"))?;
    match missing.iter().find(|service| !service.is_there()) {
        None => Ok(()),
        Some(service) => Err(format!("{} is still missing after its installation", service.name).into()),
    }
}

impl Service {
    fn is_there(&self) -> bool {
        let [program, arguments @ ..] = self.probe else { return false };
        succeeds(Command::new(program).args(arguments))
    }
}

/// `apt-get`, by way of `sudo` for anybody but root; it never asks.
fn apt(arguments: &[&str]) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["--non-interactive", "apt-get"]);
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
