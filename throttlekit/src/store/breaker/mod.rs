//! A circuit breaker around a store.

mod builder;
mod circuit;
#[cfg(all(test, loom))]
mod loom_tests;

pub use builder::CircuitBreakerBuilder;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Error;
use crate::outage::Outage;
use crate::program::{Program, Step};
use crate::run::BoxFuture;
use crate::runtime::Runtime;
use crate::store::{Call, DynStore, Rule, Store};
use circuit::{Change, Circuit, MAX_VALUE, Ticket};

/// A store that is given a limited time for each call, and is left alone while it does not answer.
///
/// - A call that takes longer than the timeout is dropped and fails with `store_unavailable`. A server that accepts and
///   never answers is as good as a dead one.
/// - After a number of failures in a row the breaker **opens**: calls fail at once, without asking the store.
/// - An interval after the last failure it is **half-open**: the next call is let through as a probe, and no other. If it
///   fails the breaker is open for another interval; with any success it **closes**.
///
/// So a store that is back is used again, at the latest, by the first call after the interval, or after the timeout and
/// the interval if a probe was just waiting in vain: 450 ms with the [defaults](CircuitBreakerBuilder).
///
/// Only `store_unavailable` is a failure, and only a reply or `state_invalid` is a success: they show that the store is there.
/// Any other error may be of a call that no server was asked about, such as one for a key that it cannot hold. It counts as
/// neither.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use throttlekit::store::{BreakerState, Call, CircuitBreaker, Remote, Store};
/// use throttlekit::{Error, Gcra, Limiter, Runtime};
///
/// struct Down;
///
/// impl Store for Down {
///     async fn run(&self, _call: &mut Call) -> Result<(), Error> {
///         Err(Error::store_unavailable("connection refused"))
///     }
/// }
///
/// # #[allow(dead_code)]
/// # async fn example(runtime: impl Runtime) -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = CircuitBreaker::builder(Down, runtime).timeout(Duration::from_millis(100)).failures(2).build()?;
/// let breaker = Arc::new(breaker);
/// let limiter = Limiter::builder(Gcra::per_second(5)?).keyspace(Remote::from_dyn(breaker.clone())).build();
///
/// for _ in 0..3 {
///     assert!(limiter.check("user-1").await.unwrap_err().is_store_unavailable());
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert_eq!((breaker.stats().failures, breaker.stats().rejected), (2, 1));
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A dropped call counts neither as a failure nor as a success. A dropped probe leaves its place to the next call, as one that
/// was refused does, and one that is held without being polled loses it a timeout and an interval after it began. Keep the
/// timeout below that of the requests: a store whose every call is dropped before its time is never found to be out.
pub struct CircuitBreaker {
    store: Arc<dyn DynStore>,
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    /// When the breaker was built, in milliseconds since the Unix epoch.
    start_ms: f64,
    timeout: Duration,
    circuit: Circuit,
    outage: Outage,
    counts: Counts,
}

/// What has happened since the breaker was built.
#[derive(Debug, Default)]
struct Counts {
    failures: AtomicU64,
    timeouts: AtomicU64,
    rejected: AtomicU64,
    opened: AtomicU64,
}

/// Whether a [`CircuitBreaker`] asks its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// Every call is let through.
    Closed,
    /// No call is let through; the first one after the interval is the probe.
    Open,
    /// One call is on its way as a probe.
    HalfOpen,
}

impl BreakerState {
    /// The stable name: `closed`, `open` or `half-open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// What a [`CircuitBreaker`] has seen since it was built. The numbers are read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Whether the store is asked.
    pub state: BreakerState,
    /// Calls that the store was asked for and that failed with `store_unavailable`.
    pub failures: u64,
    /// Those among them that took longer than the timeout.
    pub timeouts: u64,
    /// Calls that failed without the store being asked.
    pub rejected: u64,
    /// How often it opened.
    pub opened: u64,
}

