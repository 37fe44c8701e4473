//! The observer that records metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use throttlekit::store::TableReport;
use throttlekit::{
    AdmissionEvent, Axis, Clock, Decision, Disconnect, Error, Event, Gauges, Lane, LeaseEvent, Observer, Priority,
    Stage, Wait, WaitOutcome,
};

use crate::guards::{Gauged, GuardMetrics, Guards, Reading, Readings, Shown, register_panics};
use crate::instruments::Instruments;
use crate::names::label;
use crate::sets::{Set, Strategies, by_label, merged};
use crate::stopwatch::Stopwatch;

/// Records what limiters, guards and admitters do into the instruments of a [`Meter`].
///
/// It is an [`Observer`]: give it to every builder that takes one, and to the options that policies are loaded with. One value
/// serves all of a program; a clone is a handle to the same instruments. It counts
///
/// - checks of limiters, budgets and leases: what is left, how long it took, what failed;
/// - denied requests of several axes, by what denied them;
/// - what guards refuse, how long requests wait for a slot, callers that went away.
///
/// The state of guards and tables is read when metrics are collected: of policies and middlewares that this is the observer of by
/// itself, with the attribute `policy`, and of others by [`guard`](Self::guard) and [`table`](Self::table).
///
/// No attribute is taken from a key, and attribute sets are prepared: after the first check of a strategy a recording
/// allocates nothing.
///
/// ```
/// use opentelemetry::KeyValue;
/// use opentelemetry::metrics::MeterProvider;
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_otel::Telemetry;
///
/// let provider = SdkMeterProvider::builder().build(); // with the exporter of your choice
/// let telemetry = Telemetry::builder(&provider.meter("throttlekit")).attribute(KeyValue::new("region", "eu-1")).build();
///
/// let limiter = Limiter::builder(Gcra::per_minute(100)?).observer(telemetry.clone()).build();
/// assert!(limiter.check("user-1")?.allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Telemetry<C = Stopwatch> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    instruments: Instruments,
    strategies: Strategies,
    lanes: [Set; 4],
    priorities: [Set; 4],
    waits: [Set; 4],
    stages: [Set; 3],
    guards: Arc<Guards>,
    fixed: Vec<KeyValue>,
    /// Panics of this observer, and of those beside it.
    panics: Arc<AtomicU64>,
    clock: C,
}

impl Telemetry {
    /// Records into instruments of `meter`, without attributes of your own.
    pub fn new(meter: &Meter) -> Self {
        Self::builder(meter).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(meter: &Meter) -> TelemetryBuilder {
        TelemetryBuilder { meter: meter.clone(), fixed: Vec::new(), clock: Stopwatch::new() }
    }
}

impl<C> Telemetry<C> {
    /// Shows the state of a guard at each collection, with the static attributes, until the returned value is dropped.
    ///
    /// Two guards write the same series unless an attribute tells them apart: then use
    /// [`guard_with`](Self::guard_with).
    ///
    /// ```
    /// use opentelemetry::metrics::MeterProvider;
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use throttlekit::Guard;
    /// use throttlekit_otel::Telemetry;
    ///
    /// let provider = SdkMeterProvider::builder().build();
    /// let telemetry = Telemetry::new(&provider.meter("throttlekit"));
    /// let guard = Guard::fixed(8)?;
    /// let shown = telemetry.guard(guard.clone());
    /// drop(shown); // from here on it is not shown any more
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn guard(&self, guard: impl Gauged) -> GuardMetrics {
        self.guard_with(guard, [])
    }

    /// As [`guard`](Self::guard), with attributes for this guard. They win over static ones.
    pub fn guard_with(&self, guard: impl Gauged, attributes: impl IntoIterator<Item = KeyValue>) -> GuardMetrics {
        let attributes: Vec<_> = attributes.into_iter().collect();
        let attributes = merged(&self.shared.fixed, &attributes);
        let read =
            move || guard.reading().map(|reading| (Shown::Guard(reading), attributes.clone())).into_iter().collect();
        Guards::add(&self.shared.guards, read)
    }

