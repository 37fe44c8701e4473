//! The admitted instants of a key.

use std::collections::VecDeque;

use crate::program::{Change, State};
use crate::store::memory::Boxed;
use crate::strategy::text::{push_numbers, read_numbers};
use crate::twin::Raw;

/// The instants at which units were admitted, oldest first; units of one instant take no further space.
#[derive(Clone, Debug, Default)]
pub struct Log {
    runs: VecDeque<Run>,
    /// The units that were dropped at the front since the log began.
    dropped: u64,
}

/// The units of one instant.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The instant, in milliseconds since the Unix epoch.
    at: f64,
    /// All units since the log began, up to and with this run. Sums instead of lengths, so that counting the units of a
    /// window and finding the n-th need no walk.
    end: u64,
}

impl Log {
    /// A log of which a store told how many units are in the window, the latest instant and then the oldest ones. It
    /// takes those in between to be as late as the latest: no answer depends on them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of members
    pub(super) fn from_oldest(told: &[Raw]) -> Option<Self> {
        let [units, latest, oldest @ ..] = told else { return None };
        let between = (units.number()? as u64).checked_sub(oldest.len() as u64)?;
        let mut log = Self::default();
        for instant in oldest {
            log.push(instant.number()?, 1);
        }
        if between > 0 {
            log.push(latest.number()?, between);
        }
        Some(log)
    }

    /// Forgets all instants at or before `stale`.
    #[inline]
    fn prune(&mut self, stale: f64) {
        while let Some(run) = self.runs.front() {
            if run.at > stale {
                break;
            }
            self.dropped = run.end;
            self.runs.pop_front();
        }
    }

    /// Adds `units` at `at`, in order of time.
    #[inline]
    fn push(&mut self, at: f64, units: u64) {
        match self.runs.back_mut() {
            Some(last) if last.at == at => last.end += units,
            Some(last) if last.at > at => self.insert(at, units),
            last => {
                let end = last.map_or(self.dropped, |last| last.end) + units;
                self.runs.push_back(Run { at, end });
            }
        }
    }

    /// Adds units between those that are there, after a clock went back.
    #[cold]
    fn insert(&mut self, at: f64, units: u64) {
        let after = self.runs.partition_point(|run| run.at < at);
        if self.runs.get(after).is_none_or(|run| run.at > at) {
            let end = self.end_before(after);
            self.runs.insert(after, Run { at, end });
        }
        for run in self.runs.iter_mut().skip(after) {
            run.end += units;
        }
    }

    /// All units since the log began, up to the run at `index`.
    #[inline]
    fn end_before(&self, index: usize) -> u64 {
        index.checked_sub(1).and_then(|last| self.runs.get(last)).map_or(self.dropped, |run| run.end)
    }

    /// Each unit's instant.
    fn instants(&self) -> impl Iterator<Item = f64> {
        let mut begin = self.dropped;
        self.runs.iter().flat_map(move |run| {
            let units = run.end - begin;
            begin = run.end;
            (0..units).map(|_| run.at)
        })
    }
}

impl PartialEq for Log {
    /// Whether both hold the same instants; what they have dropped does not matter.
    fn eq(&self, other: &Self) -> bool {
        let lengths = |log: &Self| {
            let mut begin = log.dropped;
            log.runs.iter().map(|run| (run.at, run.end - std::mem::replace(&mut begin, run.end))).collect::<Vec<_>>()
        };
        lengths(self) == lengths(other)
    }
}

impl State for Log {
    type Layout = Boxed;

    fn encode(&self) -> String {
        let mut text = String::new();
        push_numbers(&mut text, self.instants());
        text
    }

    /// A list in another order holds the same instants.
    fn decode(text: &str) -> Option<Self> {
        let mut instants = read_numbers(text)?;
        instants.sort_by(f64::total_cmp);
        let mut log = Self::default();
        for instant in instants {
            log.push(instant, 1);
        }
        Some(log)
    }
}

/// The part of a log that is in the window.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    log: Option<&'a Log>,
    /// The index of its first run.
    from: usize,
    /// All units up to there since the log began.
    begin: u64,
}

impl<'a> Live<'a> {
    /// The instants after `stale`.
    #[inline]
    pub(super) fn of(log: Option<&'a Log>, stale: f64) -> Self {
        let Some(log) = log else { return Self { log: None, from: 0, begin: 0 } };
        let from = log.runs.partition_point(|run| run.at <= stale);
        Self { log: Some(log), from, begin: log.end_before(from) }
    }

    /// How many units there are.
    #[inline]
    #[allow(clippy::cast_precision_loss)] // at most the limit, which is below 2^32
    pub(super) fn count(&self) -> f64 {
        self.log.map_or(0, |log| log.end_before(log.runs.len()) - self.begin) as f64
    }

    #[inline]
    pub(super) fn first(&self) -> Option<f64> {
        Some(self.log?.runs.get(self.from)?.at)
    }

    pub(super) fn last(&self) -> Option<f64> {
        let last = self.log?.runs.len().checked_sub(1)?;
        if last < self.from { None } else { Some(self.log?.runs.get(last)?.at) }
    }

    /// The instant of the `n`-th unit, where the first has number 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, from 1 to the count
    pub(super) fn nth(&self, n: f64) -> Option<f64> {
        let end = self.begin + n as u64;
        let log = self.log?;
        let index = log.runs.partition_point(|run| run.end < end);
        Some(log.runs.get(index)?.at)
    }
}

/// Adds units at an instant and forgets what has left the window, in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Push {
    at: f64,
    units: u64,
    stale: f64,
}

impl Push {
    /// Adds `units` at `at` and forgets all instants up to `stale`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, from 1 to the limit
    pub(super) fn new(at: f64, units: f64, stale: f64) -> Self {
        Self { at, units: units as u64, stale }
    }
}

impl Change<Log> for Push {
    #[inline]
    fn apply_to(self, state: &mut Option<Log>) {
        let log = state.get_or_insert_default();
        log.prune(self.stale);
        log.push(self.at, self.units);
    }
}
