//! What each strategy admits, against a slow model that sees the whole history in whole numbers.
#![allow(clippy::cast_precision_loss)] // the numbers here are far below 2^53

use proptest::prelude::*;
use throttlekit::strategy::quota::Cadence;
use throttlekit::{
    Clock, ExactGcra, FixedWindow, Gcra, Limiter, ManualClock, Project, Quota, SlidingWindow, SlidingWindowLog,
    TokenBucket,
};

use crate::support::key::Key;

/// What was admitted: instants in milliseconds, and units.
type History = [(i64, u64)];

/// The units of those that `matches`.
fn units(history: &History, matches: impl Fn(i64) -> bool) -> i64 {
    let matching = history.iter().filter(|&&(at, _)| matches(at));
    matching.map(|&(_, units)| i64::try_from(units).unwrap()).sum()
}

/// Whether no span that ends now would hold more than `burst` units and those that `t` ms bring, `unit` amounts each of
/// which a millisecond brings `gain`.
fn within_rate(history: &History, now: i64, cost: u64, (burst, unit, gain): (u64, u64, u64)) -> bool {
    let spans = history.iter().map(|&(at, _)| at).chain([now]);
    spans.into_iter().all(|from| {
        let used = units(history, |at| at >= from) + i64::try_from(cost).unwrap();
        let brought = i128::from(gain) * i128::from(now - from);
        i128::from(unit) * i128::from(used) <= i128::from(unit) * i128::from(burst) + brought
    })
}

/// Moves of a clock with costs, from any instant that a clock may show.
fn timeline(most_ms: i64) -> impl Strategy<Value = (i64, Vec<(i64, u64)>)> {
    // Bursts at one instant, and pauses.
    let pass = prop_oneof![Just(0), 0..most_ms, 0..=most_ms / 8];
    let start = prop_oneof![Just(0), Just(1_700_000_000_000), 0..2_000_000_000_000_i64];
    (start, prop::collection::vec((pass, 1..=6_u64), 1..60))
}

/// The same before 1970.
fn earlier(most_ms: i64) -> impl Strategy<Value = (i64, Vec<(i64, u64)>)> {
    // Some of them pass the epoch.
    let start = prop_oneof![-20_000..0_i64, Just(-1_700_000_000_000), -2_000_000_000_000..0_i64];
    (start, timeline(most_ms)).prop_map(|(start, (_, moves))| (start, moves))
}

/// What the model can foretell beside the decision.
#[derive(Clone, Copy, PartialEq)]
enum Waits {
    /// A denial's wait is the least after which the same request passes.
    Exact,
    /// It is a guess.
    Advisory,
}

