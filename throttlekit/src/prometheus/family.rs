//! Families of series, whatever format they are written in.

use super::histogram::Latencies;

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Takes one family after the other, and the samples of each.
pub(super) trait Families {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str);
    fn sample(&mut self, labels: &[(&str, &str)], value: f64);
    fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies);
}
