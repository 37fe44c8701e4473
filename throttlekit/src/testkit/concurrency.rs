//! Many calls at a time.

use super::agreement::together;
use super::case::{Context, Outcome, Running, done};
use super::join::all;
use super::probe::{LONG, Probe, Read};
use crate::error::Error;
use crate::program::Program;
use crate::store::Rule;

const COUNT: Probe = Probe::Count(LONG);

pub(super) async fn lose_nothing(cx: &Context<'_>) -> Outcome {
    let calls = (0..200).map(|_| cx.run("k", COUNT)).collect();
    counted(all(calls).await, 200)?;
    cx.expect("a read after 200 concurrent counts", "k", Read, 200.0).await
}

pub(super) async fn two_handles_lose_nothing(cx: &Context<'_>) -> Outcome {
    let other = cx.another();
    let calls = (0..50).flat_map(|_| [cx.run("k", COUNT), other.run("k", COUNT)]).collect();
    counted(all(calls).await, 100)?;
    cx.expect("a read after 100 concurrent counts", "k", Read, 100.0).await
}

/// That every count from 1 to `expected` was answered once.
fn counted(answers: Vec<Result<f64, Error>>, expected: u32) -> Outcome {
    let mut counts =
        answers.into_iter().map(|answer| done("a concurrent count", answer)).collect::<Result<Vec<_>, _>>()?;
    counts.sort_by(f64::total_cmp);
    if counts.iter().copied().eq((1..=expected).map(f64::from)) {
        return Ok(());
    }
    counts.dedup();
    let last = counts.last().copied().unwrap_or_default();
    Err(format!("{} different answers up to {last}, expected each from 1 to {expected} once", counts.len()))
}

/// What moves two keys together, in both orders: a store that takes its keys one by one must not wait for itself.
const TOGETHER: [[(&str, Probe); 2]; 2] = [[("a", COUNT), ("b", COUNT)], [("b", COUNT), ("a", COUNT)]];
const REFUSED: [(&str, Probe); 2] = [("a", COUNT), ("b", Probe::Look)];

pub(super) async fn joint_calls_are_atomic(cx: &Context<'_>) -> Outcome {
    let other = cx.another();
    let mut running: Vec<Running<'_>> = Vec::new();
    for _ in 0..25 {
        for cx in [cx, &other] {
            running.extend(TOGETHER.map(|programs| -> Running<'_> { Box::pin(moves(cx, programs, 0.0)) }));
        }
        // The first key is counted before the call is undone.
        running.push(Box::pin(moves(cx, REFUSED, 1.0)));
    }
    for cx in [cx, &other] {
        running.push(Box::pin(watch(cx, Read)));
        running.push(Box::pin(watch(cx, Probe::Look)));
    }
    together(running).await?;
    cx.expect("a read of the one key", "a", Read, 100.0).await?;
    cx.expect("a read of the other key", "b", Read, 100.0).await
}

async fn moves(cx: &Context<'_>, programs: [(&'static str, Probe); 2], ahead: f64) -> Outcome {
    apart(&done("a concurrent joint call", cx.call(Rule::All, programs).await)?, ahead)
}

/// Looks again and again at both keys.
async fn watch<P: Program<Request = (), Reply = f64> + Copy>(cx: &Context<'_>, look: P) -> Outcome {
    for _ in 0..50 {
        apart(&done("a look at two keys", cx.call(Rule::Each, [("a", look), ("b", look)]).await)?, 0.0)?;
    }
    Ok(())
}

/// How far the first of two keys has to be ahead of the second.
fn apart(pair: &[f64], ahead: f64) -> Outcome {
    match pair {
        [one, other] if one - other == ahead => Ok(()),
        _ => Err(format!("two keys that are only counted together were seen as {pair:?}")),
    }
}
