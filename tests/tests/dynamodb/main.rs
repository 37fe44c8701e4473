//! The DynamoDB store against a server.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

mod files;
mod joint;
mod outages;
mod procedure;
mod races;
mod requests;
mod support;
mod tables;
mod timelines;
