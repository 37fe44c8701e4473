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
//! | [`OpenAi`](HeaderFamily::OpenAi) | `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests` | as in the draft family |
//! | | `x-ratelimit-reset-requests` | how long until it is fully replenished, such as `1s` or `6m0s` |
//! | | the same with `-tokens` | where the limit counts [tokens](Unit::Tokens) |
//! | every one, on a denial | `Retry-After` | seconds to wait, at least 1 |
//! | `OpenAi`, on a denial | `retry-after-ms` | the same in milliseconds |
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
//!
//! Where several limits decide about one request, [`for_each_joint`] writes the fields of all.

mod family;
mod field;
mod joint;

pub use family::{HeaderFamily, HeaderSet, Unit};
pub use field::{Field, FieldValue};
pub use joint::{Listed, binding, for_each_joint};

use crate::decision::{Decision, ceil_ms, ceil_wait};

/// The largest whole number that a structured field may carry: 15 digits.
pub(crate) const MAX_STRUCTURED: u64 = 999_999_999_999_999;
/// The same, for seconds.
const MAX_STRUCTURED_SECONDS: i64 = 999_999_999_999_999;

/// Writes the header fields of one policy. Made once, used for every response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    set: HeaderSet,
    policy: Box<str>,
    window_seconds: Option<u64>,
    quota: Option<u64>,
    unit: Unit,
}

impl Headers {
    /// Fields of `set` for a policy called `default`, without a window.
    pub fn new(set: impl Into<HeaderSet>) -> Self {
        Self { set: set.into(), policy: quoted("default"), window_seconds: None, quota: None, unit: Unit::Requests }
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

    /// Says what the limit counts, which only the family `OpenAi` shows: in the names of its fields. Requests by default.
    #[must_use]
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
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
    /// The order is draft, structured, legacy, `OpenAi`, `Retry-After`, `retry-after-ms`. With `reset_at` and `now` in
    /// milliseconds, `RateLimit-Reset` and `t` are `max(0, ceil((reset_at - now) / 1000))`, `X-RateLimit-Reset` is
    /// `ceil(reset_at / 1000)`, `x-ratelimit-reset-requests` is `max(0, ceil(reset_at - now))` milliseconds, `Retry-After`
    /// is `max(1, ceil(retry_after / 1000))` and `retry-after-ms` is `max(1, retry_after)`. A decision without a limit to
    /// show ([`Decision::has_limit`]) gets none but the last two. Numbers above 15 digits are cut to that in structured
    /// fields, which allow no more.
    #[inline]
    pub fn for_each<'a>(&'a self, decision: &Decision, now_ms: f64, mut write: impl FnMut(Field, FieldValue<'a>)) {
        if self.set.shows_allows() && decision.has_limit() {
            self.write_families(decision, now_ms, &mut write);
        }
        if !decision.allowed && !self.set.is_none() {
            write_wait(decision.retry_after_ms, self.set.contains(HeaderFamily::OpenAi), &mut write);
        }
    }

    #[inline]
    fn write_families<'a>(&'a self, decision: &Decision, now_ms: f64, write: &mut impl FnMut(Field, FieldValue<'a>)) {
        if self.set.contains(HeaderFamily::Draft) {
            write_draft(decision, now_ms, write);
        }
        if self.set.contains(HeaderFamily::Structured) {
            self.write_structured(decision, now_ms, write);
        }
        if self.set.contains(HeaderFamily::Legacy) {
            write_legacy(decision, write);
        }
        if self.set.contains(HeaderFamily::OpenAi) {
            self.write_openai(decision, now_ms, write);
        }
    }

    /// Whether `decision` is shown in the fields of `family`.
    fn shows(&self, family: HeaderFamily, decision: &Decision) -> bool {
        self.set.contains(family) && decision.has_limit()
    }

    #[inline]
    fn write_structured<'a>(&'a self, decision: &Decision, now_ms: f64, write: &mut impl FnMut(Field, FieldValue<'a>)) {
        write(Field::RateLimit, self.state(decision, now_ms));
        write(Field::RateLimitPolicy, self.quota_policy(decision));
    }

    fn write_openai<'a>(&self, decision: &Decision, now_ms: f64, write: &mut impl FnMut(Field, FieldValue<'a>)) {
        let [limit, remaining, reset] = match self.unit {
            Unit::Requests => {
                [Field::XRateLimitLimitRequests, Field::XRateLimitRemainingRequests, Field::XRateLimitResetRequests]
            }
            Unit::Tokens => {
                [Field::XRateLimitLimitTokens, Field::XRateLimitRemainingTokens, Field::XRateLimitResetTokens]
            }
            Unit::Slots => return,
        };
        write(limit, number(decision.limit));
        write(remaining, number(decision.remaining));
        write(reset, FieldValue::Span { ms: ceil_wait(reset_at_ms(decision) - now_ms) });
    }

    /// The value of `RateLimit`.
    #[inline]
    fn state<'a>(&'a self, decision: &Decision, now_ms: f64) -> FieldValue<'a> {
        FieldValue::State {
            policy: &self.policy,
            remaining: decision.remaining.min(MAX_STRUCTURED),
            reset_seconds: reset_seconds(decision, now_ms).min(MAX_STRUCTURED_SECONDS),
        }
    }

    /// The value of `RateLimit-Policy`.
    #[inline]
    fn quota_policy<'a>(&'a self, decision: &Decision) -> FieldValue<'a> {
        FieldValue::Policy {
            policy: &self.policy,
            quota: self.quota.unwrap_or(decision.limit).min(MAX_STRUCTURED),
            window_seconds: self.window_seconds.map(|window| window.min(MAX_STRUCTURED)),
        }
    }
}

impl Default for Headers {
    /// The draft family.
    fn default() -> Self {
        Self::new(HeaderSet::default())
    }
}

#[inline]
fn write_draft<'a>(decision: &Decision, now_ms: f64, write: &mut impl FnMut(Field, FieldValue<'a>)) {
    write(Field::RateLimitLimit, number(decision.limit));
    write(Field::RateLimitRemaining, number(decision.remaining));
    write(Field::RateLimitReset, FieldValue::Number(reset_seconds(decision, now_ms)));
}

#[inline]
fn write_legacy<'a>(decision: &Decision, write: &mut impl FnMut(Field, FieldValue<'a>)) {
    write(Field::XRateLimitLimit, number(decision.limit));
    write(Field::XRateLimitRemaining, number(decision.remaining));
    write(Field::XRateLimitReset, FieldValue::Number(ceil_ms(reset_at_ms(decision) / 1_000.0)));
}

/// The fields that tell how long to wait.
#[inline]
fn write_wait<'a>(wait_ms: u64, in_ms: bool, write: &mut impl FnMut(Field, FieldValue<'a>)) {
    write(Field::RetryAfter, number(wait_ms.div_ceil(1_000).max(1)));
    if in_ms {
        write(Field::RetryAfterMs, number(wait_ms.max(1)));
    }
}

#[inline]
#[allow(clippy::cast_precision_loss)] // milliseconds of an epoch are far below 2^53
fn reset_at_ms(decision: &Decision) -> f64 {
    decision.reset_at_ms as f64
}

#[inline]
fn reset_seconds(decision: &Decision, now_ms: f64) -> i64 {
    ceil_ms((reset_at_ms(decision) - now_ms) / 1_000.0).max(0)
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
