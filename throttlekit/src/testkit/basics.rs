//! One program at a time.

use super::case::{Context, Outcome, START_MS, done, fails, same};
use super::join::cut;
use super::probe::{LONG, Probe, REFUSAL, Read, Swap};
use crate::limiter::Forget;
use crate::store::{Keyspace, Remote, Rule};
use crate::strategy::gcra::Gcra;
use crate::strategy::sliding_window_log::SlidingWindowLog;
use crate::strategy::token_bucket::TokenBucket;

const COUNT: Probe = Probe::Count(LONG);

pub(super) async fn a_write_persists(cx: &Context<'_>) -> Outcome {
    cx.expect("the first count", "k", COUNT, 1.0).await?;
    cx.expect("the second count", "k", COUNT, 2.0).await?;
    cx.expect("a read", "k", Read, 2.0).await
}

/// Pairs of names that a store might take for one, and some that it might not like at all.
const NAMES: [&str; 22] = [
    "a",
    "b",
    "A",
    "a ",
    " a",
    "a:b",
    "a:",
    ":a",
    "",
    "\u{e9}",
    "e\u{301}",
    "{a}",
    "{a}b",
    "a*",
    "a%",
    "a_",
    "a\\",
    "a'b",
    "a\"b",
    "a\nb",
    "\u{1f6a6}",
    "ab",
];

pub(super) async fn keys_do_not_meet(cx: &Context<'_>) -> Outcome {
    cx.expect("the first count of a", "a", COUNT, 1.0).await?;
    cx.expect("the second count of a", "a", COUNT, 2.0).await?;
    cx.expect("the first count of b", "b", COUNT, 1.0).await?;
    cx.expect("the third count of a", "a", COUNT, 3.0).await?;
    for (number, name) in (100_u8..).zip(NAMES) {
        done(format!("a write to {name:?}"), cx.run(name, Probe::Put(f64::from(number))).await)?;
    }
    for (number, name) in (100_u8..).zip(NAMES) {
        cx.expect(&format!("the number of {name:?}"), name, Read, f64::from(number)).await?;
    }
    let long = ["x".repeat(1_000), "x".repeat(999) + "y"];
    let keys = cx.keys();
    for key in &long {
        let count = done("a count of a key of 1000 bytes", counted(&keys, key).await)?;
        same("the first count of a key of 1000 bytes", &count, &1.0)?;
    }
    Ok(())
}

async fn counted(keys: &Remote, key: &str) -> Result<f64, crate::Error> {
    Keyspace::<f64>::run(keys, key, START_MS, &COUNT, &()).await
}

pub(super) async fn a_reset_forgets(cx: &Context<'_>) -> Outcome {
    cx.expect("the first count", "k", COUNT, 1.0).await?;
    cx.expect("the second count", "k", COUNT, 2.0).await?;
    done("a reset", cx.run("k", Forget::<f64>::new()).await)?;
    cx.expect("a read after the reset", "k", Read, 0.0).await?;
    cx.expect("a count after the reset", "k", COUNT, 1.0).await?;
    done("a reset of a key that is not there", cx.run("other", Forget::<f64>::new()).await)
}

pub(super) async fn removing_forgets(cx: &Context<'_>) -> Outcome {
    cx.expect("removing what is not there", "k", Probe::Take, 0.0).await?;
    cx.expect("the first count", "k", COUNT, 1.0).await?;
    cx.expect("the second count", "k", COUNT, 2.0).await?;
    cx.expect("removing", "k", Probe::Take, 2.0).await?;
    cx.expect("a read of what was removed", "k", Read, 0.0).await?;
    cx.expect("a count after the removal", "k", COUNT, 1.0).await
}

pub(super) async fn a_refusal_leaves_no_trace(cx: &Context<'_>) -> Outcome {
    cx.expect("a look at a new key", "k", Probe::Look, 0.0).await?;
    cx.expect("a read after the look", "k", Read, 0.0).await?;
    cx.expect("the first count", "k", COUNT, 1.0).await?;
    cx.expect("a look", "k", Probe::Look, 1.0).await?;
    cx.expect("the second count", "k", COUNT, 2.0).await
}

pub(super) async fn numbers_come_back_exactly(cx: &Context<'_>) -> Outcome {
    let numbers = [
        1_700_000_000_333.333_3,
        0.300_000_000_000_000_04,
        0.1,
        1.0 / 3.0,
        16.35,
        123_456.789_012_345_67,
        9_007_199_254_740_991.0,
        1e23,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -2.5,
    ];
    for number in numbers {
        done("a write", cx.run("k", Probe::Put(number)).await)?;
        let back: f64 = done("a read", cx.run("k", Read).await)?;
        same(format!("the bits of {number:e}, which came back as {back:e}"), &back.to_bits(), &number.to_bits())?;
    }
    Ok(())
}

