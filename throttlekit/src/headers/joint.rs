//! The header fields of several limits on one request.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use super::{Field, FieldValue, HeaderFamily, Headers, Unit};
use crate::decision::Decision;

/// Which of several decisions on one request matters most to the client; the first of those that matter alike. `None` if
/// there is none.
///
/// That is the denial with the longest wait, or, if all allow, the decision that has the smallest share left: `remaining`
/// of `limit`.
///
/// ```
/// use throttlekit::Decision;
/// use throttlekit::headers::binding;
///
/// let full = Decision { allowed: true, limit: 1_000, remaining: 900, reset_at_ms: 0, retry_after_ms: 0 };
/// let scarce = Decision { limit: 10, remaining: 2, ..full };
/// let denied = Decision { allowed: false, retry_after_ms: 400, ..full };
/// assert_eq!(binding(&[full, scarce]), Some(1));
/// assert_eq!(binding(&[full, scarce, denied]), Some(2));
/// ```
pub fn binding<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> Option<usize> {
    // `min_by` keeps the first of equals.
    decisions.into_iter().enumerate().min_by(|(_, one), (_, other)| urgency(one, other)).map(|(index, _)| index)
}

/// What matters more is less.
fn urgency(one: &Decision, other: &Decision) -> Ordering {
    one.allowed.cmp(&other.allowed).then_with(|| {
        if !one.allowed {
            return Reverse(one.retry_after_ms).cmp(&Reverse(other.retry_after_ms));
        }
        // Fractions are compared by cross multiplication, which is exact in twice the width. A limit of 0 has nothing left.
        let part = |of: &Decision, by: &Decision| u128::from(of.remaining) * u128::from(by.limit.max(1));
        part(one, other).cmp(&part(other, one))
    })
}

/// Calls `write` with each field of one response that several limits decided about, at `now_ms` by the clock that made
/// the decisions.
///
/// What each limit shows is as [`Headers::for_each`] has it, and so is the order of the fields. A family is written about
/// the limits whose headers are in it, and that have a [limit to show](Decision::has_limit):
///
/// - the structured family lists all of them, the [`binding`] one first, the others in their order;
/// - the draft and the legacy family show the binding one;
/// - the family `OpenAi` shows, for each [`Unit`], the binding one of those that count it.
///
/// `Retry-After` is the longest wait of those that deny.
///
/// ```
/// use throttlekit::Decision;
/// use throttlekit::headers::{HeaderFamily, Headers, for_each_joint};
///
/// let minute = Headers::new(HeaderFamily::Structured).policy("minute");
/// let day = Headers::new(HeaderFamily::Structured).policy("day");
/// let much = Decision { allowed: true, limit: 60, remaining: 59, reset_at_ms: 1_000, retry_after_ms: 0 };
/// let little = Decision { limit: 1_000, remaining: 7, ..much };
/// let mut lines = Vec::new();
/// for_each_joint(&[(&minute, much), (&day, little)], 0.0, |field, value| lines.push(format!("{field}: {value}")));
/// assert_eq!(lines, [
///     r#"RateLimit: "day";r=7;t=1, "minute";r=59;t=1"#,
///     r#"RateLimit-Policy: "day";q=1000, "minute";q=60"#,
/// ]);
/// ```
pub fn for_each_joint<'a>(
    limits: &'a [(&'a Headers, Decision)],
    now_ms: f64,
    mut write: impl FnMut(Field, FieldValue<'a>),
) {
    let shown = |family| move |(headers, decision): &(&Headers, Decision)| headers.shows(family, decision);
    if let Some((_, (_, decision))) = first_of(limits, shown(HeaderFamily::Draft)) {
        super::write_draft(decision, now_ms, &mut write);
    }
    let structured = shown(HeaderFamily::Structured);
    if let Some((first, (headers, decision))) = first_of(limits, structured) {
        if limits.iter().filter(|limit| structured(limit)).count() == 1 {
            headers.write_structured(decision, now_ms, &mut write);
        } else {
            let listed = Listed { limits, first, now_ms };
            write(Field::RateLimit, FieldValue::States(listed));
            write(Field::RateLimitPolicy, FieldValue::Policies(listed));
        }
    }
    if let Some((_, (_, decision))) = first_of(limits, shown(HeaderFamily::Legacy)) {
        super::write_legacy(decision, &mut write);
    }
    for unit in [Unit::Requests, Unit::Tokens] {
        let counts = |limit: &(&Headers, Decision)| limit.0.unit == unit && shown(HeaderFamily::OpenAi)(limit);
        if let Some((_, (headers, decision))) = first_of(limits, counts) {
            headers.write_openai(decision, now_ms, &mut write);
        }
    }
    let denials = || limits.iter().filter(|(headers, decision)| !decision.allowed && !headers.set.is_none());
    if let Some(wait_ms) = denials().map(|(_, decision)| decision.retry_after_ms).max() {
        let in_ms = denials().any(|(headers, _)| headers.set.contains(HeaderFamily::OpenAi));
        super::write_wait(wait_ms, in_ms, &mut write);
    }
}

/// The binding one of those that are `shown`, and where it is.
fn first_of<'a>(
    limits: &'a [(&'a Headers, Decision)],
    shown: impl Fn(&(&Headers, Decision)) -> bool,
) -> Option<(usize, &'a (&'a Headers, Decision))> {
    let limits = limits.iter().enumerate().filter(|(_, limit)| shown(limit));
    limits.min_by(|(_, (_, one)), (_, (_, other))| urgency(one, other))
}

/// Several policies in a structured field. `Display` of the [value](FieldValue) writes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listed<'a> {
    limits: &'a [(&'a Headers, Decision)],
    first: usize,
    now_ms: f64,
}

impl<'a> Listed<'a> {
    /// Writes what `value` makes of each policy, the binding one first.
    pub(super) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        value: impl Fn(&'a Headers, &Decision, f64) -> FieldValue<'a>,
    ) -> fmt::Result {
        let others = self.limits.iter().enumerate().filter(|(index, _)| *index != self.first).map(|(_, limit)| limit);
        let shown = self.limits.get(self.first).into_iter().chain(others);
        let shown = shown.filter(|(headers, decision)| headers.shows(HeaderFamily::Structured, decision));
        for (index, (headers, decision)) in shown.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", value(headers, decision, self.now_ms))?;
        }
        Ok(())
    }
}
