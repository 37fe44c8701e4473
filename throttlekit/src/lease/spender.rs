//! The half of a lease that is with a client.

use std::future::Future;

use crate::decision::{Decision, ceil_ms, floor_units};
use crate::error::Error;
use crate::strategy::{counted, validate_cost};

/// How often one call of [`LeaseSpender::spend_or_refresh`] asks for more, unless told otherwise.
pub const MAX_ROUNDS: u32 = 1_024;

/// Units that a server leased to a client, and that the client takes requests from.
///
/// It has no clock, does no I/O and never denies on its own account: where the units do not suffice it says so, and the
/// client asks the server again. Time is what the caller passes: milliseconds since the Unix epoch, or since any
/// other instant, as long as grants and calls mean the same.
///
/// ```
/// use throttlekit::lease::LeaseSpender;
///
/// let mut spender = LeaseSpender::new(100);
/// assert_eq!(spender.spend(0.0, 1.0)?, None);
/// spender.apply(10.0, 1_000.0);
/// let decision = spender.spend(5.0, 4.0)?.ok_or("ten units are enough")?;
/// assert_eq!((decision.limit, decision.remaining, decision.reset_at_ms), (100, 6, 1_000));
/// assert_eq!(spender.spend(1_000.0, 1.0)?, None, "the window is over");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeaseSpender {
    limit: u64,
    ttl_ms: f64,
    window_coupled: bool,
    credits: f64,
    expires_at_ms: Option<f64>,
}

/// What a server answers to a client that asks for units.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reserve {
    /// It leases this much.
    Granted {
        /// Units, above 0.
        capacity: f64,
        /// Until when, in the time of the calls.
        expires_at_ms: f64,
    },
    /// It denies.
    Denied(Decision),
}

impl LeaseSpender {
    /// A spender without units, whose units end with their lease. `limit` is only shown.
    pub fn new(limit: u64) -> Self {
        Self { limit, ttl_ms: 0.0, window_coupled: true, credits: 0.0, expires_at_ms: None }
    }

    /// How far ahead a decision shows its reset before there was a lease, in milliseconds. Default: 0.
    #[must_use]
    pub fn ttl_ms(mut self, ttl_ms: f64) -> Self {
        self.ttl_ms = ttl_ms;
        self
    }

    /// Whether units end with their lease, which is the default, or stay until they are spent.
    #[must_use]
    pub fn window_coupled(mut self, coupled: bool) -> Self {
        self.window_coupled = coupled;
        self
    }

    /// Units that are there. Some of them may have ended since the last call.
    pub fn credits(&self) -> f64 {
        self.credits
    }

    /// When the newest lease ends.
    pub fn expires_at_ms(&self) -> Option<f64> {
        self.expires_at_ms
    }

    /// Adds the units of a lease. What is left of earlier ones now ends with this one.
    ///
    /// A capacity that is not finite or below 0 adds nothing. An end that is not finite is taken for one that is over.
    pub fn apply(&mut self, capacity: f64, expires_at_ms: f64) {
        if capacity.is_finite() && capacity > 0.0 {
            self.credits += capacity;
        }
        self.expires_at_ms = Some(expires_at_ms).filter(|end| end.is_finite());
        if self.window_coupled && self.expires_at_ms.is_none() {
            self.credits = 0.0;
        }
    }

