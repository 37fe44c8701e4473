//! Events and span fields of the `tracing` crate.

use std::time::Duration;

use throttlekit::{
    AdmissionEvent, Axis, Decision, Disconnect, Event, LeaseEvent, Observer, ReportGate, Wait, WaitOutcome,
};
use tracing::{Span, debug, warn};

use crate::names::attribute;

/// How often a failure is written at most.
const FAILURES_EVERY: Duration = Duration::from_secs(10);

/// Writes what limits refuse and why they fail, as events of the `tracing` crate under the target `throttlekit`.
///
/// - Denials, waits that led to nothing, late leases and callers that went away are `DEBUG`: there may be as many as
///   requests. Admissions are not written.
/// - Failures are `WARN`, one in ten seconds at most, with the number of those that were left out.
///
/// No key is written. Fields are named like [span attributes](crate::names::attribute), and `policy`.
///
/// ```
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_otel::TracingObserver;
///
/// let limiter = Limiter::builder(Gcra::per_second(1)?).observer(std::sync::Arc::new(TracingObserver::new())).build();
/// limiter.check("user-1")?;
/// limiter.check("user-1")?; // DEBUG throttlekit: request denied policy="gcra" throttlekit.strategy="gcra" ...
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TracingObserver {
    failures: ReportGate,
}

impl TracingObserver {
    /// An observer. Put it into an [`Arc`](std::sync::Arc) to give it to several builders.
    pub fn new() -> Self {
        Self { failures: ReportGate::new(FAILURES_EVERY) }
    }
}

impl Default for TracingObserver {
    fn default() -> Self {
        Self::new()
    }
}

/// The target of all events.
const TARGET: &str = "throttlekit";

impl Observer for TracingObserver {
    fn observe(&self, event: &Event<'_>) {
        let (policy, strategy) = (event.policy, event.strategy);
        match event.result {
            Ok(Decision { allowed: true, .. }) => {}
            Ok(_) if event.part => {}
            Ok(decision) => debug!(
                target: TARGET,
                policy,
                { attribute::STRATEGY } = strategy,
                { attribute::ALLOWED } = false,
                { attribute::LIMIT } = decision.limit,
                { attribute::REMAINING } = decision.remaining,
                { attribute::RETRY_AFTER_MS } = decision.retry_after_ms,
                priority = (event.axis == Axis::Concurrency).then(|| event.priority.as_str()),
                "request denied"
            ),
            Err(error) => {
                if let Some(left_out) = self.failures.pass(event.now_ms) {
                    warn!(
                        target: TARGET,
                        policy,
                        { attribute::STRATEGY } = strategy,
                        code = error.code(),
                        left_out,
                        "check failed"
                    );
                }
            }
        }
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        let Some(lane) = admission.lane() else { return };
        let decision = admission.decision;
        debug!(
            target: TARGET,
            policy = admission.policy,
            lane = lane.as_str(),
            { attribute::ALLOWED } = false,
            { attribute::LIMIT } = decision.limit,
            { attribute::REMAINING } = decision.remaining,
            { attribute::RETRY_AFTER_MS } = decision.retry_after_ms,
            { attribute::BINDING_AXIS } = admission.binding.map(Axis::as_str),
            "request denied"
        );
    }

    fn waited(&self, wait: &Wait<'_>) {
        if wait.outcome != WaitOutcome::Admitted {
            let (outcome, priority) = (wait.outcome.as_str(), wait.priority.as_str());
            debug!(target: TARGET, policy = wait.policy, outcome, priority, waited_ms = wait.waited_ms, "wait in vain");
        }
    }

    fn leased(&self, lease: &LeaseEvent<'_>) {
        if let (Ok(units), false) = (lease.granted, lease.spendable) {
            debug!(target: TARGET, policy = lease.policy, units, "lease came too late");
        }
    }

    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        debug!(target: TARGET, policy = disconnect.policy, stage = disconnect.stage.as_str(), "caller went away");
    }
}

/// Records the fields of a decision on a `tracing` span. Only those that the span was made with are kept, which may be
/// empty at first.
///
/// ```
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_otel::record_fields;
/// use tracing::field::Empty;
///
/// let span = tracing::info_span!(
///     "request",
///     throttlekit.allowed = Empty,
///     throttlekit.remaining = Empty,
///     throttlekit.retry_after_ms = Empty
/// );
/// let decision = Limiter::new(Gcra::per_minute(100)?).check("user-1")?;
/// record_fields(&span, &decision, Some("gcra"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record_fields(span: &Span, decision: &Decision, strategy: Option<&'static str>) {
    if let Some(strategy) = strategy {
        span.record(attribute::STRATEGY, strategy);
    }
    span.record(attribute::ALLOWED, decision.allowed);
    span.record(attribute::LIMIT, decision.limit);
    span.record(attribute::REMAINING, decision.remaining);
    span.record(attribute::RETRY_AFTER_MS, decision.retry_after_ms);
}
