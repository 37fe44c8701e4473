//! At which time programs step, and how long entries live.

use std::time::Duration;

use super::case::{Context, Outcome, START_MS, done, same};
use super::probe::{LONG, Probe, Read, When};
use crate::store::Rule;

const BOTH: [When; 2] = [When { writes: false }, When { writes: true }];

pub(super) async fn steps_at_the_callers_time(cx: &Context<'_>) -> Outcome {
    for now_ms in [START_MS, START_MS + 1.0, START_MS + 86_400_000.0] {
        cx.clock.set(now_ms);
        for when in BOTH {
            cx.expect("the time of a step", "k", when, now_ms).await?;
        }
        let times = done("a joint call", cx.call(Rule::Each, [("k", BOTH[0]), ("other", BOTH[1])]).await)?;
        same("the times of a joint call", &times, &vec![now_ms; 2])?;
    }
    Ok(())
}

/// One hour in milliseconds.
const HOUR: f64 = 3_600_000.0;

pub(super) async fn steps_at_the_stores_time(cx: &Context<'_>) -> Outcome {
    let first = done("a step", cx.run("k", BOTH[0]).await)?;
    let mut last = first;
    for callers in [0.0, START_MS, first + HOUR, first - HOUR] {
        cx.clock.set(callers);
        for when in BOTH {
            let now_ms: f64 = done("a step", cx.run("k", when).await)?;
            if now_ms.fract() != 0.0 || !(last..first + HOUR / 2.0).contains(&now_ms) {
                return Err(format!("stepped at {now_ms} after {last} while the caller's time was {callers}"));
            }
            last = now_ms;
        }
        let times = done("a joint call", cx.call(Rule::Each, [("k", BOTH[0]), ("other", BOTH[1])]).await)?;
        match times[..] {
            [one, other] if one == other && one >= last && one < first + HOUR / 2.0 => last = one,
            _ => return Err(format!("the programs of one call stepped at {times:?}, after {last}")),
        }
    }
    Ok(())
}

pub(super) async fn expires_at_its_deadline(cx: &Context<'_>) -> Outcome {
    // Whole milliseconds, rounded up, at least one.
    for (ttl_ms, lives) in [(1_000.0, 1_000.0), (1_000.25, 1_001.0), (1.0, 1.0), (0.25, 1.0)] {
        let start = START_MS + 10_000.0 * lives;
        for (after, expected) in [(0.0, 1.0), (lives - 1.0, 1.0), (lives, 0.0), (lives + 1.0, 0.0)] {
            cx.clock.set(start);
            done("a reset", cx.run("k", Probe::Take).await)?;
            cx.expect("a count", "k", Probe::Count(ttl_ms), 1.0).await?;
            cx.clock.set(start + after);
            cx.expect(&format!("a read {after} ms after a write for {ttl_ms} ms"), "k", Read, expected).await?;
            cx.expect(&format!("a look {after} ms after a write for {ttl_ms} ms"), "k", Probe::Look, expected).await?;
            let what = format!("a count {after} ms after a write for {ttl_ms} ms");
            cx.expect(&what, "k", Probe::Count(LONG), expected + 1.0).await?;
        }
    }
    // A write renews the deadline, also to an earlier one; reading and refusing do not.
    for (ttl_ms, until) in [(1_000.0, 1_500.0), (100.0, 600.0)] {
        cx.clock.set(START_MS);
        done("a reset", cx.run("k", Probe::Take).await)?;
        cx.expect("the first count", "k", Probe::Count(1_000.0), 1.0).await?;
        cx.clock.set(START_MS + 500.0);
        cx.expect("the second count", "k", Probe::Count(ttl_ms), 2.0).await?;
        cx.clock.set(START_MS + until - 1.0);
        cx.expect("a read before the new deadline", "k", Read, 2.0).await?;
        cx.expect("a look before the new deadline", "k", Probe::Look, 2.0).await?;
        cx.clock.set(START_MS + until);
        cx.expect("a read at the new deadline", "k", Read, 0.0).await?;
    }
    Ok(())
}

pub(super) async fn expires_in_time(cx: &Context<'_>) -> Outcome {
    cx.expect("a count for a second", "k", Probe::Count(1_000.0), 1.0).await?;
    cx.expect("a count for long", "long", Probe::Count(LONG), 1.0).await?;
    cx.harness.wait(Duration::from_millis(1_001)).await;
    cx.expect("a read of what has expired", "k", Read, 0.0).await?;
    cx.expect("a count of what has expired", "k", Probe::Count(1_000.0), 1.0).await?;
    cx.expect("a count of what lives for long", "long", Probe::Count(LONG), 2.0).await
}
