//! Several programs in one call.

use super::case::{Context, Outcome, START_MS, done, fails, same};
use super::probe::{LONG, Probe, Read, Swap, Verbatim};
use crate::limiter::Forget;
use crate::store::{Call, Rule};
use crate::strategy::gcra::Gcra;
use crate::strategy::sliding_window_log::SlidingWindowLog;

const COUNT: Probe = Probe::Count(LONG);

pub(super) async fn programs_see_each_other(cx: &Context<'_>) -> Outcome {
    let programs = [
        ("a", COUNT),
        ("b", COUNT),
        ("a", COUNT),
        ("a", Probe::Look),
        ("a", Probe::Take),
        ("a", COUNT),
        ("b", Probe::Put(7.5)),
        ("b", COUNT),
    ];
    let replies = done("a call of eight programs", cx.call(Rule::Each, programs).await)?;
    same("the replies of count, other, count, look, take, count", &replies[..6], &[1.0, 1.0, 2.0, 2.0, 2.0, 1.0])?;
    same("the replies of put and count on the other key", &replies[6..], &[1.0, 8.5])?;
    cx.expect("a read of the one", "a", Read, 1.0).await?;
    cx.expect("a read of the other", "b", Read, 8.5).await?;
    // As many keys as a batch may well have.
    let many = (0..100).map(|_| ("a", COUNT)).chain((0..100).map(|_| ("c", COUNT)));
    let replies = done("a call of 200 programs", cx.call(Rule::Each, many).await)?;
    let expected: Vec<f64> = (2..=101).chain(1..=100).map(f64::from).collect();
    same("the replies of 200 counts", &replies, &expected)
}

pub(super) async fn each_on_its_own(cx: &Context<'_>) -> Outcome {
    let programs = [("a", COUNT), ("b", Probe::Look), ("c", COUNT)];
    let replies = done("a call with a refusal", cx.call(Rule::Each, programs).await)?;
    same("the replies", &replies, &vec![1.0, 0.0, 1.0])?;
    for (key, expected) in [("a", 1.0), ("b", 0.0), ("c", 1.0)] {
        cx.expect(&format!("a read of {key}"), key, Read, expected).await?;
    }
    Ok(())
}

pub(super) async fn all_or_none(cx: &Context<'_>) -> Outcome {
    // Where the refusal stands must not matter.
    for refuser in 0..3 {
        let program = |at| if at == refuser { Probe::Look } else { COUNT };
        let programs = [("a", program(0)), ("b", program(1)), ("c", program(2))];
        done("a call with a refusal", cx.call(Rule::All, programs).await)?;
        for key in ["a", "b", "c"] {
            cx.expect(&format!("a read of {key} after a refusal"), key, Read, 0.0).await?;
        }
    }
    let programs = [("a", COUNT), ("b", COUNT), ("c", COUNT)];
    same("the replies", &done("a call without refusal", cx.call(Rule::All, programs).await)?, &vec![1.0; 3])?;
    for key in ["a", "b", "c"] {
        cx.expect(&format!("a read of {key}"), key, Read, 1.0).await?;
    }
    // A removal is a change.
    done("a removal and a refusal", cx.call(Rule::All, [("a", Probe::Take), ("b", Probe::Look)]).await)?;
    cx.expect("a read after a removal that came to nothing", "a", Read, 1.0).await?;
    done("a removal and a count", cx.call(Rule::All, [("a", Probe::Take), ("b", COUNT)]).await)?;
    cx.expect("a read after the removal", "a", Read, 0.0).await?;
    cx.expect("a read of the key beside it", "b", Read, 2.0).await
}

