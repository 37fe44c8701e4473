//! Tests that cross crates, and the servers that they run against.
//!
//! The tests are in `tests/`. This library starts what they need: each server is a process of its own, on a
//! [`Port`](port::Port) that no other test takes, with its files in a [`Folder`](folder::Folder), guarded by a
//! [`Process`](process::Process) that kills it when the test ends. Tests of one file may [share](shared::Shared) a server.
//! A program that is missing fails the test; nothing is skipped.

use std::path::{Path, PathBuf};

pub mod dynamodb;
pub mod folder;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod shared;

/// Makes the code in documents tests: it compiles, and runs unless it says `no_run`.
macro_rules! documents {
    ($($name:ident: $file:literal;)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../", $file))]
        struct $name;
    )*};
}

documents! {
    Analytics: "docs/analytics.md";
    Budgets: "docs/budgets.md";
    Concurrency: "docs/concurrency.md";
    Contributing: "CONTRIBUTING.md";
    Core: "throttlekit/README.md";
    Fairness: "docs/fairness.md";
    Keys: "docs/keys.md";
    Leasing: "docs/leasing.md";
    LanguageModels: "docs/llm.md";
    Observability: "docs/observability.md";
    Outages: "docs/outages.md";
    Overload: "docs/overload.md";
    Unified: "docs/unified.md";
}

/// The path of something that `cargo xtask services` installs below its folder, such as `python`.
///
/// The folder is `services` in the one for builds, unless `THROTTLEKIT_SERVICES` names another.
///
/// # Panics
///
/// If it is not there.
pub fn installed(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    find_installed(path).unwrap_or_else(|| panic!("{} is not installed: run `cargo xtask services`", path.display()))
}

/// As [`installed`], for what a program can do without.
pub fn find_installed(path: impl AsRef<Path>) -> Option<PathBuf> {
    let folder = std::env::var_os("THROTTLEKIT_SERVICES").map(PathBuf::from);
    find(folder.map(|folder| folder.join(&path)), &Path::new("services").join(&path))
}

/// The golden vectors of the family, which `cargo xtask test` fetches, as JSON.
///
/// They are in the folder for builds, unless `THROTTLEKIT_GOLDEN` names another file.
///
/// # Panics
///
/// If they are not there.
pub fn golden_vectors() -> String {
    let file = std::env::var_os("THROTTLEKIT_GOLDEN").map(PathBuf::from);
    find(file, &Path::new("contract").join("golden-vectors.json"))
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_else(|| panic!("the golden vectors are not there: run `cargo xtask test`, which fetches them"))
}

/// The first that exists: `named`, or `below` in a folder above the program that runs this, one of which is that for builds.
fn find(named: Option<PathBuf>, below: &Path) -> Option<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().map(|folder| folder.join(below));
    named.into_iter().chain(above).find(|path| path.exists())
}
