//! What a program exports by OTLP over gRPC, as a receiver on a real connection gets it.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Pair};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Admit, Ask, ManualClock};
use throttlekit_otel::{Telemetry, buckets, record_decision, record_unified_admission};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What every key has in it.
const MARK: &str = "SECRET-MARK";

const POLICIES: &str = "
limiters:
  api: { strategy: gcra, limit: 2, period: 1s }
  work: { strategy: fixedWindow, limit: 9, windowMs: 60000, concurrency: { limit: 1 } }
";

/// Keeps what it receives.
#[derive(Clone, Default)]
struct Receiver {
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    /// Listens on a free port; the address.
    fn start(&self) -> String {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("http://{}", incoming.local_addr().unwrap());
        let (metrics, traces) = (MetricsServiceServer::new(self.clone()), TraceServiceServer::new(self.clone()));
        tokio::spawn(Server::builder().add_service(metrics).add_service(traces).serve_with_incoming(incoming));
        address
    }

    /// The instruments of the last export.
    fn instruments(&self) -> Vec<Metric> {
        let received = self.metrics.lock().unwrap();
        let resources = &received.last().expect("metrics arrived").resource_metrics;
        let scopes = resources.iter().flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics.iter().cloned()).collect()
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn pairs(attributes: &[Pair]) -> String {
    let mut texts: Vec<_> =
        attributes.iter().map(|pair| format!("{}={}", pair.key, text(pair.value.as_ref()))).collect();
    texts.sort();
    texts.join(" ")
}

/// Attributes and values of the numbers of an instrument.
fn numbers(instruments: &[Metric], name: &str) -> Vec<(String, f64)> {
    let metric = instruments.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
    let points = match metric.data.as_ref().expect("it has data") {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic, "{name}");
            &sum.data_points
        }
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{name} is {other:?}"),
    };
    let value = |point: &number_data_point::Value| match point {
        number_data_point::Value::AsDouble(value) => *value,
        number_data_point::Value::AsInt(value) => value.to_string().parse().unwrap(),
    };
    let mut found: Vec<_> =
        points.iter().map(|point| (pairs(&point.attributes), value(point.value.as_ref().unwrap()))).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_gets_the_instruments_and_the_attributes_of_spans() {
    let receiver = Receiver::default();
    let address = receiver.start();
    let resource = Resource::builder().with_service_name("shop").build();
    let exporter = MetricExporter::builder().with_tonic().with_endpoint(&address).build().unwrap();
    let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_periodic_exporter(exporter).build();
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&address).build().unwrap();
    let tracers = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();

    let meter = meters.meter("throttlekit");
    let telemetry = Telemetry::builder(&meter).attribute(KeyValue::new("region", "eu-1")).build();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(telemetry.clone());
    let policies = Policies::load(POLICIES, options).unwrap();
    let shown = telemetry.policies(&policies);
    let tracer = tracers.tracer("shop");
    let (api, work) = (policies.get("api").unwrap(), policies.get("work").unwrap());
    for _ in 0..3 {
        let mut span = tracer.start("request");
        let admission = api.admit().admit(&Ask::new(MARK)).await.unwrap();
        record_decision(&mut span, &admission.decision, "gcra", []);
        span.end();
    }
    let held = work.admit().admit(&Ask::new(MARK)).await.unwrap();
    let mut span = tracer.start("work");
    let denied = work.admit().admit(&Ask::new(MARK)).await.unwrap();
    record_unified_admission(&mut span, &denied.decision, &denied.axes, []);
    span.end();

    // Flushing blocks the thread until the receiver has answered.
    tokio::task::spawn_blocking(move || {
        meters.force_flush().unwrap();
        tracers.force_flush().unwrap();
    })
    .await
    .unwrap();
    drop((held, shown));

    let instruments = receiver.instruments();
    let checks = numbers(&instruments, "throttlekit.checks");
    let of = |allowed: bool, strategy: &str| format!(r#"allowed="{allowed}" region="eu-1" strategy="{strategy}""#);
    assert_eq!(checks, [(of(false, "gcra"), 1.0), (of(true, "fixedWindow"), 1.0), (of(true, "gcra"), 2.0)]);
    let lanes = numbers(&instruments, "throttlekit.denies_by_axis");
    assert_eq!(lanes, [(r#"lane="concurrency" region="eu-1""#.to_owned(), 1.0)]);
    let guard = r#"policy="work" region="eu-1""#.to_owned();
    for (name, value) in [("limit", 1.0), ("inflight", 1.0), ("rtt_noload", 0.0), ("dropped", 0.0)] {
        let name = format!("throttlekit.concurrency.{name}");
        assert_eq!(numbers(&instruments, &name), [(guard.clone(), value)], "{name}");
    }
    let latency = instruments.iter().find(|metric| metric.name == "throttlekit.store.latency").unwrap();
    assert_eq!(latency.unit, "ms");
    let Some(Data::Histogram(histogram)) = &latency.data else { panic!("{latency:?}") };
    let gcra = histogram.data_points.iter().find(|point| pairs(&point.attributes).contains("gcra")).unwrap();
    assert_eq!((gcra.count, &gcra.explicit_bounds[..]), (3, &buckets::LATENCY_MS[..]));

    let traces = receiver.traces.lock().unwrap().clone();
    let resources = traces.iter().flat_map(|trace| &trace.resource_spans);
    let spans = resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    let spans: Vec<_> = spans.map(|span| pairs(&span.attributes)).collect();
    let decision = |allowed: bool, remaining: u64, retry: u64| {
        format!(
            "throttlekit.allowed={allowed} throttlekit.limit=2 throttlekit.remaining={remaining} \
             throttlekit.retry_after_ms={retry} throttlekit.strategy=\"gcra\""
        )
    };
    let whole = r#"throttlekit.allowed=false throttlekit.binding_axis="concurrency" throttlekit.limit=1 throttlekit.remaining=0 throttlekit.retry_after_ms=1"#;
    assert_eq!(spans, [decision(true, 1, 0), decision(true, 0, 0), decision(false, 0, 500), whole.to_owned()]);

    let metrics = receiver.metrics.lock().unwrap().clone();
    let everything = format!("{metrics:?}{traces:?}");
    assert!(everything.contains("shop") && !everything.contains(MARK), "{everything}");
}
