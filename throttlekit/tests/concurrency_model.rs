//! Guards with a queue, with tenants and with both, beside a slow and obvious model: whatever callers do, in whichever order.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

mod support;

use proptest::prelude::*;
use support::outage::ManualRuntime;
use support::waits::{Caller, call_as};
use throttlekit::{Admission, Admit, Algorithm, Guard, KeyedGuard, ManualClock, Outcome, Permit, Priority, Queue};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TIMEOUT_MS: f64 = 60.0;
const ACTIVE_MS: f64 = 90.0;

#[derive(Clone, Copy, Debug)]
enum Act {
    Admit { key: usize, priority: Priority },
    Acquire { key: usize },
    Settle { which: usize, outcome: Outcome, twice: bool },
    Drop { which: usize, begun: bool },
    Panic { which: usize },
    Poll,
    Cancel { which: usize },
    Advance { ms: f64 },
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0..12_usize;
    let key = 0..KEYS.len();
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let outcome = prop::sample::select(vec![Outcome::Completed, Outcome::Dropped, Outcome::Ignored]);
    prop_oneof![
        6 => (key.clone(), priority).prop_map(|(key, priority)| Act::Admit { key, priority }),
        1 => key.prop_map(|key| Act::Acquire { key }),
        4 => (which.clone(), outcome, any::<bool>())
            .prop_map(|(which, outcome, twice)| Act::Settle { which, outcome, twice }),
        1 => (which.clone(), any::<bool>()).prop_map(|(which, begun)| Act::Drop { which, begun }),
        1 => which.clone().prop_map(|which| Act::Panic { which }),
        2 => Just(Act::Poll),
        1 => which.prop_map(|which| Act::Cancel { which }),
        2 => (0.0..50.0_f64).prop_map(|ms| Act::Advance { ms }),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    /// None for a limit between 1 and 8 that moves with every sample.
    fixed: Option<u32>,
    /// None without a queue.
    places: Option<usize>,
    keyed: Option<Keyed>,
}

#[derive(Clone, Copy, Debug)]
struct Keyed {
    max_keys: usize,
    max_per_key: u32,
    /// In halves, for each key.
    weights: [u32; 5],
}

fn setup() -> impl Strategy<Value = Setup> {
    let keyed = (1..=6_usize, prop_oneof![1..4_u32, Just(100)], prop::array::uniform5(1..7_u32))
        .prop_map(|(max_keys, max_per_key, weights)| Keyed { max_keys, max_per_key, weights });
    (prop::option::of(1..7_u32), prop::option::of(1..6_usize), prop::option::of(keyed))
        .prop_map(|(fixed, places, keyed)| Setup { fixed, places, keyed })
}

enum Subject {
    Plain(Guard<ManualClock>),
    Keyed(KeyedGuard<ManualClock>),
}

impl Subject {
    fn new(setup: Setup, clock: &ManualClock) -> Self {
        let learnt = Guard::builder().algorithm(Algorithm::Aimd).backoff_ratio(0.5);
        let learnt = learnt.min_limit(1.0).max_limit(8.0).initial_limit(4.0);
        let builder = setup.fixed.map_or(learnt, |limit| Guard::builder().fixed(limit));
        let builder = match setup.places {
            Some(places) => {
                let queue = Queue::new(u32::try_from(places).unwrap(), TIMEOUT_MS);
                builder.queue(queue, ManualRuntime::new(clock))
            }
            None => builder,
        };
        let builder = builder.clock(clock.clone());
        match setup.keyed {
            None => Self::Plain(builder.build().unwrap()),
            Some(Keyed { max_keys, max_per_key, weights }) => {
                let weights = KEYS.into_iter().zip(weights.map(|weight| f64::from(weight) / 2.0));
                let builder = KeyedGuard::builder(builder).max_keys(u32::try_from(max_keys).unwrap());
                let builder = builder.max_per_key(max_per_key).weights(weights).active_ms(ACTIVE_MS);
                Self::Keyed(builder.build().unwrap())
            }
        }
    }

    fn admit(&self) -> &dyn Admit {
        match self {
            Self::Plain(guard) => guard,
            Self::Keyed(guard) => guard,
        }
    }

    fn acquire(&self, key: &str) -> Permit {
        match self {
            Self::Plain(guard) => guard.acquire(),
            Self::Keyed(guard) => guard.acquire(key),
        }
    }

    fn limit(&self) -> u32 {
        match self {
            Self::Plain(guard) => guard.limit(),
            Self::Keyed(guard) => guard.limit(),
        }
    }