impl CircuitBreaker {
    /// A breaker around `store`. The timer of `runtime` bounds its calls.
    pub fn builder(store: impl Store, runtime: impl Runtime) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(Arc::new(store), Arc::new(runtime))
    }

    /// As [`builder`](Self::builder), for a store and a runtime that are shared.
    pub fn builder_for(store: Arc<dyn DynStore>, runtime: Arc<dyn Runtime>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(store, runtime)
    }

    /// Whether it asks the store.
    pub fn state(&self) -> BreakerState {
        self.circuit.state()
    }

    /// What it has seen.
    pub fn stats(&self) -> BreakerStats {
        let Counts { failures, timeouts, rejected, opened } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BreakerStats {
            state: self.state(),
            failures: read(failures),
            timeouts: read(timeouts),
            rejected: read(rejected),
            opened: read(opened),
        }
    }

    /// Whether the store is out: from the first failure to the next success. For limiters that stand in meanwhile.
    pub fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Asks the store for nothing but an answer, which may take `span`: connecting for the first time may take longer than
    /// a call. The breaker is passed by, and does not count it.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub async fn ready(&self, span: Duration) -> Result<(), Error> {
        let mut call = Call::new(self.clock.now_ms(), Rule::Each);
        call.push(READY_KEY.to_owned(), Ready, ());
        let answer = within(Arc::clone(&self.store).run_boxed(call), &*self.runtime, span).await;
        answer.unwrap_or_else(|| Err(no_answer(span))).map(drop)
    }

    /// How long one call may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The time of the circuit. The breaker was built in the middle of it, four years from both ends, since a clock may
    /// also step back to before that.
    fn now(&self) -> u64 {
        #[allow(clippy::cast_precision_loss)] // a power of two
        let middle = (MAX_VALUE / 2 + 1) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates at both ends
        let now = (self.clock.now_ms() - self.start_ms + middle) as u64;
        now.min(MAX_VALUE)
    }

    async fn guarded(&self, call: Call) -> Result<Call, Error> {
        if call.keys().is_empty() {
            // There is nothing to ask for.
            return Ok(call);
        }
        let Some(ticket) = self.circuit.enter(|| self.now()) else {
            self.counts.rejected.fetch_add(1, Ordering::Relaxed);
            self.outage.begin();
            return Err(Error::store_unavailable("it is not asked, since its last calls failed"));
        };
        let answer = within(Arc::clone(&self.store).run_boxed(call), &*self.runtime, self.timeout).await;
        let result = answer.unwrap_or_else(|| {
            self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
            Err(no_answer(self.timeout))
        });
        self.settle(ticket, result.as_ref().err());
        result
    }

    fn settle(&self, ticket: Ticket<'_>, error: Option<&Error>) {
        match error {
            Some(error) if error.is_store_unavailable() => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                if ticket.fail(self.now()) == Change::Opened {
                    self.counts.opened.fetch_add(1, Ordering::Relaxed);
                }
                self.outage.begin();
            }
            // Nobody knows whether the store was asked, so a probe leaves its place to the next call.
            Some(error) if !error.proves_answer() => drop(ticket),
            _ => {
                ticket.succeed();
                self.outage.end();
            }
        }
    }
}

#[cold]
fn no_answer(span: Duration) -> Error {
    Error::store_unavailable(format_args!("no answer within {span:?}"))
}

/// The key that is read to see whether a store answers.
const READY_KEY: &str = "throttlekit:ready";

/// Reads and finds nothing, whatever is there.
#[derive(Clone)]
struct Ready;

impl Program for Ready {
    type State = f64;
    type Change = f64;
    type Request = ();
    type Outcome = ();
    type Reply = ();

    const READ_ONLY: bool = true;
    const IGNORES_STATE: bool = true;

    fn step(&self, _state: Option<&f64>, _now_ms: f64, _request: &()) -> Step<f64, ()> {
        Step::Keep(())
    }

    fn reply(&self, _now_ms: f64, _request: &(), (): ()) {}
}

/// The answer of `future`, or `None` if it has none when `span` is over. The timer starts when there is something to wait
/// for.
async fn within<T>(mut future: BoxFuture<T>, runtime: &dyn Runtime, span: Duration) -> Option<T> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        timer.get_or_insert_with(|| runtime.sleep(span)).as_mut().poll(cx).map(|()| None)
    })
    .await
}

impl DynStore for CircuitBreaker {
    fn run_boxed(self: Arc<Self>, call: Call) -> BoxFuture<Result<Call, Error>> {
        Box::pin(async move { self.guarded(call).await })
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("timeout", &self.timeout)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
