//! Attributes on spans that the caller owns. No span is made here.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanRef};
use throttlekit::{Axes, Decision};

use crate::names::attribute;

/// What takes attributes: a span, or a reference to the current one.
pub trait SpanLike {
    /// Sets an attribute, in place of one of the same name.
    fn set(&mut self, attribute: KeyValue);
}

impl<S: Span> SpanLike for &mut S {
    fn set(&mut self, attribute: KeyValue) {
        self.set_attribute(attribute);
    }
}

impl SpanLike for &SpanRef<'_> {
    fn set(&mut self, attribute: KeyValue) {
        self.set_attribute(attribute);
    }
}

/// Sets the attributes of a decision on a span: the strategy, whether it was allowed, limit, remaining and the wait; then
/// `extra`, which may replace them.
///
/// ```
/// use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
/// use opentelemetry::{Context, KeyValue};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use throttlekit::{Gcra, Limiter, Strategy};
/// use throttlekit_otel::record_decision;
///
/// let tracer = SdkTracerProvider::builder().build().tracer("app");
/// let limiter = Limiter::new(Gcra::per_minute(100)?);
/// let decision = limiter.check("user-1")?;
///
/// let mut span = tracer.start("request");
/// record_decision(&mut span, &decision, limiter.strategy().name(), [KeyValue::new("tier", "free")]);
///
/// // The span that is current:
/// let context = Context::current_with_span(span);
/// record_decision(&context.span(), &decision, "gcra", []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record_decision(
    mut span: impl SpanLike,
    decision: &Decision,
    strategy: &'static str,
    extra: impl IntoIterator<Item = KeyValue>,
) {
    span.set(KeyValue::new(attribute::STRATEGY, strategy));
    set_decision(&mut span, decision);
    extra.into_iter().for_each(|attribute| span.set(attribute));
}

/// As [`record_decision`], for a request of several axes: without a strategy, and with the axis that denied it, if one did.
///
/// ```
/// use opentelemetry::trace::{Tracer, TracerProvider};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use throttlekit::{Admit, Ask, Gcra, Limiter, Unified};
/// use throttlekit_otel::record_unified_admission;
///
/// let tracer = SdkTracerProvider::builder().build().tracer("app");
/// let unified = Unified::builder().rate(Limiter::new(Gcra::per_minute(100)?)).build()?;
/// let admission = unified.admit(&Ask::new("user-1")).now().expect("memory does not wait")?;
///
/// let mut span = tracer.start("request");
/// record_unified_admission(&mut span, &admission.decision, &admission.axes, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn record_unified_admission(
    mut span: impl SpanLike,
    decision: &Decision,
    axes: &Axes,
    extra: impl IntoIterator<Item = KeyValue>,
) {
    set_decision(&mut span, decision);
    if let (false, Some(axis)) = (decision.allowed, axes.binding()) {
        span.set(KeyValue::new(attribute::BINDING_AXIS, axis.as_str()));
    }
    extra.into_iter().for_each(|attribute| span.set(attribute));
}

fn set_decision(span: &mut impl SpanLike, decision: &Decision) {
    let Decision { allowed, limit, remaining, retry_after_ms, .. } = *decision;
    span.set(KeyValue::new(attribute::ALLOWED, allowed));
    span.set(KeyValue::new(attribute::LIMIT, number(limit)));
    span.set(KeyValue::new(attribute::REMAINING, number(remaining)));
    span.set(KeyValue::new(attribute::RETRY_AFTER_MS, number(retry_after_ms)));
}

/// Spans have signed numbers only.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
