//! The floor beside whatever is measured: a goal in nanoseconds is one of the machine that it was set on, and scales with
//! what the same work takes here, in the same minute.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use crate::clock::TscClock;
use crate::keys::{KeyText, Traffic};
use crate::measure::{Candidate, Sample, Slice};
use crate::rival::{Floor, Limit, Rival};
use crate::turns::Turn;

/// The name of the floor in tables.
pub const FLOOR: &str = "floor";

/// Nanoseconds of the floor where the goals were set: one hot key, SipHash-1-3, the time stamp counter.
pub const FLOOR_OF_GOALS_NS: f64 = 27.0;

/// The floor of one check of a hot key, as `check` has it with one clock and one hash for all.
#[derive(Debug)]
pub struct Gauge {
    floor: Floor<TscClock>,
    key: KeyText,
}

impl Gauge {
    /// One key that is always admitted.
    pub fn new() -> Self {
        Self { floor: Floor::new(1, Limit::GENEROUS, TscClock::new()), key: KeyText::new(0) }
    }

    /// One check; whether it was admitted.
    #[inline]
    fn check(&self) -> bool {
        black_box(self.floor.check(&mut (), black_box(self.key.as_str()))).allowed
    }

    /// Nanoseconds of a check, the median of stretches until `budget` is spent.
    pub fn ns(&self, budget: Duration) -> f64 {
        self.sample(budget).ns
    }

    /// The same as something to do in turns.
    pub fn turn(self) -> Turn {
        Turn::new(FLOOR, move || self.check())
    }

    fn sample(&self, budget: Duration) -> Sample {
        const STRETCH: usize = 1_024;
        let mut slice = Slice::new(budget);
        while !slice.is_full() {
            slice.time(STRETCH, || (0..STRETCH).filter(|_| self.check()).count());
        }
        slice.sample()
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

impl Candidate for Gauge {
    fn name(&self) -> &str {
        FLOOR
    }

    fn slice(&self, _traffic: Traffic, _threads: usize, budget: Duration, _seed: u64) -> Sample {
        self.sample(budget)
    }
}

/// Says what a goal in nanoseconds means in this run.
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    floor_ns: f64,
}

impl Goals {
    /// Where the floor takes `floor_ns`.
    pub fn at(floor_ns: f64) -> Self {
        Self { floor_ns }
    }

    /// A goal of `ns`, as it is here, to a tenth.
    pub fn ns(self, ns: f64) -> f64 {
        (ns * self.factor() * 10.0).round() / 10.0
    }

    fn factor(self) -> f64 {
        self.floor_ns / FLOOR_OF_GOALS_NS
    }
}

impl fmt::Display for Goals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { floor_ns } = self;
        write!(
            f,
            "The floor of a hot key takes {floor_ns:.1} ns in this run. Goals in nanoseconds were set where it takes \
             {FLOOR_OF_GOALS_NS}, and are those times {:.2}.",
            self.factor()
        )
    }
}
