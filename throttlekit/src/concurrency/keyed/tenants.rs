//! Who shares the slots, and what each is guaranteed.

use std::collections::{BTreeMap, HashMap};

use crate::concurrency::waiters::Rank;
use crate::fingerprint::ByFingerprint;

/// Thousandths: weights are counted in these, so that their sum is exact whoever comes and goes.
pub(super) const WEIGHT_ONE: u64 = 1_000;

/// The bounds of tenants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_keys: usize,
    pub(super) max_per_key: u32,
    pub(super) active_ns: u64,
}

struct Tenant {
    fingerprint: u64,
    weight: u64,
    held: u32,
    /// Where it stands among the idle ones; none while it holds something or waits.
    idle: Option<Idle>,
    /// Where it stands among the holders, while it holds something.
    place: usize,
}

/// A link of the list of idle tenants.
#[derive(Clone, Copy)]
struct Idle {
    since_ns: u64,
    before: Option<u32>,
    after: Option<u32>,
}

/// The tenants that are active: that hold a slot, wait for one, or did something of late. All others are forgotten.
///
/// A tenant that is not idle keeps its number.
pub(super) struct Tenants {
    rules: Rules,
    numbers: HashMap<u64, u32, ByFingerprint>,
    known: Vec<Tenant>,
    free: Vec<u32>,
    longest_idle: Option<u32>,
    last_idle: Option<u32>,
    /// Tenants that hold slots, in no order.
    holding: Vec<u32>,
    /// How many are active of each weight.
    weights: BTreeMap<u64, u32>,
    total_weight: u64,
    unused: Option<Unused>,
}

/// What all tenants together are guaranteed and do not use, under a ceiling.
#[derive(Clone, Copy)]
struct Unused {
    ceiling: u32,
    slots: u64,
}

impl Tenants {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            numbers: HashMap::default(),
            known: Vec::new(),
            free: Vec::new(),
            longest_idle: None,
            last_idle: None,
            holding: Vec::new(),
            weights: BTreeMap::new(),
            total_weight: 0,
            unused: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn find(&self, fingerprint: u64) -> Option<u32> {
        self.numbers.get(&fingerprint).copied()
    }

    fn get(&self, number: u32) -> Option<&Tenant> {
        self.known.get(number as usize)
    }

    pub(super) fn held(&self, number: u32) -> u32 {
        self.get(number).map_or(0, |tenant| tenant.held)
    }

    /// The tenant that asks at `now_ns`, if it is known.
    pub(super) fn enter(&mut self, fingerprint: u64, now_ns: u64) -> Option<u32> {
        let number = self.find(fingerprint)?;
        if self.end_idle(number) {
            self.start_idle(number, now_ns);
        }
        Some(number)
    }

    /// Adds a tenant that is not known. If there is no room, the longest idle one is forgotten; none if none is idle.
    pub(super) fn add(&mut self, fingerprint: u64, weight: u64, now_ns: u64) -> Option<u32> {
        if self.numbers.len() >= self.rules.max_keys {
            let longest = self.longest_idle?;
            self.end_idle(longest);
            self.forget(longest);
        }
        let tenant = Tenant { fingerprint, weight, held: 0, idle: None, place: 0 };
        let number = if let Some(number) = self.free.pop() {
            *self.known.get_mut(number as usize)? = tenant;
            number
        } else {
            self.known.push(tenant);
            u32::try_from(self.known.len() - 1).ok()?
        };
        self.numbers.insert(fingerprint, number);
        self.start_idle(number, now_ns);
        *self.weights.entry(weight).or_default() += 1;
        self.total_weight += weight;
        self.unused = None;
        Some(number)
    }

