//! Rounds: every contestant in every round, in random order, so that what disturbs the machine disturbs all alike.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::Duration;

use fastrand::Rng;
use quanta::Instant;

use crate::keys::{Chunk, KeyText, Spread, Traffic};
use crate::rival::Rival;

/// What a row expects of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every request is admitted.
    Allowed,
    /// Every request is denied.
    Denied,
}

/// What one slice found, over all its threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Checks made.
    pub checks: usize,
    /// Checks that were admitted.
    pub allowed: usize,
    /// Nanoseconds a check takes its thread.
    pub ns: f64,
}

/// Collects timed stretches of one slice on one thread.
///
/// The figure is the median over the stretches. They are some ten microseconds long, so those in which the thread lost
/// its core to another process are few and drop out.
#[derive(Debug)]
pub struct Slice {
    budget: Duration,
    spent: Duration,
    ns: Vec<f64>,
    checks: usize,
    allowed: usize,
}

impl Slice {
    /// A slice that is full when its stretches took `budget`.
    pub fn new(budget: Duration) -> Self {
        Self { budget, spent: Duration::ZERO, ns: Vec::with_capacity(8_192), checks: 0, allowed: 0 }
    }

    /// Times `work`, a stretch of `checks` checks that answers how many were admitted.
    #[inline]
    #[allow(clippy::cast_precision_loss)] // a stretch is short
    pub fn time(&mut self, checks: usize, work: impl FnOnce() -> usize) {
        let start = Instant::now();
        self.allowed += work();
        let took = start.elapsed();
        self.spent += took;
        self.checks += checks;
        self.ns.push(took.as_secs_f64() * 1e9 / checks as f64);
    }

    /// Whether the budget is spent.
    pub fn is_full(&self) -> bool {
        self.spent >= self.budget
    }

    /// The slice's figure.
    pub fn sample(self) -> Sample {
        Sample { checks: self.checks, allowed: self.allowed, ns: median(self.ns) }
    }
}

/// A rival with a name, its table filled.
pub trait Candidate {
    /// The name in the tables.
    fn name(&self) -> &str;

    /// Checks keys drawn from `traffic` on `threads` threads until each has spent `budget` in checks.
    fn slice(&self, traffic: Traffic, threads: usize, budget: Duration, seed: u64) -> Sample;
}

#[derive(Debug)]
struct Named<R> {
    name: &'static str,
    rival: R,
}

/// Checks each key of `keys` once, in order, then enters the race.
pub fn candidate<'a, R: Rival + 'a>(name: &'static str, rival: R, keys: u64) -> Box<dyn Candidate + 'a> {
    let mut session = R::Session::default();
    for id in 0..keys {
        std::hint::black_box(rival.check(&mut session, KeyText::new(id).as_str()));
    }
    Box::new(Named { name, rival })
}

impl<R: Rival> Candidate for Named<R> {
    fn name(&self) -> &str {
        self.name
    }

    fn slice(&self, traffic: Traffic, threads: usize, budget: Duration, seed: u64) -> Sample {
        if threads == 1 {
            return drive(&self.rival, traffic, budget, seed);
        }
        let barrier = Barrier::new(threads);
        let one = |thread: usize| {
            barrier.wait();
            drive(&self.rival, traffic, budget, seed ^ ((thread as u64) << 32))
        };
        let samples: Vec<Sample> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        together(&samples)
    }
}

/// The samples of threads that ran side by side.
#[allow(clippy::cast_precision_loss)] // a number of threads
fn together(samples: &[Sample]) -> Sample {
    Sample {
        checks: samples.iter().map(|sample| sample.checks).sum(),
        allowed: samples.iter().map(|sample| sample.allowed).sum(),
        ns: samples.iter().map(|sample| sample.ns).sum::<f64>() / samples.len() as f64,
    }
}

/// One thread's slice. Keys are drawn between the timed stretches; a single key is drawn once.
fn drive<R: Rival>(rival: &R, traffic: Traffic, budget: Duration, seed: u64) -> Sample {
    let mut rng = Rng::with_seed(seed);
    let mut session = R::Session::default();
    let mut slice = Slice::new(budget);
    let mut chunk = Chunk::default();
    while !slice.is_full() {
        chunk.draw(traffic, &mut rng);
        let keys = chunk.keys();
        loop {
            slice.time(keys.len(), || {
                if traffic.in_turn { rival.run_in_turn(&mut session, &keys) } else { rival.run(&mut session, &keys) }
            });
            if traffic.keys > 1 || slice.is_full() {
                break;
            }
        }
    }
    slice.sample()
}

/// One row of a table: the traffic and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name, as in `hot, denied`.
    pub name: &'static str,
    /// The requests.
    pub traffic: Traffic,
    /// The answers.
    pub verdict: Verdict,
}

