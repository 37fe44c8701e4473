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

/// The code in the guide for contributors compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../CONTRIBUTING.md")]
struct Contributing;

/// The code in the core's introduction compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../throttlekit/README.md")]
struct Core;

/// The path of something that `cargo xtask services` installs below its folder, such as `python`.
///
/// The folder is `services` in the one for builds, unless `THROTTLEKIT_SERVICES` names another.
///
/// # Panics
///
/// If it is not there.
pub fn installed(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    // The program that runs this is somewhere below the folder for builds.
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().map(|folder| folder.join("services"));
    let folders = std::env::var_os("THROTTLEKIT_SERVICES").map(PathBuf::from).into_iter().chain(above);
    let mut found = folders.map(|folder| folder.join(path)).filter(|path| path.exists());
    found.next().unwrap_or_else(|| panic!("{} is not installed: run `cargo xtask services`", path.display()))
}
