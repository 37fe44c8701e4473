//! Names, units, attributes and values of what is exported.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod admissions;
mod checks;
#[cfg(feature = "config")]
mod doors;
mod guards;
mod names;
mod spans;
#[path = "../support/mod.rs"]
mod support;

use support::{Sdk, Ticking};
use throttlekit::Gcra;
use throttlekit_otel::Telemetry;

fn gcra(limit: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(1_000.0).build().unwrap()
}

fn telemetry(sdk: &Sdk) -> Telemetry<Ticking> {
    Telemetry::builder(&sdk.meter()).clock(Ticking::by_ms(4)).build()
}