impl Row {
    /// The rows of the comparison: one hot key and three table sizes, allowed and denied; and what two of them are where each
    /// request waits for the one before.
    pub const ALL: [Self; 12] = [
        Self::new("hot key, allowed", 1, Spread::Uniform, Verdict::Allowed),
        Self::new("hot key, denied", 1, Spread::Uniform, Verdict::Denied),
        Self::new("10k keys, allowed", 10_000, Spread::Uniform, Verdict::Allowed),
        Self::new("10k keys, denied", 10_000, Spread::Uniform, Verdict::Denied),
        Self::new("1M keys, allowed", 1_000_000, Spread::Uniform, Verdict::Allowed),
        Self::new("1M keys, allowed", 1_000_000, Spread::Uniform, Verdict::Allowed).in_turn("1M keys in turn, allowed"),
        Self::new("1M keys, denied", 1_000_000, Spread::Uniform, Verdict::Denied),
        Self::new("10M keys, allowed", 10_000_000, Spread::Uniform, Verdict::Allowed),
        Self::new("10M keys zipf, allowed", 10_000_000, Spread::Zipf, Verdict::Allowed),
        Self::new("10M keys, allowed", 10_000_000, Spread::Uniform, Verdict::Allowed)
            .in_turn("10M keys in turn, allowed"),
        Self::new("10M keys, denied", 10_000_000, Spread::Uniform, Verdict::Denied),
        Self::new("10M keys zipf, denied", 10_000_000, Spread::Zipf, Verdict::Denied),
    ];

    /// Whether the tables filled for the other row serve this one too.
    pub fn shares_tables(&self, other: &Self) -> bool {
        self.traffic.keys == other.traffic.keys && self.verdict == other.verdict
    }

    const fn new(name: &'static str, keys: u64, spread: Spread, verdict: Verdict) -> Self {
        Self { name, traffic: Traffic::new(keys, spread), verdict }
    }

    const fn in_turn(self, name: &'static str) -> Self {
        Self { name, traffic: self.traffic.in_turn(), ..self }
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that count; one more before them warms up.
    pub rounds: usize,
    /// What each candidate may spend in one round, per number of threads.
    pub budget: Duration,
}

impl Plan {
    /// 21 rounds of 60 ms, or 5 of 10 ms for a quick look.
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 5, budget: Duration::from_millis(10) }
        } else {
            Self { rounds: 21, budget: Duration::from_millis(60) }
        }
    }
}

/// The nanoseconds per check of every round, by candidate and number of threads, in the order of the rounds.
#[derive(Debug)]
pub struct Rounds {
    names: Vec<String>,
    ns: BTreeMap<(usize, usize), Vec<f64>>,
}

impl Rounds {
    /// Lets all candidates run.
    ///
    /// # Panics
    ///
    /// If an answer is not what the row expects: the figures would compare unlike work.
    pub fn run(candidates: &[Box<dyn Candidate + '_>], row: Row, threads: &[usize], plan: Plan) -> Self {
        let mut turns: Vec<(usize, usize)> =
            (0..candidates.len()).flat_map(|candidate| threads.iter().map(move |&n| (candidate, n))).collect();
        let mut rng = Rng::with_seed(0x5eed);
        let mut ns: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        for round in 0..=plan.rounds {
            rng.shuffle(&mut turns);
            let seed = rng.u64(..);
            for &(index, threads) in &turns {
                let candidate = &candidates[index];
                let sample = candidate.slice(row.traffic, threads, plan.budget, seed);
                let expected = if row.verdict == Verdict::Allowed { sample.checks } else { 0 };
                assert_eq!(sample.allowed, expected, "{}: {} answers otherwise", row.name, candidate.name());
                if round > 0 {
                    ns.entry((index, threads)).or_default().push(sample.ns);
                }
            }
        }
        Self { names: candidates.iter().map(|candidate| candidate.name().to_owned()).collect(), ns }
    }

    /// The candidates, in their order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Median nanoseconds per check; NaN for what did not run.
    pub fn ns(&self, name: &str, threads: usize) -> f64 {
        self.index(name).and_then(|index| self.ns.get(&(index, threads))).map_or(f64::NAN, |ns| median(ns.clone()))
    }

    /// Median over the rounds of one candidate's time by another's in the same round; NaN for what did not run.
    pub fn ratio(&self, one: (&str, usize), base: (&str, usize)) -> f64 {
        self.paired(one, base, |ns, base| ns / base)
    }

    /// Median over the rounds of what one candidate took more than another in the same round, in nanoseconds; NaN for
    /// what did not run.
    pub fn over(&self, one: (&str, usize), base: (&str, usize)) -> f64 {
        self.paired(one, base, |ns, base| ns - base)
    }

    /// Median over the rounds of the sum of the candidates' times, each times its factor, by the time of `unit` in the same
    /// round; NaN for what did not run.
    pub fn sum_by(&self, terms: &[(f64, &str)], unit: &str, threads: usize) -> f64 {
        let series = |name: &str| self.index(name).and_then(|index| self.ns.get(&(index, threads)));
        let terms: Option<Vec<(f64, &Vec<f64>)>> =
            terms.iter().map(|(factor, name)| Some((*factor, series(name)?))).collect();
        let (Some(terms), Some(unit)) = (terms, series(unit)) else { return f64::NAN };
        let of = |round: usize| terms.iter().filter_map(|(factor, ns)| Some(factor * ns.get(round)?)).sum::<f64>();
        median(unit.iter().enumerate().map(|(round, unit)| of(round) / unit).collect())
    }

    fn paired(&self, one: (&str, usize), base: (&str, usize), compare: impl Fn(f64, f64) -> f64) -> f64 {
        let series = |(name, threads)| self.index(name).and_then(|index| self.ns.get(&(index, threads)));
        match (series(one), series(base)) {
            (Some(ns), Some(base)) => median(ns.iter().zip(base).map(|(ns, base)| compare(*ns, *base)).collect()),
            _ => f64::NAN,
        }
    }
}

/// The middle value; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
