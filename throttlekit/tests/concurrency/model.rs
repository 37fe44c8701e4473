//! A guard that looks at everybody for everything.

use throttlekit::Priority;

/// How long a request waits.
pub(crate) const TIMEOUT_MS: f64 = 60.0;
/// How long a tenant is active.
pub(crate) const ACTIVE_MS: f64 = 90.0;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// None for a limit between 1 and 8 that moves with every sample.
    pub(crate) fixed: Option<u32>,
    /// None without a queue.
    pub(crate) places: Option<usize>,
    pub(crate) keyed: Option<Keyed>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    pub(crate) max_keys: usize,
    pub(crate) max_per_key: u32,
    /// In halves, for each key.
    pub(crate) weights: [u32; 5],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Waits,
    Seated,
    Displaced,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) id: u64,
    pub(crate) key: usize,
    pub(crate) priority: Priority,
    pub(crate) deadline_ms: f64,
    pub(crate) state: State,
}

/// Looks at everybody for everything.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) setup: Setup,
    pub(crate) limit: u32,
    pub(crate) now_ms: f64,
    pub(crate) held: [u32; 5],
    /// When it last did something, for a tenant that is known.
    pub(crate) seen_ms: [Option<f64>; 5],
    /// In the order of arrival, with those who were seated or displaced and have not noticed yet.
    pub(crate) waiters: Vec<Waiter>,
    /// Whose turn it is.
    pub(crate) turns: Vec<(usize, Priority)>,
    pub(crate) next_id: u64,
}

impl Model {
    pub(crate) fn new(setup: Setup, limit: u32) -> Self {
        Self {
            setup,
            limit,
            now_ms: 0.0,
            held: [0; 5],
            seen_ms: [None; 5],
            waiters: Vec::new(),
            turns: Vec::new(),
            next_id: 0,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.held.iter().sum()
    }

    pub(crate) fn queue(&self) -> impl DoubleEndedIterator<Item = &Waiter> {
        self.waiters.iter().filter(|waiter| waiter.state == State::Waits)
    }

    pub(crate) fn busy(&self, key: usize) -> bool {
        self.held[key] > 0 || self.queue().any(|waiter| waiter.key == key)
    }

    pub(crate) fn active(&self, key: usize) -> bool {
        self.busy(key) || self.seen_ms[key].is_some_and(|seen| seen + ACTIVE_MS > self.now_ms)
    }

    /// What every caller does first: whether there is room for this tenant.
    pub(crate) fn enter(&mut self, key: usize) -> bool {
        let Some(keyed) = self.setup.keyed else { return true };
        if !self.active(key) {
            let active: Vec<_> = (0..5).filter(|other| self.active(*other)).collect();
            if active.len() >= keyed.max_keys {
                let idle = active.into_iter().filter(|other| !self.busy(*other));
                let Some(oldest) = idle.min_by(|a, b| self.seen_ms[*a].partial_cmp(&self.seen_ms[*b]).unwrap()) else {
                    return false;
                };
                self.seen_ms[oldest] = None;
            }
        }
        self.seen_ms[key] = Some(self.now_ms);
        true
    }

    pub(crate) fn guaranteed(&self, key: usize) -> u32 {
        let Some(keyed) = self.setup.keyed else { return 0 };
        let total: u32 = (0..5).filter(|other| self.active(*other)).map(|other| keyed.weights[other]).sum();
        (keyed.weights[key] * self.limit / total).min(keyed.max_per_key)
    }

    pub(crate) fn below(&self, key: usize) -> bool {
        self.held[key] < self.guaranteed(key)
    }

    pub(crate) fn most_of_one(&self) -> u32 {
        self.setup.keyed.map_or(u32::MAX, |keyed| keyed.max_per_key)
    }

    /// Whether a tenant may take a slot that is free and wanted by nobody who waits.
    pub(crate) fn may_take(&self, key: usize, priority: Priority) -> bool {
        if self.held[key] >= self.most_of_one() {
            return false;
        }
        let low = self.setup.places.is_none() && priority == Priority::Low;
        let ceiling = if low { (self.limit * 4 / 5).max(1) } else { self.limit };
        let kept: u32 = if self.setup.places.is_some() || self.setup.keyed.is_none() || self.below(key) {
            0
        } else {
            let others = (0..5).filter(|other| *other != key && self.active(*other));
            others.map(|other| self.guaranteed(other).saturating_sub(self.held[other])).sum()
        };
        self.in_flight() + kept < ceiling
    }

    pub(crate) fn take(&mut self, key: usize, priority: Priority) -> bool {
        let may = self.next().is_none() && self.may_take(key, priority);
        if may {
            self.held[key] += 1;
        }
        may
    }

    /// How many more slots a tenant could take, one after the other.
    pub(crate) fn remaining(&self, key: usize, priority: Priority) -> u64 {
        let mut model = self.clone();
        let mut count = 0;
        while model.may_take(key, priority) {
            model.held[key] += 1;
            count += 1;
        }
        count
    }

    /// Takes a place: whether there is one.
    pub(crate) fn join(&mut self, key: usize, priority: Priority) -> Option<u64> {
        let places = self.setup.places?;
        if self.queue().count() >= places {
            let lowest = self.queue().map(|waiter| waiter.priority).min().unwrap();
            let of = |key: usize| self.queue().filter(move |waiter| waiter.key == key && waiter.priority == priority);
            let displaced = if lowest < priority {
                self.queue().rfind(|waiter| waiter.priority == lowest).unwrap().id
            } else {
                let longest = (0..5).map(|key| of(key).count()).max().unwrap();
                if longest < of(key).count() + 2 {
                    return None;
                }
                // Of several with the same number of places, it does not say which.
                let candidates: Vec<_> = (0..5).filter(|key| of(*key).count() == longest).collect();
                let [loser] = candidates[..] else { return Some(u64::MAX) };
                of(loser).next_back().unwrap().id
            };
            self.mark(displaced, State::Displaced);
        }
        let id = self.next_id;
        self.next_id += 1;
        let deadline_ms = self.now_ms.floor() + TIMEOUT_MS;
        self.waiters.push(Waiter { id, key, priority, deadline_ms, state: State::Waits });
        if !self.turns.contains(&(key, priority)) {
            self.turns.push((key, priority));
        }
        Some(id)
    }

    /// Takes one out of the queue.
    pub(crate) fn mark(&mut self, id: u64, state: State) {
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.id == id).unwrap();
        waiter.state = state;
        let line = (waiter.key, waiter.priority);
        let waits = self.queue().any(|waiter| (waiter.key, waiter.priority) == line);
        // Served, it goes to the end; gone, it keeps its turn.
        if !waits || state == State::Seated {
            self.turns.retain(|turn| *turn != line);
        }
        if waits && state == State::Seated {
            self.turns.push(line);
        }
        self.look_after(line.0);
    }

