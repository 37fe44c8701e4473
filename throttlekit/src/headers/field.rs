//! One header field: its name and its value.

use std::fmt;

use super::Headers;
use super::joint::Listed;

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
    XRateLimitLimitRequests,
    XRateLimitRemainingRequests,
    XRateLimitResetRequests,
    XRateLimitLimitTokens,
    XRateLimitRemainingTokens,
    XRateLimitResetTokens,
    RetryAfter,
    RetryAfterMs,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 16;

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
            Self::XRateLimitLimitRequests => "x-ratelimit-limit-requests",
            Self::XRateLimitRemainingRequests => "x-ratelimit-remaining-requests",
            Self::XRateLimitResetRequests => "x-ratelimit-reset-requests",
            Self::XRateLimitLimitTokens => "x-ratelimit-limit-tokens",
            Self::XRateLimitRemainingTokens => "x-ratelimit-remaining-tokens",
            Self::XRateLimitResetTokens => "x-ratelimit-reset-tokens",
            Self::RetryAfter => "Retry-After",
            Self::RetryAfterMs => "retry-after-ms",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of a header field. `Display` writes it, without allocation; it is always printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// The value of `RateLimit` for several policies.
    States(Listed<'a>),
    /// The value of `RateLimit-Policy` for several policies.
    Policies(Listed<'a>),
    /// A span of time, as `x-ratelimit-reset-requests` shows it: `0s`, `20ms`, `1.5s`, `6m0s`, `23h47m36.648s`.
    Span {
        /// Its length in milliseconds.
        ms: u64,
    },
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => write!(f, "{number}"),
            Self::State { policy, remaining, reset_seconds } => write!(f, "{policy};r={remaining};t={reset_seconds}"),
            Self::Policy { policy, quota, window_seconds: Some(window) } => write!(f, "{policy};q={quota};w={window}"),
            Self::Policy { policy, quota, window_seconds: None } => write!(f, "{policy};q={quota}"),
            Self::States(listed) => listed.write(f, Headers::state),
            Self::Policies(listed) => listed.write(f, |headers, decision, _| headers.quota_policy(decision)),
            Self::Span { ms } => write_span(f, ms),
        }
    }
}

/// Hours, minutes and seconds with at most three decimals, from the largest that is not 0; below a second, milliseconds.
fn write_span(f: &mut fmt::Formatter<'_>, ms: u64) -> fmt::Result {
    if (1..1_000).contains(&ms) {
        return write!(f, "{ms}ms");
    }
    let (minutes, ms) = (ms / 60_000, ms % 60_000);
    if minutes >= 60 {
        write!(f, "{}h", minutes / 60)?;
    }
    if minutes > 0 {
        write!(f, "{}m", minutes % 60)?;
    }
    write!(f, "{}", ms / 1_000)?;
    match ms % 1_000 {
        0 => {}
        fraction if fraction % 100 == 0 => write!(f, ".{}", fraction / 100)?,
        fraction if fraction % 10 == 0 => write!(f, ".{:02}", fraction / 10)?,
        fraction => write!(f, ".{fraction:03}")?,
    }
    f.write_str("s")
}
