//! The shaper: delays work so that it departs at a steady rate.

mod bucket;
mod builder;

pub use bucket::{Departure, LeakyBucket, LeakyBucketBuilder, Reservation};
pub use builder::ShaperBuilder;

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::limiter::Forget;
use crate::run::Run;
use crate::runtime::Runtime;
use crate::store::memory::Table;
use crate::store::{Keyspace, Remote};
use crate::strategy::validate_cost;

/// Delays work of each key by a [`LeakyBucket`].
///
/// [`reserve`](Self::reserve) says how long to wait; [`schedule`](Self::schedule) also waits, and needs a [`Runtime`].
/// Reservations of one key depart in the order in which they were made. In memory `reserve` is a plain call, over a
/// [`Remote`] store it is `async`.
///
/// ```
/// use throttlekit::{LeakyBucket, ManualClock, Shaper};
///
/// let bucket = LeakyBucket::builder().rate_per_sec(10.0).max_queue_ms(150.0).build()?;
/// let shaper = Shaper::builder(bucket).clock(ManualClock::new(0.0)).build();
///
/// assert_eq!(shaper.reserve("k", 1.0)?.delay_ms, 0);
/// assert_eq!(shaper.reserve("k", 1.0)?.delay_ms, 100);
/// let refused = shaper.reserve("k", 1.0)?;
/// assert!(!refused.accepted);
/// assert_eq!(refused.delay_ms, 50);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A clone is a handle to the same keys.
#[derive(Clone)]
pub struct Shaper<K = Table<Departure>, C = SystemClock, R = ()> {
    bucket: LeakyBucket,
    keys: K,
    clock: C,
    runtime: R,
}

impl Shaper {
    /// A shaper in memory, with a table of its own, the system clock and no runtime.
    ///
    /// # Panics
    ///
    /// As [`Table::new`]: if the system does not reserve the memory.
    pub fn new(bucket: LeakyBucket) -> Self {
        Self::builder(bucket).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(bucket: LeakyBucket) -> ShaperBuilder {
        ShaperBuilder::new(bucket)
    }
}

impl<K, C, R> Shaper<K, C, R> {
    /// The bucket.
    pub fn bucket(&self) -> &LeakyBucket {
        &self.bucket
    }

    /// The keys, scoped by the prefix.
    pub fn keyspace(&self) -> &K {
        &self.keys
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }
}

/// In memory: plain calls.
impl<C: Clock, R> Shaper<Table<Departure>, C, R> {
    /// Takes the next departure of `key` for `cost` units of work, if the wait for it is short enough.
    ///
    /// The test is on the wait alone: a large cost is accepted when the queue is short, and delays whoever comes next.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or so small that it would not move the
    /// departure.
    pub fn reserve(&self, key: &str, cost: f64) -> Result<Reservation, Error> {
        let cost = validate_cost(cost)?;
        self.keys.apply(key, self.clock.now_ms(), &self.bucket, &cost)
    }

    /// Forgets `key`: the next reservation departs at once.
    ///
    /// # Errors
    ///
    /// None in memory.
    pub fn reset(&self, key: &str) -> Result<(), Error> {
        self.keys.apply(key, self.clock.now_ms(), &Forget::new(), &())
    }
}

/// Over a store: the same, to be awaited.
impl<C: Clock, R> Shaper<Remote, C, R> {
    /// Takes the next departure of `key` for `cost` units of work, if the wait for it is short enough.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost; `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the departure may or may not be taken. It is not given back.
    pub async fn reserve(&self, key: &str, cost: f64) -> Result<Reservation, Error> {
        self.run_reserve(key, cost).await
    }

    /// Forgets `key`: the next reservation departs at once.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the key may or may not be forgotten.
    pub async fn reset(&self, key: &str) -> Result<(), Error> {
        self.run_reset(key).await
    }
}

/// Wherever the keys are.
impl<K: Keyspace<Departure>, C: Clock, R> Shaper<K, C, R> {
    /// Takes the next departure of `key` for `cost` units of work, if the wait for it is short enough.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost; `store_unavailable` and `state_invalid` from the store.
    pub fn run_reserve(&self, key: &str, cost: f64) -> Run<Result<Reservation, Error>> {
        match validate_cost(cost) {
            Ok(cost) => self.keys.run(key, self.clock.now_ms(), &self.bucket, &cost),
            Err(error) => Run::ready(Err(error)),
        }
    }

    /// Forgets `key`: the next reservation departs at once.
    ///
    /// # Errors
    ///
    /// `store_unavailable` from the store.
    pub fn run_reset(&self, key: &str) -> Run<Result<(), Error>> {
        self.keys.run(key, self.clock.now_ms(), &Forget::new(), &())
    }
}

impl<K: Keyspace<Departure>, C: Clock, R: Runtime> Shaper<K, C, R> {
    /// Takes the next departure of `key` for `cost` units of work and waits for it, however long that is.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use throttlekit::{LeakyBucket, Shaper, TokioRuntime};
    ///
    /// let bucket = LeakyBucket::builder().rate_per_sec(1_000.0).max_queue_ms(50.0).build()?;
    /// let shaper = Shaper::builder(bucket).runtime(TokioRuntime).build();
    /// for _ in 0..3 {
    ///     shaper.schedule("mail", 1.0).await?; // one per millisecond
    /// }
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// `queue_full` if the wait would be longer than the bound, with the milliseconds until it would not; otherwise as
    /// [`run_reserve`](Self::run_reserve).
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, the departure stays taken: those behind it do not move up. So a storm of abandoned calls
    /// costs capacity; it never lets more through than the rate.
    pub async fn schedule(&self, key: &str, cost: f64) -> Result<(), Error> {
        let reservation = self.run_reserve(key, cost).await?;
        if !reservation.accepted {
            return Err(Error::queue_full(reservation.delay_ms));
        }
        if reservation.delay_ms > 0 {
            self.runtime.sleep(Duration::from_millis(reservation.delay_ms)).await;
        }
        Ok(())
    }
}

impl<K, C, R> fmt::Debug for Shaper<K, C, R> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaper").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
