//! The builder of a deny list in front of a limit.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Counted, DenyList, DenyListed, NAME, Offenders};
use crate::analytics::SpaceSaving;
use crate::clock::{Clock, SystemClock};
use crate::duration::millis;
use crate::error::BuildError;
use crate::limiter::Watch;
use crate::observe::Observer;
use crate::strategy::options::positive;

/// Builds a [`DenyListed`]; from [`DenyListed::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct DenyListedBuilder<A, C = SystemClock, O = ()> {
    inner: A,
    denials: u32,
    window_ms: f64,
    ttl_ms: f64,
    tracked: usize,
    places: usize,
    list: Option<Arc<DenyList>>,
    clock: C,
    observer: O,
    name: Option<Arc<str>>,
}

impl<A> DenyListedBuilder<A> {
    pub(super) fn new(inner: A) -> Self {
        Self {
            inner,
            denials: 100,
            window_ms: 60_000.0,
            ttl_ms: 600_000.0,
            tracked: 1_000,
            places: 16_384,
            list: None,
            clock: SystemClock::new(),
            observer: (),
            name: None,
        }
    }
}

impl<A, C, O> DenyListedBuilder<A, C, O> {
    /// How many denials in one window put a key on the list, 1 at least. Default: 100.
    pub fn denials(mut self, denials: u32) -> Self {
        self.denials = denials;
        self
    }

    /// The length of the window in which denials are counted, in milliseconds, above 0; it begins with the first denial after
    /// the last one ended. Default: a minute.
    pub fn window_ms(mut self, window_ms: f64) -> Self {
        self.window_ms = window_ms;
        self
    }

    /// The length of the window in which denials are counted.
    pub fn window(self, window: Duration) -> Self {
        self.window_ms(millis(window))
    }

    /// How long a key is refused, in milliseconds, above 0. Default: ten minutes.
    pub fn ttl_ms(mut self, ttl_ms: f64) -> Self {
        self.ttl_ms = ttl_ms;
        self
    }

    /// How long a key is refused.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.ttl_ms(millis(ttl))
    }

    /// The keys whose denials are counted at a time, 1 to 1,000,000. Default: 1,000.
    pub fn tracked(mut self, keys: usize) -> Self {
        self.tracked = keys;
        self
    }

    /// The places of a list of its own; see [`DenyList::new`]. Default: 16,384.
    pub fn places(mut self, places: usize) -> Self {
        self.places = places;
        self
    }

    /// A list that others use too: a key that one of them puts there is refused by all.
    pub fn list(mut self, list: Arc<DenyList>) -> Self {
        self.list = Some(list);
        self
    }

    /// Where the time comes from. It must show the same time as the clock of what is behind it. The default is a new
    /// [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> DenyListedBuilder<A, D, O> {
        let Self { inner, denials, window_ms, ttl_ms, tracked, places, list, clock: _, observer, name } = self;
        DenyListedBuilder { inner, denials, window_ms, ttl_ms, tracked, places, list, clock, observer, name }
    }

    /// Who sees each refusal by the list.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> DenyListedBuilder<A, C, P> {
        let Self { inner, denials, window_ms, ttl_ms, tracked, places, list, clock, observer: _, name } = self;
        DenyListedBuilder { inner, denials, window_ms, ttl_ms, tracked, places, list, clock, observer, name }
    }

    /// The name that its events carry. The default is `denyList`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it can be built, without the memory that it takes.
    #[cfg(feature = "config")]
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        self.terms()?;
        SpaceSaving::new(self.tracked)?;
        DenyList::check(self.places)
    }

    /// The denials, the window and the time on the list.
    fn terms(&self) -> Result<(f64, f64, f64), BuildError> {
        if self.denials == 0 {
            return Err(BuildError::new("denyList.denials", 0, "must be a whole number of at least 1"));
        }
        let window_ms = positive("denyList.windowMs", Some(self.window_ms))?;
        Ok((f64::from(self.denials), window_ms, positive("denyList.ttlMs", Some(self.ttl_ms))?))
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// `denyList.denials`, `denyList.windowMs`, `denyList.ttlMs`, `denyList.places` or `spaceSaving.capacity` (the
    /// tracked keys) if it is out of its range.
    pub fn build(self) -> Result<DenyListed<A, C, O>, BuildError> {
        let (denials, window_ms, ttl_ms) = self.terms()?;
        let offenders = Offenders {
            denials,
            window_ms,
            ttl_ms,
            counted: Mutex::new(Counted { summary: SpaceSaving::new(self.tracked)?, end_ms: f64::NEG_INFINITY }),
        };
        let list = match self.list {
            Some(list) => list,
            None => Arc::new(DenyList::new(self.places)?),
        };
        let offenders = Arc::new(offenders);
        list.told_by(&offenders);
        let watch = Watch::new(self.observer, self.name, NAME);
        Ok(DenyListed { inner: Arc::new(self.inner), list, offenders, clock: self.clock, watch })
    }
}

impl<A: fmt::Debug, C, O> fmt::Debug for DenyListedBuilder<A, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyListedBuilder")
            .field("inner", &self.inner)
            .field("denials", &self.denials)
            .field("window_ms", &self.window_ms)
            .field("ttl_ms", &self.ttl_ms)
            .field("tracked", &self.tracked)
            .field("places", &self.places)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
