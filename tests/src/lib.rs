//! Tests that cross crates, and the servers that they run against.
//!
//! The tests are in `tests/`. This library starts what they need: each server is a process of its own, on a
//! [`Port`](port::Port) that no other test takes, with its files in a [`Folder`](folder::Folder), guarded by a
//! [`Process`](process::Process) that kills it when the test ends. Tests of one file may [share](shared::Shared) a server.
//! A program that is missing fails the test; nothing is skipped.

pub mod folder;
pub mod port;
pub mod process;
pub mod shared;

/// The code in the guide for contributors compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../CONTRIBUTING.md")]
struct Contributing;

/// The code in the core's introduction compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../throttlekit/README.md")]
struct Core;
