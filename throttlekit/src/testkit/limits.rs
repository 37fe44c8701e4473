//! Limiters on the store, at any time: their windows are too long to turn.

use super::agreement::declare;
use super::case::{Context, Outcome, START_MS, done, same};
use super::join::all;
use super::limit::{Limit, built, with_strategy};
use crate::admit::{Admit as _, Ask};
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::Forget;
use crate::multi::Multi;
use crate::program::Project;
use crate::run::{BoxFuture, Run};
use crate::store::{Call, Rule};

/// 317 years: the aligned window around now began in 1970.
const AGES: f64 = 1e13;

/// One limit of 50 of each strategy.
const LIMITS: [Limit; 8] = [
    Limit::Gcra(50.0, 1e9, 50.0),
    Limit::ExactGcra(50, 1_000_000_000, 50),
    Limit::TokenBucket(50.0, 1e-6),
    Limit::FixedWindow(50.0, AGES),
    Limit::Period(50.0, AGES, 0),
    Limit::SlidingWindow(50.0, AGES, 1),
    Limit::SlidingLog(50.0, AGES),
    Limit::Budget(50.0, AGES, 50.0, false, false),
];

pub(super) async fn checks_admit_the_limit(cx: &Context<'_>) -> Outcome {
    for limit in LIMITS {
        with_strategy!(limit, strategy => two_hundred(cx, strategy).await?);
    }
    Ok(())
}

async fn two_hundred<S: Project>(cx: &Context<'_>, strategy: S) -> Outcome {
    let name = strategy.name();
    let limiters = [cx.limiter(strategy.clone(), name), cx.another().limiter(strategy, name)];
    let checks = (0..100).flat_map(|_| limiters.iter().map(|limiter| boxed(limiter.run_check("k", 1.0))));
    let decisions = all(checks.collect()).await;
    let decisions = decisions.into_iter().map(|decision| done(format!("a check by {name}"), decision));
    let decisions = decisions.collect::<Result<Vec<Decision>, String>>()?;
    let mut left: Vec<u64> =
        decisions.iter().filter(|decision| decision.allowed).map(|decision| decision.remaining).collect();
    same(format!("how many of 200 concurrent checks {name} admitted"), &left.len(), &50)?;
    left.sort_unstable();
    // Checks may be stepped in another order than that of their instants; to an earlier one a part of a unit more is
    // missing.
    let fits = |(left, rank): (u64, u64)| left == rank || left + 1 == rank;
    if !left.iter().copied().zip(0..50).all(fits) {
        return Err(format!("what {name} left to those it admitted: got {left:?}, expected each from 0 to 49"));
    }
    let peek = done(format!("a peek by {name}"), limiters[0].peek("k").await)?;
    same(format!("what {name} has left"), &(peek.allowed, peek.remaining), &(false, 0))
}

fn boxed<T: Send + 'static>(run: Run<T>) -> BoxFuture<T> {
    Box::pin(run)
}

pub(super) async fn joint_checks_admit_the_least(cx: &Context<'_>) -> Outcome {
    let least = Limit::FixedWindow(40.0, AGES);
    let most = Limit::TokenBucket(60.0, 1e-6);
    let dimensions = [("a", Limit::Gcra(50.0, 1e9, 50.0)), ("b", least), ("c", most)];
    let mut limits = Vec::new();
    for keys in [cx.keys(), cx.another().keys()] {
        let limit = declare(Multi::all(), &dimensions)?.store(keys).clock(cx.clock.clone()).build();
        limits.push(limit.map_err(built)?);
    }
    let checks = (0..100).flat_map(|_| limits.iter().map(|limit| boxed(limit.run_check(&["k", "k", "k"], 1.0))));
    let mut admitted = 0;
    for decision in all(checks.collect()).await {
        admitted += u32::from(done("a joint check", decision)?.allowed);
    }
    same("how many of 200 joint checks were admitted", &admitted, &40)?;
    for (name, limit, expected) in [("b", least, 0), ("c", most, 20)] {
        let peek = with_strategy!(limit, strategy => cx.limiter(strategy, name).peek("k").await);
        same(format!("what dimension {name} has left"), &done("a peek", peek)?.remaining, &expected)?;
    }
    for limit in &limits {
        done("a reset", limit.reset(&["k", "k", "k"]).await)?;
        let left = done("a joint check", limit.check(&["k", "k", "k"]).await)?.remaining;
        same("what is left after a reset", &left, &39)?;
    }
    // What a denied request leaves is what it found, also where it would have been admitted.
    let kept = declare(Multi::all(), &dimensions)?.keep_each(true).store(cx.keys()).clock(cx.clock.clone()).build();
    let kept = kept.map_err(built)?;
    for (cost, allowed) in [(30.0, true), (15.0, false)] {
        let admission = done("a joint check", kept.admit(&Ask::new("k").cost(cost)).await)?;
        same("whether a joint check is admitted", &admission.decision.allowed, &allowed)?;
        let left: Vec<_> = admission.each.iter().flatten().map(|decision| decision.remaining).collect();
        same("what each dimension has left", &left, &vec![19, 9, 29])?;
    }
    Ok(())
}

