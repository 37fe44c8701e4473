//! Driving a strategy step by step, without a table.
#![allow(clippy::cast_precision_loss)] // the instants of tests are far below 2^53

use throttlekit::{BuildError, Change, Decision, Error, Forecast, Project, State, Step};

/// One key of one strategy. Nothing expires: an aged state must act like none by itself.
pub(crate) struct Key<S: Project> {
    pub(crate) strategy: S,
    pub(crate) state: Option<S::State>,
    /// The time to live of the last write.
    pub(crate) ttl_ms: f64,
}

impl<S: Project> Key<S> {
    pub(crate) fn new(strategy: S) -> Self {
        Self { strategy, state: None, ttl_ms: f64::NAN }
    }

    pub(crate) fn with_text(strategy: S, text: &str) -> Self {
        let state = S::State::decode(text);
        assert!(state.is_some(), "{text} does not parse");
        Self { state, ..Self::new(strategy) }
    }

    /// The state as text.
    pub(crate) fn text(&self) -> String {
        self.state.as_ref().map_or_else(String::new, State::encode)
    }

    pub(crate) fn try_check(&mut self, now: f64, cost: f64) -> Result<Decision, Error> {
        let before = self.text();
        let outcome = match self.strategy.step(self.state.as_ref(), now, &cost) {
            Step::Keep(outcome) => outcome,
            Step::Write { change, ttl_ms, outcome } => {
                change.apply_to(&mut self.state);
                assert!(self.state.is_some(), "a change leaves a state");
                assert!(ttl_ms > 0.0 && ttl_ms.is_finite(), "the time to live is {ttl_ms}");
                self.ttl_ms = ttl_ms;
                outcome
            }
            Step::Remove(_) => panic!("no strategy forgets a key"),
            Step::Fail(error) => return Err(error),
        };
        let decision = self.strategy.reply(now, &cost, outcome);
        assert_eq!(decision.limit, self.strategy.limit());
        assert_eq!(decision.retry_after_ms == 0, decision.allowed, "{decision:?}");
        assert!(decision.allowed || before == self.text(), "a denial changed {before} to {}", self.text());
        Ok(decision)
    }

    pub(crate) fn check(&mut self, now: f64, cost: f64) -> Decision {
        self.try_check(now, cost).unwrap()
    }

    pub(crate) fn check_allows(&mut self, now: f64) -> bool {
        self.check(now, 1.0).allowed
    }

    pub(crate) fn peek(&self, now: f64) -> Decision {
        let before = self.text();
        let decision = self.strategy.peek(self.state.as_ref(), now);
        assert_eq!(decision.retry_after_ms == 0, decision.allowed, "{decision:?}");
        assert_eq!(before, self.text());
        decision
    }

    pub(crate) fn forecast(&self, now: f64, cost: f64) -> Forecast {
        self.strategy.forecast(self.state.as_ref(), now, cost)
    }

    /// Checks `cost` at `now` and compares what the expectation names.
    #[track_caller]
    pub(crate) fn at(&mut self, now: f64, cost: f64, expected: Expect) -> &mut Self {
        let decision = self.check(now, cost);
        expected.matches(decision, self.ttl_ms);
        self
    }

    #[track_caller]
    pub(crate) fn peeks(&mut self, now: f64, expected: Expect) -> &mut Self {
        expected.matches(self.peek(now), f64::NAN);
        self
    }

    #[track_caller]
    pub(crate) fn forecasts(&mut self, now: f64, cost: f64, spendable: u64, next: f64, full: f64) -> &mut Self {
        let Forecast { spendable_now, next_replenish_at_ms, full_at_ms } = self.forecast(now, cost);
        assert_eq!((spendable_now, next_replenish_at_ms as f64, full_at_ms as f64), (spendable, next, full));
        self
    }

    #[track_caller]
    pub(crate) fn holds(&mut self, text: &str) -> &mut Self {
        assert_eq!(self.text(), text);
        self
    }
}

/// What a decision must be; what is not named may be anything.
#[derive(Clone, Copy)]
pub(crate) struct Expect {
    allowed: bool,
    remaining: Option<u64>,
    reset: Option<f64>,
    retry: Option<u64>,
    ttl: Option<f64>,
}

/// Admitted.
pub(crate) const A: Expect = Expect { allowed: true, remaining: None, reset: None, retry: Some(0), ttl: None };
/// Denied.
pub(crate) const D: Expect = Expect { allowed: false, retry: None, ..A };

impl Expect {
    pub(crate) fn rem(mut self, remaining: u64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    pub(crate) fn reset(mut self, reset: f64) -> Self {
        self.reset = Some(reset);
        self
    }

    pub(crate) fn retry(mut self, retry: u64) -> Self {
        self.retry = Some(retry);
        self
    }

    pub(crate) fn ttl(mut self, ttl: f64) -> Self {
        self.ttl = Some(ttl);
        self
    }

    #[track_caller]
    fn matches(self, decision: Decision, ttl: f64) {
        assert_eq!(decision.allowed, self.allowed, "{decision:?}");
        assert_eq!(decision.remaining, self.remaining.unwrap_or(decision.remaining), "{decision:?}");
        let reset = decision.reset_at_ms as f64;
        assert_eq!(reset, self.reset.unwrap_or(reset), "{decision:?}");
        assert_eq!(decision.retry_after_ms, self.retry.unwrap_or(decision.retry_after_ms), "{decision:?}");
        if let Some(expected) = self.ttl {
            assert_eq!(ttl, expected, "time to live");
        }
    }
}

/// The option that a builder refuses.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(built: Result<T, BuildError>) -> &'static str {
    let error = built.expect_err("built");
    assert!(error.to_string().starts_with(error.option()), "{error} does not name its option");
    error.option()
}
