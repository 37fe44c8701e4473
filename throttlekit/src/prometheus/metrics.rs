//! The series: see [`Metrics`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::family::{Families, Kind};
use super::protobuf::Protobuf;
use super::readers::Readers;
use super::series::{KINDS, Reading, Series};
use super::table::Table;
use super::text::Text;
use crate::clock::{Clock, SystemClock};
use crate::error::BuildError;
use crate::observe::{AdmissionEvent, Event, Gauges, GuardReport, Lane, Observer, TableReport};

/// The label of policies that came when there were as many as there may be.
const OTHER: &str = "_other";

/// Counts decisions by policy from the start of the process, and shows the counts, limits and latencies in the text format
/// of Prometheus. It is the [`Observer`] of limiters and policies. A clone is a handle to the same counts.
///
/// ```
/// use throttlekit::prometheus::Metrics;
/// use throttlekit::{Gcra, Limiter};
///
/// let metrics = Metrics::new();
/// let limiter = Limiter::builder(Gcra::per_hour(2)?).name("api").observer(metrics.clone()).build();
/// for _ in 0..5 {
///     limiter.check("user-1")?;
/// }
/// let text = metrics.render();
/// assert!(text.contains("throttlekit_allowed_total{policy=\"api\"} 2\n"));
/// assert!(text.contains("throttlekit_denied_total{policy=\"api\"} 3\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The series are described in the [module](super). No key is ever in a label: who may read the metrics learns the names of
/// policies and how they are doing. The number of series is bounded.
pub struct Metrics<C = SystemClock> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    clock: C,
    timed: bool,
    stripes: usize,
    policies: Table<Series>,
    guards: Readers<Tell<GuardReport>>,
    tables: Readers<Tell<TableReport>>,
    attached: Readers<dyn Gauges>,
    panics: AtomicU64,
}

/// What reads reports of one kind, and tells them by name.
type Tell<R> = dyn Fn(&mut dyn FnMut(&str, R)) + Send + Sync;

/// Settings of [`Metrics`].
#[derive(Clone, Debug)]
#[must_use = "settings count nothing until `build` is called"]
pub struct MetricsBuilder<C = SystemClock> {
    clock: C,
    latency: bool,
    max_policies: usize,
}

impl<C: Clock> MetricsBuilder<C> {
    /// Where the time comes from. Default: a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> MetricsBuilder<D> {
        MetricsBuilder { clock, latency: self.latency, max_policies: self.max_policies }
    }

    /// Whether it is measured how long decisions take, which costs two readings of the clock for each. Default: yes.
    pub fn latency(mut self, latency: bool) -> Self {
        self.latency = latency;
        self
    }

    /// How many policies have series of their own, 1 to 10,000. Default: 256. Further ones share those of the policy
    /// `_other`.
    pub fn max_policies(mut self, max_policies: usize) -> Self {
        self.max_policies = max_policies;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    ///
    /// `metrics.maxPolicies` if it is out of its range.
    pub fn build(self) -> Result<Metrics<C>, BuildError> {
        const MAX_STRIPES: usize = 16;
        let Self { clock, latency: timed, max_policies } = self;
        if !(1..=10_000).contains(&max_policies) {
            return Err(BuildError::new(
                "metrics.maxPolicies",
                max_policies,
                "must be a whole number from 1 to 10,000",
            ));
        }
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let stripes = threads.next_power_of_two().min(MAX_STRIPES);
        let (guards, tables, attached) = (Readers::new(), Readers::new(), Readers::new());
        let (policies, panics) = (Table::new(max_policies), AtomicU64::new(0));
        Ok(Metrics { shared: Arc::new(Shared { clock, timed, stripes, policies, guards, tables, attached, panics }) })
    }
}

