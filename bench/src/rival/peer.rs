//! governor, keyed by `String` as its users key it.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{NotUntil, Quota, RateLimiter};
use siphasher::sip::SipHasher13;

use super::Rival;
use super::arithmetic::Limit;

/// A keyed governor limiter.
///
/// It wants a `&String`; each thread fills one of its own, so that a check allocates nothing. Its answer says no more
/// than admitted or not, without what is left and when it comes back.
pub struct Peer<S: BuildHasher + Clone, C: Clock> {
    limiter: RateLimiter<String, DashMapStateStore<String, S>, C, NoOpMiddleware<C::Instant>>,
}

/// SipHash-1-3 of the `siphasher` crate, the hash of the other rivals, for a table of governor's.
#[derive(Clone, Debug)]
pub struct SipBuilder(SipHasher13);

impl Default for SipBuilder {
    fn default() -> Self {
        Self(SipHasher13::new_with_keys(fastrand::u64(..), fastrand::u64(..)))
    }
}

impl BuildHasher for SipBuilder {
    type Hasher = SipHasher13;

    #[inline]
    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

/// The nearest that governor can state: its burst ends at `u32::MAX`, and burst times interval at 584 years.
fn quota(limit: Limit) -> Quota {
    let most = 4_000_000_000.0;
    let (interval_ms, burst) = if limit.burst > most { (1.0, most) } else { (limit.interval_ms, limit.burst) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; at most 4e9 by the line above
    let burst = NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::from_secs_f64(interval_ms / 1_000.0);
    Quota::with_period(interval).map_or_else(|| Quota::per_hour(burst), |quota| quota.allow_burst(burst))
}

/// With every default of its own.
pub fn governor_keyed(limit: Limit) -> Peer<std::hash::RandomState, DefaultClock> {
    Peer { limiter: RateLimiter::keyed(quota(limit)) }
}

/// With a clock and a hash of the caller's.
pub fn governor_with<S, C>(limit: Limit, clock: C) -> Peer<S, C>
where
    S: BuildHasher + Clone + Default,
    C: Clock,
{
    Peer { limiter: RateLimiter::dashmap_with_clock_and_hasher(quota(limit), clock, S::default()) }
}

impl<S, C> Rival for Peer<S, C>
where
    S: BuildHasher + Clone + Send + Sync,
    C: Clock + Send + Sync,
    C::Instant: Send + Sync,
{
    type Session = String;
    type Answer = Result<(), NotUntil<C::Instant>>;

    #[inline]
    fn check(&self, session: &mut String, key: &str) -> Self::Answer {
        session.clear();
        session.push_str(key);
        self.limiter.check_key(session)
    }

    #[inline]
    fn allowed(answer: &Self::Answer) -> bool {
        answer.is_ok()
    }
}

impl<S: BuildHasher + Clone, C: Clock> fmt::Debug for Peer<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}
