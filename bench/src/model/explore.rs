//! Breadth first through all states of a machine.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

/// What can happen, and what comes of it.
pub trait Machine {
    /// All that the future depends on.
    type State: Clone + Eq + Hash + Debug;
    /// The name of a step.
    type Step: Copy + Debug;

    /// Where it can start.
    fn initial(&self) -> Vec<Self::State>;

    /// Adds to `next` each step that `state` allows, with the state after it.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);
}

/// How much there was to see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Explored {
    /// Different states.
    pub distinct: usize,
    /// Initial states and the states after each step of each state, those met before included.
    pub generated: usize,
    /// States on the longest of the shortest ways from the start to a state, both ends included.
    pub depth: usize,
}

/// A shortest way to a state in which the promise is broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation<M: Machine> {
    /// The steps from the start.
    pub steps: Vec<M::Step>,
    /// Where they lead.
    pub state: M::State,
}

/// A state that was found, and the way to it.
struct Found<M: Machine> {
    state: M::State,
    level: usize,
    /// The place of the state before and the step from there; none for an initial state.
    from: Option<(usize, M::Step)>,
}

/// Visits all states of `machine`, those with the fewest steps first. `promise` says whether it holds in a state.
///
/// # Errors
///
/// The first state in which it does not hold.
///
/// # Examples
///
/// ```
/// use bench::model::{Machine, explore};
///
/// /// A lamp that can be switched.
/// #[derive(Debug)]
/// struct Lamp;
///
/// impl Machine for Lamp {
///     type State = bool;
///     type Step = &'static str;
///
///     fn initial(&self) -> Vec<bool> {
///         vec![false]
///     }
///
///     fn steps(&self, on: &bool, next: &mut Vec<(&'static str, bool)>) {
///         next.push(("switch", !on));
///     }
/// }
///
/// let explored = explore(&Lamp, |_| true).unwrap();
/// assert_eq!((explored.distinct, explored.generated, explored.depth), (2, 3, 2));
/// let lit = explore(&Lamp, |on| !on).unwrap_err();
/// assert_eq!(lit.steps, ["switch"]);
/// ```
pub fn explore<M: Machine>(machine: &M, mut promise: impl FnMut(&M::State) -> bool) -> Result<Explored, Violation<M>> {
    let mut places: HashMap<M::State, usize> = HashMap::new();
    let mut found: Vec<Found<M>> = Vec::new();
    let mut generated = 0;
    let mut next = Vec::new();
    let mut add = |found: &mut Vec<Found<M>>, state: M::State, level, from| {
        generated += 1;
        if let Entry::Vacant(place) = places.entry(state.clone()) {
            place.insert(found.len());
            let holds = promise(&state);
            found.push(Found { state, level, from });
            return holds;
        }
        true
    };
    for state in machine.initial() {
        if !add(&mut found, state, 1, None) {
            return Err(violation(&found));
        }
    }
    let mut at = 0;
    while at < found.len() {
        let level = found[at].level;
        machine.steps(&found[at].state, &mut next);
        for (step, state) in next.drain(..) {
            if !add(&mut found, state, level + 1, Some((at, step))) {
                return Err(violation(&found));
            }
        }
        at += 1;
    }
    Ok(Explored { distinct: found.len(), generated, depth: found.last().map_or(0, |last| last.level) })
}

/// The way to the state found last.
fn violation<M: Machine>(found: &[Found<M>]) -> Violation<M> {
    let last = found.len() - 1;
    let mut steps = Vec::new();
    let mut from = found[last].from;
    while let Some((place, step)) = from {
        steps.push(step);
        from = found[place].from;
    }
    steps.reverse();
    Violation { steps, state: found[last].state.clone() }
}
