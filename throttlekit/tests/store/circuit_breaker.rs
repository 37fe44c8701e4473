//! The circuit breaker around a store: when it asks, when it does not, and how it comes back.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use throttlekit::store::{BreakerState, Call, CircuitBreaker, CircuitBreakerBuilder, DynStore, Remote, Rule};
use throttlekit::{Decision, DynLimiter, Error, FixedWindow, Limiter, ManualClock};

use crate::support::outage::{Flaky, ManualRuntime, Mood};
use crate::support::polled;

const START: f64 = 1_700_000_000_000.0;

/// A limiter over a store behind a breaker: 3 failures open it, calls may take 100 ms, probes come every 200 ms.
struct Setup {
    clock: ManualClock,
    runtime: ManualRuntime,
    store: Flaky,
    breaker: Arc<CircuitBreaker>,
    limiter: Arc<dyn DynLimiter>,
}

fn setup() -> Setup {
    let clock = ManualClock::new(START);
    let runtime = ManualRuntime::new(&clock);
    let store = Flaky::default();
    let breaker = CircuitBreaker::builder(store.clone(), runtime.clone())
        .timeout(Duration::from_millis(100))
        .failures(3)
        .probe_interval(Duration::from_millis(200))
        .clock(clock.clone());
    let breaker = Arc::new(breaker.build().unwrap());
    let strategy = FixedWindow::builder().limit(1_000.0).window_ms(1e9).build().unwrap();
    let keys = Remote::from_dyn(breaker.clone());
    let limiter = Arc::new(Limiter::builder(strategy).keyspace(keys).clock(clock.clone()).build());
    Setup { clock, runtime, store, breaker, limiter }
}

impl Setup {
    /// One check, which must not have to wait.
    fn check(&self) -> Result<Decision, Error> {
        polled(self.limiter.check("k", 1.0), 1).expect("an answer at once")
    }

    fn check_fails(&self) -> String {
        let error = self.check().unwrap_err();
        assert!(error.is_store_unavailable(), "{error}");
        error.to_string()
    }

    /// Three failures.
    fn open(&self) {
        self.store.set(Mood::Down);
        for _ in 0..3 {
            self.check_fails();
        }
        assert_eq!(self.breaker.state(), BreakerState::Open);
    }
}

#[test]
fn it_opens_after_failures_in_a_row_and_then_asks_no_more() {
    let setup = setup();
    assert!(setup.check().unwrap().allowed);
    setup.store.set(Mood::Down);
    for _ in 0..2 {
        assert_eq!(setup.check_fails(), "store is unavailable: connection refused");
    }
    setup.store.set(Mood::Up);
    setup.check().unwrap();
    setup.store.set(Mood::Down);
    setup.check_fails();
    setup.check_fails();
    assert_eq!(setup.breaker.state(), BreakerState::Closed, "a success between: only two in a row");
    setup.check_fails();
    assert_eq!(setup.breaker.state(), BreakerState::Open);

    let asked = setup.store.calls();
    assert_eq!(setup.check_fails(), "store is unavailable: it is not asked, since its last calls failed");
    assert_eq!(setup.store.calls(), asked);
    let stats = setup.breaker.stats();
    assert_eq!((stats.failures, stats.timeouts, stats.rejected, stats.opened), (5, 0, 1, 1));
}

#[test]
fn answers_that_are_errors_are_no_failures() {
    let setup = setup();
    setup.store.set(Mood::Broken);
    for _ in 0..10 {
        assert_eq!(setup.check().unwrap_err().code(), "state_invalid");
    }
    let refused = polled(setup.limiter.check("k", f64::NAN), 1).unwrap().unwrap_err();
    assert_eq!(refused.code(), "invalid_argument");
    assert_eq!((setup.breaker.state(), setup.breaker.stats().failures), (BreakerState::Closed, 0));
    assert!(!setup.breaker.outage().is_on());

    setup.open();
    setup.store.set(Mood::Broken);
    setup.clock.advance(200.0);
    assert_eq!(setup.check().unwrap_err().code(), "state_invalid");
    assert_eq!(setup.breaker.state(), BreakerState::Closed, "a store with a broken state is there");
}

