//! What is reserved and not settled yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::GateRule;

/// Reservations by key, each until it is settled or expires.
#[derive(Debug)]
pub(super) struct Book {
    pages: Mutex<Pages>,
    max: usize,
    rule: GateRule,
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    keys: HashMap<Arc<str>, Page>,
    /// When each is to expire, by number; what was used since expires later than it says.
    expiries: BTreeSet<(i64, u64, Arc<str>)>,
    issued: u64,
    expired: u64,
    refused: u64,
}

/// What is reserved of one key.
#[derive(Debug, Default)]
struct Page {
    /// By number, which is the order in which they came.
    entries: BTreeMap<u64, Entry>,
    /// The sum of what is left of the entries, which no number of them can make overflow.
    held: u128,
    /// How much went from reservations to the meter so far.
    moved: u128,
}

#[derive(Debug)]
struct Entry {
    left: u64,
    /// As it stands in `expiries`.
    listed_ms: i64,
    expires_ms: i64,
}

/// What was reserved when somebody asked, to be compared with what is when the meter has answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    moved: u128,
}

/// How full the book is, and what became of what was in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservationStats {
    /// Reservations that are neither settled nor expired.
    pub outstanding: usize,
    /// Reservations that were never settled and expired.
    pub expired: u64,
    /// Requests refused because there were as many reservations as there may be.
    pub refused_full: u64,
}

impl Book {
    pub(super) fn new(max: usize, rule: GateRule) -> Self {
        Self { pages: Mutex::default(), max, rule }
    }

    pub(super) fn rule(&self) -> GateRule {
        self.rule
    }

    /// The meter has counted `units` of a reservation, which goes on until `expires_ms`.
    pub(super) fn count(&self, key: &str, number: u64, units: u64, expires_ms: i64) {
        let units = match self.rule {
            GateRule::Fits => units,
            GateRule::InFlight => 0,
        };
        self.open().moved(key, number, units, expires_ms);
    }

    /// No code of others runs while the book is open.
    pub(super) fn open(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }
}

impl Pages {
    /// Writes a reservation down, unless there are `max` already.
    pub(super) fn enter(&mut self, max: usize, key: &Arc<str>, units: u64, expires_ms: i64) -> Option<(u64, Mark)> {
        if self.expiries.len() >= max {
            self.refused += 1;
            return None;
        }
        self.issued += 1;
        let number = self.issued;
        self.expiries.insert((expires_ms, number, Arc::clone(key)));
        let page = self.keys.entry(Arc::clone(key)).or_default();
        page.entries.insert(number, Entry { left: units, listed_ms: expires_ms, expires_ms });
        page.held += u128::from(units);
        Some((number, Mark { moved: page.moved }))
    }

    /// What is reserved of `key` by others that came before `number`, and what went from reservations to the meter since
    /// `mark`: the meter may have answered before it counted that.
    pub(super) fn before(&self, key: &str, number: u64, mark: Mark) -> u64 {
        let Some(page) = self.keys.get(key) else { return 0 };
        let later: u128 = page.entries.range(number..).map(|(_, entry)| u128::from(entry.left)).sum();
        tokens(page.held.saturating_sub(later) + page.moved.saturating_sub(mark.moved))
    }

    /// What is reserved of `key`.
    pub(super) fn held(&self, key: &str) -> u64 {
        self.keys.get(key).map_or(0, |page| tokens(page.held))
    }

    /// Takes `units` off a reservation, which goes on until `expires_ms`.
    fn moved(&mut self, key: &str, number: u64, units: u64, expires_ms: i64) {
        let Some(page) = self.keys.get_mut(key) else { return };
        let Some(entry) = page.entries.get_mut(&number) else { return };
        let units = units.min(entry.left);
        entry.left -= units;
        entry.expires_ms = entry.expires_ms.max(expires_ms);
        page.held = page.held.saturating_sub(u128::from(units));
        page.moved += u128::from(units);
    }

    /// Strikes a reservation out, if that has not happened.
    pub(super) fn strike(&mut self, key: &Arc<str>, number: u64) {
        let Some(page) = self.keys.get_mut(key) else { return };
        let Some(entry) = page.entries.remove(&number) else { return };
        page.held = page.held.saturating_sub(u128::from(entry.left));
        if page.entries.is_empty() {
            self.keys.remove(key);
        }
        self.expiries.remove(&(entry.listed_ms, number, Arc::clone(key)));
    }

    /// Strikes out what expired: its holder has vanished.
    pub(super) fn expire(&mut self, now_ms: i64) {
        while self.expiries.first().is_some_and(|(expires_ms, ..)| *expires_ms <= now_ms) {
            let Some((_, number, key)) = self.expiries.pop_first() else { return };
            let entry = self.keys.get_mut(&key).and_then(|page| page.entries.get_mut(&number));
            match entry {
                Some(entry) if entry.expires_ms > now_ms => {
                    entry.listed_ms = entry.expires_ms;
                    self.expiries.insert((entry.expires_ms, number, key));
                }
                Some(_) => {
                    self.expired += 1;
                    self.strike(&key, number);
                }
                None => {}
            }
        }
    }

    pub(super) fn stats(&self) -> ReservationStats {
        ReservationStats { outstanding: self.expiries.len(), expired: self.expired, refused_full: self.refused }
    }
}

/// More than any budget is as good as all.
fn tokens(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}