    /// Shows how full a table is at each collection, with the attribute `policy`, until the returned value is dropped. `read`
    /// gives the report of the table, or `None` if it is gone.
    ///
    /// ```
    /// use opentelemetry::metrics::MeterProvider;
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use throttlekit::store::TableReport;
    /// use throttlekit::{Gcra, Limiter};
    /// use throttlekit_otel::Telemetry;
    ///
    /// let provider = SdkMeterProvider::builder().build();
    /// let telemetry = Telemetry::new(&provider.meter("throttlekit"));
    /// let limiter = Limiter::new(Gcra::per_second(5)?);
    /// let table = limiter.keyspace().clone();
    /// let shown = telemetry.table("api", move || Some(TableReport::from(&table)));
    /// # drop(shown);
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn table(&self, policy: &str, read: impl Fn() -> Option<TableReport> + Send + Sync + 'static) -> GuardMetrics {
        let attributes = merged(&self.shared.fixed, &[KeyValue::new(label::POLICY, policy.to_owned())]);
        let read = move || read().map(|report| (Shown::Table(report), attributes.clone())).into_iter().collect();
        Guards::add(&self.shared.guards, read)
    }

    /// Shows the guards and the tables of all policies that have one, with the attribute `policy`, until the returned value is
    /// dropped. Of what is loaded later too. As the observer of the options that policies are loaded with, or of a middleware,
    /// this shows them by itself.
    ///
    /// ```
    /// use opentelemetry::metrics::MeterProvider;
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use throttlekit::policy::Policies;
    /// use throttlekit_otel::Telemetry;
    ///
    /// let provider = SdkMeterProvider::builder().build();
    /// let telemetry = Telemetry::new(&provider.meter("throttlekit"));
    /// let policies = Policies::from_yaml("limiters: { work: { concurrency: { limit: 8 } } }")?;
    /// let shown = telemetry.policies(&policies);
    /// # drop(shown);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn policies(&self, policies: &throttlekit::policy::Policies) -> GuardMetrics {
        Guards::add(&self.shared.guards, readings(policies.gauges(), self.shared.fixed.clone()))
    }
}

/// What `gauges` tell, each with the attribute `policy` beside the `fixed` ones.
fn readings(gauges: Arc<dyn Gauges>, fixed: Vec<KeyValue>) -> impl Fn() -> Readings + Send + Sync + 'static {
    move || {
        let mut readings = Readings::new();
        let attributes = |policy: &str| merged(&fixed, &[KeyValue::new(label::POLICY, policy.to_owned())]);
        gauges.guards(&mut |policy, report, stats| {
            let reading = Reading::new(stats).fenced(report.fenced);
            readings.push((Shown::Guard(reading), attributes(policy)));
        });
        gauges.tables(&mut |policy, report| readings.push((Shown::Table(report), attributes(policy))));
        readings
    }
}

impl<C: Clock> Shared<C> {
    #[inline]
    fn decided(&self, strategy: &'static str, decision: Decision, took_ms: Option<f64>) {
        let sets = self.strategies.of(strategy);
        self.instruments.checks.add(1, if decision.allowed { &sets.allowed } else { &sets.denied });
        self.instruments.remaining.record(decision.remaining, &sets.plain);
        if let Some(took_ms) = took_ms {
            self.instruments.store_latency.record(took_ms, &sets.plain);
        }
    }

    #[cold]
    fn failed(&self, strategy: &'static str, error: &Error) {
        let [unavailable, invalid, other] = &self.strategies.of(strategy).errors;
        let set = match error.code() {
            "store_unavailable" => unavailable,
            "invalid_argument" => invalid,
            _ => other,
        };
        self.instruments.check_errors.add(1, set);
    }
}

impl<C: Clock> Observer for Telemetry<C> {
    #[inline]
    fn observe(&self, event: &Event<'_>) {
        // A limiter that takes part in a request has made a check. An admitter that repeats what its limiters decided has not.
        if event.part && event.strategy == UNIFIED {
            return;
        }
        match (event.axis, event.result) {
            (Axis::Concurrency, Ok(decision)) => {
                if !decision.allowed {
                    self.shared.instruments.shed.add(1, &self.shared.priorities[priority(event.priority)]);
                }
            }
            (_, Ok(decision)) => self.shared.decided(event.strategy, decision, event.took_ms),
            (_, Err(error)) => self.shared.failed(event.strategy, error),
        }
    }

