//! What becomes of the state of a policy when its configuration changes.

use std::fmt;

use super::policy::Policy;
use crate::config::{BudgetSpec, LimiterKind, LimiterSpec, QuotaPeriod, StrategySpec};

/// What a reload did to one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// The configuration says the same as before; the policy goes on as it is.
    Unchanged,
    /// The policy changed, or only the way to its store, and counts on from the state that its keys had, and from what is in
    /// flight.
    Kept,
    /// As [`Kept`](Self::Kept), but the limit of work in flight is another one, which starts empty. What is in flight stays
    /// with the one before, and is not counted by this one.
    NewSlots,
    /// The policy changed and every key starts afresh, because of what is named here.
    Reset(&'static str),
    /// The policy changed over a store that still holds its states as they were, and what is named here gives them
    /// another meaning, or lets them expire while they would still count. A new prefix starts afresh.
    Stored(&'static str),
    /// The `store` block may name another place now. What counts is what that store holds of the keys.
    OtherStore,
    /// The policy is new.
    Added,
    /// The policy is gone. Who still holds it can still use it.
    Removed,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("unchanged"),
            Self::Kept => f.write_str("changed, state kept"),
            Self::NewSlots => f.write_str("changed, state kept, but work in flight is counted anew"),
            Self::Reset(why) => write!(f, "changed, state reset: {why}"),
            Self::OtherStore => f.write_str("changed, what counts is what the other store holds"),
            Self::Stored(why) => write!(f, "changed, the states in the store are of the policy as it was: {why}"),
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
        }
    }
}

/// What a reload did.
///
/// `Display` writes one line for each policy that is not unchanged, and one each if the `http` section or the `store` block
/// changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The version that is in effect now; the one before if nothing changed.
    pub version: u64,
    /// Each policy by name: those of the new configuration in its order, then those that are gone.
    pub policies: Vec<(String, Fate)>,
    /// Whether the `http` section changed.
    pub http_changed: bool,
    /// Whether the `store` block changed.
    pub store_changed: bool,
}

impl ReloadReport {
    /// The fate of a policy.
    pub fn fate(&self, name: &str) -> Option<Fate> {
        self.policies.iter().find(|(policy, _)| policy == name).map(|(_, fate)| *fate)
    }

    /// Whether anything changed.
    pub fn is_changed(&self) -> bool {
        self.http_changed || self.store_changed || self.policies.iter().any(|(_, fate)| *fate != Fate::Unchanged)
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}", self.version)?;
        if !self.is_changed() {
            return f.write_str(": nothing changed");
        }
        for (name, fate) in self.policies.iter().filter(|(_, fate)| *fate != Fate::Unchanged) {
            write!(f, "\n{name}: {fate}")?;
        }
        if self.http_changed {
            f.write_str("\nhttp: changed")?;
        }
        if self.store_changed {
            f.write_str("\nstore: changed")?;
        }
        Ok(())
    }
}

/// What becomes of `before` under a new configuration, if it stays where it is: in a store that is `stored`, or in memory.
pub(super) fn fate(before: &Policy, spec: &LimiterSpec, prefix: &str, stored: bool) -> Fate {
    let old = before.spec();
    let keys = fate_of_keys(before, spec, prefix, stored);
    match keys {
        Fate::Unchanged | Fate::Kept if old.concurrency != spec.concurrency => Fate::NewSlots,
        Fate::Unchanged if old.advertise != spec.advertise => Fate::Kept,
        keys => keys,
    }
}

