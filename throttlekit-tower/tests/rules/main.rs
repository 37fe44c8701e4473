//! Rules of a file.
#![cfg(feature = "config")]

mod blocks;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod concurrency;
mod matching;
mod observed;
mod outage;
mod overload;
mod plans;
#[path = "../../../throttlekit/tests/support/story.rs"]
mod story;
#[allow(dead_code, clippy::unwrap_used)] // a part is used, and a helper of a test is a test too
#[path = "../../../throttlekit/tests/support/outage.rs"]
mod support;
