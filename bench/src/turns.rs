//! Turns: what one thread does again and again, each candidate for a slice in each of the rounds.
//!
//! The figure is the median over the rounds. A slice is made of stretches, of which the median counts.

use std::fmt;
use std::time::Duration;

use crate::measure::{Plan, Slice, median};

/// Repetitions in a stretch.
const STRETCH: usize = 1_024;

/// Something to do again and again.
pub struct Turn {
    name: &'static str,
    work: Box<dyn FnMut(usize) -> bool>,
}

impl Turn {
    /// Does `work`, which answers whether it did what is measured.
    pub fn new(name: &'static str, mut work: impl FnMut() -> bool + 'static) -> Self {
        Self::numbered(name, move |_| work())
    }

    /// As [`new`](Self::new), for work that takes the number of the repetition.
    pub fn numbered(name: &'static str, work: impl FnMut(usize) -> bool + 'static) -> Self {
        Self { name, work: Box::new(work) }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Nanoseconds of each round by the names of the turns, in their order.
#[derive(Clone, Debug)]
pub struct Figures(Vec<(&'static str, Vec<f64>)>);

impl Figures {
    /// Lets them take turns.
    ///
    /// # Panics
    ///
    /// If one of them answers that it did something else: the figures would compare unlike work.
    pub fn measure(mut turns: Vec<Turn>, quick: bool) -> Self {
        let rounds = Plan::new(quick).rounds;
        let budget = Duration::from_millis(if quick { 5 } else { 30 });
        let mut ns = vec![Vec::with_capacity(rounds); turns.len()];
        let mut at = 0;
        for round in 0..=rounds {
            for (turn, ns) in turns.iter_mut().zip(&mut ns) {
                let mut slice = Slice::new(budget);
                while !slice.is_full() {
                    at += STRETCH;
                    slice.time(STRETCH, || (at..at + STRETCH).filter(|at| (turn.work)(*at)).count());
                }
                let sample = slice.sample();
                assert_eq!(sample.allowed, sample.checks, "{} answers otherwise", turn.name);
                // The first round warms up.
                if round > 0 {
                    ns.push(sample.ns);
                }
            }
        }
        Self(turns.iter().map(|turn| turn.name).zip(ns).collect())
    }

    /// What `name` takes; NaN if nothing is called so.
    pub fn of(&self, name: &str) -> f64 {
        self.compared(name, &[], |whole, _| whole)
    }

    /// What `name` takes beyond its `parts`, which may repeat. NaN if nothing is called so.
    pub fn beyond(&self, name: &str, parts: &[&str]) -> f64 {
        self.compared(name, parts, |whole, parts| whole - parts)
    }

    /// How many times what its `parts` take `name` takes. NaN if nothing is called so.
    pub fn times(&self, name: &str, parts: &[&str]) -> f64 {
        self.compared(name, parts, |whole, parts| whole / parts)
    }

    /// Compares `name` with the sum of `parts` within each round, since the machine may be slower in another.
    fn compared(&self, name: &str, parts: &[&str], compare: impl Fn(f64, f64) -> f64) -> f64 {
        let rounds = |name: &str| self.0.iter().find(|(known, _)| *known == name).map(|(_, ns)| ns);
        let parts: Option<Vec<_>> = parts.iter().map(|part| rounds(part)).collect();
        let (Some(whole), Some(parts)) = (rounds(name), parts) else { return f64::NAN };
        let compared = |(round, whole): (usize, &f64)| compare(*whole, parts.iter().map(|part| part[round]).sum());
        median(whole.iter().enumerate().map(compared).collect())
    }

    /// All names and figures.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.0.iter().map(|(name, ns)| (*name, median(ns.clone())))
    }
}