#[test]
fn what_is_refused_is_neither_a_failure_nor_a_success() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Refusing);
    setup.clock.advance(200.0);
    let asked = setup.store.calls();
    for probe in 1..=2 {
        assert_eq!(setup.check().unwrap_err().code(), "invalid_argument");
        assert_eq!((setup.store.calls(), setup.breaker.state()), (asked + probe, BreakerState::Open));
    }
    assert_eq!((setup.breaker.stats().failures, setup.breaker.outage().is_on()), (3, true));
    setup.store.set(Mood::Up);
    setup.check().unwrap();
    assert_eq!((setup.breaker.state(), setup.breaker.outage().is_on()), (BreakerState::Closed, false));

    setup.store.set(Mood::Down);
    setup.check_fails();
    setup.check_fails();
    setup.store.set(Mood::Refusing);
    setup.check().unwrap_err();
    setup.store.set(Mood::Down);
    setup.check_fails();
    assert_eq!(setup.breaker.state(), BreakerState::Open, "the third in a row");
}

#[test]
fn calls_without_keys_ask_no_store() {
    let setup = setup();
    setup.open();
    setup.clock.advance(200.0);
    let asked = setup.store.calls();
    let decisions = polled(setup.limiter.check_many(&[], 1.0), 1).expect("an answer at once");
    assert_eq!(decisions.unwrap(), []);
    let call = setup.breaker.clone().run_boxed(Call::new(START, Rule::Each));
    assert!(polled(call, 1).expect("an answer at once").is_ok());
    assert_eq!((setup.store.calls(), setup.breaker.state()), (asked, BreakerState::Open));
    assert!(setup.breaker.outage().is_on());
}

#[test]
fn one_probe_after_the_interval_and_a_success_closes() {
    let setup = setup();
    setup.open();
    let asked = setup.store.calls();
    setup.clock.advance(199.0);
    setup.check_fails();
    assert_eq!(setup.store.calls(), asked);

    setup.clock.advance(1.0);
    setup.check_fails();
    assert_eq!(setup.store.calls(), asked + 1, "a probe");
    setup.check_fails();
    assert_eq!((setup.store.calls(), setup.breaker.state()), (asked + 1, BreakerState::Open));

    setup.store.set(Mood::Up);
    setup.clock.advance(200.0);
    assert!(setup.check().unwrap().allowed);
    assert_eq!(setup.breaker.state(), BreakerState::Closed);
    setup.check().unwrap();
    assert_eq!(setup.breaker.stats().opened, 1);
}

#[test]
fn while_a_probe_is_out_no_other_call_goes_through() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Hung);
    setup.clock.advance(200.0);
    let mut context = Context::from_waker(Waker::noop());
    let mut probe = pin!(setup.limiter.check("k", 1.0));
    assert!(probe.as_mut().poll(&mut context).is_pending());
    assert_eq!(setup.breaker.state(), BreakerState::HalfOpen);
    let asked = setup.store.calls();
    for _ in 0..5 {
        setup.check_fails();
    }
    assert_eq!(setup.store.calls(), asked);

    setup.store.set(Mood::Up);
    assert!(matches!(probe.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    assert_eq!(setup.breaker.state(), BreakerState::Closed);
}

#[test]
fn a_hung_store_is_as_good_as_a_dead_one() {
    let setup = setup();
    setup.store.set(Mood::Hung);
    let mut context = Context::from_waker(Waker::noop());
    for failed in 1..=3 {
        let mut check = pin!(setup.limiter.check("k", 1.0));
        assert!(check.as_mut().poll(&mut context).is_pending());
        setup.clock.advance(99.0);
        assert!(check.as_mut().poll(&mut context).is_pending());
        setup.clock.advance(1.0);
        let Poll::Ready(Err(error)) = check.as_mut().poll(&mut context) else { panic!("an error after 100 ms") };
        assert_eq!(error.to_string(), "store is unavailable: no answer within 100ms");
        assert_eq!(setup.breaker.stats().timeouts, failed);
    }
    assert_eq!(setup.breaker.state(), BreakerState::Open);
    setup.check_fails();
}

#[test]
fn a_store_that_is_back_is_used_within_a_timeout_and_an_interval() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Hung);
    setup.clock.advance(200.0);
    // The worst case: a probe is just on its way when the store comes back, and its answer is lost.
    let mut probe = Box::pin(setup.limiter.check("k", 1.0));
    let mut context = Context::from_waker(Waker::noop());
    assert!(probe.as_mut().poll(&mut context).is_pending());
    setup.clock.advance(100.0);
    assert!(probe.as_mut().poll(&mut context).is_ready());
    setup.store.set(Mood::Up);
    setup.clock.advance(199.0);
    setup.check_fails();
    setup.clock.advance(1.0);
    setup.check().unwrap();
    let worst = CircuitBreakerBuilder::DEFAULT_TIMEOUT + CircuitBreakerBuilder::DEFAULT_PROBE_INTERVAL;
    assert!(worst < Duration::from_secs(1), "{worst:?}");
}