    pub(crate) fn look_after(&mut self, key: usize) {
        if !self.busy(key) {
            self.seen_ms[key] = Some(self.now_ms);
        }
    }

    /// Who is next, whether there is a slot or not.
    pub(crate) fn next(&self) -> Option<u64> {
        let may = self.turns.iter().filter(|(key, _)| self.held[*key] < self.most_of_one());
        let mut lines: Vec<_> = may.copied().collect();
        // Sorting is stable: turns decide among equals.
        lines.sort_by(|(a, one), (b, other)| {
            let first = |key: usize| self.setup.keyed.is_none() || !self.below(key);
            let load = |key: usize| match self.setup.keyed {
                Some(keyed) => f64::from(self.held[key] + 1) / f64::from(keyed.weights[key]),
                None => 0.0,
            };
            let class = first(*a).cmp(&first(*b));
            class.then(other.cmp(one)).then(load(*a).partial_cmp(&load(*b)).unwrap())
        });
        let line = lines.first()?;
        self.queue().find(|waiter| (waiter.key, waiter.priority) == *line).map(|waiter| waiter.id)
    }

    pub(crate) fn serve(&mut self) {
        while self.in_flight() < self.limit {
            let Some(id) = self.next() else { break };
            let key = self.waiters.iter().find(|waiter| waiter.id == id).unwrap().key;
            self.held[key] += 1;
            self.mark(id, State::Seated);
        }
    }

    /// A slot comes back, under a limit that may have changed with it.
    pub(crate) fn give(&mut self, key: usize, limit: u32) {
        self.limit = limit;
        self.held[key] -= 1;
        self.look_after(key);
        self.serve();
    }
}
