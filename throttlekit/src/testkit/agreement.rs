//! The same in memory and on the store, answer by answer.

use super::case::{Context, Outcome, Running, START_MS, done};
use super::join::all;
use super::limit::{Limit, built, with_strategy};
use super::random::Mulberry;
use crate::clock::{Clock, ManualClock};
use crate::decision::{Decision, Forecast};
use crate::error::Error;
use crate::lease::{Grant, GrantForm, Wanted};
use crate::limiter::{Forget, Limiter};
use crate::multi::{InMemory, Multi, MultiBuilder};
use crate::program::{Project, Refund, Strategy};
use crate::store::memory::Table;
use crate::store::{Call, Keyspace, Remote, Rule};

/// How many keys a table has room for.
const MOST_KEYS: usize = 1_000;

/// One limit in memory and on the store, with one clock.
pub(super) struct Pair<S: Project> {
    name: String,
    pub(super) clock: ManualClock,
    memory: Limiter<S, Table<S::State>, ManualClock>,
    stored: Limiter<S, Remote, ManualClock>,
}

impl<S: Project> Pair<S> {
    /// `name` also keeps its keys apart from those of others.
    pub(super) fn new(cx: &Context<'_>, strategy: S, name: String) -> Result<Self, String> {
        let clock = ManualClock::new(START_MS);
        let stored = Limiter::builder(strategy.clone()).keyspace(cx.keys()).prefix(name.clone()).clock(clock.clone());
        // A few keys are used, and there are many tables.
        let keys = Table::bounded(MOST_KEYS).map_err(built)?;
        let memory = Limiter::builder(strategy).keyspace(keys).clock(clock.clone());
        Ok(Self { name, clock, memory: memory.build(), stored: stored.build() })
    }

    pub(super) async fn check(&self, step: usize, key: &str, cost: f64) -> Result<Decision, String> {
        let what = || format!("{}, step {step}, check of {cost}", self.name);
        equal(what, self.stored.check_cost(key, cost).await, self.memory.check_cost(key, cost))
    }

    pub(super) async fn peek(&self, step: usize, key: &str) -> Result<Decision, String> {
        let what = || format!("{}, step {step}, peek", self.name);
        equal(what, self.stored.peek(key).await, self.memory.peek(key))
    }

    pub(super) async fn forecast(&self, step: usize, key: &str, cost: f64) -> Result<Forecast, String> {
        let what = || format!("{}, step {step}, forecast of {cost}", self.name);
        equal(what, self.stored.forecast(key, cost).await, self.memory.forecast(key, cost))
    }

    async fn check_many(&self, step: usize, keys: &[&str], cost: f64) -> Result<Vec<Decision>, String> {
        let what = || format!("{}, step {step}, batch of {cost}", self.name);
        equal(what, self.stored.check_many(keys, cost).await, self.memory.check_many(keys, cost))
    }

    /// Leases units, and gives some of them back.
    async fn lease(&self, step: usize, key: &str, form: GrantForm, units: f64) -> Outcome {
        let now_ms = self.clock.now_ms();
        let (stored, memory) = (self.stored.keyspace(), self.memory.keyspace());
        let grant = Grant::new(self.memory.strategy().clone(), form);
        let wanted = Wanted { units, need: (units / 2.0).ceil() };
        let what = || format!("{}, step {step}, lease of {units}", self.name);
        let granted =
            equal(what, stored.run(key, now_ms, &grant, &wanted).await, memory.apply(key, now_ms, &grant, &wanted))?;
        if !S::REFUNDS {
            return Ok(());
        }
        let units = (granted.units / 2.0).floor().max(1.0);
        self.refund(step, key, granted.refund(units)).await.map(drop)
    }

    /// A refund of the lease or the decision that took the units, or of one that is not known.
    async fn refund(&self, step: usize, key: &str, refund: Refund) -> Result<Decision, String> {
        let what = || format!("{}, step {step}, {refund:?}", self.name);
        let memory = self.memory.run_refund(key, refund).await;
        equal(what, self.stored.run_refund(key, refund).await, memory)
    }

    async fn reset(&self, step: usize, key: &str) -> Outcome {
        let what = || format!("{}, step {step}, reset", self.name);
        equal(what, self.stored.reset(key).await, self.memory.reset(key))
    }

    /// A reset and a check in one call.
    async fn renew(&self, step: usize, key: &str, cost: f64) -> Outcome {
        let what = || format!("{}, step {step}, reset and check of {cost}", self.name);
        let (keys, strategy) = (self.stored.keyspace(), self.memory.strategy());
        let mut call = Call::new(self.clock.now_ms(), Rule::Each);
        call.push(keys.full_key(key), Forget::<S::State>::new(), ());
        call.push(keys.full_key(key), strategy.clone(), cost);
        let memory = self.memory.reset(key).and_then(|()| self.memory.check_cost(key, cost));
        equal(what, keys.run_call(call).await.map(drop), memory.map(drop))
    }
}