    fn in_flight(&self) -> u32 {
        match self {
            Self::Plain(guard) => guard.in_flight(),
            Self::Keyed(guard) => guard.in_flight(),
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Plain(guard) => guard.waiting(),
            Self::Keyed(guard) => guard.waiting(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waits,
    Seated,
    Displaced,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: u64,
    key: usize,
    priority: Priority,
    deadline_ms: f64,
    state: State,
}

/// Looks at everybody for everything.
#[derive(Clone, Debug)]
struct Model {
    setup: Setup,
    limit: u32,
    now_ms: f64,
    held: [u32; 5],
    /// When it last did something, for a tenant that is known.
    seen_ms: [Option<f64>; 5],
    /// In the order of arrival, with those who were seated or displaced and have not noticed yet.
    waiters: Vec<Waiter>,
    /// Whose turn it is.
    turns: Vec<(usize, Priority)>,
    next_id: u64,
}

impl Model {
    fn new(setup: Setup, limit: u32) -> Self {
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

    fn in_flight(&self) -> u32 {
        self.held.iter().sum()
    }

    fn queue(&self) -> impl DoubleEndedIterator<Item = &Waiter> {
        self.waiters.iter().filter(|waiter| waiter.state == State::Waits)
    }

    fn busy(&self, key: usize) -> bool {
        self.held[key] > 0 || self.queue().any(|waiter| waiter.key == key)
    }

    fn active(&self, key: usize) -> bool {
        self.busy(key) || self.seen_ms[key].is_some_and(|seen| seen + ACTIVE_MS > self.now_ms)
    }

    /// What every caller does first: whether there is room for this tenant.
    fn enter(&mut self, key: usize) -> bool {
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

    fn guaranteed(&self, key: usize) -> u32 {
        let Some(keyed) = self.setup.keyed else { return 0 };
        let total: u32 = (0..5).filter(|other| self.active(*other)).map(|other| keyed.weights[other]).sum();
        (keyed.weights[key] * self.limit / total).min(keyed.max_per_key)
    }

    fn below(&self, key: usize) -> bool {
        self.held[key] < self.guaranteed(key)
    }

    fn most_of_one(&self) -> u32 {
        self.setup.keyed.map_or(u32::MAX, |keyed| keyed.max_per_key)
    }

    /// Whether a tenant may take a slot that is free and wanted by nobody who waits.
    fn may_take(&self, key: usize, priority: Priority) -> bool {
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

    fn take(&mut self, key: usize, priority: Priority) -> bool {
        let may = self.next().is_none() && self.may_take(key, priority);
        if may {
            self.held[key] += 1;
        }
        may
    }

    /// How many more slots a tenant could take, one after the other.
    fn remaining(&self, key: usize, priority: Priority) -> u64 {
        let mut model = self.clone();
        let mut count = 0;
        while model.may_take(key, priority) {
            model.held[key] += 1;
            count += 1;
        }
        count
    }

    /// Takes a place: whether there is one.
    fn join(&mut self, key: usize, priority: Priority) -> Option<u64> {
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
    fn mark(&mut self, id: u64, state: State) {
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

    fn look_after(&mut self, key: usize) {
        if !self.busy(key) {
            self.seen_ms[key] = Some(self.now_ms);
        }
    }

    /// Who is next, whether there is a slot or not.
    fn next(&self) -> Option<u64> {
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

    fn serve(&mut self) {
        while self.in_flight() < self.limit {
            let Some(id) = self.next() else { break };
            let key = self.waiters.iter().find(|waiter| waiter.id == id).unwrap().key;
            self.held[key] += 1;
            self.mark(id, State::Seated);
        }
    }

    /// A slot comes back, under a limit that may have changed with it.
    fn give(&mut self, key: usize, limit: u32) {
        self.limit = limit;
        self.held[key] -= 1;
        self.look_after(key);
        self.serve();
    }
}

/// The guard and its model, with all that callers hold.
struct Run {
    clock: ManualClock,
    subject: Subject,
    model: Model,
    permits: Vec<(usize, Permit)>,
    callers: Vec<(u64, Caller, bool)>,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let clock = ManualClock::new(0.0);
        let subject = Subject::new(setup, &clock);
        let model = Model::new(setup, subject.limit());
        Self { clock, subject, model, permits: Vec::new(), callers: Vec::new() }
    }

    fn advance(&mut self, ms: f64) {
        self.clock.advance(ms);
        self.model.now_ms += ms;
        self.clock.set(self.model.now_ms);
    }

    /// Gives a slot back by `how`, which may move the limit.
    fn give(&mut self, which: usize, how: impl FnOnce(Permit)) {
        if which < self.permits.len() {
            let (key, permit) = self.permits.swap_remove(which);
            how(permit);
            self.model.give(key, self.subject.limit());
        }
    }

    /// Checks an answer. Whether the run can go on.
    fn admit(&mut self, key: usize, priority: Priority) -> Result<bool, TestCaseError> {
        let mut caller = call_as(self.subject.admit(), KEYS[key], priority);
        let entered = self.model.enter(key);
        if entered && self.model.take(key, priority) {
            prop_assert!(caller.is_ready());
            let remaining = self.model.remaining(key, priority);
            return self.admitted(key, caller.poll().unwrap(), Some(remaining)).map(|()| true);
        }
        match if entered { self.model.join(key, priority) } else { None } {
            Some(u64::MAX) => return Ok(false),
            Some(id) => {
                prop_assert!(!caller.is_ready());
                self.callers.push((id, caller, false));
            }
            None => {
                prop_assert!(caller.is_ready());
                refused(&caller.poll().unwrap())?;
            }
        }
        Ok(true)
    }

    fn admitted(&mut self, key: usize, admission: Admission, remaining: Option<u64>) -> Result<(), TestCaseError> {
        let decision = admission.decision;
        prop_assert!(decision.allowed && admission.permit.is_held() && admission.binding.is_none());
        if let Some(remaining) = remaining {
            prop_assert_eq!(decision.remaining, remaining);
        }
        self.permits.push((key, admission.permit));
        Ok(())
    }

    /// Polls everybody, in the order of arrival.
    fn poll(&mut self) -> Result<(), TestCaseError> {
        for (id, mut caller, polled) in std::mem::take(&mut self.callers) {
            // No two things happen at the same time.
            self.advance(0.001);
            let waiter = *self.model.waiters.iter().find(|waiter| waiter.id == id).unwrap();
            if polled && waiter.state != State::Waits {
                prop_assert!(caller.was_woken(), "{waiter:?} was not told");
            }
            let answer = caller.poll();
            let late = self.model.now_ms.floor() >= waiter.deadline_ms;
            match (waiter.state, answer) {
                (State::Waits, None) => {
                    prop_assert!(!late);
                    self.callers.push((id, caller, true));
                    continue;
                }
                (State::Seated, Some(admission)) => self.admitted(waiter.key, admission, None)?,
                (State::Waits, Some(admission)) => {
                    prop_assert!(late);
                    refused(&admission)?;
                    self.model.mark(id, State::Displaced);
                }
                (State::Displaced, Some(admission)) => refused(&admission)?,
                (state, None) => prop_assert!(false, "{state:?} without an answer"),
            }
            self.model.waiters.retain(|waiter| waiter.id != id);
        }
        Ok(())
    }

    fn cancel(&mut self, which: usize) {
        if which < self.callers.len() {
            let (id, caller, _) = self.callers.swap_remove(which);
            drop(caller);
            let waiter = *self.model.waiters.iter().find(|waiter| waiter.id == id).unwrap();
            match waiter.state {
                State::Waits => self.model.mark(id, State::Displaced),
                State::Seated => self.model.give(waiter.key, self.subject.limit()),
                State::Displaced => {}
            }
            self.model.waiters.retain(|waiter| waiter.id != id);
        }
    }

    /// Whether the run can go on.
    fn act(&mut self, act: Act) -> Result<bool, TestCaseError> {
        self.advance(0.001);
        match act {
            Act::Admit { key, priority } => return self.admit(key, priority),
            Act::Acquire { key } => {
                let permit = self.subject.acquire(KEYS[key]);
                let taken = self.model.enter(key) && self.model.take(key, Priority::Normal);
                prop_assert_eq!(permit.is_held(), taken);
                if taken {
                    self.permits.push((key, permit));
                }
            }
            Act::Settle { which, outcome, twice } => self.give(which, |mut permit| {
                permit.begin();
                permit.settle(outcome);
                if twice {
                    permit.settle(Outcome::Dropped);
                }
            }),
            Act::Drop { which, begun } => self.give(which, |mut permit| {
                if begun {
                    permit.begin();
                }
            }),
            Act::Panic { which } => self.give(which, |permit| {
                let work = std::panic::AssertUnwindSafe(move || {
                    let _permit = permit;
                    std::panic::resume_unwind(Box::new("the work failed"));
                });
                assert!(std::panic::catch_unwind(work).is_err());
            }),
            Act::Poll => self.poll()?,
            Act::Cancel { which } => self.cancel(which),
            Act::Advance { ms } => self.advance(ms),
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let model = &self.model;
        prop_assert_eq!(self.subject.in_flight(), model.in_flight());
        prop_assert_eq!(self.subject.waiting(), model.queue().count());
        if let Subject::Keyed(guard) = &self.subject {
            for (key, held) in KEYS.into_iter().zip(model.held) {
                prop_assert_eq!(guard.in_flight_of(key), held);
            }
        }
        Ok(())
    }
}

fn refused(admission: &Admission) -> Result<(), TestCaseError> {
    prop_assert!(!admission.decision.allowed && !admission.permit.is_held());
    prop_assert_eq!(admission.binding, Some(throttlekit::Axis::Concurrency));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_guard_does_what_the_model_does(setup in setup(), acts in prop::collection::vec(act(), 1..150)) {
        let mut run = Run::new(setup);
        for act in acts {
            let before = run.subject.in_flight();
            let goes_on = run.act(act)?;
            let (after, limit) = (run.subject.in_flight(), run.subject.limit());
            prop_assert!(after <= before || after <= limit, "{after} of {limit}, {before} before");
            if !goes_on {
                return Ok(());
            }
            run.check()?;
        }
        // Everybody goes home, half of them without having noticed that it is their turn.
        while !run.permits.is_empty() || !run.callers.is_empty() {
            run.act(Act::Drop { which: 0, begun: false })?;
            run.act(Act::Cancel { which: 0 })?;
            run.act(Act::Poll)?;
            run.check()?;
        }
        prop_assert_eq!((run.subject.in_flight(), run.subject.waiting()), (0, 0));
    }
}
