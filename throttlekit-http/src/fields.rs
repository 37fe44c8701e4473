//! The texts of header fields, with few allocations.

use std::fmt::Write as _;

use arrayvec::{ArrayString, ArrayVec};
use bytes::Bytes;
use throttlekit::Decision;
use throttlekit::headers::{self, Field, FieldValue, HeaderFamily, HeaderSet, Headers};

/// Four digits for each number below this are in the program, so that most values need no memory of their own.
const PREPARED: usize = 10_000;

static DIGITS: &str = match std::str::from_utf8(&DIGIT_BYTES) {
    Ok(digits) => digits,
    Err(_) => panic!("digits are ASCII"),
};

static DIGIT_BYTES: [u8; 4 * PREPARED] = digits();

/// The text of a header field, which is a legal value of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldText {
    /// Part of the program.
    Static(&'static str),
    /// Made for this response, or shared by all of a policy.
    Shared(Bytes),
}

impl FieldText {
    /// A number, without allocation if it is below 10,000.
    #[inline]
    fn number(number: i64) -> Self {
        small_number(number).map_or_else(|| Self::Shared(large_number(number)), Self::Static)
    }

    fn written(value: FieldValue<'_>) -> Self {
        match value {
            FieldValue::Number(number) => Self::number(number),
            value => Self::Shared(Bytes::from(value.to_string())),
        }
    }
}

/// Makes the function `put` of a framework's [`Door`](crate::Door), of the types in its module of header fields.
#[doc(hidden)]
#[macro_export]
macro_rules! put_field {
    ($($header:ident)::+) => {
        /// Sets the field whose name is at `name` of `FIELD_NAMES`.
        #[inline]
        pub(crate) fn put(
            map: &mut $($header)::+::HeaderMap,
            name: usize,
            text: $crate::FieldText,
            present: $crate::Present,
        ) {
            use $($header)::+::{HeaderName, HeaderValue};
            // Constants: a copy of one costs less than the clone of a variable.
            let name = $crate::put_field!(@name name; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            if present == $crate::Present::Keep && map.contains_key(&name) {
                return;
            }
            let value = match text {
                $crate::FieldText::Static(text) => HeaderValue::from_static(text),
                $crate::FieldText::Shared(text) => match HeaderValue::from_maybe_shared(text) {
                    Ok(value) => value,
                    Err(_) => return,
                },
            };
            map.insert(name, value);
        }
    };
    (@name $place:expr; $($at:literal)*) => {{
        const { assert!($crate::FIELD_NAMES.len() == [$($at),*].len(), "each name has its place") };
        match $place {
            $($at => const { HeaderName::from_static($crate::FIELD_NAMES[$at]) },)*
            _ => return,
        }
    }};
}

#[allow(clippy::cast_possible_truncation)] // a digit is below 10
#[allow(clippy::large_stack_arrays)] // the compiler's stack: nothing calls it at run time
const fn digits() -> [u8; 4 * PREPARED] {
    let mut digits = [0; 4 * PREPARED];
    let mut number = 0;
    while number < PREPARED {
        digits[4 * number] = b'0' + (number / 1_000) as u8;
        digits[4 * number + 1] = b'0' + (number / 100 % 10) as u8;
        digits[4 * number + 2] = b'0' + (number / 10 % 10) as u8;
        digits[4 * number + 3] = b'0' + (number % 10) as u8;
        number += 1;
    }
    digits
}

/// The names of all fields in lower case, for tables of names in a framework's own type.
pub const FIELD_NAMES: [&str; Field::COUNT] = [
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "retry-after",
    "retry-after-ms",
];

/// The text of a field that is put once all are made.
enum Later {
    Ready(FieldText),
    /// From where to where it is in the text that they share.
    Span(usize, usize),
}

/// Makes the texts of one policy's header fields.
#[derive(Clone, Debug)]
pub(crate) struct FieldTexts {
    headers: Headers,
    /// How many families the fields belong to.
    families: usize,
    /// The text of the limit as it is usually shown.
    limit: (u64, Bytes),
}

impl FieldTexts {
    /// Texts for a policy whose limit is usually `limit`.
    pub(crate) fn new(headers: Headers, limit: u64) -> Self {
        let set = headers.set();
        let families = HeaderFamily::ALL.into_iter().filter(|family| set.contains(*family)).count();
        Self { headers, families, limit: (limit, Bytes::from(limit.to_string())) }
    }

    /// Which fields are written.
    #[inline]
    pub(crate) fn set(&self) -> HeaderSet {
        self.headers.set()
    }

    /// How many fields there may be at most, if they are more than an empty map has room for when it first grows.
    pub(crate) fn room(&self) -> Option<usize> {
        (self.families > 1).then_some(3 * self.families)
    }

    /// The numbers of `decision` at `now_ms` of the clock that decided, in the order of the draft family; `None` if others are
    /// written or none.
    #[inline]
    pub(crate) fn draft(&self, decision: &Decision, now_ms: f64) -> Option<[i64; 3]> {
        if self.headers.set() != HeaderSet::from(HeaderFamily::Draft) || !decision.allowed || !decision.has_limit() {
            return None;
        }
        let mut numbers = [0; 3];
        self.headers.for_each(decision, now_ms, |field, value| {
            if let (Some(place), FieldValue::Number(number)) = (place(field), value) {
                if let Some(slot) = numbers.get_mut(place) {
                    *slot = number;
                }
            }
        });
        Some(numbers)
    }

    /// Calls `put` with each of the [`draft`](Self::draft) fields.
    #[inline]
    pub(crate) fn for_each_draft(numbers: [i64; 3], mut put: impl FnMut(usize, FieldText)) {
        for (name, number) in numbers.into_iter().enumerate() {
            put(name, FieldText::number(number));
        }
    }

    /// Calls `put` with each field of `decision` at `now_ms` of the clock that decided: the place of its name in
    /// [`FIELD_NAMES`] and its text, which is a legal value of a header field.
    ///
    /// Numbers below 10,000 and the usual limit take no allocation; of the others one or two, or all together, take one.
    pub(crate) fn for_each(&self, decision: &Decision, now_ms: f64, mut put: impl FnMut(usize, FieldText)) {
        let mut text = Text::default();
        // From the first one that has to wait for the others on, so that they keep their order.
        let mut later: ArrayVec<(usize, Later), { Field::COUNT }> = ArrayVec::new();
        self.headers.for_each(decision, now_ms, |field, value| {
            let Some(name) = place(field) else { return };
            let waits = match self.ready(field, decision, value) {
                Some(ready) if later.is_empty() => return put(name, ready),
                Some(ready) => Later::Ready(ready),
                None => {
                    let start = text.len();
                    if write!(text, "{value}").is_ok() {
                        Later::Span(start, text.len())
                    } else {
                        // A very long policy name: such a value gets memory of its own.
                        text.truncate(start);
                        Later::Ready(FieldText::Shared(Bytes::from(value.to_string())))
                    }
                }
            };
            // There is room: each field is there once.
            let _ = later.try_push((name, waits));
        });
        if later.is_empty() {
            return;
        }
        let shared = if text.is_empty() { Bytes::new() } else { Bytes::from_owner(Owned(text)) };
        for (name, waits) in later {
            put(
                name,
                match waits {
                    Later::Ready(ready) => ready,
                    Later::Span(start, end) => FieldText::Shared(shared.slice(start..end)),
                },
            );
        }
    }

    /// As [`for_each`](Self::for_each), of several policies that decided together.
    pub(crate) fn for_each_joint(limits: &[(&Self, Decision)], now_ms: f64, mut put: impl FnMut(usize, FieldText)) {
        let limits: Vec<_> = limits.iter().map(|(texts, decision)| (&texts.headers, *decision)).collect();
        headers::for_each_joint(&limits, now_ms, |field, value| {
            let Some(name) = place(field) else { return };
            put(name, FieldText::written(value));
        });
    }

    /// A text that shares no memory with those of the same response.
    #[inline]
    fn ready(&self, field: Field, decision: &Decision, value: FieldValue<'_>) -> Option<FieldText> {
        self.prepared(field, decision, value).or_else(|| match value {
            // Of one family two at most: memory of their own costs less than sharing it.
            FieldValue::Number(number) if self.families == 1 => Some(FieldText::Shared(large_number(number))),
            _ => None,
        })
    }

    /// A text that needs no memory of its own.
    #[inline]
    fn prepared(&self, field: Field, decision: &Decision, value: FieldValue<'_>) -> Option<FieldText> {
        let FieldValue::Number(number) = value else { return None };
        if let Some(small) = small_number(number) {
            return Some(FieldText::Static(small));
        }
        let is_limit = matches!(
            field,
            Field::RateLimitLimit
                | Field::XRateLimitLimit
                | Field::XRateLimitLimitRequests
                | Field::XRateLimitLimitTokens
        );
        (is_limit && self.limit.0 == decision.limit).then(|| FieldText::Shared(self.limit.1.clone()))
    }
}

/// A small number's text, which needs no allocation.
#[inline]
fn small_number(number: i64) -> Option<&'static str> {
    let number = usize::try_from(number).ok().filter(|number| *number < PREPARED)?;
    let skipped = match number {
        1_000.. => 0,
        100.. => 1,
        10.. => 2,
        _ => 3,
    };
    DIGITS.get(4 * number + skipped..4 * number + 4)
}