impl Metrics {
    /// Nothing counted yet; with latencies, for at most 256 policies.
    ///
    /// # Panics
    ///
    /// Never: the defaults are in their ranges.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are in their ranges")
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder { clock: SystemClock::new(), latency: true, max_policies: 256 }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> Metrics<C> {
    /// Shows the series of `policy` from now on, also while nothing was decided.
    pub fn policy(&self, policy: &str) {
        self.series(policy);
    }

    /// Shows how guards are doing. `read` is called whenever the metrics are read; it passes on the name of each guard, which
    /// becomes a label, and its report.
    ///
    /// ```
    /// use throttlekit::Guard;
    /// use throttlekit::prometheus::Metrics;
    ///
    /// let (metrics, guard) = (Metrics::new(), Guard::fixed(8)?);
    /// let shown = guard.clone();
    /// metrics.guards(move |tell| tell("db", shown.report()));
    /// let held = guard.acquire();
    /// assert!(metrics.render().contains("throttlekit_guard_inflight{guard=\"db\"} 1\n"));
    /// # drop(held);
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn guards(&self, read: impl Fn(&mut dyn FnMut(&str, GuardReport)) + Send + Sync + 'static) {
        self.shared.guards.add(Arc::new(read));
    }

    /// Shows how full tables are. `read` is called whenever the metrics are read; it passes on the name of each policy, which
    /// becomes a label, and the report of its table.
    ///
    /// ```
    /// use throttlekit::prometheus::Metrics;
    /// use throttlekit::store::TableReport;
    /// use throttlekit::{Gcra, Limiter};
    ///
    /// let (metrics, limiter) = (Metrics::new(), Limiter::new(Gcra::per_hour(2)?));
    /// let table = limiter.keyspace().clone();
    /// metrics.tables(move |tell| tell("api", TableReport::from(&table)));
    /// limiter.check("user-1")?;
    /// assert!(metrics.render().contains("throttlekit_table_keys{policy=\"api\"} 1\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tables(&self, read: impl Fn(&mut dyn FnMut(&str, TableReport)) + Send + Sync + 'static) {
        self.shared.tables.add(Arc::new(read));
    }

    /// Shows the guards and the tables of `policies`, under their names and also after a reload, for as long as somebody
    /// holds these policies. As the [observer](crate::policy::LoadOptions::observer) of the options that policies are loaded
    /// with, or of a middleware, metrics show them by themselves.
    ///
    /// ```
    /// use throttlekit::policy::Policies;
    /// use throttlekit::prometheus::Metrics;
    ///
    /// let metrics = Metrics::new();
    /// let text = "limiters: { api: { strategy: gcra, limit: 9, period: 1s, maxKeys: 5000, concurrency: { limit: 8 } } }";
    /// let policies = Policies::from_yaml(text)?;
    /// metrics.policies(&policies);
    /// let text = metrics.render();
    /// assert!(text.contains("throttlekit_guard_limit{guard=\"api\"} 8\n"));
    /// assert!(text.contains("throttlekit_table_max_keys{policy=\"api\"} 5000\n"));
    /// # Ok::<(), throttlekit::config::ConfigErrors>(())
    /// ```
    #[cfg(feature = "config")]
    pub fn policies(&self, policies: &crate::policy::Policies) {
        self.attach(policies.gauges());
    }

    /// The metrics of now as text, of the content type [`CONTENT_TYPE`](super::CONTENT_TYPE).
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.render_to(&mut out);
        out
    }

    /// As [`render`](Self::render), after what is in `out` already.
    pub fn render_to(&self, out: &mut String) {
        self.write(&mut Text::new(out));
    }

    /// The metrics of now in the protobuf format.
    pub(super) fn render_protobuf(&self) -> Vec<u8> {
        let mut out = Protobuf::default();
        self.write(&mut out);
        out.finish()
    }

    fn write(&self, out: &mut impl Families) {
        let now_ms = self.shared.clock.now_ms();
        let policies = self.shared.policies.sorted();
        let policies: Vec<_> = policies.into_iter().map(|named| (&*named.name, named.value.read(now_ms))).collect();
        counters(out, &policies);
        latencies(out, &policies);
        self.shared.attached.forget_gone();
        self.write_guards(out);
        self.write_tables(out);
        out.family("throttlekit_observer_panics_total", Kind::Counter, "Panics of observers that were contained.");
        out.sample(&[], number(self.shared.panics.load(Ordering::Relaxed)));
    }

    fn write_guards(&self, out: &mut impl Families) {
        let reports = told(&self.shared.guards, |tell| {
            for gauges in self.shared.attached.all() {
                gauges.guards(&mut |name, report, _| tell(name, report));
            }
        });
        let mut family = |name, help, value: fn(&GuardReport) -> u32| {
            out.family(name, Kind::Gauge, help);
            for (guard, report) in &reports {
                out.sample(&[("guard", guard)], f64::from(value(report)));
            }
        };
        family("throttlekit_guard_inflight", "Work in flight.", |report| report.in_flight);
        family("throttlekit_guard_limit", "How much work may be in flight.", |report| report.limit);
        family("throttlekit_guard_fenced", "1 if the guard lost the right to its slots, else 0.", |report| {
            u32::from(report.fenced)
        });
    }

    fn write_tables(&self, out: &mut impl Families) {
        let reports = told(&self.shared.tables, |tell| {
            for gauges in self.shared.attached.all() {
                gauges.tables(tell);
            }
        });
        let mut family = |name, kind, help, value: fn(&TableReport) -> u64| {
            out.family(name, kind, help);
            for (policy, report) in &reports {
                out.sample(&[("policy", policy)], number(value(report)));
            }
        };
        family("throttlekit_table_keys", Kind::Gauge, "Keys in memory.", |report| report.keys as u64);
        family("throttlekit_table_max_keys", Kind::Gauge, "The most keys in memory.", |report| report.max_keys as u64);
        let help = "Keys that gave way to others in memory before they expired.";
        family("throttlekit_table_evictions_total", Kind::Counter, help, |report| report.evicted);
    }

    #[inline]
    fn series(&self, policy: &str) -> &Series {
        self.shared.policies.of(policy, OTHER, || Series::new(self.shared.stripes))
    }
}