/// What becomes of the states of keys.
fn fate_of_keys(before: &Policy, spec: &LimiterSpec, prefix: &str, stored: bool) -> Fate {
    use LimiterKind as K;
    let old = before.spec();
    // Where a key is found with what was written under the options before.
    let stored = stored && old.is_stored() && prefix == before.prefix() && old.is_exact() == spec.is_exact();
    let (stored, resized, carried) = match (&old.kind, &spec.kind) {
        (K::Plain | K::TwoTier(_), K::Plain | K::TwoTier(_)) => {
            let carried = match (&old.strategy, &spec.strategy) {
                (None, None) => return Fate::Unchanged,
                (Some(old), Some(new)) => carries(old, new),
                _ => return Fate::Reset(STRATEGY),
            };
            (stored, old.max_keys != spec.max_keys, carried)
        }
        (K::TokenBudget(old), K::TokenBudget(new)) => (false, old.max_keys != new.max_keys, carries_budget(old, new)),
        (K::FleetBudget(old), K::FleetBudget(new)) => {
            let (old, new) = (&old.budget, &new.budget);
            (stored, old.max_keys != new.max_keys, carries_budget(old, new))
        }
        (K::FairEscrow(old), K::FairEscrow(new)) => (
            false,
            false,
            if old.decides_as(new) { Ok(()) } else { Err("the limit, the window or the weights changed") },
        ),
        (K::Screen(one), K::Screen(other)) => {
            let same = one == other && old.strategy == spec.strategy;
            (false, old.max_keys != spec.max_keys, carries_sketch(same))
        }
        (K::Sketch(old), K::Sketch(new)) => (false, false, carries_sketch(old == new)),
        _ => (stored && spec.is_stored(), false, Err("the kind of the limiter changed")),
    };
    if old.is_stored() && spec.is_stored() && prefix != before.prefix() {
        return Fate::Reset("the prefix changed");
    }
    if resized && !stored {
        return Fate::Reset("maxKeys changed");
    }
    let same = old.kind == spec.kind && old.strategy == spec.strategy;
    if same && old.fail_mode == spec.fail_mode && old.deny_list == spec.deny_list && !resized {
        return Fate::Unchanged;
    }
    match carried {
        Ok(()) if stored && lives_longer(old, spec) => Fate::Stored("they expire when it said"),
        Ok(()) => Fate::Kept,
        Err(why) if stored => Fate::Stored(why),
        Err(why) => Fate::Reset(why),
    }
}

/// Whether what was counted of one budget means the same to another.
fn carries_budget(old: &BudgetSpec, new: &BudgetSpec) -> Result<(), &'static str> {
    if old.window_ms == new.window_ms { Ok(()) } else { Err("the window changed") }
}

/// Whether what a sketch counted goes on: only if all that it is about stays the `same`.
fn carries_sketch(same: bool) -> Result<(), &'static str> {
    if same { Ok(()) } else { Err("what a sketch counted is of its limits and its size") }
}

const STRATEGY: &str = "the strategy changed";

/// Whether the state of one strategy means the same to another; if not, why.
fn carries(old: &StrategySpec, new: &StrategySpec) -> Result<(), &'static str> {
    use StrategySpec as S;
    const WINDOW: &str = "the window changed";
    let same = |same: bool, why| if same { Ok(()) } else { Err(why) };
    match (old, new) {
        // An instant at which a key is paid off, or the instants of its admissions, do not depend on the options.
        (S::Gcra { exact: false, .. }, S::Gcra { exact: false, .. })
        | (S::SlidingWindowLog { .. }, S::SlidingWindowLog { .. })
        | (S::TokenBucket { .. }, S::TokenBucket { .. }) => Ok(()),
        (S::Gcra { exact: true, limit: old, .. }, S::Gcra { exact: true, limit: new, .. }) => {
            same(old == new, "an exact limiter counts time in units of its limit")
        }
        (S::FixedWindow { window_ms: old, .. }, S::FixedWindow { window_ms: new, .. }) => same(old == new, WINDOW),
        (S::SlidingWindow { window_ms: a, buckets: b, .. }, S::SlidingWindow { window_ms: c, buckets: d, .. }) => {
            same((a, b) == (c, d), WINDOW)
        }
        (S::Quota { period: old, .. }, S::Quota { period: new, .. }) => {
            same(same_period(old, new), "the period changed")
        }
        _ => Err(STRATEGY),
    }
}

/// Whether a state that goes on may count for longer under `new` than `old` keeps it.
pub(super) fn lives_longer(old: &LimiterSpec, new: &LimiterSpec) -> bool {
    use LimiterKind as K;
    use StrategySpec as S;
    if let (Some(old), Some(new)) = (&old.strategy, &new.strategy) {
        return match (old, new) {
            (
                S::TokenBucket { capacity: old, refill_per_sec: before },
                S::TokenBucket { capacity: new, refill_per_sec: after },
            ) => new / after > old / before,
            (S::SlidingWindowLog { window_ms: old, .. }, S::SlidingWindowLog { window_ms: new, .. }) => new > old,
            _ => false,
        };
    }
    match (&old.kind, &new.kind) {
        (K::TokenBudget(old), K::TokenBudget(new)) => debt_lasts_longer(old, new),
        (K::FleetBudget(old), K::FleetBudget(new)) => debt_lasts_longer(&old.budget, &new.budget),
        _ => false,
    }
}

/// Whether the same debt may be carried into more windows.
fn debt_lasts_longer(old: &BudgetSpec, new: &BudgetSpec) -> bool {
    let debt = |spec: &BudgetSpec| spec.max_debt.unwrap_or(spec.budget);
    new.carry_debt && (!old.carry_debt || new.budget < old.budget || debt(new) > debt(old))
}

fn same_period(old: &QuotaPeriod, new: &QuotaPeriod) -> bool {
    old == new
}
