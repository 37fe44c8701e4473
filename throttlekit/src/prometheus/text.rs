//! The text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::family::{Families, Kind};
use super::histogram::Latencies;

/// What `text/plain` of this version is called.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes one family of series after the other.
pub(super) struct Text<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out, name: "" }
    }

    /// A sample of the family's name and `suffix`.
    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], last: Option<(&str, &str)>, value: f64) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels.iter().copied().chain(last) {
            self.out.push(before);
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(value, self.out);
            self.out.push('"');
            before = ',';
        }
        self.line(format_args!("{} {value}", if before == '{' { "" } else { "}" }));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{line}");
    }
}

impl Families for Text<'_> {
    /// Its first lines stand also if it has no samples.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.suffixed("", labels, None, value);
    }

    #[allow(clippy::cast_precision_loss)] // as Prometheus keeps it
    fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies) {
        for (bound, below) in latencies.cumulative() {
            self.suffixed("_bucket", labels, Some(("le", &bound.to_string())), below as f64);
        }
        let count = latencies.count() as f64;
        self.suffixed("_bucket", labels, Some(("le", "+Inf")), count);
        self.suffixed("_sum", labels, None, latencies.sum_seconds());
        self.suffixed("_count", labels, None, count);
    }
}

/// A label's value, as it stands between double quotes.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
}
