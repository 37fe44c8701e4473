//! From a [`Decision`] to the header fields that tell a client about it.
//!
//! Nothing here knows HTTP types: a [`Headers`] walks over names and values, and a door writes them in its own way.
//!
//! | family | field | value |
//! |---|---|---|
//! | [`Draft`](HeaderFamily::Draft) | `RateLimit-Limit` | the limit |
//! | | `RateLimit-Remaining` | units left |
//! | | `RateLimit-Reset` | seconds until the limit is fully replenished |
//! | [`Structured`](HeaderFamily::Structured) | `RateLimit` | `"name";r=left;t=seconds` |
//! | | `RateLimit-Policy` | `"name";q=limit;w=window seconds` |
//! | [`Legacy`](HeaderFamily::Legacy) | `X-RateLimit-Limit`, `X-RateLimit-Remaining` | as in the draft family |
//! | | `X-RateLimit-Reset` | when it is fully replenished, in seconds since the Unix epoch |
//! | every one, on a denial | `Retry-After` | seconds to wait, at least 1 |
//!
//! ```
//! use throttlekit::Decision;
//! use throttlekit::headers::{HeaderFamily, Headers};
//!
//! let headers = Headers::new(HeaderFamily::Structured).policy("api").window_ms(60_000.0);
//! let decision = Decision { allowed: true, limit: 100, remaining: 50, reset_at_ms: 30_000, retry_after_ms: 0 };
//! let mut lines = Vec::new();
//! headers.for_each(&decision, 0.0, |field, value| lines.push(format!("{field}: {value}")));
//! assert_eq!(lines, [r#"RateLimit: "api";r=50;t=30"#, r#"RateLimit-Policy: "api";q=100;w=60"#]);
//! ```

use std::fmt;

use crate::decision::{Decision, ceil_ms};

/// The largest whole number that a structured field may carry: 15 digits.
const MAX_STRUCTURED: u64 = 999_999_999_999_999;
/// The same, for seconds.
const MAX_STRUCTURED_SECONDS: i64 = 999_999_999_999_999;

/// A convention for telling clients about their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderFamily {
    /// `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`: three plain numbers.
    Draft,
    /// `RateLimit` and `RateLimit-Policy`: structured fields, as draft-ietf-httpapi-ratelimit-headers-11 has them.
    Structured,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`: as widespread before any standard.
    Legacy,
}

impl HeaderFamily {
    /// Every family, in the order in which their fields are written.
    pub const ALL: [Self; 3] = [Self::Draft, Self::Structured, Self::Legacy];

    /// The name in configuration: `draft`, `structured` or `legacy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Structured => "structured",
            Self::Legacy => "legacy",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Draft => 1,
            Self::Structured => 2,
            Self::Legacy => 4,
        }
    }
}

/// Which header fields a response gets: any families, or none at all.
///
/// The empty set and [`NONE`](Self::NONE) differ: with the empty set a denial still says `Retry-After`; `NONE` writes
/// nothing whatever happens.
///
/// ```
/// use throttlekit::headers::{HeaderFamily, HeaderSet};
///
/// let set = HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::Legacy]);
/// assert!(set.contains(HeaderFamily::Legacy) && !set.contains(HeaderFamily::Structured));
/// assert_eq!(HeaderSet::default(), HeaderSet::from(HeaderFamily::Draft));
/// assert_ne!(HeaderSet::EMPTY, HeaderSet::NONE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderSet {
    families: u8,
    silent: bool,
}

impl HeaderSet {
    /// No family: only `Retry-After`, and only on a denial.
    pub const EMPTY: Self = Self { families: 0, silent: false };

    /// No header field at all, not even `Retry-After`.
    pub const NONE: Self = Self { families: 0, silent: true };

    /// Adds a family. Adding one to [`NONE`](Self::NONE) ends the silence.
    #[must_use]
    pub const fn with(self, family: HeaderFamily) -> Self {
        Self { families: self.families | family.bit(), silent: false }
    }

    /// Whether the fields of `family` are written.
    pub const fn contains(self, family: HeaderFamily) -> bool {
        self.families & family.bit() != 0
    }

    /// Whether nothing is ever written.
    pub const fn is_none(self) -> bool {
        self.silent
    }

