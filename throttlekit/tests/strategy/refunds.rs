//! Units given back, strategy by strategy. That stores come to the same is a matter of the kit for stores.

use std::sync::Arc;

use proptest::prelude::*;
use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Decision, DynLimiter, Error, ExactGcra, Fallback, FixedWindow, Gcra, Limiter, ManualClock, Meter, Outage, Project,
    Quota, Refund, SlidingWindow, SlidingWindowLog, TokenBucket,
};

struct Limit {
    clock: ManualClock,
    limiter: Box<dyn DynLimiter>,
}

impl Limit {
    fn new(strategy: impl Project) -> Self {
        let clock = ManualClock::new(1_000_000.0);
        let limiter = Limiter::builder(strategy).clock(clock.clone()).build();
        Self { clock, limiter: Box::new(limiter) }
    }

    fn check(&self, cost: f64) -> Decision {
        self.limiter.check("k", cost).now().unwrap().unwrap()
    }

    fn give_back(&self, refund: Refund) -> Result<Decision, Error> {
        self.limiter.give_back("k", refund).now().unwrap()
    }

    fn left(&self) -> u64 {
        self.limiter.peek("k").now().unwrap().unwrap().remaining
    }
}

/// Ten units of each strategy that takes units back; a second gives all of them back, or opens another window.
fn all() -> Vec<Limit> {
    let period = Quota::builder().limit(10.0).cadence(Cadence::Fixed).period_ms(1_000.0);
    vec![
        Limit::new(Gcra::per_second(10).unwrap()),
        Limit::new(ExactGcra::builder().limit(10).period_ms(1_000).build().unwrap()),
        Limit::new(TokenBucket::builder().capacity(10.0).refill_per_sec(10.0).build().unwrap()),
        Limit::new(FixedWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap()),
        Limit::new(period.build().unwrap()),
        Limit::new(SlidingWindow::builder().limit(10.0).window_ms(1_000.0).buckets(1).build().unwrap()),
    ]
}

/// Those of them whose units come back one by one.
fn steady() -> Vec<Limit> {
    all().drain(..3).collect()
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    for limit in all() {
        let name = limit.limiter.strategy_name();
        assert!(limit.limiter.refunds(), "{name}");
        let taken = limit.check(7.0);
        let decision = limit.give_back(Refund::new(3.0).of(&taken)).unwrap();
        assert_eq!((decision.allowed, decision.remaining, decision.retry_after_ms), (true, 6, 0), "{name}");
        assert_eq!((decision.limit, limit.left()), (10, 6), "{name}");
        assert!(limit.check(6.0).allowed && !limit.check(1.0).allowed, "{name}");
    }
}

#[test]
fn a_key_never_gets_more_than_it_lacks() {
    for limit in all() {
        let name = limit.limiter.strategy_name();
        assert_eq!(limit.give_back(Refund::new(5.0)).unwrap().remaining, 10, "{name}");
        limit.check(4.0);
        assert_eq!(limit.give_back(Refund::new(1e6)).unwrap().remaining, 10, "{name}");
        assert_eq!(limit.give_back(Refund::new(1.0)).unwrap().remaining, 10, "{name}");
        assert!(limit.check(10.0).allowed && !limit.check(1.0).allowed, "{name}");
    }
}

/// What was taken a second ago is there again; others have taken since.
#[test]
fn what_came_back_by_itself_is_not_given_back() {
    for limit in all() {
        let name = limit.limiter.strategy_name();
        let taken = limit.check(10.0);
        limit.clock.advance(2_000.0);
        limit.check(10.0);
        assert_eq!(limit.give_back(Refund::new(10.0).of(&taken)).unwrap().remaining, 0, "{name}");
        assert!(!limit.check(1.0).allowed, "{name}");
    }
}

/// A tenth of a second later one of seven units is still missing; others have taken five since.
#[test]
fn what_comes_back_steadily_is_given_back_as_far_as_it_has_not() {
    for limit in steady() {
        let name = limit.limiter.strategy_name();
        let taken = limit.check(7.0);
        limit.clock.advance(600.0);
        assert_eq!(limit.check(5.0).remaining, 4, "{name}");
        assert_eq!(limit.give_back(Refund::new(7.0).of(&taken)).unwrap().remaining, 5, "{name}");
        assert_eq!(limit.left(), 5, "{name}");
    }
}

/// A millisecond back, the seventh unit lies beyond the tolerance.
#[test]
fn an_exact_refund_by_a_clock_that_is_behind_gives_nothing_back() {
    let limit = Limit::new(ExactGcra::builder().limit(6).period_ms(1_000).build().unwrap());
    limit.check(6.0);
    limit.clock.advance(167.0);
    assert_eq!(limit.check(1.0).reset_at_ms, 1_001_167);
    limit.clock.set(1_000_166.0);
    let kept = limit.give_back(Refund::new(1.0)).unwrap();
    assert_eq!((kept.remaining, kept.reset_at_ms), (0, 1_001_167));
}

#[test]
fn a_meter_gives_back_too() {
    let limiter = Limiter::builder(Gcra::per_hour(5).unwrap()).clock(ManualClock::new(0.0)).build();
    limiter.debit("k", 3.0).now().unwrap().unwrap();
    let decision = limiter.refund("k", 2.0).now().unwrap().unwrap();
    assert_eq!(decision.remaining, 4);
}

