//! Every interleaving, up to three preemptions, of what threads may do to one slot and one shard, for each way in which a slot
//! is written.

use std::sync::Arc;

use loom::thread;

use super::core::{Core, Place};
use super::layout::sealed::Kind;
use super::{AsInstant, AsPair, Instant, Pair};
use crate::store::Moment;
use crate::{Error, Program, State, Step};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A state that counts.
trait Counter: State + Copy {
    fn of(count: u64) -> Self;
    fn count(self) -> u64;
}

/// Two words that belong together; torn, they show.
#[derive(Clone, Copy, Debug)]
struct Twins(u64, u64);

impl Counter for Twins {
    fn of(count: u64) -> Self {
        Self(count, !count)
    }
    fn count(self) -> u64 {
        assert_eq!(self.1, !self.0, "a torn state reached a step");
        self.0
    }
}

impl AsPair for Twins {
    fn to_words(self) -> [u64; 2] {
        [self.0, self.1]
    }
    fn from_words(words: [u64; 2]) -> Self {
        Self(words[0], words[1])
    }
}

/// An instant so many milliseconds after `START`: one that is written under the lock bit from 0 on, by one swap from our time
/// on.
#[derive(Clone, Copy, Debug)]
struct After<const START: u64>(u64);

const OUR_TIME: u64 = 1 << 40;

impl<const START: u64> Counter for After<START> {
    fn of(count: u64) -> Self {
        Self(count)
    }
    fn count(self) -> u64 {
        self.0
    }
}

impl<const START: u64> AsInstant for After<START> {
    #[allow(clippy::cast_precision_loss)]
    fn to_instant_ms(self) -> f64 {
        (START + self.0) as f64
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn from_instant_ms(instant_ms: f64) -> Self {
        let instant = instant_ms as u64;
        assert!((START + 1..START + 10).contains(&instant), "a state of nobody's reached a step");
        Self(instant - START)
    }
}

impl State for Twins {
    type Layout = Pair;
    fn encode(&self) -> String {
        String::new()
    }
    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

impl<const START: u64> State for After<START> {
    type Layout = Instant;
    fn encode(&self) -> String {
        String::new()
    }
    fn decode(_text: &str) -> Option<Self> {
        None
    }
}

/// Adds one up to a limit, or forgets the key.
#[derive(Clone, Copy, Debug)]
enum Op {
    UpTo(u64),
    Forget,
}

#[derive(Clone)]
struct Count<S>(Op, std::marker::PhantomData<fn() -> S>);

impl<S: Counter> Program for Count<S> {
    type State = S;
    type Change = S;
    type Request = ();
    type Outcome = u64;
    type Reply = u64;

    fn step(&self, state: Option<&S>, _now_ms: f64, _request: &()) -> Step<S, u64> {
        let count = state.map_or(0, |state| state.count());
        match self.0 {
            Op::UpTo(limit) if count < limit => {
                Step::Write { change: S::of(count + 1), ttl_ms: 1e9, outcome: count + 1 }
            }
            Op::UpTo(_) => Step::Keep(count),
            Op::Forget => Step::Remove(count),
        }
    }

    fn reply(&self, _now_ms: f64, _request: &(), outcome: u64) -> u64 {
        outcome
    }
}

/// A table of such states.
struct Model<S: Counter>(Arc<Core<<S::Layout as Kind<S>>::Shape>>);

impl<S: Counter> Clone for Model<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Counter> Model<S>
where
    S::Layout: Kind<S>,
{
    fn new(max_keys: usize) -> Self {
        Self(Arc::new(Core::new(max_keys, 1).unwrap()))
    }

    fn place(&self, key: u64) -> Place {
        self.0.place(key << 8)
    }

    fn run(&self, key: u64, op: Op) -> u64 {
        let program = Count(op, std::marker::PhantomData);
        <S::Layout as Kind<S>>::apply(&self.0, self.place(key), &mut Moment::given(0.0), &program, &()).unwrap()
    }

    fn add(&self, key: u64) -> u64 {
        self.run(key, Op::UpTo(9))
    }

    fn count(&self, key: u64) -> u64 {
        self.run(key, Op::UpTo(0))
    }

    fn joint(&self, key: u64, limit: u64, then: &mut dyn FnMut(bool) -> Result<bool, Error>) -> Result<u64, Error> {
        let program = Count(Op::UpTo(limit), std::marker::PhantomData);
        <S::Layout as Kind<S>>::joint(
            &self.0,
            self.place(key),
            &mut Moment::given(0.0),
            &program,
            &(),
            then,
            &mut |_, _| {},
        )
    }
}

fn two_writers_of_one_key_both_count<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let writer = thread::spawn(move || other.add(1));
    table.add(1);
    writer.join().unwrap();
    assert_eq!(table.count(1), 3);
}

fn a_count_of_writes_that_came_round_is_noticed<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    table.add(1);
    let other = table.clone();
    let writer = thread::spawn(move || {
        other.add(1);
        other.add(1);
    });
    table.add(1);
    writer.join().unwrap();
    assert_eq!(table.count(1), 5);
}

fn a_longer_life_loses_no_count<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let other = thread::spawn(move || other.0.prolong(0.0, 2e9));
    table.add(1);
    other.join().unwrap();
    assert_eq!(table.count(1), 2);
}

