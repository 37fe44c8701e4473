//! Attribute sets, prepared once.

use std::sync::OnceLock;

use opentelemetry::KeyValue;

use crate::names::label;

/// How many strategies have sets of their own. A program has a handful; names that are made up without end must not.
pub(crate) const MOST_STRATEGIES: usize = 32;

/// The strategy of all that came later.
const OTHER: &str = "other";

/// Why checks fail, in the order of their sets.
pub(crate) const ERROR_KINDS: [&str; 3] = ["store_unavailable", "invalid_argument", "other"];

/// What becomes of leases, in the order of their sets.
pub(crate) const LEASE_OUTCOMES: [&str; 4] = ["granted", "refused", "late", "failed"];

/// Attributes as an instrument takes them: sorted by key, each key once.
pub(crate) type Set = Box<[KeyValue]>;

/// `first` with `then`, which wins where both have a key.
pub(crate) fn merged(first: &[KeyValue], then: &[KeyValue]) -> Set {
    let mut all: Vec<KeyValue> = Vec::with_capacity(first.len() + then.len());
    for attribute in first.iter().chain(then) {
        match all.iter_mut().find(|known| known.key == attribute.key) {
            Some(known) => known.value = attribute.value.clone(),
            None => all.push(attribute.clone()),
        }
    }
    // The SDK finds a sorted set at its first try.
    all.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
    all.into()
}

/// One set for each value of a label that is the library's own, whatever the static attributes say.
pub(crate) fn by_label<const N: usize>(fixed: &[KeyValue], label: &'static str, values: [&'static str; N]) -> [Set; N] {
    values.map(|value| merged(fixed, &[KeyValue::new(label, value)]))
}

/// The sets of one strategy. Static attributes win.
pub(crate) struct StrategySets {
    name: &'static str,
    pub(crate) plain: Set,
    pub(crate) allowed: Set,
    pub(crate) denied: Set,
    /// By the place in [`ERROR_KINDS`].
    pub(crate) errors: [Set; 3],
    /// By the place in [`LEASE_OUTCOMES`].
    pub(crate) leases: [Set; 4],
}

impl StrategySets {
    fn new(name: &'static str, fixed: &[KeyValue]) -> Self {
        let with = |label: &'static str, value: &'static str| {
            merged(&[KeyValue::new(label::STRATEGY, name), KeyValue::new(label, value)], fixed)
        };
        Self {
            name,
            plain: merged(&[KeyValue::new(label::STRATEGY, name)], fixed),
            allowed: with(label::ALLOWED, "true"),
            denied: with(label::ALLOWED, "false"),
            errors: ERROR_KINDS.map(|kind| with(label::KIND, kind)),
            leases: LEASE_OUTCOMES.map(|outcome| with(label::OUTCOME, outcome)),
        }
    }

    #[inline(always)]
    fn is(&self, name: &'static str) -> bool {
        // One name is usually one text: then its address says it.
        (std::ptr::eq(self.name.as_ptr(), name.as_ptr()) && self.name.len() == name.len()) || self.name == name
    }
}

/// The sets of all strategies, made when one is first seen. Reading takes no lock.
pub(crate) struct Strategies {
    fixed: Box<[KeyValue]>,
    known: [OnceLock<StrategySets>; MOST_STRATEGIES],
    others: StrategySets,
}

impl Strategies {
    pub(crate) fn new(fixed: &[KeyValue]) -> Self {
        Self {
            fixed: fixed.into(),
            known: std::array::from_fn(|_| OnceLock::new()),
            others: StrategySets::new(OTHER, fixed),
        }
    }

    /// The sets of a strategy.
    #[inline(always)]
    pub(crate) fn of(&self, name: &'static str) -> &StrategySets {
        for place in &self.known {
            match place.get() {
                Some(sets) if sets.is(name) => return sets,
                Some(_) => {}
                None => return self.enter(name),
            }
        }
        &self.others
    }

    #[cold]
    fn enter(&self, name: &'static str) -> &StrategySets {
        // Another thread may take a place first, for this name or another.
        let mut places = self.known.iter().map(|place| place.get_or_init(|| StrategySets::new(name, &self.fixed)));
        places.find(|sets| sets.is(name)).unwrap_or(&self.others)
    }
}
