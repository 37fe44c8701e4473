//! Events and fields of the `tracing` crate.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test
#![cfg(feature = "tracing")]

mod support;

use std::sync::Arc;

use support::Lines;
use throttlekit::lease::TwoTier;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::{
    Admit, Ask, Disconnect, Error, FixedWindow, Gcra, Guard, Limiter, ManualClock, Observer, Stage, Unified,
};
use throttlekit_otel::{TracingObserver, record_fields};
use tracing::field::Empty;

/// What `work` writes.
fn written(work: impl FnOnce(Arc<TracingObserver>)) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, || work(Arc::new(TracingObserver::new())));
    lines.text()
}

fn gcra() -> Gcra {
    Gcra::builder().limit(1.0).period_ms(1_000.0).build().unwrap()
}

#[test]
fn denials_are_written_without_keys() {
    let text = written(|observer| {
        let limiter =
            Limiter::builder(gcra()).name("api").clock(ManualClock::new(0.0)).observer(Arc::clone(&observer)).build();
        limiter.check("SECRET-MARK").unwrap();
        limiter.check("SECRET-MARK").unwrap();
        let guard = Guard::builder().fixed(1).observer(Arc::clone(&observer)).build().unwrap();
        let unified = Unified::builder().concurrency(guard).observer(observer).build().unwrap();
        let _held = unified.admit(&Ask::new("SECRET-MARK")).now().unwrap().unwrap();
        drop(unified.admit(&Ask::new("SECRET-MARK")).now().unwrap().unwrap());
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|line| line.contains("DEBUG throttlekit: request denied")), "{text}");
    let fields = r#"policy="api" throttlekit.strategy="gcra" throttlekit.allowed=false throttlekit.limit=1 throttlekit.remaining=0 throttlekit.retry_after_ms=1000"#;
    assert!(lines[0].ends_with(fields), "{text}");
    assert!(lines[1].contains(r#"policy="fixed""#) && lines[1].ends_with(r#"priority="normal""#), "{text}");
    assert!(lines[2].contains(r#"lane="concurrency""#) && lines[2].contains(r#"binding_axis="concurrency""#), "{text}");
    assert!(!text.contains("SECRET-MARK"), "{text}");
}

/// A store that is gone.
struct Gone;

impl Store for Gone {
    async fn run(&self, _: &mut Call) -> Result<(), Error> {
        Err(Error::store_unavailable("SECRET-MARK"))
    }
}

#[test]
fn failures_are_written_at_a_bounded_rate() {
    let clock = ManualClock::new(0.0);
    let text = written(|observer| {
        let builder = Limiter::builder(gcra()).keyspace(Remote::new(Gone)).clock(clock.clone());
        let limiter = builder.observer(observer).build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for _ in 0..100 {
                limiter.check("SECRET-MARK").await.unwrap_err();
                clock.advance(102.0);
            }
        });
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("WARN throttlekit: check failed"), "{text}");
    assert!(lines[0].ends_with(r#"code="store_unavailable" left_out=0"#), "{text}");
    assert!(lines[1].ends_with("left_out=98"), "{text}");
    assert!(!text.contains("SECRET-MARK"), "{text}");
}

#[test]
fn other_events_are_written_too() {
    let text = written(|observer| {
        observer.disconnected(&Disconnect::new("api", Stage::Working));
        let window = FixedWindow::builder().limit(6.0).window_ms(60_000.0).build().unwrap();
        let leased = TwoTier::builder(window).batch(4.0).clock(ManualClock::new(0.0)).observer(observer);
        leased.build().unwrap().run_check("SECRET-MARK", 1.0).now().unwrap().unwrap();
    });
    assert_eq!(text.trim(), r#"DEBUG throttlekit: caller went away policy="api" stage="working""#);
}

#[test]
fn a_span_takes_the_fields_it_was_made_with() {
    let text = written(|_| {
        let span = tracing::info_span!(
            "request",
            throttlekit.strategy = Empty,
            throttlekit.allowed = Empty,
            throttlekit.retry_after_ms = Empty
        );
        let limiter = Limiter::builder(gcra()).clock(ManualClock::new(0.0)).build();
        limiter.check("k").unwrap();
        record_fields(&span, &limiter.check("k").unwrap(), Some("gcra"));
        span.in_scope(|| tracing::info!("done"));
    });
    let fields = r#"throttlekit.strategy="gcra" throttlekit.allowed=false throttlekit.retry_after_ms=1000"#;
    assert!(text.contains(fields), "{text}");
}