/// What all of `readers` tell, and what `attached` does, by name. Of several reports of one name there may be one series: the
/// first.
fn told<R>(readers: &Readers<Tell<R>>, attached: impl Fn(&mut dyn FnMut(&str, R))) -> Vec<(String, R)> {
    let mut reports = Vec::new();
    let mut tell = |name: &str, report| reports.push((name.to_owned(), report));
    for read in readers.all() {
        read(&mut tell);
    }
    attached(&mut tell);
    reports.sort_by(|a, b| a.0.cmp(&b.0));
    reports.dedup_by(|a, b| a.0 == b.0);
    reports
}

/// As Prometheus keeps it.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

fn counters(out: &mut impl Families, policies: &[(&str, Reading)]) {
    out.family("throttlekit_allowed_total", Kind::Counter, "Decisions that allowed.");
    for (policy, reading) in policies {
        out.sample(&[("policy", policy)], number(reading.allowed));
    }
    out.family("throttlekit_denied_total", Kind::Counter, "Decisions that denied.");
    for (policy, reading) in policies {
        out.sample(&[("policy", policy)], number(reading.denied_by.iter().sum()));
    }
    out.family("throttlekit_denied_by_axis_total", Kind::Counter, "Decisions that denied, by what denied.");
    for (policy, reading) in policies.iter().filter(|(_, reading)| reading.has_axes) {
        for (lane, denied) in Lane::ALL.into_iter().zip(reading.denied_by) {
            out.sample(&[("policy", policy), ("axis", lane.as_str())], number(denied));
        }
    }
    out.family("throttlekit_check_errors_total", Kind::Counter, "Times that nothing could be decided.");
    for (policy, reading) in policies {
        for (kind, failed) in KINDS.into_iter().zip(reading.failed).filter(|(_, failed)| *failed > 0) {
            out.sample(&[("policy", policy), ("kind", kind.code())], number(failed));
        }
    }
    out.family("throttlekit_limit", Kind::Gauge, "The limit that the last decision told.");
    for (policy, reading) in policies {
        if let Some(limit) = reading.limit {
            out.sample(&[("policy", policy)], number(limit));
        }
    }
}

fn latencies(out: &mut impl Families, policies: &[(&str, Reading)]) {
    for (name, help, q) in [
        ("throttlekit_latency_p50_ms", "Median of how long decisions took lately, in milliseconds.", 0.5),
        ("throttlekit_latency_p99_ms", "99th percentile of how long decisions took lately, in milliseconds.", 0.99),
    ] {
        out.family(name, Kind::Gauge, help);
        for (policy, reading) in policies {
            if let Some(seconds) = reading.recent.quantile(q) {
                out.sample(&[("policy", policy)], seconds * 1e3);
            }
        }
    }
    out.family("throttlekit_decision_latency_seconds", Kind::Histogram, "How long decisions took, in seconds.");
    for (policy, reading) in policies.iter().filter(|(_, reading)| reading.latencies.count() > 0) {
        out.histogram(&[("policy", policy)], &reading.latencies);
    }
}

impl<C: Clock> Observer for Metrics<C> {
    fn observe(&self, event: &Event<'_>) {
        match event.result {
            Err(error) => self.series(event.policy).failed(error),
            // Of a request that is decided as a whole the whole is told as well.
            Ok(_) if event.part => {}
            Ok(decision) => self.series(event.policy).decided(decision, event.axis, event.took_ms),
        }
    }

    fn stopwatch_ns(&self) -> Option<u64> {
        self.shared.timed.then(|| self.shared.clock.monotonic_ns())
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        let took_ms = self.shared.timed.then_some(admission.duration_ms);
        let series = self.series(admission.policy);
        if !admission.parts_marked {
            series.doubt_alone();
        }
        series.admitted(admission.decision, admission.lane(), took_ms);
    }

    fn attach(&self, gauges: Arc<dyn Gauges>) {
        self.shared.attached.forget_gone();
        self.shared.attached.add(gauges);
    }

    fn panicked(&self) {
        self.shared.panics.fetch_add(1, Ordering::Relaxed);
    }
}

impl<C> Clone for Metrics<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for Metrics<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("timed", &self.shared.timed).finish_non_exhaustive()
    }
}
