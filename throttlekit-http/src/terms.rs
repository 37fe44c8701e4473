//! What one request is asked for: its plan, its cost, how much it matters.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use throttlekit::{BuildError, Clock, Error, Priority, Run, SystemClock};

use crate::door::Door;

/// What is special about one request. What is left out is as the rule says.
///
/// ```
/// use throttlekit::Priority;
/// use throttlekit_http::Terms;
///
/// let terms = Terms::new().plan("pro").cost(2.0).priority(Priority::High);
/// assert_eq!(terms, Terms::new().plan("pro").cost(2.0).priority(Priority::High));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Terms {
    /// The name of the plan whose limit counts.
    pub plan: Option<Arc<str>>,
    /// Units: finite, above 0, at most 2^53 - 1.
    pub cost: Option<f64>,
    /// How much it matters to a limit on work in flight.
    pub priority: Option<Priority>,
}

impl Terms {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the request on the limit of a [plan](crate::Builder::plan).
    #[must_use]
    pub fn plan(mut self, name: impl Into<Arc<str>>) -> Self {
        self.plan = Some(name.into());
        self
    }

    /// Sets the cost in units.
    #[must_use]
    pub fn cost(mut self, units: f64) -> Self {
        self.cost = Some(units);
        self
    }

    /// Sets how much the request matters.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }
}

/// Finds the terms of a request. [`Lookup`] is one that asks a service or a database, and remembers.
pub trait Resolve<D: Door>: Send + Sync + 'static {
    /// The terms of the request `head`, which counts under `key`.
    ///
    /// # Errors
    ///
    /// `store_unavailable` where the fail mode is to decide; anything else is answered as an error of the server, and so is a
    /// panic, also while it is waited for.
    fn resolve(&self, head: &D::Head<'_>, key: &str) -> Run<Result<Terms, Error>>;
}

/// The most keys that a [`Lookup`] remembers, unless it is told otherwise.
const DEFAULT_ENTRIES: usize = 10_000;

/// How long a [`Lookup`] remembers, unless it is told otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(60);

/// Terms by key from an asynchronous function, such as a query for the plan of an API key, remembered for a while in
/// bounded memory. Requests that ask for one key at a time share one call.
///
/// An error goes to all who wait for that call and is not remembered, nor is a panic. The function sees the key as the request
/// counts under it: of an API key that is the hash.
///
/// ```
/// use throttlekit::Error;
/// use throttlekit_http::{Lookup, Terms};
///
/// let lookup = Lookup::new(|key: String| async move {
///     // A query, in real life.
///     Ok::<_, Error>(if key.starts_with("vip-") { Terms::new().plan("pro") } else { Terms::new() })
/// });
/// # let _ = lookup;
/// ```
///
/// # Cancel safety
///
/// A request that is dropped while it waits does not harm others that wait for the same key: one of them asks again.
pub struct Lookup {
    ask: Arc<Ask>,
    cache: Arc<Cache<String, Remembered>>,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

type Ask = dyn Fn(String) -> Run<Result<Terms, Error>> + Send + Sync;

#[derive(Clone)]
struct Remembered {
    /// An error is there for those only who wait for it: each asking on its own would let them wait one after the other.
    terms: Result<Terms, Error>,
    until_ns: u64,
}

impl Lookup {
    /// Asks `function`, and remembers 10,000 answers for a minute each.
    pub fn new<F, R>(function: F) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Terms, Error>> + Send + 'static,
    {
        Self {
            ask: Arc::new(move |key| Run::wait(function(key))),
            cache: Arc::new(Cache::new(DEFAULT_ENTRIES)),
            ttl: DEFAULT_TTL,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Remembers `entries` answers for `ttl` each.
    ///
    /// # Errors
    ///
    /// If `entries` or `ttl` is 0.
    pub fn remember(self, entries: usize, ttl: Duration) -> Result<Self, BuildError> {
        if entries == 0 {
            return Err(BuildError::new("lookup.entries", entries, "must be at least 1"));
        }
        if ttl.is_zero() {
            return Err(BuildError::new("lookup.ttl", format_args!("{ttl:?}"), "must be above 0"));
        }
        Ok(Self { cache: Arc::new(Cache::new(entries)), ttl, ..self })
    }

    /// Tells the age of answers by the monotonic time of `clock`; by the system's unless told otherwise.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }
}

impl<D: Door> Resolve<D> for Lookup {
    fn resolve(&self, _head: &D::Head<'_>, key: &str) -> Run<Result<Terms, Error>> {
        match self.cache.get(key) {
            Some(known) if self.clock.monotonic_ns() < known.until_ns => return Run::ready(known.terms),
            // Only what is out of date: another request may have renewed it since.
            Some(_) => _ = self.cache.remove_if(key, |known| known.until_ns <= self.clock.monotonic_ns()),
            None => {}
        }
        let (ask, cache, clock, ttl) = (self.ask.clone(), self.cache.clone(), self.clock.clone(), self.ttl);
        let key = key.to_owned();
        Run::wait(async move {
            let answer = async {
                let terms = ask(key.clone()).await;
                let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
                let until_ns = if terms.is_ok() { clock.monotonic_ns().saturating_add(ttl_ns) } else { 0 };
                Ok::<_, Infallible>(Remembered { terms, until_ns })
            };
            let Ok(Remembered { terms, .. }) = cache.get_or_insert_async(key.as_str(), answer).await;
            if terms.is_err() {
                cache.remove_if(key.as_str(), |known| known.terms.is_err());
            }
            terms
        })
    }
}

impl fmt::Debug for Lookup {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("remembered", &self.cache.len()).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// A closure that knows the terms at once.
pub(crate) struct AtOnce<F>(pub(crate) F);

impl<D: Door, F> Resolve<D> for AtOnce<F>
where
    F: for<'a> Fn(&D::Head<'a>, &str) -> Terms + Send + Sync + 'static,
{
    fn resolve(&self, head: &D::Head<'_>, key: &str) -> Run<Result<Terms, Error>> {
        Run::ready(Ok((self.0)(head, key)))
    }
}