    /// Whether an allow gets any field.
    pub const fn shows_allows(self) -> bool {
        self.families != 0
    }
}

impl Default for HeaderSet {
    /// The draft family.
    fn default() -> Self {
        HeaderFamily::Draft.into()
    }
}

impl From<HeaderFamily> for HeaderSet {
    fn from(family: HeaderFamily) -> Self {
        Self::EMPTY.with(family)
    }
}

impl FromIterator<HeaderFamily> for HeaderSet {
    fn from_iter<I: IntoIterator<Item = HeaderFamily>>(families: I) -> Self {
        families.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// The name of a header field. `Display` and [`as_str`](Self::as_str) give the usual spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it; the module's table says what is in them
pub enum Field {
    RateLimitLimit,
    RateLimitRemaining,
    RateLimitReset,
    RateLimit,
    RateLimitPolicy,
    XRateLimitLimit,
    XRateLimitRemaining,
    XRateLimitReset,
    RetryAfter,
}

impl Field {
    /// The name in its usual spelling, such as `RateLimit-Limit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimitLimit => "RateLimit-Limit",
            Self::RateLimitRemaining => "RateLimit-Remaining",
            Self::RateLimitReset => "RateLimit-Reset",
            Self::RateLimit => "RateLimit",
            Self::RateLimitPolicy => "RateLimit-Policy",
            Self::XRateLimitLimit => "X-RateLimit-Limit",
            Self::XRateLimitRemaining => "X-RateLimit-Remaining",
            Self::XRateLimitReset => "X-RateLimit-Reset",
            Self::RetryAfter => "Retry-After",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a header field. `Display` writes it, without allocation; it is always printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue<'a> {
    /// A whole number.
    Number(i64),
    /// The value of `RateLimit`.
    State {
        /// The policy's name, quoted and escaped.
        policy: &'a str,
        /// Units left.
        remaining: u64,
        /// Seconds until the limit is fully replenished.
        reset_seconds: i64,
    },
    /// The value of `RateLimit-Policy`.
    Policy {
        /// The policy's name, quoted and escaped.
        policy: &'a str,
        /// Units that the policy allocates.
        quota: u64,
        /// The length of its window in seconds, if it has one.
        window_seconds: Option<u64>,
    },
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => write!(f, "{number}"),
            Self::State { policy, remaining, reset_seconds } => write!(f, "{policy};r={remaining};t={reset_seconds}"),
            Self::Policy { policy, quota, window_seconds: Some(window) } => write!(f, "{policy};q={quota};w={window}"),
            Self::Policy { policy, quota, window_seconds: None } => write!(f, "{policy};q={quota}"),
        }
    }
}

/// Writes the header fields of one policy. Made once, used for every response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    set: HeaderSet,
    policy: Box<str>,
    window_seconds: Option<u64>,
    quota: Option<u64>,
}

impl Headers {
    /// Fields of `set` for a policy called `default`, without a window.
    pub fn new(set: impl Into<HeaderSet>) -> Self {
        Self { set: set.into(), policy: quoted("default"), window_seconds: None, quota: None }
    }

    /// Chooses other fields.
    #[must_use]
    pub fn families(mut self, set: impl Into<HeaderSet>) -> Self {
        self.set = set.into();
        self
    }

    /// Names the policy, which only the structured family shows.
    ///
    /// The name becomes a structured-field string, which holds printable ASCII: control characters are dropped, `"` and
    /// `\` escaped, and every other character beyond ASCII percent-encoded as UTF-8.
    #[must_use]
    pub fn policy(mut self, name: &str) -> Self {
        self.policy = quoted(name);
        self
    }

    /// Sets the window that the structured family shows as `w`: `window_ms` in whole seconds, halves up. A window that
    /// is negative or not finite is not shown.
    #[must_use]
    pub fn window_ms(mut self, window_ms: f64) -> Self {
        self.window_seconds = round_seconds(window_ms);
        self
    }

    /// Overrides `w`, in seconds.
    #[must_use]
    pub fn window_seconds(mut self, seconds: u64) -> Self {
        self.window_seconds = Some(seconds);
        self
    }

    /// Overrides `q`, the units that the policy allocates in a window.
    ///
    /// Without it `q` is the decision's limit. For a GCRA and a token bucket that is the burst, while `w` is the period:
    /// 100 per 60 s with a burst of 20 shows `q=20;w=60`.
    #[must_use]
    pub fn quota(mut self, quota: u64) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Which fields are written.
    pub fn set(&self) -> HeaderSet {
        self.set
    }

