//! Durations as people write them in configuration: `250`, `1.5s`, `10 m`.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// How much of a refused text an error shows.
const SHOWN_CHARS: usize = 40;

/// A duration in milliseconds: `secs * 1000 + subsec_nanos / 1e6`, in this order.
#[allow(clippy::cast_precision_loss)] // exact below 2^53 seconds, and longer spans are refused
pub(crate) fn millis(span: Duration) -> f64 {
    span.as_secs() as f64 * 1_000.0 + f64::from(span.subsec_nanos()) / 1e6
}

/// Milliseconds from a text such as `250`, `1.5s` or `2 h`.
///
/// Digits, optionally a point and digits, optionally one of the units `ms`, `s`, `m`, `h` and `d`; white space around
/// each part. Without a unit it is milliseconds. The units are lower case only; there are no signs, no exponents and no
/// compound forms such as `1h30m`.
///
/// The result is `number * factor` in f64, not rounded: `1.1h` is `3960000.0000000005`. The factors are 1, 1000, 60000,
/// 3600000 and 86400000.
///
/// ```
/// use throttlekit::parse_duration_ms;
///
/// assert_eq!(parse_duration_ms("250")?, 250.0);
/// assert_eq!(parse_duration_ms(" 10 s ")?, 10_000.0);
/// assert_eq!(parse_duration_ms("0.5ms")?, 0.5);
/// assert!(parse_duration_ms("5 min").is_err());
/// assert!(parse_duration_ms("0s").unwrap_err().is_out_of_range());
/// # Ok::<(), throttlekit::ParseDurationError>(())
/// ```
///
/// # Errors
///
/// If the text has another form, or if the result is 0 or too large for an f64.
pub fn parse_duration_ms(text: &str) -> Result<f64, ParseDurationError> {
    let error = |kind| ParseDurationError { kind, shown: shown(text) };
    let (number, factor) = split(text.trim()).ok_or_else(|| error(Kind::Form))?;
    let ms = number.parse::<f64>().map_err(|_| error(Kind::Form))? * factor;
    if ms.is_finite() && ms > 0.0 { Ok(ms) } else { Err(error(Kind::Range)) }
}

/// The number and the factor of its unit.
fn split(text: &str) -> Option<(&str, f64)> {
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let (number, unit) = text.split_at(text.bytes().take_while(|byte| is_number(byte)).count());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    };
    let factor = match unit.trim_start() {
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    well_formed.then_some((number, factor))
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why a text is no duration. Shows the text, cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDurationError {
    kind: Kind,
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Form,
    Range,
}

impl ParseDurationError {
    /// Whether the text has the right form but is 0 or too large.
    pub fn is_out_of_range(&self) -> bool {
        self.kind == Kind::Range
    }
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Form => write!(
                f,
                "{:?} is not a duration: write a number of milliseconds, or a number with ms, s, m, h or d, such as 30s, \
                 1m or 1h",
                self.shown
            ),
            Kind::Range => write!(f, "{:?} is out of range: a duration must be positive and finite", self.shown),
        }
    }
}

impl StdError for ParseDurationError {}
