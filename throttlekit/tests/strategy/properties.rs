//! What holds for every strategy, whatever its options, the time and the costs.

use proptest::prelude::*;
use throttlekit::strategy::fixed_window::Count;
use throttlekit::strategy::gcra::Tat;
use throttlekit::strategy::quota::Cadence;
use throttlekit::strategy::sliding_window::Ring;
use throttlekit::strategy::sliding_window_log::Log;
use throttlekit::strategy::token_bucket::Level;
use throttlekit::{
    ExactGcra, FixedWindow, Gcra, Limiter, ManualClock, Project, Quota, SlidingWindow, SlidingWindowLog, State,
    TokenBucket,
};

use crate::support::N;
use crate::support::key::Key;

pub(crate) const MAX: f64 = 9_007_199_254_740_991.0;
pub(crate) const GRID: [f64; 5] = [5e-324, 1e-300, 1.0, 60_000.0, 1e300];

/// Moves of a clock, which may go back, with costs.
fn timeline() -> impl Strategy<Value = Vec<(i32, f64)>> {
    let pass = prop_oneof![3 => Just(0), 6 => 0..2_000, 1 => -3_000..0];
    let cost = prop_oneof![3 => Just(1.0), 2 => (1..8_u8).prop_map(f64::from), 1 => 0.01..3.0];
    prop::collection::vec((pass, cost), 1..60)
}

