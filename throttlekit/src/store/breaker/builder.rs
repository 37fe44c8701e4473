//! The builder of a circuit breaker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::circuit::{Circuit, Limits};
use super::{CircuitBreaker, Counts};
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::outage::Outage;
use crate::runtime::Runtime;
use crate::store::DynStore;

/// The longest timeout and interval.
const LONGEST: Duration = Duration::from_secs(60);

/// Builds a [`CircuitBreaker`]; from [`CircuitBreaker::builder`].
///
/// | option | default | range |
/// |---|---|---|
/// | timeout of a call | 250 ms | 1 ms to 60 s |
/// | failures in a row that open it | 5 | 1 to 1000 |
/// | interval until a probe | 200 ms | 1 ms to 60 s |
#[must_use = "a builder does nothing until it is built"]
pub struct CircuitBreakerBuilder {
    store: Arc<dyn DynStore>,
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    failures: u32,
    probe_interval: Duration,
}

impl CircuitBreakerBuilder {
    /// How long a call may take unless the builder is told otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(250);
    /// How many failures in a row open the breaker unless the builder is told otherwise.
    pub const DEFAULT_FAILURES: u32 = 5;
    /// How long after a failure an open breaker lets a probe through unless the builder is told otherwise.
    pub const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_millis(200);

    pub(super) fn new(store: Arc<dyn DynStore>, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            store,
            runtime,
            clock: Arc::new(SystemClock::new()),
            timeout: Self::DEFAULT_TIMEOUT,
            failures: Self::DEFAULT_FAILURES,
            probe_interval: Self::DEFAULT_PROBE_INTERVAL,
        }
    }

    /// How long a call may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many failures in a row open the breaker.
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How long after a failure an open breaker lets a probe through. Fractions of a millisecond are dropped.
    pub fn probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Where the time comes from that the interval is measured by. The default is a new [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds it, closed.
    ///
    /// # Errors
    ///
    /// `breaker.timeout`, `breaker.failures` or `breaker.probeInterval` if it is out of range.
    pub fn build(self) -> Result<CircuitBreaker, BuildError> {
        let Self { store, runtime, clock, timeout, failures, probe_interval } = self;
        for (option, span) in [("breaker.timeout", timeout), ("breaker.probeInterval", probe_interval)] {
            if span < Duration::from_millis(1) || span > LONGEST {
                return Err(BuildError::new(option, format!("{span:?}"), "must be from 1ms to 60s"));
            }
        }
        if !(1..=1_000).contains(&failures) {
            return Err(BuildError::new("breaker.failures", failures, "must be from 1 to 1000"));
        }
        // At most a minute.
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let limits = Limits {
            failures: failures.into(),
            interval_ms: ms(probe_interval),
            probe_ms: ms(timeout).saturating_add(ms(probe_interval)),
        };
        Ok(CircuitBreaker {
            store,
            runtime,
            start_ms: clock.now_ms(),
            clock,
            timeout,
            circuit: Circuit::new(limits),
            outage: Outage::new(),
            counts: Counts::default(),
        })
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("timeout", &self.timeout)
            .field("failures", &self.failures)
            .field("probe_interval", &self.probe_interval)
            .finish_non_exhaustive()
    }
}