    /// Forgets who has been idle for too long by `now_ns`.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some(number) = self.longest_idle {
            let idle = self.get(number).and_then(|tenant| tenant.idle);
            if idle.is_none_or(|idle| idle.since_ns.saturating_add(self.rules.active_ns) > now_ns) {
                break;
            }
            self.end_idle(number);
            self.forget(number);
        }
    }

    /// Puts a tenant at the end of the idle ones. No time is before that of an earlier one, so that they are in order.
    fn start_idle(&mut self, number: u32, now_ns: u64) {
        let last = self.last_idle.and_then(|last| self.idle_mut(last));
        let since_ns = last.as_ref().map_or(now_ns, |last| last.since_ns.max(now_ns));
        if let Some(last) = last {
            last.after = Some(number);
        }
        let before = self.last_idle.replace(number);
        if before.is_none() {
            self.longest_idle = Some(number);
        }
        if let Some(tenant) = self.known.get_mut(number as usize) {
            tenant.idle = Some(Idle { since_ns, before, after: None });
        }
    }

    /// Takes a tenant out of the idle ones, if it is one. Whether it was.
    fn end_idle(&mut self, number: u32) -> bool {
        let Some(idle) = self.known.get_mut(number as usize).and_then(|tenant| tenant.idle.take()) else {
            return false;
        };
        match idle.before.and_then(|before| self.idle_mut(before)) {
            Some(before) => before.after = idle.after,
            None => self.longest_idle = idle.after,
        }
        match idle.after.and_then(|after| self.idle_mut(after)) {
            Some(after) => after.before = idle.before,
            None => self.last_idle = idle.before,
        }
        true
    }

    fn idle_mut(&mut self, number: u32) -> Option<&mut Idle> {
        self.known.get_mut(number as usize)?.idle.as_mut()
    }

    /// For one that was taken out of the idle ones.
    fn forget(&mut self, number: u32) {
        let Some(Tenant { fingerprint, weight, .. }) = self.get(number) else { return };
        let (fingerprint, weight) = (*fingerprint, *weight);
        self.numbers.remove(&fingerprint);
        self.free.push(number);
        if let Some(count) = self.weights.get_mut(&weight) {
            *count -= 1;
            if *count == 0 {
                self.weights.remove(&weight);
            }
        }
        self.total_weight -= weight;
        self.unused = None;
    }

    /// Says whether a tenant waits for slots, as far as its being idle goes.
    pub(super) fn set_waiting(&mut self, number: u32, waits: bool, now_ns: u64) {
        let Some(tenant) = self.get(number) else { return };
        let idle = tenant.held == 0 && !waits;
        match tenant.idle {
            Some(_) if !idle => {
                self.end_idle(number);
            }
            None if idle => self.start_idle(number, now_ns),
            _ => {}
        }
    }

    /// Counts one more slot of a tenant.
    pub(super) fn hold(&mut self, number: u32) {
        let below = self.unused.is_some_and(|unused| self.is_below(number, unused.ceiling));
        let Some(tenant) = self.known.get_mut(number as usize) else { return };
        tenant.held += 1;
        if tenant.held == 1 {
            tenant.place = self.holding.len();
            self.holding.push(number);
        }
        if let (true, Some(unused)) = (below, &mut self.unused) {
            unused.slots -= 1;
        }
    }

    /// Counts one slot less.
    pub(super) fn release(&mut self, number: u32) {
        let Some(tenant) = self.known.get_mut(number as usize) else { return };
        debug_assert!(tenant.held > 0, "a slot is given back once");
        tenant.held = tenant.held.saturating_sub(1);
        if tenant.held == 0 && tenant.place < self.holding.len() {
            let place = tenant.place;
            self.holding.swap_remove(place);
            if let Some(moved) = self.holding.get(place).and_then(|moved| self.known.get_mut(*moved as usize)) {
                moved.place = place;
            }
        }
        let below = self.unused.is_some_and(|unused| self.is_below(number, unused.ceiling));
        if let (true, Some(unused)) = (below, &mut self.unused) {
            unused.slots += 1;
        }
    }

    /// What is guaranteed to a weight under `ceiling`, if it is among `total_weight`.
    pub(super) fn share(&self, weight: u64, total_weight: u64, ceiling: u32) -> u32 {
        let slots = (weight * u64::from(ceiling)).checked_div(total_weight).unwrap_or(0);
        u32::try_from(slots).unwrap_or(u32::MAX).min(self.rules.max_per_key)
    }

    /// What a tenant is guaranteed under `ceiling`.
    pub(super) fn guaranteed(&self, number: u32, ceiling: u32) -> u32 {
        self.get(number).map_or(0, |tenant| self.share(tenant.weight, self.total_weight, ceiling))
    }

    /// What a tenant of this weight would be guaranteed if it came now.
    pub(super) fn guaranteed_if_new(&self, weight: u64, ceiling: u32) -> u32 {
        self.share(weight, self.total_weight + weight, ceiling)
    }

    /// Whether a tenant holds less than it is guaranteed.
    pub(super) fn is_below(&self, number: u32, ceiling: u32) -> bool {
        self.held(number) < self.guaranteed(number, ceiling)
    }

    /// How many more a tenant may hold.
    pub(super) fn room(&self, number: u32) -> u32 {
        self.rules.max_per_key.saturating_sub(self.held(number))
    }

    /// The order in which tenants get slots; none while it may hold no more.
    pub(super) fn rank(&self, number: u32) -> Option<Rank> {
        let tenant = self.get(number)?;
        if tenant.held < self.rules.max_per_key { Some(Rank::after(tenant.held, tenant.weight)) } else { None }
    }

    /// What all tenants together are guaranteed and do not use.
    pub(super) fn unused(&mut self, ceiling: u32) -> u64 {
        if let Some(unused) = self.unused.filter(|unused| unused.ceiling == ceiling) {
            return unused.slots;
        }
        let share = |weight: u64| u64::from(self.share(weight, self.total_weight, ceiling));
        let all: u64 = self.weights.iter().map(|(weight, count)| share(*weight) * u64::from(*count)).sum();
        let holders = self.holding.iter().filter_map(|number| self.get(*number));
        let used: u64 = holders.map(|tenant| share(tenant.weight).min(u64::from(tenant.held))).sum();
        let slots = all.saturating_sub(used);
        self.unused = Some(Unused { ceiling, slots });
        slots
    }
}
