//! What spans tell.

use opentelemetry::trace::{Span, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use throttlekit::{Axes, Decision};
use throttlekit_otel::names::attribute;
use throttlekit_otel::{record_decision, record_unified_admission};

use crate::support::text_of;

/// What a span has after `record`.
fn recorded(record: impl FnOnce(&mut opentelemetry_sdk::trace::Span)) -> String {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let mut span = provider.tracer("test").start("request");
    record(&mut span);
    span.end();
    text_of(exporter.get_finished_spans().unwrap()[0].attributes.iter())
}

fn denied(limit: u64, retry_after_ms: u64) -> Decision {
    Decision { allowed: false, limit, remaining: 0, reset_at_ms: 0, retry_after_ms }
}

#[test]
fn a_span_has_the_five_attributes_of_a_decision_and_the_extra_ones() {
    let text = recorded(|span| {
        record_decision(span, &denied(100, 500), "gcra", [KeyValue::new("region", "us-east")]);
    });
    let expected = r#"region="us-east" throttlekit.allowed=Bool(false) throttlekit.limit=I64(100) throttlekit.remaining=I64(0) throttlekit.retry_after_ms=I64(500) throttlekit.strategy="gcra""#;
    assert_eq!(text, expected);
    let text = recorded(|span| {
        record_decision(span, &denied(u64::MAX, 1), "gcra", [KeyValue::new(attribute::STRATEGY, "mine")]);
    });
    assert!(text.contains(r#"throttlekit.strategy="mine""#) && text.contains(&format!("I64({})", i64::MAX)), "{text}");
}

#[test]
fn a_span_of_several_axes_has_the_binding_one_and_no_strategy() {
    let mut axes = Axes::default();
    (axes.rate, axes.cost) = (Some(Decision::ALLOW_FULL), Some(denied(1, 100)));
    let text = recorded(|span| record_unified_admission(span, &axes.combined(), &axes, []));
    let expected = r#"throttlekit.allowed=Bool(false) throttlekit.binding_axis="cost" throttlekit.limit=I64(1) throttlekit.remaining=I64(0) throttlekit.retry_after_ms=I64(100)"#;
    assert_eq!(text, expected);
    axes.cost = None;
    for decision in [Decision::ALLOW_FULL, denied(1, 0)] {
        let text = recorded(|span| record_unified_admission(span, &decision, &axes, []));
        assert!(!text.contains("binding_axis"), "an allow, or a denial by prices: {text}");
    }
}

#[test]
fn the_current_span_takes_attributes_too() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let context = Context::current_with_span(provider.tracer("test").start("request"));
    record_decision(&context.span(), &denied(3, 7), "gcra", []);
    context.span().end();
    assert_eq!(exporter.get_finished_spans().unwrap()[0].attributes.len(), 5);
}
