//! A bucket of tokens that refills at a steady rate.
//!
//! With `r = refillPerSec / 1000` the level at `now` is `min(capacity, tokens + (now - last) * r)`. A check of cost `c`
//! passes if and only if the level is at least `c`, and takes `c` away. A fresh key has a full bucket.
//!
//! In any span of length `t` at most `capacity + t * r` units pass. While a clock is back nothing refills, but an admission
//! then moves `last` back, so the span is credited a second time once the clock has recovered: at most `r` times the
//! step back, and never more than the capacity.
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{Strategy, TokenBucket};
//!
//! let bucket = TokenBucket::builder().capacity(3.0).refill_per_sec(1.0).build()?;
//! let table = Table::new();
//! assert_eq!(table.apply("k", 0.0, &bucket, &3.0)?.remaining, 0);
//! assert_eq!(table.apply("k", 500.0, &bucket, &1.0)?.retry_after_ms, 500);
//! assert!(table.apply("k", 1_000.0, &bucket, &1.0)?.allowed);
//! assert_eq!((bucket.name(), bucket.limit(), bucket.ttl_ms()), ("tokenBucket", 3, 3_000.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::decision::{Decision, Forecast, ceil_ms, ceil_wait, floor_units};
use crate::error::BuildError;
use crate::math::{MAX, ceil_f64, floor_f64};
use crate::program::{Program, Project, Refund, State, Step, Strategy};
use crate::store::memory::{AsPair, Pair};
use crate::strategy::options::positive;
use crate::strategy::text::{Value, read_object, write_number};
use crate::strategy::vanishing;
use crate::twin::{Twin, readable};

/// A bucket that refills steadily; see the [module](self) for formulas and bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenBucket {
    capacity: f64,
    refill_per_ms: f64,
    ttl_ms: f64,
}

impl TokenBucket {
    /// A builder without options set.
    pub fn builder() -> TokenBucketBuilder {
        TokenBucketBuilder::default()
    }

    /// The tokens there are at `now`.
    #[inline]
    fn tokens(&self, state: Option<&Level>, now: f64) -> f64 {
        let Some(&Level { tokens, last }) = state else { return self.capacity };
        let elapsed = if now > last { now - last } else { 0.0 };
        self.capacity.min(tokens + elapsed * self.refill_per_ms)
    }

    /// When a bucket with `tokens` is full.
    #[inline]
    fn full_at(&self, tokens: f64, now: f64) -> i64 {
        ceil_ms(now + ceil_f64((self.capacity - tokens) / self.refill_per_ms))
    }

    /// How long to wait for `missing` more tokens. They may be too few to take any time, but a denial waits.
    #[inline]
    fn wait(&self, missing: f64) -> u64 {
        ceil_wait(missing / self.refill_per_ms).max(1)
    }
}

/// A level and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Tokens in the bucket.
    pub tokens: f64,
    /// The instant of that level, in milliseconds since the Unix epoch.
    pub last: f64,
}

impl Level {
    /// Fuller than any bucket at any time: the same as no state.
    const NONE: Self = Self { tokens: f64::INFINITY, last: f64::INFINITY };
}

impl State for Level {
    type Layout = Pair;

    fn encode(&self) -> String {
        if *self == Self::NONE {
            return "{}".to_owned();
        }
        format!(r#"{{"tokens":{},"last":{}}}"#, write_number(self.tokens), write_number(self.last))
    }

    /// A state without one of its members counts as a full bucket.
    fn decode(text: &str) -> Option<Self> {
        let (mut tokens, mut last) = (None, None);
        read_object(text, |name, value| match name {
            "tokens" => tokens = Some(value),
            "last" => last = Some(value),
            _ => {}
        })?;
        let number = |value: Value| value.number();
        match (tokens, last) {
            (Some(tokens), Some(last)) => Some(Self { tokens: number(tokens)?, last: number(last)? }),
            _ => Some(Self::NONE),
        }
    }
}

impl AsPair for Level {
    #[inline]
    fn to_words(self) -> [u64; 2] {
        [self.tokens.to_bits(), self.last.to_bits()]
    }

    #[inline]
    fn from_words([tokens, last]: [u64; 2]) -> Self {
        Self { tokens: f64::from_bits(tokens), last: f64::from_bits(last) }
    }
}

/// What a step decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The level after the check.
    tokens: f64,
    /// Tokens that were missing; above 0 if and only if denied.
    missing: f64,
}

impl Program for TokenBucket {
    type State = Level;
    type Change = Level;
    type Request = f64;
    type Outcome = Verdict;
    type Reply = Decision;

    #[inline]
    fn step(&self, state: Option<&Level>, now_ms: f64, cost: &f64) -> Step<Level, Verdict> {
        let tokens = self.tokens(state, now_ms);
        let left = tokens - cost;
        if left >= tokens {
            return Step::Fail(vanishing(*cost));
        }
        if tokens < *cost {
            return Step::Keep(Verdict { tokens, missing: cost - tokens });
        }
        Step::Write {
            change: Level { tokens: left, last: now_ms },
            ttl_ms: self.ttl_ms,
            outcome: Verdict { tokens: left, missing: 0.0 },
        }
    }