/// [`Key`] itself sees to it that a denial changes no state, that a wait is 0 if and only if admitted, and that a time to
/// live is finite and above 0. `whole` rounds the costs up, for a strategy that takes no others.
fn obeys<S: Project>(strategy: &S, moves: &[(i32, f64)], whole: bool) -> Result<(), TestCaseError> {
    let clock = ManualClock::new(N);
    let limiter = Limiter::builder(strategy.clone()).clock(clock.clone()).build();
    let (mut key, mut undisturbed) = (Key::new(strategy.clone()), Key::new(strategy.clone()));
    let (mut now, mut monotone) = (N, true);
    for &(pass, cost) in moves {
        let cost = if whole { cost.ceil() } else { cost };
        now += f64::from(pass);
        monotone &= pass >= 0;
        clock.set(now);
        let (peek, forecast) = (key.peek(now), key.forecast(now, cost));
        prop_assert!(peek.remaining <= strategy.limit());
        let (next, full) = (forecast.next_replenish_at_ms, forecast.full_at_ms);
        #[allow(clippy::cast_possible_truncation)] // whole
        let today = now as i64;
        prop_assert!(next >= today && full >= today, "{:?} at {}", forecast, now);
        if monotone {
            // Through a table, where aged states are gone and others look on.
            prop_assert_eq!(limiter.peek("k").unwrap(), peek);
            prop_assert_eq!(limiter.forecast("k", cost).unwrap(), forecast);
        }
        let decision = key.check(now, cost);
        prop_assert!(decision.remaining <= strategy.limit());
        prop_assert_eq!(decision, undisturbed.check(now, cost), "a look changed the key");
        if monotone {
            prop_assert_eq!(limiter.check_cost("k", cost).unwrap(), decision);
        }
        // One millisecond for the rounding of a sum at this epoch.
        prop_assert!(!decision.allowed || !monotone || key.ttl_ms <= strategy.ttl_ms().max(1.0) + 1.0);
        let text = key.text();
        key.state = key.state.take().map(|state| S::State::decode(&state.encode()).unwrap());
        prop_assert_eq!(key.text(), text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_strategy_obeys_the_common_laws(
        limit in 1.0..30.0_f64, span_ms in 1.0..5_000.0_f64, buckets in 1..12_u32, moves in timeline(),
        minutes in -840..=840_i32, weekday in 0..7_u8, anchor in -5_000..5_000_i64,
    ) {
        let quota = |cadence| Quota::builder().limit(limit).cadence(cadence).offset_minutes(minutes);
        obeys(&Gcra::builder().limit(limit).period_ms(span_ms).build().unwrap(), &moves, false)?;
        obeys(&TokenBucket::builder().capacity(limit).refill_per_sec(span_ms / 100.0).build().unwrap(), &moves, false)?;
        obeys(&FixedWindow::builder().limit(limit).window_ms(span_ms).build().unwrap(), &moves, false)?;
        let window = SlidingWindow::builder().limit(limit).window_ms(span_ms);
        obeys(&window.buckets(buckets).build().unwrap(), &moves, false)?;
        obeys(&SlidingWindowLog::builder().limit(limit).window_ms(span_ms).build().unwrap(), &moves, false)?;
        obeys(&quota(Cadence::CalendarMonth).build().unwrap(), &moves, false)?;
        obeys(&quota(Cadence::CalendarWeek).week_starts_on(weekday).build().unwrap(), &moves, false)?;
        obeys(&quota(Cadence::CalendarDay).build().unwrap(), &moves, false)?;
        obeys(&quota(Cadence::Fixed).period_ms(span_ms).anchor_ms(anchor).build().unwrap(), &moves, false)?;
        let (limit, period_ms) = (limit.ceil(), span_ms.ceil());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and small
        let exact = ExactGcra::builder().limit(limit as u64).period_ms(period_ms as u64).build().unwrap();
        obeys(&exact, &moves, true)?;
    }

    #[test]
    fn numbers_survive_their_text(a in any::<f64>(), b in any::<f64>()) {
        prop_assume!(a.is_finite() && b.is_finite());
        prop_assert_eq!(Tat::decode(&Tat::from_ms(a).encode()).unwrap().as_ms().to_bits(), a.to_bits());
        let level = Level { tokens: a, last: b };
        prop_assert_eq!(Level::decode(&level.encode()), Some(level));
        let count = Count { start: a, count: b };
        prop_assert_eq!(Count::decode(&count.encode()), Some(count));
        let text = format!("[{a},{b}]");
        prop_assert_eq!(Log::decode(&text).map(|log| Log::decode(&log.encode()) == Some(log)), Some(true));
        let ring = format!(r#"{{"i":[{a},{b}],"n":[{b},{a}]}}"#);
        prop_assert_eq!(Ring::decode(&ring).unwrap().encode(), ring);
    }

    #[test]
    fn no_text_of_a_state_panics(text in r#"[\[\]{}":,. 0-9eE+\-inst]{0,40}"#, any in ".*") {
        for text in [&text, &any] {
            // What parses is judged and written without panicking; `Key` asserts the rest.
            fn judge<S: Project>(strategy: S, text: &str) {
                if let Some(state) = S::State::decode(text) {
                    let mut key = Key { state: Some(state), ..Key::new(strategy) };
                    key.peek(N);
                    key.forecast(N, 1.0);
                    key.check(N, 1.0);
                }
            }
            judge(Gcra::per_second(5).unwrap(), text);
            judge(ExactGcra::builder().limit(5).period_ms(1_000).build().unwrap(), text);
            judge(TokenBucket::builder().capacity(5.0).refill_per_sec(5.0).build().unwrap(), text);
            judge(FixedWindow::builder().limit(5.0).window_ms(1e3).build().unwrap(), text);
            judge(SlidingWindow::builder().limit(5.0).window_ms(1e3).buckets(1).build().unwrap(), text);
            judge(SlidingWindowLog::builder().limit(5.0).window_ms(1e3).build().unwrap(), text);
        }
    }
}

#[test]
fn shortest_text_of_a_number_is_written() {
    for text in ["1700000000333.3333", "0.30000000000000004", "0", "-1", "1700000000000", "16.35"] {
        assert_eq!(Tat::decode(text).unwrap().encode(), text);
    }
    for (text, written) in [("1.0", "1"), ("1.5e3", "1500"), (" 1E-1\n", "0.1"), ("16.350000000000001", "16.35")] {
        assert_eq!(Tat::decode(text).unwrap().encode(), written);
    }
    for bad in ["", "1 2", "01", "1.", ".5", "+1", "1e", "0x1", "NaN", "inf", "-", "1e999", "\"1\"", "null", "1_0"] {
        assert_eq!(Tat::decode(bad), None, "{bad}");
    }
}

/// A cost that is lost beside what is counted would pass without end.
fn assert_refuses_what_is_lost<S: Project>(strategy: S) {
    let mut key = Key::new(strategy);
    assert!(key.check(N, 1.0).allowed);
    let before = key.text();
    for cost in [1e-17, 5e-324] {
        let error = key.try_check(N, cost).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().contains("too small to be counted"), "{error}");
    }
    assert_eq!(key.text(), before);
    assert!(key.check(N, 1.0).allowed);
    assert!(!key.check(N, 0.5).allowed);
}

#[test]
fn cost_that_would_not_be_counted_is_an_argument_error() {
    assert_refuses_what_is_lost(FixedWindow::builder().limit(2.0).window_ms(1_000.0).build().unwrap());
    assert_refuses_what_is_lost(Quota::builder().limit(2.0).cadence(Cadence::CalendarDay).build().unwrap());
    assert_refuses_what_is_lost(Quota::rolling().limit(2.0).window_ms(1_000.0).build().unwrap());
    assert_refuses_what_is_lost(SlidingWindow::builder().limit(2.0).window_ms(1_000.0).build().unwrap());
    assert_refuses_what_is_lost(TokenBucket::builder().capacity(2.0).refill_per_sec(1.0).build().unwrap());
}

/// Runs a key of whatever was built through harsh costs and times: every number that comes out is one.
fn assert_sane<S: Project>(strategy: &S, options: &str) {
    for start in [0.0, N, MAX] {
        let mut key = Key::new(strategy.clone());
        for cost in [1.0, 0.5, MAX, 1e-300, 7.0, 5e-324, 1.0] {
            for now in [start, start - 1.0, start + 1.0, start] {
                let now = now.max(0.0);
                let shown = key.peek(now);
                let forecast = key.forecast(now, cost);
                // A whole unit never comes where less than one is the ceiling; that saturates.
                let never = if strategy.limit() == 0 { i64::MAX } else { i64::MAX - 1 };
                assert!((0..=never).contains(&forecast.next_replenish_at_ms), "{options}: {forecast:?}");
                assert!((0..i64::MAX).contains(&forecast.full_at_ms), "{options}: {forecast:?}");
                let checked = key.try_check(now, cost);
                if let Err(error) = &checked {
                    assert_eq!(error.code(), "invalid_argument", "{options}");
                }
                for decision in checked.into_iter().chain([shown]) {
                    assert!(decision.remaining <= decision.limit, "{options}: {decision:?}");
                    assert!((0..i64::MAX).contains(&decision.reset_at_ms), "{options}: {decision:?}");
                }
                if let Some(state) = &key.state {
                    assert!(S::State::decode(&state.encode()).is_some(), "{options}: {}", state.encode());
                }
            }
        }
    }
}

/// Every pair from the grid.
fn pairs() -> impl Iterator<Item = (f64, f64)> {
    GRID.into_iter().flat_map(|a| GRID.into_iter().map(move |b| (a, b)))
}

#[test]
fn gcra_of_the_grid_is_refused_or_sane() {
    for (limit, period_ms) in pairs() {
        for burst in [None, Some(1.5)].into_iter().chain(GRID.map(Some)) {
            let mut builder = Gcra::builder().limit(limit).period_ms(period_ms);
            if let Some(burst) = burst {
                builder = builder.burst(burst);
            }
            if let Ok(gcra) = builder.build() {
                assert_sane(&gcra, &format!("{builder:?}"));
            }
        }
    }
    let whole = [0, 1, 2, 60_000, 1 << 52, (1 << 53) - 1, 1 << 53, u64::MAX];
    for limit in whole {
        for period_ms in whole {
            for burst in whole {
                let builder = ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst);
                if let Ok(exact) = builder.build() {
                    assert_sane(&exact, &format!("{builder:?}"));
                }
            }
        }
    }
}

#[test]
fn buckets_and_windows_of_the_grid_are_refused_or_sane() {
    for (limit, span) in pairs() {
        let options = format!("{limit:e} and {span:e}");
        if let Ok(bucket) = TokenBucket::builder().capacity(limit).refill_per_sec(span).build() {
            assert_sane(&bucket, &options);
        }
        if let Ok(window) = FixedWindow::builder().limit(limit).window_ms(span).build() {
            assert_sane(&window, &options);
        }
        if let Ok(log) = SlidingWindowLog::builder().limit(limit).window_ms(span).build() {
            assert_sane(&log, &options);
        }
        for (buckets, max_buckets) in [(0, 1), (1, 0), (1, 1), (10, 1_000), (10, 9), (u32::MAX, u32::MAX)] {
            let builder = SlidingWindow::builder().limit(limit).window_ms(span).buckets(buckets);
            if let Ok(window) = builder.max_buckets(max_buckets).build() {
                assert_sane(&window, &format!("{options}, {buckets} of {max_buckets} buckets"));
            }
        }
    }
}

#[test]
fn largest_ring_and_log_count() {
    let window = SlidingWindow::builder().limit(3.0).window_ms(60_000.0).buckets(100_000).max_buckets(100_000);
    let mut key = Key::new(window.build().unwrap());
    assert_eq!(
        [N, N + 59_999.0, N + 59_999.0, N + 59_999.0].map(|now| key.check_allows(now)),
        [true, true, true, false]
    );
    let log = SlidingWindowLog::builder().limit(100_000.0).window_ms(60_000.0).build().unwrap();
    let mut key = Key::new(log);
    assert_eq!(key.check(N, 99_999.0).remaining, 1);
    assert_eq!([N, N].map(|now| key.check_allows(now)), [true, false]);
}

#[test]
fn quotas_of_the_grid_are_refused_or_sane() {
    let cadences = [Cadence::CalendarMonth, Cadence::CalendarWeek, Cadence::CalendarDay, Cadence::Fixed];
    for cadence in cadences {
        for (limit, period_ms) in pairs() {
            for offset in [i32::MIN, -840, 0, 840, i32::MAX] {
                for anchor_ms in [0, (1 << 53) - 1, i64::MAX] {
                    let builder = Quota::builder().limit(limit).cadence(cadence).period_ms(period_ms);
                    let builder = builder.offset_minutes(offset).anchor_ms(anchor_ms);
                    if let Ok(quota) = builder.build() {
                        assert_sane(&quota, &format!("{builder:?}"));
                    }
                }
            }
        }
    }
}
