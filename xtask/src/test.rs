//! All tests.

use crate::process::{cargo_of, run_tests, toolchain};
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

/// The tests named `miri_`, which are small enough for an interpreter, and how many passed; `None` where no toolchain can be
/// had that has Miri and the sources that it needs.
pub(crate) fn miri(workspace: &Workspace) -> Result<Option<u64>, Error> {
    let Some(nightly) = toolchain("nightly", &["miri", "rust-src"]) else { return Ok(None) };
    let passed = run_tests(
        cargo_of(&nightly)
            .current_dir(workspace.root())
            .args(["miri", "test", "--package=throttlekit", "--lib", "--tests", "--target-dir"])
            .arg(workspace.target().join("miri"))
            .arg("miri_")
            // The tests read no file and no real time but through the clock; isolation would refuse that.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation"),
    )?;
    Ok(Some(passed))
}