#[test]
fn a_dropped_probe_leaves_its_place_to_the_next_call() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Hung);
    setup.clock.advance(200.0);
    for _ in 0..3 {
        assert!(polled(setup.limiter.check("k", 1.0), 2).is_none(), "a probe, dropped");
        assert_eq!(setup.breaker.state(), BreakerState::Open);
    }
    drop(setup.limiter.check("k", 1.0)); // never polled
    setup.store.set(Mood::Up);
    setup.check().unwrap();
    assert_eq!(setup.breaker.state(), BreakerState::Closed);
}

#[test]
fn a_probe_that_nobody_polls_loses_its_place() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Hung);
    setup.clock.advance(200.0);
    let mut forgotten = Box::pin(setup.limiter.check("k", 1.0));
    let mut context = Context::from_waker(Waker::noop());
    assert!(forgotten.as_mut().poll(&mut context).is_pending());
    setup.store.set(Mood::Up);
    setup.clock.advance(299.0);
    setup.check_fails();
    setup.clock.advance(1.0);
    setup.check().unwrap();
    assert_eq!(setup.breaker.state(), BreakerState::Closed);

    // What becomes of it now is of no consequence.
    setup.store.set(Mood::Down);
    assert!(matches!(forgotten.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    assert_eq!(setup.breaker.state(), BreakerState::Closed);
    setup.store.set(Mood::Up);
    for _ in 0..3 {
        setup.check().unwrap();
    }
}

#[test]
fn stragglers_of_an_outage_do_not_open_it_again() {
    let setup = setup();
    setup.store.set(Mood::Hung);
    let mut context = Context::from_waker(Waker::noop());
    let mut stragglers: Vec<_> = (0..10).map(|_| Box::pin(setup.limiter.check("k", 1.0))).collect();
    for straggler in &mut stragglers {
        assert!(straggler.as_mut().poll(&mut context).is_pending());
    }
    setup.open();
    setup.store.set(Mood::Up);
    setup.clock.advance(200.0);
    setup.check().unwrap();
    setup.store.set(Mood::Down);
    for straggler in &mut stragglers {
        assert!(matches!(straggler.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    }
    assert_eq!(setup.breaker.state(), BreakerState::Closed);
}

#[test]
fn dropped_calls_are_neither_failures_nor_successes() {
    let setup = setup();
    setup.store.set(Mood::Down);
    setup.check_fails();
    setup.check_fails();
    setup.store.set(Mood::Hung);
    for _ in 0..10 {
        assert!(polled(setup.limiter.check("k", 1.0), 3).is_none());
    }
    assert_eq!((setup.breaker.state(), setup.breaker.stats().failures), (BreakerState::Closed, 2));
    setup.store.set(Mood::Down);
    setup.check_fails();
    assert_eq!(setup.breaker.state(), BreakerState::Open, "the third in a row");
}

#[test]
fn a_clock_that_steps_back_does_not_keep_it_open() {
    let setup = setup();
    setup.open();
    setup.store.set(Mood::Up);
    setup.clock.set(START - 3_600_000.0);
    setup.check().unwrap();
    setup.open();
    setup.check_fails();
    setup.store.set(Mood::Up);
    setup.clock.advance(200.0);
    setup.check().unwrap();
}

#[test]
fn no_timer_is_set_for_an_answer_that_is_there() {
    let setup = setup();
    setup.check().unwrap();
    assert_eq!(setup.runtime.sleeps(), 0);
    setup.store.set(Mood::Hung);
    assert!(polled(setup.limiter.check("k", 1.0), 5).is_none());
    assert_eq!(setup.runtime.sleeps(), 1);
}

#[test]
fn an_outage_lasts_from_the_first_failure_to_the_next_success() {
    let setup = setup();
    let outage = setup.breaker.outage().clone();
    setup.check().unwrap();
    assert_eq!((outage.is_on(), outage.count()), (false, 0));
    setup.store.set(Mood::Down);
    setup.check_fails();
    assert_eq!((outage.is_on(), outage.count()), (true, 1));
    setup.store.set(Mood::Up);
    setup.check().unwrap();
    assert!(!outage.is_on());
    setup.open();
    setup.check_fails();
    assert_eq!((outage.is_on(), outage.count()), (true, 2));
    setup.store.set(Mood::Up);
    setup.clock.advance(200.0);
    setup.check().unwrap();
    assert_eq!((outage.is_on(), outage.count()), (false, 2));
}

#[test]
fn options_out_of_range_are_refused() {
    let build = |change: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder| {
        let builder = CircuitBreaker::builder(Flaky::default(), ManualRuntime::default());
        change(builder).build().map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(build(|builder| builder), Ok(()));
    let refused = |option: &str, value: &str, allowed: &str| Err(format!("breaker.{option} is {value}: {allowed}"));
    let span = "must be from 1ms to 60s";
    assert_eq!(build(|builder| builder.timeout(Duration::ZERO)), refused("timeout", "0ns", span));
    assert_eq!(build(|builder| builder.timeout(Duration::from_secs(61))), refused("timeout", "61s", span));
    let short = |builder: CircuitBreakerBuilder| builder.probe_interval(Duration::from_micros(999));
    assert_eq!(build(short), refused("probeInterval", "999µs", span));
    assert_eq!(build(|builder| builder.failures(0)), refused("failures", "0", "must be from 1 to 1000"));
    assert_eq!(build(|builder| builder.failures(1_001)), refused("failures", "1001", "must be from 1 to 1000"));
}

/// The breaker as it is described, without atomics: what a plain reading of the documentation gives.
#[derive(Debug)]
enum Model {
    Closed { failures: u32 },
    Open { until: f64 },
}

proptest! {
    /// Calls that answer at once, at random times, on a store that comes and goes.
    #[test]
    fn it_asks_when_the_model_asks(steps in prop::collection::vec((0_u32..150, any::<bool>()), 1..200)) {
        let setup = setup();
        let mut model = Model::Closed { failures: 0 };
        let mut now = 0.0;
        for (passed, up) in steps {
            now += f64::from(passed);
            setup.clock.advance(f64::from(passed));
            setup.store.set(if up { Mood::Up } else { Mood::Down });
            let asks = !matches!(model, Model::Open { until } if now < until);
            let before = setup.store.calls();
            let result = setup.check();
            prop_assert_eq!(setup.store.calls() - before, u64::from(asks));
            prop_assert_eq!(result.is_ok(), asks && up);
            model = match model {
                _ if !asks => model,
                _ if up => Model::Closed { failures: 0 },
                Model::Closed { failures } if failures < 2 => Model::Closed { failures: failures + 1 },
                _ => Model::Open { until: now + 200.0 },
            };
            let expected = if matches!(model, Model::Open { .. }) { BreakerState::Open } else { BreakerState::Closed };
            prop_assert_eq!(setup.breaker.state(), expected);
        }
    }
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn on_tokio_a_hung_store_fails_after_the_timeout() {
    let store = Flaky::default();
    store.set(Mood::Hung);
    let breaker = CircuitBreaker::builder(store.clone(), throttlekit::TokioRuntime).build().unwrap();
    let keys = Remote::from_dyn(Arc::new(breaker));
    let strategy = FixedWindow::builder().limit(5.0).window_ms(1e9).build().unwrap();
    let limiter = Limiter::builder(strategy).keyspace(keys).build();
    let before = tokio::time::Instant::now();
    assert!(limiter.check("k").await.unwrap_err().is_store_unavailable());
    // Time is paused, so it is exact but for the timer's granularity of a millisecond.
    let waited = before.elapsed();
    assert!((250..=252).contains(&waited.as_millis()), "{waited:?}");
}
