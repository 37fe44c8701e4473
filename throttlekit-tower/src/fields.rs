//! Header fields of a decision, with few allocations.

use std::fmt::Write as _;

use arrayvec::{ArrayString, ArrayVec};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use throttlekit::Decision;
use throttlekit::headers::{self, Field, FieldValue, HeaderFamily, Headers};
use throttlekit_http::Present;

static RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
static RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
static RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
static X_RATE_LIMIT_LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
static X_RATE_LIMIT_REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
static X_RATE_LIMIT_RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
static X_RATE_LIMIT_LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
static X_RATE_LIMIT_REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
static X_RATE_LIMIT_RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");
static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Three digits for each number below this are in the program, so that most values need no memory of their own.
const PREPARED: usize = 1_000;

static DIGITS: [u8; 3 * PREPARED] = digits();

#[allow(clippy::cast_possible_truncation)] // a digit is below 10
const fn digits() -> [u8; 3 * PREPARED] {
    let mut digits = [0; 3 * PREPARED];
    let mut number = 0;
    while number < PREPARED {
        digits[3 * number] = b'0' + (number / 100) as u8;
        digits[3 * number + 1] = b'0' + (number / 10 % 10) as u8;
        digits[3 * number + 2] = b'0' + (number % 10) as u8;
        number += 1;
    }
    digits
}

/// The fields of one policy.
#[derive(Clone, Debug)]
pub struct Fields {
    headers: Headers,
    /// The value of the limit as it is usually shown.
    limit: (u64, Option<HeaderValue>),
}

impl Fields {
    /// Fields for a policy whose limit is usually `limit`.
    pub(crate) fn new(headers: Headers, limit: u64) -> Self {
        Self { headers, limit: (limit, HeaderValue::try_from(limit.to_string()).ok()) }
    }

    /// Sets the fields of `decision` on `map`.
    ///
    /// An empty map takes two allocations, all values that are not prepared one together.
    pub(crate) fn write(&self, decision: &Decision, now_ms: f64, present: Present, map: &mut HeaderMap) {
        let set = self.headers.set();
        let families = HeaderFamily::ALL.into_iter().filter(|family| set.contains(*family)).count();
        if families > 1 {
            // More fields than an empty map has room for when it first grows.
            map.reserve(3 * families);
        }
        let mut text = Text::default();
        let mut spans: ArrayVec<(Field, usize, usize), { Field::COUNT }> = ArrayVec::new();
        self.headers.for_each(decision, now_ms, |field, value| {
            if let Some(value) = self.prepared(field, decision, value) {
                put(map, field, value, present);
                return;
            }
            if let (FieldValue::Number(number), 1) = (value, families) {
                // Two at most: memory of their own costs less than sharing it.
                if let Some(value) = large_number(number) {
                    put(map, field, value, present);
                }
                return;
            }
            let start = text.len();
            if write!(text, "{value}").is_ok() && spans.try_push((field, start, text.len())).is_ok() {
                return;
            }
            // A very long policy name: such a value gets memory of its own.
            text.truncate(start);
            if let Ok(value) = HeaderValue::try_from(value.to_string()) {
                put(map, field, value, present);
            }
        });
        if spans.is_empty() {
            return;
        }
        let shared = Bytes::from_owner(Owned(text));
        for (field, start, end) in spans {
            if let Ok(value) = HeaderValue::from_maybe_shared(shared.slice(start..end)) {
                put(map, field, value, present);
            }
        }
    }

    /// Sets the fields of several policies that decided together.
    pub(crate) fn write_joint(limits: &[(&Self, Decision)], now_ms: f64, present: Present, map: &mut HeaderMap) {
        let limits: Vec<_> = limits.iter().map(|(fields, decision)| (&fields.headers, *decision)).collect();
        headers::for_each_joint(&limits, now_ms, |field, value| {
            let value = small_number(value).or_else(|| HeaderValue::try_from(value.to_string()).ok());
            if let Some(value) = value {
                put(map, field, value, present);
            }
        });
    }

    /// A value that needs no memory of its own.
    #[inline]
    fn prepared(&self, field: Field, decision: &Decision, value: FieldValue<'_>) -> Option<HeaderValue> {
        let small = small_number(value);
        if small.is_none()
            && matches!(
                field,
                Field::RateLimitLimit
                    | Field::XRateLimitLimit
                    | Field::XRateLimitLimitRequests
                    | Field::XRateLimitLimitTokens
            )
        {
            return self.limit.1.clone().filter(|_| self.limit.0 == decision.limit);
        }
        small
    }
}

/// A small number's value, which needs no allocation.
#[inline]
fn small_number(value: FieldValue<'_>) -> Option<HeaderValue> {
    let FieldValue::Number(number) = value else { return None };
    let number = usize::try_from(number).ok().filter(|number| *number < PREPARED)?;
    let skipped = match number {
        100.. => 0,
        10.. => 1,
        _ => 2,
    };
    let digits = DIGITS.get(3 * number + skipped..3 * number + 3)?;
    HeaderValue::from_maybe_shared(Bytes::from_static(digits)).ok()
}

/// A number's value with one allocation: `HeaderValue::from` makes room for the longest number, and then has to share it.
fn large_number(number: i64) -> Option<HeaderValue> {
    // A sign and 19 digits.
    let mut text = ArrayString::<20>::new();
    write!(text, "{number}").ok()?;
    HeaderValue::from_str(&text).ok()
}

#[inline]
fn put(map: &mut HeaderMap, field: Field, value: HeaderValue, present: Present) {
    let Some(name) = name(field) else { return };
    if present == Present::Replace || !map.contains_key(name) {
        map.insert(name, value);
    }
}

/// `None` for a field that this version does not know.
#[inline]
fn name(field: Field) -> Option<&'static HeaderName> {
    Some(match field {
        Field::RateLimitLimit => &RATE_LIMIT_LIMIT,
        Field::RateLimitRemaining => &RATE_LIMIT_REMAINING,
        Field::RateLimitReset => &RATE_LIMIT_RESET,
        Field::RateLimit => &RATE_LIMIT,
        Field::RateLimitPolicy => &RATE_LIMIT_POLICY,
        Field::XRateLimitLimit => &X_RATE_LIMIT_LIMIT,
        Field::XRateLimitRemaining => &X_RATE_LIMIT_REMAINING,
        Field::XRateLimitReset => &X_RATE_LIMIT_RESET,
        Field::XRateLimitLimitRequests => &X_RATE_LIMIT_LIMIT_REQUESTS,
        Field::XRateLimitRemainingRequests => &X_RATE_LIMIT_REMAINING_REQUESTS,
        Field::XRateLimitResetRequests => &X_RATE_LIMIT_RESET_REQUESTS,
        Field::XRateLimitLimitTokens => &X_RATE_LIMIT_LIMIT_TOKENS,
        Field::XRateLimitRemainingTokens => &X_RATE_LIMIT_REMAINING_TOKENS,
        Field::XRateLimitResetTokens => &X_RATE_LIMIT_RESET_TOKENS,
        Field::RetryAfter => &RETRY_AFTER,
        Field::RetryAfterMs => &RETRY_AFTER_MS,
        _ => return None,
    })
}

/// The texts of the values of one response, one after the other. Room for all with a policy name of usual length.
type Text = ArrayString<224>;

/// A text that `Bytes` can share.
struct Owned(Text);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