    /// Drops units whose lease is over at `now_ms`; all of them at an instant that is no number.
    #[inline]
    pub fn discard(&mut self, now_ms: f64) {
        if self.window_coupled && self.expires_at_ms.is_some_and(|end| now_ms >= end || now_ms.is_nan()) {
            self.credits = 0.0;
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.credits = 0.0;
        self.expires_at_ms = None;
    }

    /// Takes `cost` units, if they are there; `None` means that the server has to be asked, and changes nothing but what
    /// has ended.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `cost` is not finite, not above 0 or above 2^53 - 1, or lost to rounding beside the units.
    #[inline]
    pub fn spend(&mut self, now_ms: f64, cost: f64) -> Result<Option<Decision>, Error> {
        let cost = validate_cost(cost)?;
        self.discard(now_ms);
        self.take(now_ms, cost)
    }

    /// Takes `cost` units, and asks `reserve` for at least as many whenever they are not there; a denial of the server is
    /// the answer. At most [`MAX_ROUNDS`] times.
    ///
    /// Units that have ended are dropped once, at the beginning: a lease that is over by `now_ms` can still be spent by the
    /// call that fetched it.
    ///
    /// ```
    /// use std::future::ready;
    /// use throttlekit::lease::{LeaseSpender, Reserve};
    ///
    /// # async fn example() -> Result<(), throttlekit::Error> {
    /// let mut spender = LeaseSpender::new(100);
    /// let server = |wants: f64| ready(Ok(Reserve::Granted { capacity: wants.max(10.0), expires_at_ms: 1_000.0 }));
    /// let decision = spender.spend_or_refresh(0.0, 3.0, server).await?;
    /// assert_eq!((decision.allowed, decision.remaining), (true, 7));
    /// # Ok(())
    /// # }
    /// # let run = std::pin::pin!(example());
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(matches!(run.poll(&mut context), std::task::Poll::Ready(Ok(()))));
    /// ```
    ///
    /// # Errors
    ///
    /// As [`spend`](Self::spend), and what `reserve` fails with; `state_invalid` if the server grants nothing without denying,
    /// so little that the rounds do not suffice, or what is no number.
    ///
    /// # Cancel safety
    ///
    /// Dropped while the server is asked, what it grants does not arrive here; nothing else is lost.
    pub async fn spend_or_refresh<F, R>(&mut self, now_ms: f64, cost: f64, reserve: F) -> Result<Decision, Error>
    where
        F: FnMut(f64) -> R,
        R: Future<Output = Result<Reserve, Error>>,
    {
        self.spend_within(now_ms, cost, MAX_ROUNDS, reserve).await
    }

    /// As [`spend_or_refresh`](Self::spend_or_refresh), asking at most `max_rounds` times.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn spend_within<F, R>(
        &mut self,
        now_ms: f64,
        cost: f64,
        max_rounds: u32,
        mut reserve: F,
    ) -> Result<Decision, Error>
    where
        F: FnMut(f64) -> R,
        R: Future<Output = Result<Reserve, Error>>,
    {
        let cost = validate_cost(cost)?;
        self.discard(now_ms);
        for _ in 0..max_rounds {
            if let Some(decision) = self.take(now_ms, cost)? {
                return Ok(decision);
            }
            match reserve(cost).await? {
                Reserve::Denied(decision) => return Ok(decision),
                Reserve::Granted { capacity, expires_at_ms } if !capacity.is_finite() || !expires_at_ms.is_finite() => {
                    return Err(Error::state_invalid(format!(
                        "the server granted {capacity} units until {expires_at_ms}: must be finite numbers"
                    )));
                }
                Reserve::Granted { capacity, expires_at_ms } if capacity > 0.0 => self.apply(capacity, expires_at_ms),
                Reserve::Granted { .. } => {
                    return Err(Error::state_invalid("the server granted no units and did not deny"));
                }
            }
        }
        self.take(now_ms, cost)?.ok_or_else(|| {
            Error::state_invalid(format!("the server did not grant {cost} units in {max_rounds} leases"))
        })
    }

    #[inline]
    fn take(&mut self, now_ms: f64, cost: f64) -> Result<Option<Decision>, Error> {
        if self.credits < cost {
            return Ok(None);
        }
        self.credits = counted(self.credits, self.credits - cost, cost)?;
        Ok(Some(Decision {
            allowed: true,
            limit: self.limit,
            remaining: floor_units(self.credits),
            reset_at_ms: ceil_ms(self.expires_at_ms.unwrap_or(now_ms + self.ttl_ms)),
            retry_after_ms: 0,
        }))
    }
}
