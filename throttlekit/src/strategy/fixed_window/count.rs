//! Counting in one window, however its bounds came about.

use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::program::{Program, Refund, State, Step};
use crate::store::memory::{AsPair, Pair};
use crate::strategy::text::{Value, read_object, write_number};
use crate::strategy::vanishing;
use crate::twin::{Numbers, Raw, Twin, readable};

/// What was admitted in one window. It counts only for the window with exactly this start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// The start of the window, in milliseconds since the Unix epoch.
    pub start: f64,
    /// Admitted units.
    pub count: f64,
}

impl State for Count {
    type Layout = Pair;

    fn encode(&self) -> String {
        format!(r#"{{"start":{},"count":{}}}"#, write_number(self.start), write_number(self.count))
    }

    fn decode(text: &str) -> Option<Self> {
        let (mut start, mut count) = (None, None);
        read_object(text, |name, value| match name {
            "start" => start = Some(value),
            "count" => count = Some(value),
            _ => {}
        })?;
        let number = |value: Option<Value>| value?.number();
        Some(Self { start: number(start)?, count: number(count)? })
    }
}

impl AsPair for Count {
    #[inline]
    fn to_words(self) -> [u64; 2] {
        [self.start.to_bits(), self.count.to_bits()]
    }

    #[inline]
    fn from_words([start, count]: [u64; 2]) -> Self {
        Self { start: f64::from_bits(start), count: f64::from_bits(count) }
    }
}

/// The window of an instant: from `start` up to, not including, `reset`.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: f64,
    pub(crate) reset: f64,
}

impl Span {
    /// What `state` says about this window.
    #[inline]
    fn count(self, state: Option<&Count>) -> f64 {
        match state {
            Some(state) if state.start == self.start => state.count,
            _ => 0.0,
        }
    }
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    allowed: bool,
    /// The count after the check.
    count: f64,
    reset: f64,
}

impl Verdict {
    #[inline]
    pub(crate) fn decision(self, limit: f64, now: f64) -> Decision {
        // A window shorter than the steps of `f64` may seem over already: a denial waits all the same.
        let wait = || ceil_wait(self.reset - now).max(1);
        Decision {
            allowed: self.allowed,
            limit: floor_units(limit),
            remaining: floor_units(limit - self.count),
            reset_at_ms: ceil_ms(self.reset),
            retry_after_ms: if self.allowed { 0 } else { wait() },
        }
    }
}

#[inline]
pub(crate) fn step(limit: f64, span: Span, state: Option<&Count>, now: f64, cost: f64) -> Step<Count, Verdict> {
    let count = span.count(state);
    let next = count + cost;
    if next <= count {
        return Step::Fail(vanishing(cost));
    }
    if next <= limit {
        Step::Write {
            change: Count { start: span.start, count: next },
            ttl_ms: (span.reset - now).max(1.0),
            outcome: Verdict { allowed: true, count: next, reset: span.reset },
        }
    } else {
        Step::Keep(Verdict { allowed: false, count, reset: span.reset })
    }
}

/// Takes units out of the count again, if they are in it. The window stays, so that clocks which lag find it.
pub(crate) fn refund(span: Span, state: Option<&Count>, now: f64, refund: &Refund) -> Step<Count, Verdict> {
    let count = span.count(state);
    let verdict = |count| Verdict { allowed: true, count, reset: span.reset };
    if count <= 0.0 || refund.of_another(ceil_ms(span.reset)) {
        return Step::Keep(verdict(count));
    }
    let count = (count - refund.units).max(0.0);
    Step::Write {
        change: Count { start: span.start, count },
        ttl_ms: (span.reset - now).max(1.0),
        outcome: verdict(count),
    }
}

pub(crate) fn peek(limit: f64, span: Span, state: Option<&Count>, now: f64) -> Decision {
    let count = span.count(state);
    Verdict { allowed: count + 1.0 <= limit, count, reset: span.reset }.decision(limit, now)
}

pub(crate) fn forecast(limit: f64, span: Span, state: Option<&Count>, cost: f64) -> Forecast {
    let reset = ceil_ms(span.reset);
    Forecast {
        spendable_now: floor_units((limit - span.count(state)) / cost),
        next_replenish_at_ms: reset,
        full_at_ms: reset,
    }
}

/// The twin of all that count in windows. `args` gives the limit and how the windows lie.
pub(crate) fn twin<P: Program<State = Count, Request = f64>>(args: fn(&P) -> Numbers) -> Twin<P> {
    Twin::new(
        include_str!("count.lua"),
        args,
        |cost| [*cost].into(),
        |_, raw| match raw.list() {
            Some([Raw::Nothing, Raw::Nothing]) => Ok(None),
            Some([start, count]) => {
                readable(start.number().zip(count.number()).map(|(start, count)| Count { start, count }))
            }
            _ => readable(None),
        },
    )
    .leasing()
}

/// The numbers of windows with a fixed length, for the twin.
pub(crate) fn fixed(limit: f64, period_ms: f64, anchor_ms: f64) -> Numbers {
    [limit, 4.0, period_ms, anchor_ms, 0.0].into()
}