/// Each answer of `strategy` along a timeline is that of `admits(history, now, cost)`.
fn follows<S: Project>(
    strategy: &S,
    (start, moves): &(i64, Vec<(i64, u64)>),
    waits: Waits,
    admits: impl Fn(&History, i64, u64) -> bool,
) -> Result<(), TestCaseError> {
    let mut key = Key::new(strategy.clone());
    let mut history = Vec::new();
    let ceiling = strategy.limit();
    let mut now = *start;
    for &(pass, cost) in moves {
        now += pass;
        let before = key.text();
        let room = |history: &History, now| (1..=ceiling).take_while(|&more| admits(history, now, more)).count() as u64;
        let left = room(&history, now);

        let peek = key.peek(now as f64);
        prop_assert_eq!((peek.allowed, peek.remaining), (left >= 1, left), "peek at {} of {}", now, before);
        let forecast = key.forecast(now as f64, cost as f64);
        prop_assert_eq!(forecast.spendable_now, left / cost, "forecast at {} of {}", now, before);
        prop_assert_eq!(room(&history, forecast.full_at_ms), ceiling, "full at {} of {}", now, before);
        if waits == Waits::Exact && left < ceiling {
            let next = forecast.next_replenish_at_ms;
            prop_assert!(next > now && room(&history, next) > left, "next at {} of {}", now, before);
            prop_assert_eq!(room(&history, next - 1), left, "next at {} of {}", now, before);
        }

        let decision = key.check(now as f64, cost as f64);
        prop_assert_eq!(decision.allowed, admits(&history, now, cost), "{} at {} of {}", cost, now, before);
        if decision.allowed {
            history.push((now, cost));
        } else if waits == Waits::Exact && cost <= ceiling {
            let then = now + i64::try_from(decision.retry_after_ms).unwrap();
            prop_assert!(admits(&history, then, cost), "too short: {:?} at {} of {}", decision, now, before);
            prop_assert!(!admits(&history, then - 1, cost), "too long: {:?} at {} of {}", decision, now, before);
        }
        prop_assert_eq!(decision.remaining, room(&history, now), "after {} at {} of {}", cost, now, before);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gcra_with_a_whole_interval(interval in 1..500_u64, limit in 1..20_u64, burst in 1..12_u64, line in timeline(2_000)) {
        let period_ms = (interval * limit) as f64;
        let gcra = Gcra::builder().limit(limit as f64).period_ms(period_ms).burst(burst as f64).build().unwrap();
        let model = |history: &History, now, cost| within_rate(history, now, cost, (burst, interval, 1));
        follows(&gcra, &line, Waits::Exact, model)?;
        // The form in whole numbers decides the same.
        let exact = ExactGcra::builder().limit(limit).period_ms(interval * limit).burst(burst).build().unwrap();
        follows(&exact, &line, Waits::Exact, model)?;
    }

    /// In a table, which keeps the state of a GCRA as one word.
    #[test]
    fn gcra_before_the_epoch(interval in 1..500_u64, limit in 1..20_u64, burst in 1..12_u64, line in earlier(2_000)) {
        let period_ms = (interval * limit) as f64;
        let gcra = Gcra::builder().limit(limit as f64).period_ms(period_ms).burst(burst as f64).build().unwrap();
        let exact = ExactGcra::builder().limit(limit).period_ms(interval * limit).burst(burst).build().unwrap();
        let model = |history: &History, now, cost| within_rate(history, now, cost, (burst, interval, 1));
        follows(&gcra, &line, Waits::Exact, model)?;
        follows(&exact, &line, Waits::Exact, model)?;
        let (start, moves) = line;
        let clock = ManualClock::new(start as f64);
        let one = Limiter::builder(gcra).clock(clock.clone()).build();
        let other = Limiter::builder(exact).clock(clock.clone()).build();
        for (pass, cost) in moves {
            clock.advance(pass as f64);
            let (one, other) = (one.check_cost("k", cost as f64), other.check_cost("k", cost as f64));
            prop_assert_eq!(one.unwrap(), other.unwrap(), "{} at {}", cost, clock.now_ms());
        }
    }

    #[test]
    fn exact_gcra_with_any_rate(limit in 1..2_000_u64, period_ms in 1..5_000_u64, burst in 1..12_u64, line in timeline(2_000)) {
        let exact = ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap();
        follows(&exact, &line, Waits::Exact, |history, now, cost| {
            within_rate(history, now, cost, (burst, period_ms, limit))
        })?;
    }

    #[test]
    fn token_bucket_with_an_even_rate(capacity in 1..12_u64, sixty_fourths in 1..64_u32, line in timeline(500)) {
        // So many 64ths of a token per millisecond, which f64 adds up exactly.
        let refill_per_sec = f64::from(sixty_fourths) * 15.625;
        let bucket = TokenBucket::builder().capacity(capacity as f64).refill_per_sec(refill_per_sec).build().unwrap();
        follows(&bucket, &line, Waits::Exact, |history, now, cost| {
            within_rate(history, now, cost, (capacity, 64, sixty_fourths.into()))
        })?;
    }

    #[test]
    fn fixed_window_by_its_windows(limit in 1..12_u64, window in 1..1_000_i64, anchor in -5_000..5_000_i64, line in timeline(1_000)) {
        let model = |anchor: i64| move |history: &History, now: i64, cost: u64| {
            let of = |at: i64| (at - anchor).div_euclid(window);
            units(history, |at| of(at) == of(now)) + i64::try_from(cost).unwrap() <= i64::try_from(limit).unwrap()
        };
        let fixed = FixedWindow::builder().limit(limit as f64).window_ms(window as f64).build().unwrap();
        follows(&fixed, &line, Waits::Exact, model(0))?;
        let quota = Quota::builder().limit(limit as f64).cadence(Cadence::Fixed).period_ms(window as f64);
        follows(&quota.anchor_ms(anchor).build().unwrap(), &line, Waits::Exact, model(anchor))?;
    }

    #[test]
    fn log_by_the_trailing_window(limit in 1..12_u64, window in 1..1_000_i64, line in timeline(1_000)) {
        let log = SlidingWindowLog::builder().limit(limit as f64).window_ms(window as f64).build().unwrap();
        follows(&log, &line, Waits::Exact, |history, now, cost| {
            units(history, |at| at > now - window) + i64::try_from(cost).unwrap() <= i64::try_from(limit).unwrap()
        })?;
    }

    #[test]
    fn sliding_window_by_its_estimate(limit in 1..12_u64, buckets in 1..8_u32, line in timeline(200)) {
        // Buckets of 64 ms, whose shares f64 holds exactly.
        let window = SlidingWindow::builder().limit(limit as f64).window_ms(f64::from(buckets) * 64.0);
        follows(&window.buckets(buckets).build().unwrap(), &line, Waits::Advisory, |history, now, cost| {
            let bucket = |at: i64| at.div_euclid(64);
            let leaving = bucket(now) - i64::from(buckets);
            let within = units(history, |at| bucket(at) > leaving) + i64::try_from(cost).unwrap();
            let oldest = units(history, |at| bucket(at) == leaving);
            within * 64 + oldest * (64 - now.rem_euclid(64)) <= i64::try_from(limit).unwrap() * 64
        })?;
    }

    #[test]
    fn sliding_window_is_off_by_less_than_a_bucket(
        limit in 1..12_u64, buckets in 1..8_i64, length in 7..90_i64, line in timeline(200)
    ) {
        let window = SlidingWindow::builder().limit(limit as f64).window_ms((buckets * length) as f64);
        let mut key = Key::new(window.buckets(u32::try_from(buckets).unwrap()).build().unwrap());
        let (mut history, mut now) = (Vec::new(), line.0);
        for (pass, cost) in line.1 {
            now += pass;
            let used = units(&history, |at| at > now - buckets * length) + i64::try_from(cost).unwrap();
            let share = units(&history, |at| at.div_euclid(length) == now.div_euclid(length) - buckets);
            let most = i64::try_from(limit).unwrap();
            if key.check(now as f64, cost as f64).allowed {
                prop_assert!(used <= most + share, "{} of {} with a share of {}", used, most, share);
                history.push((now, cost));
            } else {
                prop_assert!(used > most - share, "{} of {} with a share of {}", used, most, share);
            }
        }
    }

    #[test]
    fn exact_gcra_admits_the_burst_from_cold_at_any_time(
        limit in 1..100_000_u64, period_ms in 1..4_000_000_u64, burst in 1..100_u64, now in -(1_i64 << 53)..1 << 53
    ) {
        let exact = ExactGcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap();
        let mut key = Key::new(exact);
        for left in (0..burst).rev() {
            let decision = key.check(now as f64, 1.0);
            prop_assert_eq!((decision.allowed, decision.remaining), (true, left));
        }
        prop_assert!(!key.check_allows(now as f64));
        // All at once is the same.
        let mut other = Key::new(key.strategy);
        prop_assert!(other.check(now as f64, burst as f64).allowed);
        prop_assert_eq!(other.text(), key.text());
    }

    #[test]
    fn gcra_with_any_interval_stays_within_its_rate(
        limit in 0.1..500.0_f64, period_ms in 100.0..60_000.0_f64, burst in 1.0..12.0_f64, line in timeline(500)
    ) {
        let mut key = Key::new(Gcra::builder().limit(limit).period_ms(period_ms).burst(burst).build().unwrap());
        let interval = period_ms / limit;
        let (mut history, mut now): (Vec<(i64, u64)>, _) = (Vec::new(), line.0);
        for (pass, cost) in line.1 {
            now += pass;
            if key.check(now as f64, cost as f64).allowed {
                history.push((now, cost));
                for &(from, _) in &history {
                    let used = units(&history, |at| at >= from) as f64;
                    // Each sum is rounded to a step of f64, 2^-12 ms at these instants.
                    let rounding = 0.001 * history.len() as f64 / interval;
                    prop_assert!(used <= burst + (now - from) as f64 / interval + rounding);
                }
            }
        }
    }
}
