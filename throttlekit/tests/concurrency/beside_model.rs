//! Guards with a queue, with tenants and with both, beside a slow and obvious model: whatever callers do, in whichever order.

use proptest::prelude::*;
use throttlekit::{Admission, Admit, Algorithm, Guard, KeyedGuard, ManualClock, Outcome, Permit, Priority, Queue};

use crate::model::{ACTIVE_MS, Keyed, Model, Setup, State, TIMEOUT_MS};
use crate::support::outage::ManualRuntime;
use crate::support::waits::{Caller, call_as};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
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