    #[inline]
    fn stopwatch_ns(&self) -> Option<u64> {
        Some(self.shared.clock.monotonic_ns())
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        if let Some(lane) = admission.lane() {
            self.shared.instruments.denies_by_axis.add(1, &self.shared.lanes[lane_index(lane)]);
        }
    }

    fn waited(&self, wait: &Wait<'_>) {
        let index = match wait.outcome {
            WaitOutcome::Admitted => 0,
            WaitOutcome::TimedOut => 1,
            WaitOutcome::Displaced => 2,
            _ => 3,
        };
        self.shared.instruments.queue_wait.record(wait.waited_ms, &self.shared.waits[index]);
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^53 ns
    fn leased(&self, lease: &LeaseEvent<'_>) {
        let sets = self.shared.strategies.of(lease.strategy);
        let [granted, refused, late, failed] = &sets.leases;
        let outcome = match lease.granted {
            Err(_) => failed,
            Ok(units) if units <= 0.0 => refused,
            Ok(_) if !lease.spendable => late,
            Ok(_) => granted,
        };
        self.shared.instruments.leases.add(1, outcome);
        self.shared.instruments.lease_latency.record(lease.took_ns as f64 / 1e6, &sets.plain);
    }

    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        let index = match disconnect.stage {
            Stage::Deciding => 0,
            Stage::Working => 1,
            _ => 2,
        };
        self.shared.instruments.disconnects.add(1, &self.shared.stages[index]);
    }

    fn attach(&self, gauges: Arc<dyn Gauges>) {
        let read = readings(Arc::clone(&gauges), self.shared.fixed.clone());
        Guards::keep(&self.shared.guards, gauges, read);
    }

    fn panicked(&self) {
        self.shared.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// The strategy of the decisions that an admitter over several axes repeats.
const UNIFIED: &str = "unified";

/// Its place among the lanes.
fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Rate => 0,
        Lane::Concurrency => 1,
        Lane::Cost => 2,
        _ => 3,
    }
}

/// Its place among the priorities.
fn priority(priority: Priority) -> usize {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Critical => 3,
    }
}

impl<C> Clone for Telemetry<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for Telemetry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("attributes", &self.shared.fixed).finish_non_exhaustive()
    }
}

/// Builds a [`Telemetry`]; from [`Telemetry::builder`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Debug)]
pub struct TelemetryBuilder<C = Stopwatch> {
    meter: Meter,
    fixed: Vec<KeyValue>,
    clock: C,
}

impl<C> TelemetryBuilder<C> {
    /// An attribute of every measurement. Take no value that grows with traffic, such as a key or an address: each makes
    /// series of its own.
    ///
    /// On the instruments of limiters it wins over what the library sets under the same name; elsewhere the library
    /// wins.
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.fixed.push(attribute);
        self
    }

    /// As [`attribute`](Self::attribute), for several.
    pub fn attributes(mut self, attributes: impl IntoIterator<Item = KeyValue>) -> Self {
        self.fixed.extend(attributes);
        self
    }

    /// The stopwatch of latencies: a clock whose [`monotonic_ns`](Clock::monotonic_ns) is finer than they are. The default
    /// is a [`Stopwatch`]. Clocks of limiters do not matter to it.
    pub fn clock<D>(self, clock: D) -> TelemetryBuilder<D> {
        TelemetryBuilder { meter: self.meter, fixed: self.fixed, clock }
    }

    /// Makes the instruments.
    pub fn build(self) -> Telemetry<C> {
        let Self { meter, fixed, clock } = self;
        let panics = Arc::new(AtomicU64::new(0));
        register_panics(&meter, Arc::clone(&panics), merged(&[], &fixed));
        Telemetry {
            shared: Arc::new(Shared {
                instruments: Instruments::new(&meter),
                strategies: Strategies::new(&fixed),
                lanes: by_label(&fixed, label::LANE, Lane::ALL.map(Lane::as_str)),
                priorities: by_label(&fixed, label::PRIORITY, Priority::ALL.map(Priority::as_str)),
                waits: by_label(&fixed, label::OUTCOME, WaitOutcome::ALL.map(WaitOutcome::as_str)),
                stages: by_label(&fixed, label::STAGE, Stage::ALL.map(Stage::as_str)),
                guards: Guards::new(meter),
                fixed,
                panics,
                clock,
            }),
        }
    }
}
