//! The text format, version 0.0.4.

use std::fmt::{Display, Write};

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

    /// Begins a family. Its first lines stand also if it has no samples.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.suffixed("", labels, value);
    }

    /// A sample of the family's name and `suffix`.
    pub(super) fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels {
            self.out.push(before);
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(value, self.out);
            self.out.push('"');
            before = ',';
        }
        self.line(format_args!("{} {value}", if labels.is_empty() { "" } else { "}" }));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{line}");
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
