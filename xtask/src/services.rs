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
    /// The daemon that the package starts, if any.
    daemon: Option<&'static str>,
}

const PYTHON: Service = Service::new("python3", "tests: golden vectors", &["python3", "--version"], "python3");
const PIP: Service =
    Service::new("pip", "tests: golden vectors", &["python3", "-m", "pip", "--version"], "python3-pip");
const TAR: Service = Service::new("tar", "tests: golden vectors", &["tar", "--version"], "tar");
const REDIS: Service =
    Service::new("redis-server", "tests: Redis", &["redis-server", "--version"], "redis-server").daemon("redis-server");
const SENTINEL: Service =
    Service::new("redis-sentinel", "tests: Redis that fails over", &["redis-sentinel", "--version"], "redis-sentinel")
        .daemon("redis-sentinel");
// Its programs are below a folder with the version's number, not on the path.
const POSTGRES: Service = Service::new(
    "postgresql",
    "tests: PostgreSQL",
    &["sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres || which postgres"],
    "postgresql",
)
.daemon("postgresql");
// PostgreSQL refuses to run as root: this starts it as another user.
const SETPRIV: Service = Service::new("setpriv", "tests: PostgreSQL", &["setpriv", "--version"], "util-linux");
const VALGRIND: Service = Service::new("valgrind", "bench: instruction counts", &["valgrind", "--version"], "valgrind");
// wrk exits with 1 when asked for its version.
const WRK: Service = Service::new("wrk", "bench: load on servers with and without a layer", &["which", "wrk"], "wrk");

/// What the tests need.
pub(crate) const TESTS: [Service; 7] = [PYTHON, PIP, TAR, REDIS, SENTINEL, POSTGRES, SETPRIV];
/// These, and what the benches need.
pub(crate) const ALL: [Service; 9] = [PYTHON, PIP, TAR, REDIS, SENTINEL, POSTGRES, SETPRIV, VALGRIND, WRK];

/// Lists `services` and installs those that are missing.
///
/// One that cannot be installed is an error: what needs it must fail, not be left out.
pub(crate) fn ensure(services: &[Service]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for service in services {
        let there = service.is_there();
        let state = if there { "there" } else { "missing" };
        eprintln!("{:<16} {state:<8} {}", service.name, service.purpose);
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
    // Tests start servers of their own, and whoever works here did not ask for one that runs all the time. Where there is no
    // such command nothing was started either.
    for daemon in missing.iter().filter_map(|service| service.daemon) {
        let _ = as_root("service").args([daemon, "stop"]).status();
    }
    match missing.iter().find(|service| !service.is_there()) {
        None => Ok(()),
        Some(service) => Err(format!("{} is still missing after its installation", service.name).into()),
    }
}

impl Service {
    const fn new(
        name: &'static str,
        purpose: &'static str,
        probe: &'static [&'static str],
        package: &'static str,
    ) -> Self {
        Self { name, purpose, probe, package, daemon: None }
    }

    const fn daemon(mut self, daemon: &'static str) -> Self {
        self.daemon = Some(daemon);
        self
    }

    fn is_there(&self) -> bool {
        let [program, arguments @ ..] = self.probe else { return false };
        succeeds(Command::new(program).args(arguments))
    }
}

/// `apt-get`; it never asks.
fn apt(arguments: &[&str]) -> Command {
    let mut command = as_root("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `program`, by way of `sudo` for anybody but root.
fn as_root(program: &str) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if root { program } else { "sudo" });
    if !root {
        command.args(["--non-interactive", program]);
    }
    command
}