pub(super) async fn texts_come_back_whole(cx: &Context<'_>) -> Outcome {
    // A log of some thousand admissions is of this size.
    let long = "1700000000000.5,".repeat(8_192);
    let texts = ["x", " x ", "{\"a\":[1,2.50,\"\\u00e9\"],\"b\":null}", "\u{e9}\u{1f6a6}'\\\n\t;--", &long];
    let (keys, mut before) = (cx.keys(), None);
    for text in texts {
        let swapped = Keyspace::run(&keys, "k", START_MS, &Swap, &Some(text.to_owned())).await;
        let found = done(format!("a write of {} bytes", text.len()), swapped)?;
        if found.as_deref() != before {
            let expected = before.map_or(0, str::len);
            return Err(format!("a text of {expected} bytes came back as {}", shown(found.as_deref())));
        }
        before = Some(text);
    }
    let found = done("a read", Keyspace::run(&keys, "k", START_MS, &Swap, &None).await)?;
    if found.as_deref() == before {
        Ok(())
    } else {
        Err(format!("a text of {} bytes came back as {}", long.len(), shown(found.as_deref())))
    }
}

/// A text in a message: short ones as they are.
fn shown(text: Option<&str>) -> String {
    match text {
        Some(text) if text.len() > 100 => format!("another of {} bytes", text.len()),
        text => format!("{text:?}"),
    }
}

pub(super) async fn a_failure_changes_nothing(cx: &Context<'_>) -> Outcome {
    for before in [0.0, 1.0] {
        let failed = cx.run("k", Probe::Fail).await;
        match failed {
            Err(error) if error.to_string() != REFUSAL => {
                return Err(format!("the error of the program became another: {error}"));
            }
            failed => fails("a program that fails", failed, "invalid_argument")?,
        }
        cx.expect("a read after the failure", "k", Read, before).await?;
        cx.another().expect("a count after the failure", "k", COUNT, before + 1.0).await?;
    }
    Ok(())
}

pub(super) async fn an_unreadable_state_is_refused(cx: &Context<'_>) -> Outcome {
    let build = |error: crate::BuildError| error.to_string();
    let gcra = cx.limiter(Gcra::builder().limit(5.0).period_ms(1e9).build().map_err(build)?, "");
    let bucket = TokenBucket::builder().capacity(5.0).refill_per_sec(1e-6).build().map_err(build)?;
    let bucket = cx.limiter(bucket, "");
    let log = cx.limiter(SlidingWindowLog::builder().limit(5.0).window_ms(1e9).build().map_err(build)?, "");
    let garbage = Some("no state of anything".to_owned());
    done("a write", Keyspace::run(&cx.keys(), "k", START_MS, &Swap, &garbage).await)?;
    for _ in 0..2 {
        fails("a check by GCRA", gcra.check("k").await, "state_invalid")?;
        fails("a peek by GCRA", gcra.peek("k").await, "state_invalid")?;
        fails("a check by a token bucket", bucket.check("k").await, "state_invalid")?;
        fails("a peek by a token bucket", bucket.peek("k").await, "state_invalid")?;
        fails("a check by a sliding log", log.check("k").await, "state_invalid")?;
        fails("a forecast by a sliding log", log.forecast("k", 1.0).await, "state_invalid")?;
        fails("a joint call with it", both(cx, "k", "other").await, "state_invalid")?;
    }
    cx.expect("a read of the other key", "other", Read, 0.0).await?;
    let found = done("a read", Keyspace::run(&cx.keys(), "k", START_MS, &Swap, &None).await)?;
    same("what was unreadable, later", &found, &garbage)?;
    done("a reset", gcra.reset("k").await)?;
    same("a check after the reset", &done("a check after the reset", gcra.check("k").await)?.remaining, &4)
}

async fn both(cx: &Context<'_>, one: &'static str, other: &'static str) -> Result<Vec<f64>, crate::Error> {
    cx.call(Rule::All, [(one, COUNT), (other, COUNT)]).await
}

pub(super) async fn a_dropped_call_leaves_its_key_usable(cx: &Context<'_>) -> Outcome {
    // How many counts are known to have been made, and how many may have been or may still be.
    let (mut known, mut open) = (0.0, 0.0);
    for polls in 0..12 {
        match cut(cx.run("k", COUNT), polls).await {
            Some(answer) => known = done("a count", answer)?,
            None if polls > 0 => open += 1.0,
            None => {}
        }
        let call = cx.call(Rule::All, [("k", Probe::Look), ("other", Probe::Fail)]);
        drop(cut(call, polls).await);
        let what = format!("a count after a call that was dropped after {polls} polls");
        let next = done(&what, cx.another().run("k", COUNT).await)?;
        if !(known + 1.0..=known + 1.0 + open).contains(&next) {
            return Err(format!("{what}: got {next}, expected {} to {}", known + 1.0, known + 1.0 + open));
        }
        open -= next - known - 1.0;
        known = next;
    }
    Ok(())
}

pub(super) async fn handles_share_the_backend(cx: &Context<'_>) -> Outcome {
    let other = cx.another();
    cx.expect("the first count", "k", COUNT, 1.0).await?;
    other.expect("the second count, by another handle", "k", COUNT, 2.0).await?;
    cx.expect("a read", "k", Read, 2.0).await?;
    drop(other);
    // A handle that goes takes nothing with it.
    cx.expect("the third count", "k", COUNT, 3.0).await
}
