//! A meter whose measurements can be read, a log that can, and a stopwatch that goes on by itself.

#![allow(dead_code)] // each test file uses a part of it
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use throttlekit::Clock;
use tracing_subscriber::fmt::MakeWriter;

/// An SDK in memory.
pub(crate) struct Sdk {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// One series, as exported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// `counter`, `gauge`, `histogram`, or `sum` of what may go down.
    pub(crate) kind: &'static str,
    pub(crate) unit: String,
    /// `key=value`, in the order of keys; texts in quotes.
    pub(crate) attributes: String,
    /// Of a counter or a gauge, or the sum of a histogram.
    pub(crate) value: f64,
    /// How often a histogram was recorded into.
    pub(crate) count: u64,
    /// The bounds of a histogram.
    pub(crate) bounds: Vec<f64>,
    /// What the buckets of a histogram count.
    pub(crate) buckets: Vec<u64>,
}

impl Sdk {
    pub(crate) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        Self { provider, exporter }
    }

    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter("throttlekit")
    }

    /// Collects once.
    pub(crate) fn collect(&self) -> Vec<Series> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        let metrics = exported.iter().flat_map(ResourceMetrics::scope_metrics);
        let mut series: Vec<Series> = metrics.flat_map(ScopeMetrics::metrics).flat_map(series_of).collect();
        series.sort_by(|one, other| (&one.name, &one.attributes).cmp(&(&other.name, &other.attributes)));
        series
    }

    /// All that was exported so far, as text.
    pub(crate) fn text(&self) -> String {
        self.provider.force_flush().unwrap();
        format!("{:?}", self.exporter.get_finished_metrics().unwrap())
    }
}

/// The series of one instrument, with value and attributes.
pub(crate) fn of<'a>(series: &'a [Series], name: &str) -> Vec<(&'a str, f64)> {
    series
        .iter()
        .filter(|series| series.name == name)
        .map(|series| (series.attributes.as_str(), series.value))
        .collect()
}

pub(crate) fn one<'a>(series: &'a [Series], name: &str) -> &'a Series {
    let found: Vec<_> = series.iter().filter(|series| series.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

pub(crate) fn text_of<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut texts: Vec<_> = attributes.map(|attribute| format!("{}={:?}", attribute.key, attribute.value)).collect();
    texts.sort();
    texts.join(" ").replace("String(Static(", "").replace("String(Owned(", "").replace("))", "")
}

fn series_of(metric: &Metric) -> Vec<Series> {
    match metric.data() {
        AggregatedMetrics::F64(data) => series_in(metric, data),
        AggregatedMetrics::U64(data) => series_in(metric, data),
        AggregatedMetrics::I64(data) => series_in(metric, data),
    }
}

fn series_in<T: Copy + Display>(metric: &Metric, data: &MetricData<T>) -> Vec<Series> {
    let number = |value: T| value.to_string().parse().unwrap();
    let series = |attributes, value| Series {
        name: metric.name().to_owned(),
        kind: match data {
            MetricData::Gauge(_) => "gauge",
            MetricData::Sum(sum) if sum.is_monotonic() => "counter",
            MetricData::Sum(_) => "sum",
            MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => "histogram",
        },
        unit: metric.unit().to_owned(),
        attributes,
        value,
        count: 0,
        bounds: Vec::new(),
        buckets: Vec::new(),
    };
    match data {
        MetricData::Gauge(gauge) => {
            gauge.data_points().map(|point| series(text_of(point.attributes()), number(point.value()))).collect()
        }
        MetricData::Sum(sum) => {
            sum.data_points().map(|point| series(text_of(point.attributes()), number(point.value()))).collect()
        }
        MetricData::Histogram(histogram) => {
            let point = |point: &opentelemetry_sdk::metrics::data::HistogramDataPoint<T>| Series {
                count: point.count(),
                bounds: point.bounds().collect(),
                buckets: point.bucket_counts().collect(),
                ..series(text_of(point.attributes()), number(point.sum()))
            };
            histogram.data_points().map(point).collect()
        }
        MetricData::ExponentialHistogram(_) => panic!("no view asks for one"),
    }
}

/// A stopwatch that goes on by as much with each reading.
#[derive(Clone)]
pub(crate) struct Ticking {
    readings: Arc<AtomicU64>,
    step_ns: u64,
}

impl Ticking {
    pub(crate) fn by_ms(ms: u64) -> Self {
        Self { readings: Arc::default(), step_ns: ms * 1_000_000 }
    }
}

impl Clock for Ticking {
    fn now_ms(&self) -> f64 {
        0.0
    }

    fn monotonic_ns(&self) -> u64 {
        self.readings.fetch_add(1, Ordering::Relaxed) * self.step_ns
    }
}

/// What is written, as text.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