    #[inline]
    fn reply(&self, now_ms: f64, _cost: &f64, outcome: Verdict) -> Decision {
        let allowed = outcome.missing <= 0.0;
        Decision {
            allowed,
            limit: self.limit(),
            remaining: floor_units(outcome.tokens),
            reset_at_ms: self.full_at(outcome.tokens, now_ms),
            retry_after_ms: if allowed { 0 } else { self.wait(outcome.missing) },
        }
    }

    #[inline]
    fn is_ahead(&self, level: &Level, now_ms: f64) -> bool {
        level.last > now_ms
    }

    fn twin(&self) -> Option<Twin<Self>> {
        let twin = Twin::new(
            include_str!("token_bucket.lua"),
            |bucket: &Self| [bucket.capacity, bucket.refill_per_ms, bucket.ttl_ms].into(),
            |cost| [*cost].into(),
            |_, raw| match raw.list() {
                // A field that is missing or is no number makes the bucket full.
                Some([tokens, last]) => {
                    Ok(tokens.number().zip(last.number()).map(|(tokens, last)| Level { tokens, last }))
                }
                _ => readable(None),
            },
        );
        Some(twin.leasing())
    }
}

impl Strategy for TokenBucket {
    fn name(&self) -> &'static str {
        "tokenBucket"
    }

    /// The capacity.
    #[inline]
    fn limit(&self) -> u64 {
        floor_units(self.capacity)
    }

    /// The time in which an empty bucket fills.
    fn window_ms(&self) -> Option<f64> {
        Some(self.ttl_ms)
    }

    fn ttl_ms(&self) -> f64 {
        self.ttl_ms
    }

    const REFUNDS: bool = true;

    /// Puts the tokens back, up to the capacity, but for those that have come back since they were taken.
    fn refund(&self, state: Option<&Level>, now_ms: f64, refund: &Refund) -> Step<Level, Verdict> {
        let tokens = self.tokens(state, now_ms);
        let verdict = |tokens| Verdict { tokens, missing: 0.0 };
        let due = refund.comes_back_in(now_ms);
        if tokens >= self.capacity || due <= 0.0 {
            return Step::Keep(verdict(tokens));
        }
        let tokens = tokens + refund.units.min(due * self.refill_per_ms);
        if tokens >= self.capacity {
            return Step::Remove(verdict(self.capacity));
        }
        Step::Write { change: Level { tokens, last: now_ms }, ttl_ms: self.ttl_ms, outcome: verdict(tokens) }
    }
}

impl Project for TokenBucket {
    fn peek(&self, state: Option<&Level>, now_ms: f64) -> Decision {
        let tokens = self.tokens(state, now_ms);
        self.reply(now_ms, &1.0, Verdict { tokens, missing: (1.0 - tokens).max(0.0) })
    }

    fn forecast(&self, state: Option<&Level>, now_ms: f64, cost: f64) -> Forecast {
        let tokens = self.tokens(state, now_ms);
        let full = tokens >= self.capacity;
        let next = now_ms + ceil_f64((floor_f64(tokens) + 1.0 - tokens) / self.refill_per_ms);
        Forecast {
            spendable_now: floor_units(tokens / cost),
            next_replenish_at_ms: ceil_ms(if full { now_ms } else { next }),
            full_at_ms: if full { ceil_ms(now_ms) } else { self.full_at(tokens, now_ms) },
        }
    }
}

/// Builds a [`TokenBucket`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use = "a builder does nothing until `build`"]
pub struct TokenBucketBuilder {
    capacity: Option<f64>,
    refill_per_sec: Option<f64>,
}

impl TokenBucketBuilder {
    /// The most tokens that a bucket holds, above 0; may be fractional. Required.
    pub fn capacity(mut self, capacity: f64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Tokens per second, above 0; may be fractional. Required.
    pub fn refill_per_sec(mut self, refill_per_sec: f64) -> Self {
        self.refill_per_sec = Some(refill_per_sec);
        self
    }

    /// The strategy.
    ///
    /// # Errors
    ///
    /// An option that is missing or out of range; neither may be above 2^53 - 1, nor the milliseconds in which an
    /// empty bucket fills.
    pub fn build(self) -> Result<TokenBucket, BuildError> {
        let capacity = positive("tokenBucket.capacity", self.capacity)?;
        let refill_per_sec = positive("tokenBucket.refillPerSec", self.refill_per_sec)?;
        let refill_per_ms = refill_per_sec / 1_000.0;
        let ttl_ms = ceil_f64(capacity / refill_per_ms).max(1.0);
        if ttl_ms > MAX {
            let allowed = format!("must fill the capacity of {capacity} in at most {MAX} ms");
            return Err(BuildError::new("tokenBucket.refillPerSec", refill_per_sec, allowed));
        }
        Ok(TokenBucket { capacity, refill_per_ms, ttl_ms })
    }
}