pub(super) async fn a_failure_undoes_all(cx: &Context<'_>) -> Outcome {
    cx.expect("a count", "a", COUNT, 1.0).await?;
    for programs in [[("a", COUNT), ("b", Probe::Fail)], [("b", Probe::Fail), ("a", COUNT)]] {
        fails("a joint call with a failure", cx.call(Rule::All, programs).await, "invalid_argument")?;
        cx.expect("a read beside the failure", "a", Read, 1.0).await?;
        cx.expect("a read of the key that failed", "b", Read, 0.0).await?;
        fails("a batch with a failure", cx.call(Rule::Each, programs).await, "invalid_argument")?;
        cx.expect("a read of the key that failed in a batch", "b", Read, 0.0).await?;
        // In a batch it is open whether the others count.
        done("a write", cx.run("a", Probe::Put(1.0)).await)?;
    }
    Ok(())
}

pub(super) async fn states_of_several_types(cx: &Context<'_>) -> Outcome {
    let keys = cx.keys();
    let log = SlidingWindowLog::builder().limit(5.0).window_ms(1e9).build().map_err(|error| error.to_string())?;
    for text in [Some("one".to_owned()), None] {
        let mut call = Call::new(START_MS, Rule::Each);
        call.push(keys.full_key("number"), COUNT, ());
        call.push(keys.full_key("log"), log, 2.0);
        call.push(keys.full_key("text"), Swap, text);
        done("a call", keys.run_call(call).await)?;
    }
    cx.expect("the number", "number", Read, 2.0).await?;
    same("the log", &done("a peek", cx.limiter(log, "").peek("log").await)?.remaining, &1)?;
    let mut call = Call::new(START_MS, Rule::All);
    call.push(keys.full_key("number"), Forget::<f64>::new(), ());
    call.push(keys.full_key("log"), Forget::<f64>::new(), ());
    call.push(keys.full_key("text"), Forget::<Verbatim>::new(), ());
    done("a call that forgets all", keys.run_call(call).await)?;
    cx.expect("the number, forgotten", "number", Read, 0.0).await?;
    same("the log, forgotten", &done("a peek", cx.limiter(log, "").peek("log").await)?.remaining, &5)
}

/// Limits, which a store may run by scripts of their own, beside programs for which it has none.
pub(super) async fn limits_beside_other_programs(cx: &Context<'_>) -> Outcome {
    let gcra = Gcra::builder().limit(5.0).period_ms(1e9).burst(5.0).build().map_err(|error| error.to_string())?;
    let limiter = cx.limiter(gcra, "");
    // The limit is asked for this; the other program wants this; then so much is left, and so much is counted.
    let calls = [
        (2.0, COUNT, 3, 1.0),
        (1.0, Probe::Look, 3, 1.0),
        (4.0, COUNT, 3, 1.0),
        (9.0, Probe::Look, 3, 1.0),
        (3.0, COUNT, 0, 2.0),
    ];
    let keys = cx.keys();
    for (cost, program, left, counted) in calls {
        let mut call = Call::new(START_MS, Rule::All);
        call.push(keys.full_key("limit"), gcra, cost);
        call.push(keys.full_key("count"), program, ());
        done("a joint call", keys.run_call(call).await)?;
        let peek = done("a peek", limiter.peek("limit").await)?;
        same(format!("what is left after a cost of {cost} beside {program:?}"), &peek.remaining, &left)?;
        cx.expect(&format!("the count after a cost of {cost} beside {program:?}"), "count", Read, counted).await?;
    }
    Ok(())
}

pub(super) async fn reads(cx: &Context<'_>) -> Outcome {
    for expected in [[0.0; 3], [1.0, 0.0, 1.0]] {
        let programs = [("a", Read), ("b", Read), ("a", Read)];
        same("three reads", &done("a call", cx.call(Rule::Each, programs).await)?, &expected.to_vec())?;
        // Under this rule no two programs are on one key.
        let replies = done("a joint call", cx.call(Rule::All, programs[..2].to_vec()).await)?;
        same("two reads", &replies[..], &expected[..2])?;
        if expected == [0.0; 3] {
            cx.expect("a count after the reads", "a", COUNT, 1.0).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_call_without_programs(cx: &Context<'_>) -> Outcome {
    for rule in [Rule::Each, Rule::All] {
        done("a call", cx.call::<Probe>(rule, []).await)?;
    }
    Ok(())
}