    /// The policy's name as a structured-field string, quotes included.
    pub fn quoted_policy(&self) -> &str {
        &self.policy
    }

    /// Calls `write` with each field of `decision`, at `now_ms` by the clock that made the decision.
    ///
    /// The order is draft, structured, legacy, `Retry-After`. With `reset_at` and `now` in milliseconds, `RateLimit-Reset`
    /// and `t` are `max(0, ceil((reset_at - now) / 1000))`, `X-RateLimit-Reset` is `ceil(reset_at / 1000)`, and
    /// `Retry-After` is `max(1, ceil(retry_after / 1000))`. A decision without a limit to show
    /// ([`Decision::has_limit`]) gets none but `Retry-After`. Numbers above 15 digits are cut to that in structured
    /// fields, which allow no more.
    #[inline]
    pub fn for_each<'a>(&'a self, decision: &Decision, now_ms: f64, mut write: impl FnMut(Field, FieldValue<'a>)) {
        if self.set.families != 0 && decision.has_limit() {
            self.write_families(decision, now_ms, &mut write);
        }
        if !decision.allowed && !self.set.silent {
            let seconds = decision.retry_after_ms.div_ceil(1_000).max(1);
            write(Field::RetryAfter, number(seconds));
        }
    }

    #[inline]
    fn write_families<'a>(&'a self, decision: &Decision, now_ms: f64, write: &mut impl FnMut(Field, FieldValue<'a>)) {
        #[allow(clippy::cast_precision_loss)] // milliseconds of an epoch are far below 2^53
        let reset_at_ms = decision.reset_at_ms as f64;
        let reset_seconds = ceil_ms((reset_at_ms - now_ms) / 1_000.0).max(0);
        if self.set.contains(HeaderFamily::Draft) {
            write(Field::RateLimitLimit, number(decision.limit));
            write(Field::RateLimitRemaining, number(decision.remaining));
            write(Field::RateLimitReset, FieldValue::Number(reset_seconds));
        }
        if self.set.contains(HeaderFamily::Structured) {
            let policy = &*self.policy;
            let remaining = decision.remaining.min(MAX_STRUCTURED);
            let reset_seconds = reset_seconds.min(MAX_STRUCTURED_SECONDS);
            write(Field::RateLimit, FieldValue::State { policy, remaining, reset_seconds });
            let quota = self.quota.unwrap_or(decision.limit).min(MAX_STRUCTURED);
            let window_seconds = self.window_seconds.map(|window| window.min(MAX_STRUCTURED));
            write(Field::RateLimitPolicy, FieldValue::Policy { policy, quota, window_seconds });
        }
        if self.set.contains(HeaderFamily::Legacy) {
            write(Field::XRateLimitLimit, number(decision.limit));
            write(Field::XRateLimitRemaining, number(decision.remaining));
            write(Field::XRateLimitReset, FieldValue::Number(ceil_ms(reset_at_ms / 1_000.0)));
        }
    }
}

impl Default for Headers {
    /// The draft family.
    fn default() -> Self {
        Self::new(HeaderSet::default())
    }
}

/// A count as a value; beyond the range of `i64` it saturates.
fn number(value: u64) -> FieldValue<'static> {
    FieldValue::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Whole seconds, halves up; `None` if that is no time to show.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and the cast saturates
fn round_seconds(ms: f64) -> Option<u64> {
    if !ms.is_finite() || ms < 0.0 {
        return None;
    }
    let seconds = ms / 1_000.0;
    let whole = seconds.floor();
    // Not `floor(seconds + 0.5)`: that sum rounds up for the number just below a half.
    let rounded = if seconds - whole >= 0.5 { whole + 1.0 } else { whole };
    Some(rounded as u64)
}

/// `name` as a structured-field string with its quotes.
fn quoted(name: &str) -> Box<str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for byte in name.bytes() {
        match byte {
            0..=0x1F | 0x7F => {}
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            0x80.. => {
                text.push('%');
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 0xF)]));
            }
            _ => text.push(char::from(byte)),
        }
    }
    text.push('"');
    text.into_boxed_str()
}
