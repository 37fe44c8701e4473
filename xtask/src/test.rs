//! All tests.

use crate::process::{cargo_of, run_tests, toolchains};
use crate::workspace::Workspace;
use crate::{Error, packages, services, vectors};

/// The programs of the core's tests that run with optimisation too.
const OPTIMISED: [&str; 6] = ["allocations", "concurrency", "limiter", "sketch", "store", "strategy"];

/// Sets up what is missing and runs every test, in the order in which a failure says most.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    services::ensure(&services::TESTS)?;
    packages::ensure(&workspace.target())?;
    let vectors = vectors::fetch(&workspace.target())?;
    let mut passed = run_tests(
        workspace
            .cargo()
            .args(["test", "--workspace", "--all-features", "--no-fail-fast"])
            .env("THROTTLEKIT_GOLDEN", &vectors)
            .env("THROTTLEKIT_SERVICES", packages::folder(&workspace.target())),
    )?;
    passed += loom(workspace)?;
    // Arithmetic and atomics behave differently without debug assertions and with optimisation. Each program is compiled
    // again, so only those are that are about either.
    passed += run_tests(
        workspace
            .cargo()
            .args(["test", "--package=throttlekit", "--all-features", "--lib", "--profile=testrelease"])
            .args(OPTIMISED.map(|program| format!("--test={program}"))),
    )?;
    println!("\n{passed} passed, 0 failed");
    Ok(())
}

/// The tests of the lock-free parts under every interleaving.
pub(crate) fn loom(workspace: &Workspace) -> Result<u64, Error> {
    // A folder of its own: the flags differ, and each switch would rebuild everything.
    run_tests(
        workspace
            .cargo()
            .args(["test", "--package=throttlekit", "--release", "--lib", "--target-dir"])
            .arg(workspace.target().join("loom"))
            .arg("loom")
            .env("RUSTFLAGS", "--cfg loom"),
    )
}

/// The tests named `miri_`, which are small enough for an interpreter.
pub(crate) fn miri(workspace: &Workspace) -> Result<u64, Error> {
    let Some(nightly) = miri_toolchain() else {
        return Err("no toolchain has Miri: rustup toolchain install nightly --component miri,rust-src".into());
    };
    run_tests(
        cargo_of(&nightly)
            .current_dir(workspace.root())
            .args(["miri", "test", "--package=throttlekit", "--lib", "--tests", "--target-dir"])
            .arg(workspace.target().join("miri"))
            .arg("miri_")
            // The tests read no file and no real time but through the clock; isolation would refuse that.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation"),
    )
}

/// An installed toolchain that can run Miri, and has the sources that Miri needs.
pub(crate) fn miri_toolchain() -> Option<String> {
    toolchains().into_iter().filter(|name| name.starts_with("nightly")).find(|name| {
        let listed = std::process::Command::new("rustup")
            .args(["component", "list", "--installed", "--toolchain", name])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        ["miri", "rust-src"].iter().all(|wanted| listed.lines().any(|line| line.starts_with(wanted)))
    })
}