/// A number's text with one allocation.
fn large_number(number: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// The place of the field's name; `None` for a field that this version does not know.
#[inline]
fn place(field: Field) -> Option<usize> {
    Some(match field {
        Field::RateLimitLimit => 0,
        Field::RateLimitRemaining => 1,
        Field::RateLimitReset => 2,
        Field::RateLimit => 3,
        Field::RateLimitPolicy => 4,
        Field::XRateLimitLimit => 5,
        Field::XRateLimitRemaining => 6,
        Field::XRateLimitReset => 7,
        Field::XRateLimitLimitRequests => 8,
        Field::XRateLimitRemainingRequests => 9,
        Field::XRateLimitResetRequests => 10,
        Field::XRateLimitLimitTokens => 11,
        Field::XRateLimitRemainingTokens => 12,
        Field::XRateLimitResetTokens => 13,
        Field::RetryAfter => 14,
        Field::RetryAfterMs => 15,
        _ => return None,
    })
}

/// The texts of the fields of one response, one after the other. Room for all with a policy name of usual length.
type Text = ArrayString<224>;

/// A text that `Bytes` can share.
struct Owned(Text);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_its_place() {
        let fields = [
            Field::RateLimitLimit,
            Field::RateLimitRemaining,
            Field::RateLimitReset,
            Field::RateLimit,
            Field::RateLimitPolicy,
            Field::XRateLimitLimit,
            Field::XRateLimitRemaining,
            Field::XRateLimitReset,
            Field::XRateLimitLimitRequests,
            Field::XRateLimitRemainingRequests,
            Field::XRateLimitResetRequests,
            Field::XRateLimitLimitTokens,
            Field::XRateLimitRemainingTokens,
            Field::XRateLimitResetTokens,
            Field::RetryAfter,
            Field::RetryAfterMs,
        ];
        for field in fields {
            let name = place(field).map(|place| FIELD_NAMES[place]);
            assert_eq!(name, Some(field.as_str().to_ascii_lowercase().as_str()));
        }
    }
}