pub(super) async fn answers_go_together(cx: &Context<'_>) -> Outcome {
    for limit in LIMITS {
        with_strategy!(limit, strategy => goes_together(cx, strategy).await?);
    }
    Ok(())
}

/// A check, a peek and a forecast right after one another see the same, also where the store's time is not the caller's.
async fn goes_together<S: Project>(cx: &Context<'_>, strategy: S) -> Outcome {
    let name = strategy.name();
    let limiter = cx.limiter(strategy, name);
    let left = |what: &str, decision: Result<Decision, Error>| -> Result<(bool, u64), String> {
        let decision = done(format!("{what} by {name}"), decision)?;
        Ok((decision.allowed, decision.remaining))
    };
    same(format!("a cold peek by {name}"), &left("a peek", limiter.peek("k").await)?, &(true, 50))?;
    for (cost, remaining) in [(1.0, 49), (30.0, 19), (19.0, 0)] {
        same(format!("a check by {name}"), &left("a check", limiter.check_cost("k", cost).await)?, &(true, remaining))?;
        let peek = (remaining > 0, remaining);
        same(format!("a peek by {name}"), &left("a peek", limiter.peek("k").await)?, &peek)?;
        let forecast = done(format!("a forecast by {name}"), limiter.forecast("k", 1.0).await)?;
        same(format!("what {name} can spend by its forecast"), &forecast.spendable_now, &remaining)?;
    }
    same(format!("a denial by {name}"), &left("a check", limiter.check("k").await)?, &(false, 0))?;
    let batch = done(format!("a batch by {name}"), limiter.check_many(&["x", "k", "x"], 1.0).await)?;
    let batch: Vec<_> = batch.iter().map(|decision| (decision.allowed, decision.remaining)).collect();
    same(format!("a batch by {name}"), &batch, &vec![(true, 49), (false, 0), (true, 48)])?;
    done(format!("a reset by {name}"), limiter.reset("k").await)?;
    same(format!("a peek by {name} after a reset"), &left("a peek", limiter.peek("k").await)?, &(true, 50))
}

pub(super) async fn a_reset_holds_for_what_follows(cx: &Context<'_>) -> Outcome {
    for limit in LIMITS {
        with_strategy!(limit, strategy => starts_afresh(cx, strategy).await?);
    }
    Ok(())
}

/// A check in one call with the reset before it, as both may come to a store that puts calls together.
async fn starts_afresh<S: Project>(cx: &Context<'_>, strategy: S) -> Outcome {
    let name = strategy.name();
    let limiter = cx.limiter(strategy.clone(), name);
    for _ in 0..3 {
        done(format!("a check by {name}"), limiter.check("k").await)?;
    }
    let keys = limiter.keyspace();
    let mut call = Call::new(START_MS, Rule::Each);
    call.push(keys.full_key("k"), Forget::<S::State>::new(), ());
    call.push(keys.full_key("k"), strategy.clone(), 1.0);
    done(format!("a reset and a check by {name}"), keys.run_call(call).await)?;
    let left = async || done(format!("a peek by {name}"), limiter.peek("k").await).map(|decision| decision.remaining);
    same(format!("what {name} has left after a reset and a check"), &left().await?, &49)?;
    done(format!("a check by {name}"), limiter.check_cost("other", 50.0).await)?;
    let mut call = Call::new(START_MS, Rule::All);
    call.push(keys.full_key("k"), Forget::<S::State>::new(), ());
    call.push(keys.full_key("other"), strategy, 1.0);
    done(format!("a reset beside what {name} denies"), keys.run_call(call).await)?;
    same(format!("what {name} has left after a reset that came to nothing"), &left().await?, &49)
}
