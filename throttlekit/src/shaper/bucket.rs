//! The leaky bucket, as a program.

use std::time::Duration;

use crate::decision::ceil_wait;
use crate::duration::millis;
use crate::error::{BuildError, Error};
use crate::math::{MAX, ceil_f64};
use crate::program::{Program, State, Step};
use crate::store::memory::{AsInstant, Instant};
use crate::strategy::options::positive;
use crate::strategy::text::{read_number, write_number};
use crate::twin::{Twin, readable};

/// The least interval between departures in milliseconds. At today's epoch the state resolves 2^-12 ms; below this, what
/// is lost to rounding would show in the rate.
const LEAST_INTERVAL_MS: f64 = 0.01;

/// A queue that leaks at a steady rate: each unit of work departs `T = 1000 / rate_per_sec` ms after the one before it.
///
/// The state is one number, the instant `next` at which the next unit may depart. For a cost at `now`:
///
/// ```text
/// departs = max(next or now, now)        wait = departs - now
/// wait > max_queue_ms:  refused, delay = ceil(wait - max_queue_ms), nothing changes
/// otherwise:            next = departs + T * cost, delay = ceil(wait), kept for max(1, ceil(next - now)) ms
/// ```
///
/// It is a [`Program`]; [`Shaper`](crate::Shaper) runs it.
///
/// ```
/// use std::time::Duration;
/// use throttlekit::LeakyBucket;
///
/// let bucket = LeakyBucket::builder().rate_per_sec(5.0).max_queue(Duration::from_secs(2)).build()?;
/// assert_eq!((bucket.rate_per_sec(), bucket.max_queue_ms()), (5.0, 2_000.0));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakyBucket {
    rate_per_sec: f64,
    max_queue_ms: f64,
    /// Milliseconds for one unit.
    interval_ms: f64,
}

impl LeakyBucket {
    /// Starts without a rate and without a bound; both are required.
    pub fn builder() -> LeakyBucketBuilder {
        LeakyBucketBuilder::default()
    }

    /// Units per second.
    pub fn rate_per_sec(&self) -> f64 {
        self.rate_per_sec
    }

    /// The longest wait that is accepted, in milliseconds.
    pub fn max_queue_ms(&self) -> f64 {
        self.max_queue_ms
    }
}

/// Builds a [`LeakyBucket`].
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct LeakyBucketBuilder {
    rate_per_sec: Option<f64>,
    max_queue_ms: Option<f64>,
}

impl LeakyBucketBuilder {
    /// Units per second, may be fractional: above 0, at most 100000.
    pub fn rate_per_sec(mut self, rate: f64) -> Self {
        self.rate_per_sec = Some(rate);
        self
    }

    /// The longest wait to accept, in milliseconds: 0 to 2^53 - 1. With 0 only work that may depart at once is accepted.
    pub fn max_queue_ms(mut self, ms: f64) -> Self {
        self.max_queue_ms = Some(ms);
        self
    }

    /// The longest wait to accept.
    pub fn max_queue(self, span: Duration) -> Self {
        self.max_queue_ms(millis(span))
    }

    /// Validates the options.
    ///
    /// # Errors
    ///
    /// `leakyBucket.ratePerSec` if it is missing, not finite, not above 0, or gives an interval below 0.01 ms or above
    /// 2^53 - 1 ms; `leakyBucket.maxQueueMs` if it is missing, negative, not finite or above 2^53 - 1.
    pub fn build(self) -> Result<LeakyBucket, BuildError> {
        let rate_per_sec = positive("leakyBucket.ratePerSec", self.rate_per_sec)?;
        let max_queue_ms = self.max_queue_ms.ok_or_else(|| BuildError::missing("leakyBucket.maxQueueMs"))?;
        let interval_ms = 1_000.0 / rate_per_sec;
        if interval_ms < LEAST_INTERVAL_MS {
            return Err(refused_rate(rate_per_sec, "must be at most 100000: steps below 0.01 ms are lost to rounding"));
        }
        if interval_ms > MAX {
            return Err(refused_rate(rate_per_sec, "must leave at most 9007199254740991 ms between two units"));
        }
        if !(0.0..=MAX).contains(&max_queue_ms) {
            return Err(BuildError::new("leakyBucket.maxQueueMs", max_queue_ms, "must be from 0 to 9007199254740991"));
        }
        Ok(LeakyBucket { rate_per_sec, max_queue_ms, interval_ms })
    }
}

fn refused_rate(rate: f64, allowed: &'static str) -> BuildError {
    BuildError::new("leakyBucket.ratePerSec", rate, allowed)
}

/// The state of a [`LeakyBucket`]: when the next unit may depart, in milliseconds since the Unix epoch.
///
/// In text a bare number, such as `1700000000142.8572`. An instant at or before now equals no state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Departure(f64);

impl AsInstant for Departure {
    #[inline]
    fn to_instant_ms(self) -> f64 {
        self.0
    }

    #[inline]
    fn from_instant_ms(ms: f64) -> Self {
        Self(ms)
    }
}

impl State for Departure {
    type Layout = Instant;

    fn encode(&self) -> String {
        write_number(self.0)
    }

    fn decode(text: &str) -> Option<Self> {
        read_number(text).map(Self)
    }
}

/// What a [`LeakyBucket`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reservation {
    /// Whether the departure is taken.
    pub accepted: bool,
    /// If accepted: how long to wait before starting, in milliseconds. Otherwise: after how many milliseconds the wait
    /// will have shrunk to the bound.
    pub delay_ms: u64,
}

impl Program for LeakyBucket {
    type State = Departure;
    type Change = Departure;
    type Request = f64;
    type Outcome = Reservation;
    type Reply = Reservation;

    #[inline]
    fn step(&self, state: Option<&Departure>, now_ms: f64, cost: &f64) -> Step<Departure, Reservation> {
        let departs = state.map_or(now_ms, |next| next.0.max(now_ms));
        let next = departs + self.interval_ms * cost;
        if next == departs {
            return Step::Fail(vanishing(*cost));
        }
        let wait = departs - now_ms;
        if wait > self.max_queue_ms {
            return Step::Keep(Reservation { accepted: false, delay_ms: ceil_wait(wait - self.max_queue_ms) });
        }
        Step::Write {
            change: Departure(next),
            ttl_ms: ceil_f64(next - now_ms).max(1.0),
            outcome: Reservation { accepted: true, delay_ms: ceil_wait(wait) },
        }
    }

    #[inline]
    fn reply(&self, _now_ms: f64, _cost: &f64, outcome: Reservation) -> Reservation {
        outcome
    }

    fn twin(&self) -> Option<Twin<Self>> {
        Some(Twin::new(
            include_str!("leaky_bucket.lua"),
            |bucket| [bucket.interval_ms, bucket.max_queue_ms].into(),
            |cost| [*cost].into(),
            |_, raw| readable(raw.number().map(Departure)),
        ))
    }
}

#[cold]
fn vanishing(cost: f64) -> Error {
    Error::invalid_argument(format!("cost is {cost}: must be large enough to move the departure of this leaky bucket"))
}
