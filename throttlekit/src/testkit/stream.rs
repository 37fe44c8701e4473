//! Long random streams of checks, side by side in memory and on the store. The digest of their answers is the same for
//! every member of the family, bit for bit.

use sha2::{Digest, Sha256};

use super::agreement::{JointPair, Pair, equal, together};
use super::case::{Context, Outcome, Running, START_MS, same};
use super::limit::{Limit, built, with_strategy};
use super::random::Mulberry;
use crate::clock::ManualClock;
use crate::decision::Decision;
use crate::multi::{Multi, MultiBuilder};
use crate::program::{Project, Strategy};
use crate::shaper::{LeakyBucket, Shaper};

/// How one stream goes and what comes of it: its limit, the seed, below how many milliseconds time moves from step to step,
/// the largest cost, how many checks are admitted, and the digest.
struct Stream<L>(L, u32, f64, f64, u32, &'static str);

/// Checks, peeks and forecasts.
#[rustfmt::skip] // a table
const STREAMS: [Stream<Limit>; 14] = [
    Stream(Limit::Gcra(100.0, 60_000.0, 20.0), 4001, 900.0, 4.0, 877, "f593fa864525f08eff087358ca2bd554f77580aa0a1cb6df440fb03bffc541ec"),
    Stream(Limit::Gcra(6.0, 1_000.0, 6.0), 4002, 400.0, 2.0, 1674, "e506050d093397a2f84f7dfbf89ac893e405821315ed3cf63e2e7629962bd91d"),
    Stream(Limit::Gcra(1_000.0, 60_000.0, 100.0), 4003, 300.0, 9.0, 1289, "00076e3b49512c26300bba06b8740798872b1846eea13b56ae3e57a455eb8290"),
    Stream(Limit::TokenBucket(50.0, 10.0), 4004, 900.0, 12.0, 1588, "02fe6c8047e16b2a484a3112d6cd98b0624235bfa6de02403aa21145775aca4e"),
    Stream(Limit::TokenBucket(20.0, 3.5), 4005, 900.0, 6.0, 1188, "951dfd85367d18e3c25b4b64be46004d58928ffc7ba18356320295b8b5ad10a1"),
    Stream(Limit::FixedWindow(10.0, 250.0), 4006, 90.0, 4.0, 1414, "5b2ff1fc71771fe64c6c6d502ce9cea936912d191500a6a1799c752e2a7b0253"),
    Stream(Limit::SlidingWindow(50.0, 1_000.0, 10), 4007, 60.0, 4.0, 1306, "759e7701c530c27ea8cf473c5aaf3d1345e86f43e64996e0e64cacca08022101"),
    Stream(Limit::SlidingWindow(20.0, 1_000.0, 3), 4008, 120.0, 4.0, 1069, "f5685d6556a5fdd66328baf9ffba7904c18006885945e51a91e199ac4f02bcac"),
    Stream(Limit::SlidingWindow(100.0, 60_000.0, 1), 4009, 1_500.0, 4.0, 1222, "89461a897742dd5a365bfa3502350041640d0d766ab9c751b157f7030edcfa89"),
    Stream(Limit::SlidingLog(10.0, 500.0), 4010, 90.0, 4.0, 789, "e594da043b350fd76875d057c0eba7b1c5e896de241646b9c5c1bf1ac2b28513"),
    Stream(Limit::Month(50.0, 330), 4011, 86_400_000.0, 4.0, 705, "17a228f193c7559c3a221e42ae50aea6417bc681b340c7d3c55d0f94d81bc2bc"),
    Stream(Limit::Week(50.0), 4012, 20_000_000.0, 4.0, 667, "8f978db6d033c855d93f0da3bbef5d610280af6d3a4b6533d313934b9788b2b1"),
    Stream(Limit::Day(50.0, -300), 4013, 4_000_000.0, 4.0, 963, "b0bff8c45d0ee63e746d921c420abd6de929cc16725a9cafc3e831633e8eeb3a"),
    Stream(Limit::Period(50.0, 1_000.0, 250), 4014, 60.0, 4.0, 1250, "184ad8d57e31f7adc7ea0b3bc357320915ca2de2078ce5c5282ac7caf24b7a99"),
];
/// The steps of each.
const STEPS: usize = 2_000;

/// How a joint limit starts.
type Start = fn() -> MultiBuilder;

/// Joint checks by three dimensions, of which all or any must admit.
#[rustfmt::skip] // a table
const JOINT: [Stream<(&str, Start)>; 2] = [
    Stream(("all", Multi::all), 5001, 300.0, 3.0, 257, "d64fafd8b920ad6c8c2656c2bf40339207d1be2d46891b125457491931de3d44"),
    Stream(("any", Multi::any), 5001, 60.0, 9.0, 284, "20118e6e39677c0f65e4703e44aeafc2850c16c782e45cca602a76b086c390aa"),
];
const DIMENSIONS: [(&str, Limit); 3] = [
    ("ip", Limit::Gcra(20.0, 10_000.0, 8.0)),
    ("user", Limit::TokenBucket(15.0, 5.0)),
    ("route", Limit::FixedWindow(30.0, 1_000.0)),
];

/// Reservations of a leaky bucket: its rate in a second, and its longest queue in milliseconds.
#[rustfmt::skip] // a table
const SHAPER: Stream<(f64, f64)> =
    Stream((7.0, 1_500.0), 6001, 400.0, 3.0, 689, "9175980a85a5a8ce6df814d2d0ab1530ffa4d35e778a5b5f6bb7d718044b7ba3");

/// The steps of a joint stream, and of the shaper's.
const FEWER_STEPS: usize = 1_000;

pub(super) async fn have_their_digests(cx: &Context<'_>) -> Outcome {
    let mut running: Vec<Running<'_>> = Vec::new();
    for stream in &STREAMS {
        running.push(Box::pin(async move {
            with_strategy!(stream.0, strategy => {
                let name = format!("{} {}", strategy.name(), stream.1);
                follow(cx, &Pair::new(cx, strategy, name)?, stream).await
            })
        }));
    }
    running.extend(JOINT.iter().map(|stream| -> Running<'_> { Box::pin(follow_joint(cx, stream)) }));
    running.push(Box::pin(follow_shaper(cx)));
    together(running).await
}

impl<L> Stream<L> {
    /// The steps of the stream: number, how far time moves, and cost.
    fn steps(&self, cx: &Context<'_>, steps: usize) -> impl Iterator<Item = (usize, f64, f64)> + Send + use<L> {
        let &Self(_, seed, max_delta, max_cost, ..) = self;
        let mut random = Mulberry::new(seed);
        (0..steps.min(cx.harness.steps())).map(move |step| {
            let delta = random.below(max_delta);
            (step, delta, 1.0 + random.below(max_cost))
        })
    }

    /// Whether it came out as it must, if it was followed to its end.
    fn end(&self, cx: &Context<'_>, steps: usize, allows: u32, lines: Lines) -> Outcome {
        if cx.harness.steps() < steps {
            return Ok(());
        }
        same(format!("the stream of seed {}", self.1), &(allows, lines.digest().as_str()), &(self.4, self.5))
    }
}

/// The digest of a stream of lines, as hexadecimal digits.
#[derive(Default)]
struct Lines(Sha256);

impl Lines {
    fn push(&mut self, line: &str) {
        self.0.update(line);
        self.0.update("\n");
    }

    fn digest(self) -> String {
        self.0.finalize().iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
    }
}

/// The five numbers of a decision.
fn line(mark: &str, decision: Decision) -> String {
    let Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms } = decision;
    format!("{mark}{},{limit},{remaining},{reset_at_ms},{retry_after_ms}", u8::from(allowed))
}

async fn follow<S: Project>(cx: &Context<'_>, pair: &Pair<S>, stream: &Stream<Limit>) -> Outcome {
    let (mut allows, mut lines) = (0, Lines::default());
    for (step, delta, cost) in stream.steps(cx, STEPS) {
        pair.clock.advance(delta);
        let decision = pair.check(step, "k", cost).await?;
        allows += u32::from(decision.allowed);
        lines.push(&line("", decision));
        lines.push(&line("p,", pair.peek(step, "k").await?));
        let forecast = pair.forecast(step, "k", cost).await?;
        let (next, full) = (forecast.next_replenish_at_ms, forecast.full_at_ms);
        lines.push(&format!("f,{},{next},{full}", forecast.spendable_now));
    }
    stream.end(cx, STEPS, allows, lines)
}

async fn follow_joint(cx: &Context<'_>, stream: &Stream<(&'static str, Start)>) -> Outcome {
    let (name, start) = stream.0;
    let pair = JointPair::new(cx, name, start, &DIMENSIONS)?;
    let (mut allows, mut lines) = (0, Lines::default());
    for (step, delta, cost) in stream.steps(cx, FEWER_STEPS) {
        pair.clock.advance(delta);
        let decision = pair.check(step, &["i", "u", "r"], cost).await?;
        allows += u32::from(decision.allowed);
        lines.push(&line("", decision));
    }
    stream.end(cx, FEWER_STEPS, allows, lines)
}

async fn follow_shaper(cx: &Context<'_>) -> Outcome {
    let (rate_per_sec, max_queue_ms) = SHAPER.0;
    let bucket = LeakyBucket::builder().rate_per_sec(rate_per_sec).max_queue_ms(max_queue_ms).build().map_err(built)?;
    let clock = ManualClock::new(START_MS);
    let memory = Shaper::builder(bucket).clock(clock.clone()).build();
    let stored = Shaper::builder(bucket).keyspace(cx.keys()).prefix("shaper").clock(clock.clone()).build();
    let (mut accepts, mut lines) = (0, Lines::default());
    for (step, delta, cost) in SHAPER.steps(cx, FEWER_STEPS) {
        clock.advance(delta);
        let what = || format!("leaky bucket, step {step}, reservation of {cost}");
        let reservation = equal(what, stored.reserve("k", cost).await, memory.reserve("k", cost))?;
        accepts += u32::from(reservation.accepted);
        lines.push(&format!("{},{}", u8::from(reservation.accepted), reservation.delay_ms));
    }
    SHAPER.end(cx, FEWER_STEPS, accepts, lines)
}