fn an_absent_key_is_inserted_once<S: Counter>() {
    let table = Model::<S>::new(8);
    let other = table.clone();
    let writer = thread::spawn(move || other.add(1));
    table.add(1);
    writer.join().unwrap();
    assert_eq!(table.count(1), 2);
    assert_eq!(table.0.len(), 1);
}

fn a_reader_sees_no_torn_state<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let writer = thread::spawn(move || {
        other.add(1);
        other.add(1);
    });
    assert!((1..=3).contains(&table.count(1)));
    writer.join().unwrap();
}

fn a_key_that_moves_loses_no_count<S: Counter>() {
    // One line holds four slots and is rebuilt for the fourth key.
    let table = Model::<S>::new(8);
    for other in 1..4 {
        table.add(other);
    }
    let mover = table.clone();
    let mover = thread::spawn(move || mover.add(4));
    table.add(1);
    mover.join().unwrap();
    for other in 1..5 {
        assert_eq!(table.count(other), 1 + u64::from(other == 1));
    }
    assert_eq!(table.0.len(), 4);
}

fn the_bound_holds_while_keys_are_evicted_and_used<S: Counter>() {
    let table = Model::<S>::new(1);
    table.add(1);
    let flood = table.clone();
    let flood = thread::spawn(move || flood.add(2));
    let mine = table.add(1);
    assert!(mine == 2 || mine == 1, "counted on, or started anew after the eviction");
    assert_eq!(flood.join().unwrap(), 1, "a key of its own");
    assert_eq!(table.0.len(), 1);
}

fn a_key_comes_back_to_the_slot_it_left<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let other = thread::spawn(move || {
        other.run(1, Op::Forget);
        other.add(1);
    });
    table.add(1);
    other.join().unwrap();
    assert!((1..=2).contains(&table.count(1)));
}

fn another_key_with_the_same_state_takes_the_slot<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let other = thread::spawn(move || {
        other.run(1, Op::Forget);
        other.add(2);
    });
    let mine = table.add(1);
    other.join().unwrap();
    assert!((1..=2).contains(&mine));
    assert_eq!(table.count(2), 1, "what was meant for one key was written to another");
    assert!(table.count(1) <= 1, "forgotten before or after");
}

fn what_is_forgotten_is_what_was_judged<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let other = thread::spawn(move || other.run(1, Op::Forget));
    let mine = table.add(1);
    let seen = other.join().unwrap();
    // Whoever came second saw what the first had made.
    assert_eq!((mine, table.count(1)), if seen == 2 { (2, 0) } else { (1, 1) });
}

fn a_joint_run_excludes_checks_of_its_keys<S: Counter>() {
    let (a, b) = (Model::<S>::new(8), Model::<S>::new(8));
    a.add(1);
    let (other_a, other_b) = (a.clone(), b.clone());
    let both = |a: &Model<S>, b: &Model<S>| {
        let mut admitted = false;
        a.joint(1, 2, &mut |wants| {
            b.joint(1, 2, &mut |also| {
                admitted = wants && also;
                Ok(admitted)
            })?;
            Ok(admitted)
        })
        .unwrap();
        admitted
    };
    let other = thread::spawn(move || both(&other_a, &other_b));
    let mine = both(&a, &b);
    let theirs = other.join().unwrap();
    assert!(mine ^ theirs, "one unit of the first key was left");
    assert_eq!((a.count(1), b.count(1)), (2, 1));
}

fn a_check_waits_for_a_joint_run<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let other = thread::spawn(move || other.joint(1, 9, &mut Ok).unwrap());
    table.add(1);
    other.join().unwrap();
    assert_eq!(table.count(1), 3);
}

fn a_refused_joint_run_changes_nothing<S: Counter>() {
    let table = Model::<S>::new(8);
    table.add(1);
    let other = table.clone();
    let refused = &mut |_| Ok(false);
    let other = thread::spawn(move || other.joint(1, 9, &mut |_| Ok(false)).unwrap());
    table.add(1);
    other.join().unwrap();
    assert_eq!(table.joint(2, 9, refused).unwrap(), 1);
    assert_eq!((table.count(1), table.count(2)), (2, 0));
    assert_eq!(table.0.len(), 1);
}

macro_rules! explore_for {
    ($module:ident, $state:ty; $($model:ident)*) => {
        mod $module {
            $(#[test]
            fn $model() {
                super::explore(super::$model::<$state>);
            })*
        }
    };
    ($($module:ident: $state:ty),*) => {
        $(explore_for!($module, $state;
            two_writers_of_one_key_both_count
            a_count_of_writes_that_came_round_is_noticed
            a_longer_life_loses_no_count
            an_absent_key_is_inserted_once
            a_reader_sees_no_torn_state
            a_key_that_moves_loses_no_count
            the_bound_holds_while_keys_are_evicted_and_used
            a_key_comes_back_to_the_slot_it_left
            another_key_with_the_same_state_takes_the_slot
            what_is_forgotten_is_what_was_judged
            a_joint_run_excludes_checks_of_its_keys
            a_check_waits_for_a_joint_run
            a_refused_joint_run_changes_nothing);)*
    };
}

explore_for!(loom_pairs: super::Twins, loom_instants: super::After<{ super::OUR_TIME }>, loom_other_instants: super::After<0>);