/// Several limits on one request, in memory and on the store, with one clock.
pub(super) struct JointPair {
    name: &'static str,
    pub(super) clock: ManualClock,
    memory: Multi<InMemory, ManualClock>,
    stored: Multi<Remote, ManualClock>,
}

impl JointPair {
    /// `start` begins a limit that admits what all or what any of its dimensions admit.
    pub(super) fn new(
        cx: &Context<'_>,
        name: &'static str,
        start: fn() -> MultiBuilder,
        dimensions: &[(&'static str, Limit)],
    ) -> Result<Self, String> {
        let clock = ManualClock::new(START_MS);
        let stored = declare(start(), dimensions)?.store(cx.keys()).prefix(name).clock(clock.clone()).build();
        let memory = declare(start(), dimensions)?.clock(clock.clone()).build();
        Ok(Self { name, clock, memory: memory.map_err(built)?, stored: stored.map_err(built)? })
    }

    pub(super) async fn check(&self, step: usize, keys: &[&str], cost: f64) -> Result<Decision, String> {
        let what = || format!("{}, step {step}, check of {cost}", self.name);
        equal(what, self.stored.check_cost(keys, cost).await, self.memory.check_cost(keys, cost))
    }
}

pub(super) fn declare(mut builder: MultiBuilder, dimensions: &[(&'static str, Limit)]) -> Result<MultiBuilder, String> {
    for (name, limit) in dimensions {
        builder = with_strategy!(*limit, strategy => builder.dimension(*name, strategy, 1.0));
    }
    Ok(builder)
}

/// The answer of both, if it is the same one.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: impl Fn() -> String,
    stored: Result<T, Error>,
    memory: Result<T, Error>,
) -> Result<T, String> {
    match (stored, memory) {
        (Ok(stored), Ok(memory)) if stored == memory => Ok(stored),
        (Ok(stored), Ok(memory)) => Err(format!("{}: got {stored:?}, in memory it is {memory:?}", what())),
        (Err(error), Ok(_)) => done(what(), Err(error)),
        (_, Err(error)) => Err(format!("{}: in memory it failed: {error}", what())),
    }
}

/// How many failures of one case are shown.
const SHOWN: usize = 3;

/// Runs all together and puts together what failed.
pub(super) async fn together(running: Vec<Running<'_>>) -> Outcome {
    let mut failures: Vec<String> = all(running).await.into_iter().filter_map(Result::err).collect();
    // They mostly have one cause.
    if let Some(more) = failures.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        failures.truncate(SHOWN);
        failures.push(format!("and {more} more"));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Limits with numbers that do not come out even, and below how many milliseconds time moves from step to step.
const LIMITS: [(Limit, f64); 20] = [
    (Limit::Gcra(3.0, 1_000.0, 3.0), 400.0),
    (Limit::Gcra(7.0, 1_000.5, 2.5), 300.0),
    (Limit::Gcra(2.0, 1_000.0, 2.0), 700.0),
    (Limit::ExactGcra(6, 1_000, 6), 200.0),
    (Limit::ExactGcra(243, 3_600_000, 10), 20_000.0),
    (Limit::ExactGcra(7, 10, 3), 3.0),
    (Limit::TokenBucket(20.0, 3.5), 300.0),
    (Limit::TokenBucket(2.5, 0.3), 9_000.0),
    (Limit::FixedWindow(5.0, 1_000.0), 200.0),
    (Limit::FixedWindow(7.5, 100_000.5), 20_000.0),
    (Limit::SlidingWindow(20.0, 1_000.0, 3), 60.0),
    (Limit::SlidingWindow(6.5, 777.7, 7), 100.0),
    (Limit::SlidingLog(10.0, 500.0), 50.0),
    (Limit::Month(40.0, -210), 86_400_000.0),
    (Limit::Day(9.5, 345), 8_000_000.0),
    (Limit::Period(5.0, 999.5, -3), 200.0),
    (Limit::Rolling(50.0, 1_000.0), 30.0),
    (Limit::Budget(20.0, 1_000.0, 20.0, false, false), 100.0),
    (Limit::Budget(7.0, 777.7, 30.0, true, false), 200.0),
    (Limit::Budget(20.0, 1_000.0, 0.0, false, true), 100.0),
];

/// Every strategy at once.
const DIMENSIONS: [(&str, Limit); 10] = [
    ("gcra", Limit::Gcra(3.0, 1_000.0, 30.0)),
    ("exact", Limit::ExactGcra(3, 1_000, 30)),
    ("bucket", Limit::TokenBucket(25.0, 3.5)),
    ("fixed", Limit::FixedWindow(20.0, 3_000.5)),
    ("sliding", Limit::SlidingWindow(20.0, 3_000.0, 7)),
    ("log", Limit::SlidingLog(20.0, 3_000.0)),
    ("month", Limit::Month(150.0, 330)),
    ("period", Limit::Period(30.0, 9_000.0, 250)),
    ("rolling", Limit::Rolling(50.0, 10_000.0)),
    ("budget", Limit::Budget(30.0, 4_000.0, 30.0, true, false)),
];

/// The steps of one comparison.
const STEPS: usize = 200;

pub(super) async fn with_memory(cx: &Context<'_>) -> Outcome {
    let mut running: Vec<Running<'_>> = Vec::new();
    for (seed, (limit, max_delta)) in (1..).zip(LIMITS) {
        running.push(Box::pin(async move {
            with_strategy!(limit, strategy => {
                let name = format!("{} {seed}", strategy.name());
                compare(cx, &Pair::new(cx, strategy, name)?, max_delta, seed).await
            })
        }));
    }
    for (name, start, max_delta) in [("all", Multi::all as fn() -> MultiBuilder, 600.0), ("any", Multi::any, 60.0)] {
        running.push(Box::pin(compare_joint(cx, name, start, max_delta)));
    }
    together(running).await
}

async fn compare<S: Project>(cx: &Context<'_>, pair: &Pair<S>, max_delta: f64, seed: u32) -> Outcome {
    // Some take whole costs only.
    let strategy = pair.memory.strategy();
    let whole = strategy.key_space() == "exact" || strategy.name() == "tokenBudget";
    let mut random = Mulberry::new(seed);
    let mut taken = None;
    for step in 0..STEPS.min(cx.harness.steps()) {
        pair.clock.advance(random.below(max_delta));
        let key = if random.draw() < 0.7 { "a" } else { "b" };
        let tenths = 1.0 + random.below(30.0);
        let cost = if whole || step % 3 == 0 { (tenths / 10.0).ceil() } else { tenths / 10.0 };
        let decision = pair.check(step, key, cost).await?;
        if S::REFUNDS && step % 4 == 3 {
            // Of what was just taken, of what may have lapsed, and of nothing in particular.
            taken = taken.filter(|_| step % 8 == 7).or(Some(decision));
            let refund = Refund::new(if whole { cost } else { cost / 2.0 });
            let refund = taken.filter(|_| step % 12 != 11).map_or(refund, |taken| refund.of(&taken));
            // By a clock that may be a millisecond behind that of the check, where a state lies beyond its bound.
            let now_ms = pair.clock.now_ms();
            pair.clock.set(now_ms - 1.0 + random.below(3.0));
            pair.refund(step, key, refund).await?;
            pair.peek(step, key).await?;
            // At an earlier time than that other keys may hold what memory has seen expire.
            pair.clock.set(now_ms + 1.0);
        }
        pair.peek(step, key).await?;
        pair.forecast(step, key, cost).await?;
        if step % 20 == 10 {
            pair.check_many(step, &["a", "b", "c", "a", "c"], 1.0).await?;
        }
        if step % 40 == 21 {
            // One whose clock is behind.
            pair.clock.set(pair.clock.now_ms() - max_delta);
            pair.lease(step, key, GrantForm::Partial, 3.0).await?;
            pair.clock.advance(max_delta);
        }
        if step % 8 == 5 {
            let form = if step % 24 == 5 { GrantForm::Whole } else { GrantForm::Partial };
            pair.lease(step, key, form, 1.0 + random.below(9.0)).await?;
        }
        if step % 50 == 30 {
            pair.reset(step, key).await?;
            pair.peek(step, key).await?;
        }
        if step % 50 == 5 {
            pair.renew(step, key, cost).await?;
            pair.peek(step, key).await?;
        }
    }
    Ok(())
}

async fn compare_joint(cx: &Context<'_>, name: &'static str, start: fn() -> MultiBuilder, max_delta: f64) -> Outcome {
    let pair = JointPair::new(cx, name, start, &DIMENSIONS)?;
    let mut random = Mulberry::new(77);
    for step in 0..STEPS.min(cx.harness.steps()) {
        pair.clock.advance(random.below(max_delta));
        let keys: Vec<&str> = DIMENSIONS.iter().map(|_| if random.draw() < 0.8 { "a" } else { "b" }).collect();
        pair.check(step, &keys, 1.0 + random.below(4.0)).await?;
    }
    Ok(())
}