#[test]
fn a_log_takes_nothing_back() {
    let limit = Limit::new(SlidingWindowLog::builder().limit(10.0).window_ms(1_000.0).build().unwrap());
    limit.check(4.0);
    assert!(!limit.limiter.refunds());
    let error = limit.give_back(Refund::new(1.0)).unwrap_err();
    assert_eq!((error.code(), limit.left()), ("throttlekit_error", 6));
    assert_eq!(error.to_string(), "a limit by slidingWindowLog takes no units back");
}

#[test]
fn bad_units_are_refused() {
    for limit in all() {
        limit.check(5.0);
        for units in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(limit.give_back(Refund::new(units)).unwrap_err().code(), "invalid_argument");
        }
        assert_eq!(limit.left(), 5);
    }
    let exact = &all()[1];
    assert_eq!(exact.give_back(Refund::new(0.5)).unwrap_err().code(), "invalid_argument");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Taking and giving back, never more than was taken: over all time no more passes than without refunds and the units
    /// that were given back together.
    #[test]
    fn no_more_passes_than_was_given_back_beside(steps in prop::collection::vec((0_u32..3, 0_u32..300, 1_u32..6), 1..60)) {
        for limit in all() {
            let (mut passed, mut returned) = (0.0, 0.0);
            let mut last: Option<(Decision, f64)> = None;
            let start = limit.clock.clone();
            let mut elapsed = 0.0;
            for (what, delta, units) in &steps {
                start.advance(f64::from(*delta));
                elapsed += f64::from(*delta);
                let units = f64::from(*units);
                if *what > 0 {
                    let decision = limit.check(units);
                    if decision.allowed {
                        passed += units;
                        last = Some((decision, units));
                    }
                } else if let Some((taken, units)) = last.take() {
                    limit.give_back(Refund::new(units).of(&taken)).unwrap();
                    returned += units;
                }
            }
            // Ten at once and ten a second; aligned and sliding windows may let the ten of one more window pass.
            let most = 20.0 + elapsed / 100.0 + 10.0;
            prop_assert!(passed - returned <= most, "{}: {passed} less {returned} in {elapsed}", limit.limiter.strategy_name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One caller takes and gives back some of it later; others take meanwhile. What is really used keeps the bound in any
    /// span.
    #[test]
    fn what_is_used_keeps_the_bound_in_any_span(steps in prop::collection::vec((0_u32..3, 0_u32..300, 1_u32..8), 1..60)) {
        for limit in steady() {
            let mut used: Vec<(f64, f64)> = Vec::new();
            let mut open: Option<(Decision, usize)> = None;
            let mut now = 0.0;
            for (what, delta, units) in &steps {
                limit.clock.advance(f64::from(*delta));
                now += f64::from(*delta);
                let units = f64::from(*units);
                if *what == 0 {
                    if let Some((taken, at)) = open.take() {
                        let units = units.min(used[at].1);
                        limit.give_back(Refund::new(units).of(&taken)).unwrap();
                        used[at].1 -= units;
                    }
                    continue;
                }
                let decision = limit.check(units);
                if decision.allowed {
                    used.push((now, units));
                    if *what == 1 && open.is_none() {
                        open = Some((decision, used.len() - 1));
                    }
                }
            }
            for first in 0..used.len() {
                let mut sum = 0.0;
                for (at, units) in &used[first..] {
                    sum += units;
                    let most = 10.0 + (at - used[first].0) / 100.0;
                    prop_assert!(sum <= most + 1e-6, "{}: {sum} of {most}", limit.limiter.strategy_name());
                }
            }
        }
    }
}

#[test]
fn a_meter_gives_back_what_a_decision_took_in_the_window_of_that_alone() {
    let clock = ManualClock::new(1_000_000.0);
    let budget = Budget::builder().budget(10.0).window_ms(1_000.0).build().unwrap();
    let tokens = TokenBudget::builder(budget).clock(clock.clone()).build();
    let window = Limiter::builder(FixedWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap())
        .clock(clock.clone())
        .build();
    let meters: [Arc<dyn Meter>; 2] = [Arc::new(tokens), Arc::new(window)];
    let debit = |meter: &Arc<dyn Meter>| meter.debit("k", 6.0).now().unwrap().unwrap();
    for meter in meters {
        clock.set(1_000_000.0);
        let taken = debit(&meter);
        let back = |meter: &Arc<dyn Meter>| {
            meter.refund_of("k", Refund::new(2.0).of(&taken)).now().unwrap().unwrap().remaining
        };
        assert_eq!(back(&meter), 6);
        clock.advance(1_000.0);
        assert_eq!(debit(&meter).remaining, 4);
        assert_eq!(back(&meter), 4, "of another window");
    }
}

#[test]
fn a_meter_that_need_not_have_all_of_a_debit_says_what_is_worth_one() {
    let tokens = |whole| {
        let budget = Budget::builder().budget(10.0).window_ms(1_000.0).whole_debits(whole).build().unwrap();
        TokenBudget::builder(budget).build()
    };
    let standby = Fallback::new(tokens(false), &Outage::new(), move || Ok(Arc::new(tokens(false))));
    let meters: [Arc<dyn DynLimiter>; 4] = [
        Arc::new(tokens(false)),
        Arc::new(standby),
        Arc::new(tokens(true)),
        Arc::new(Limiter::new(FixedWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap())),
    ];
    // Also through the handle, which is a meter itself.
    assert_eq!(meters.map(|meter| Meter::debit_ceiling(&meter)), [Some(10), Some(10), None, None]);
}
