//! What each tenant used in a window.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::math::{floor_f64, window_start};

/// Sums of whole numbers up to here are exact in any order.
const EXACT: f64 = 4_503_599_627_370_496.0;

/// The tenants of one window, in the order in which they came.
#[derive(Debug)]
pub(super) struct Tenants {
    pub(super) window_start_ms: f64,
    order: BTreeMap<u64, Tenant>,
    numbers: HashMap<Arc<str>, u64>,
    came: u64,
    /// What those used that were dropped to make room.
    dropped: f64,
    /// The sums, as they were kept; they are what adding afresh gives while everything is whole.
    weight: f64,
    used: f64,
    whole: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) name: Arc<str>,
    pub(super) weight: f64,
    pub(super) used: f64,
}

/// What all tenants weigh and used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) weight: f64,
    pub(super) used: f64,
}

impl Tenants {
    /// Before the first window.
    pub(super) fn new() -> Self {
        Self {
            window_start_ms: f64::NEG_INFINITY,
            order: BTreeMap::new(),
            numbers: HashMap::new(),
            came: 0,
            dropped: 0.0,
            weight: 0.0,
            used: 0.0,
            whole: true,
        }
    }

    /// Begins the window of `now` if the last one is over; whether it did. A clock that goes back stays in it.
    pub(super) fn roll(&mut self, now_ms: f64, window_ms: f64) -> bool {
        let over = now_ms >= self.window_start_ms + window_ms;
        if over {
            self.clear();
            self.window_start_ms = window_start(now_ms, window_ms);
        }
        over
    }

    /// Before the first window again.
    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.numbers.clear();
        (self.dropped, self.weight, self.used, self.whole) = (0.0, 0.0, 0.0, true);
        self.window_start_ms = f64::NEG_INFINITY;
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// What those used that were dropped.
    pub(super) fn dropped(&self) -> f64 {
        self.dropped
    }

    /// Finds or takes in a tenant, with its latest weight.
    pub(super) fn enter(&mut self, name: &str, weight: f64) -> u64 {
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            self.came += 1;
            let name: Arc<str> = Arc::from(name);
            self.numbers.insert(Arc::clone(&name), self.came);
            self.order.insert(self.came, Tenant { name, weight: 0.0, used: 0.0 });
            self.came
        });
        if let Some(tenant) = self.order.get_mut(&number) {
            self.weight += weight - tenant.weight;
            tenant.weight = weight;
        }
        self.whole &= floor_f64(weight) == weight && self.weight <= EXACT;
        number
    }

    /// Drops the tenant that came first. What it used stays used.
    pub(super) fn drop_first(&mut self) {
        if let Some((_, tenant)) = self.order.pop_first() {
            self.numbers.remove(&tenant.name);
            self.weight -= tenant.weight;
            self.dropped += tenant.used;
            self.used -= tenant.used;
        }
    }

    /// Forgets a tenant and what it used.
    pub(super) fn forget(&mut self, name: &str) {
        let tenant = self.numbers.remove(name).and_then(|number| self.order.remove(&number));
        if let Some(tenant) = tenant {
            self.weight -= tenant.weight;
            self.used -= tenant.used;
        }
    }

    /// Weight and use of a tenant.
    pub(super) fn of(&self, number: u64) -> (f64, f64) {
        self.order.get(&number).map_or((0.0, 0.0), |tenant| (tenant.weight, tenant.used))
    }

    /// What the tenant of this name used.
    pub(super) fn used_by(&self, name: &str) -> f64 {
        self.numbers.get(name).map_or(0.0, |number| self.of(*number).1)
    }

    /// Counts `units` for a tenant.
    pub(super) fn take(&mut self, number: u64, units: f64) {
        if let Some(tenant) = self.order.get_mut(&number) {
            tenant.used += units;
            self.used += units;
            self.whole &= floor_f64(units) == units;
        }
    }

    /// Added up afresh, in order, where the sums that were kept may be off by rounding.
    pub(super) fn sums(&self) -> Sums {
        let (weight, used) = if self.whole {
            (self.weight, self.used)
        } else {
            self.iter().fold((0.0, 0.0), |(weight, used), tenant| (weight + tenant.weight, used + tenant.used))
        };
        Sums { weight, used: used + self.dropped }
    }

    /// In the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.order.values()
    }

    /// All but one.
    pub(super) fn others(&self, number: u64) -> impl Iterator<Item = &Tenant> {
        self.order.iter().filter(move |(other, _)| **other != number).map(|(_, tenant)| tenant)
    }
}
