//! Meters of tokens: what they charge, give back and carry over.

use super::agreement::{equal, together};
use super::case::{Context, Outcome, Running, START_MS, done, fails, same};
use super::limit::built;
use super::random::Mulberry;
use crate::budget::{Budget, TokenBudget};
use crate::clock::ManualClock;
use crate::decision::MAX_SAFE;
use crate::program::Refund;
use crate::store::memory::Table;

/// Budgets with the time that passes from step to step: units, window, largest debt, whether debt is carried, whether debits
/// are whole.
const BUDGETS: [(f64, f64, f64, bool, bool, f64); 4] = [
    (20.0, 1_000.0, 20.0, false, false, 100.0),
    (9.0, 333.3, 40.0, true, false, 200.0),
    (12.0, 100_000.5, 0.0, true, false, 9_000.0),
    (30.0, 1_000.0, 75.0, true, true, 200.0),
];

/// The steps of one comparison.
const STEPS: usize = 300;

pub(super) async fn with_memory(cx: &Context<'_>) -> Outcome {
    let mut running: Vec<Running<'_>> = Vec::new();
    for (seed, (units, window_ms, max_debt, carry, whole, max_delta)) in (1..).zip(BUDGETS) {
        let budget = Budget::builder().budget(units).window_ms(window_ms).max_debt(max_debt);
        let budget = budget.carry_debt(carry).whole_debits(whole).build().map_err(built)?;
        running.push(Box::pin(compare(cx, budget, seed, max_delta)));
    }
    together(running).await
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers
async fn compare(cx: &Context<'_>, budget: Budget, seed: u32, max_delta: f64) -> Outcome {
    let clock = ManualClock::new(START_MS);
    let memory = TokenBudget::builder(budget).keyspace(Table::new()).clock(clock.clone()).build();
    let stored = TokenBudget::builder(budget).keyspace(cx.keys()).prefix(seed.to_string()).clock(clock.clone()).build();
    let mut random = Mulberry::new(seed);
    for step in 0..STEPS.min(cx.harness.steps()) {
        clock.advance(random.below(max_delta));
        let key = if random.draw() < 0.7 { "a" } else { "b" };
        let tokens = 1 + random.below(9.0) as u64;
        let kind = random.below(10.0) as u32;
        // Of this window, of the one before it, and of none.
        let ago = [0, budget.window_ms() as i64, 1][random.below(3.0) as usize];
        let what = || format!("{budget:?}, step {step}, {tokens} tokens by way {kind}");
        let window_end_ms = memory.usage(key).map_or(0, |usage| usage.window_end_ms) - ago;
        match kind {
            0..5 => equal(what, stored.debit(key, tokens).await, memory.debit(key, tokens)).map(drop)?,
            5 | 6 => equal(what, stored.charge(key, tokens).await, memory.charge(key, tokens)).map(drop)?,
            7 | 8 => {
                let reset_at_ms = Some(window_end_ms).filter(|_| kind == 7);
                let refund = Refund { units: tokens as f64, reset_at_ms };
                equal(what, stored.refund(key, refund).await, memory.refund(key, refund)).map(drop)?;
            }
            _ if step % 3 == 0 => equal(what, stored.reset(key).await, memory.reset(key))?,
            _ => equal(what, stored.set(key, tokens * 5).await, memory.set(key, tokens * 5)).map(drop)?,
        }
        equal(what, stored.usage(key).await, memory.usage(key))?;
    }
    Ok(())
}

/// At any time: the window is too long to turn.
pub(super) async fn count_in_full(cx: &Context<'_>) -> Outcome {
    let budget = Budget::builder().budget(100.0).window_ms(1e13).build().map_err(built)?;
    let meter = TokenBudget::builder(budget).keyspace(cx.keys()).clock(cx.clock.clone()).build();
    done("a debit", meter.debit("k", 60).await)?;
    let refused = done("a debit that cannot be counted", meter.debit("k", MAX_SAFE).await)?;
    same("a debit that cannot be counted", &(refused.allowed, refused.remaining), &(false, 40))?;
    let most = MAX_SAFE - 60;
    let counted = done("the largest debit", meter.debit("k", most).await)?;
    same("the largest debit", &(counted.allowed, counted.remaining), &(true, 0))?;
    same("what it counts", &done("a usage", meter.usage("k").await)?.served, &MAX_SAFE)?;
    #[allow(clippy::cast_precision_loss)] // exact up to 2^53 - 1
    let refund = Refund::new(most as f64).of(&counted);
    done("a refund", meter.refund("k", refund).await)?;
    same("what was counted before", &done("a usage", meter.usage("k").await)?.served, &60)?;
    done("a reset", meter.reset("k").await)
}

/// At any time: the window is too long to turn.
pub(super) async fn charge_and_refund(cx: &Context<'_>) -> Outcome {
    let budget = Budget::builder().budget(100.0).window_ms(1e13).max_debt(30.0).build().map_err(built)?;
    let meter = TokenBudget::builder(budget).keyspace(cx.keys()).clock(cx.clock.clone()).build();
    let another = TokenBudget::builder(budget).keyspace(cx.another().keys()).clock(cx.clock.clone()).build();
    done("a debit", meter.debit("k", 60).await)?;
    let crossed = done("a debit that crosses", another.debit("k", 60).await)?;
    same("a debit that crosses", &(crossed.allowed, crossed.remaining), &(true, 0))?;
    let refused = done("a debit", meter.debit("k", 1).await)?;
    same("a debit of a spent budget", &refused.allowed, &false)?;
    done("a charge", another.charge("k", 100).await)?;
    same("what a charge counts", &done("a usage", meter.usage("k").await)?.served, &220)?;
    fails("a charge that cannot be counted", meter.charge("k", MAX_SAFE).await, "invalid_argument")?;
    let back = done("a refund", meter.refund("k", Refund::new(140.0).of(&refused)).await)?;
    same("a refund", &(back.allowed, back.remaining), &(true, 20))?;
    let late = Refund { units: 50.0, reset_at_ms: Some(0) };
    let late = done("a refund of another window", another.refund("k", late).await)?;
    same("a refund of another window", &late.remaining, &20)?;
    done("a setting", meter.set("k", 99).await)?;
    same("what is left", &done("a usage", another.remaining("k").await)?, &1)?;
    done("a reset", another.reset("k").await)?;
    same("what is left after a reset", &done("a usage", meter.remaining("k").await)?, &100)
}
