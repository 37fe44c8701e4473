//! States of any size: the slot holds a handle into an arena of the shard, and the mutex of the shard guards both.

use std::fmt;

use super::Boxed;
use super::core::{Arena, Core, Place, Shape};
use super::inline::no_state;
use super::layout::{Spared, Then, Wide, deadline_word, sealed::Kind};
use super::shard::Guard;
use super::slot::Words;
use crate::error::Error;
use crate::program::{Change, Program, State, Step};
use crate::store::Moment;

/// The values of one shard.
pub struct Values<S> {
    values: Vec<Option<S>>,
    free: Vec<usize>,
}

impl<S> Default for Values<S> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<S: Send + 'static> Values<S> {
    fn keep(&mut self, state: S) -> usize {
        if let Some(handle) = self.free.pop() {
            self.values[handle] = Some(state);
            handle
        } else {
            self.values.push(Some(state));
            self.values.len() - 1
        }
    }
}

impl<S: Send + 'static> Arena for Values<S> {
    #[allow(clippy::cast_possible_truncation)] // a handle was a usize
    fn release(&mut self, words: [u64; 3]) {
        let handle = words[1] as usize;
        self.values[handle] = None;
        self.free.push(handle);
    }
}

/// What a step wants, with the change not applied yet.
enum Wish<C, O> {
    Keep(O),
    Write(C, f64, O),
    Remove(O),
}

impl<S: State> Kind<S> for Boxed {
    type Shape = Wide<Values<S>>;

    fn apply<P: Program<State = S>>(
        core: &Core<Self::Shape>,
        place: Place,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Outcome, Error> {
        Self::joint(core, place, at, program, request, &mut Ok, &mut |_, _| {})
    }

    #[allow(clippy::cast_possible_truncation)] // a handle was a usize
    fn joint<P: Program<State = S>>(
        core: &Core<Self::Shape>,
        place: Place,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
        then: Then<'_>,
        spared: Spared<'_, S>,
    ) -> Result<P::Outcome, Error> {
        loop {
            let mut shard = core.lock_shard(place, at);
            let now_ms = at.now_ms;
            let found = core.find_in_line(place).map(|(line, slot, tag)| {
                slot.mark(tag);
                (line, slot, slot.state())
            });
            let live = found.filter(|(.., words)| Self::Shape::is_live(words[0], now_ms));
            let state = live.and_then(|(.., words)| shard.shard.arena.values[words[1] as usize].as_ref());
            let wish = match program.step(state, now_ms, request) {
                Step::Keep(outcome) => Wish::Keep(outcome),
                Step::Write { change, ttl_ms, outcome } => Wish::Write(change, ttl_ms, outcome),
                Step::Remove(outcome) => Wish::Remove(outcome),
                Step::Fail(error) => return Err(error),
            };
            // As in a joint run over inline states: room is made when the change is sure, if it can be made here.
            let early = found.is_none() && !shard.has_live() && matches!(wish, Wish::Write(..));
            if early && !shard.reserve(place) {
                drop(shard);
                core.evict_elsewhere(place, now_ms);
                continue;
            }
            let wants = !matches!(wish, Wish::Keep(_));
            let commit = then(wants)?;
            if wants && !commit {
                spared(live.and_then(|(.., words)| shard.shard.arena.values[words[1] as usize].as_ref()), now_ms);
            }
            let outcome = match wish {
                Wish::Keep(outcome) => outcome,
                Wish::Remove(outcome) => {
                    if let (true, Some((line, slot, _))) = (commit, found) {
                        shard.remove(line, slot, slot.tag(), |_| true);
                    }
                    outcome
                }
                Wish::Write(change, ttl_ms, outcome) => {
                    if commit {
                        let deadline_ms = now_ms + ttl_ms.max(0.0);
                        match found {
                            Some((_, slot, words)) => {
                                let handle = words[1] as usize;
                                // Taken out meanwhile: a change that panics leaves a key without a state.
                                let mut state = shard.shard.arena.values[handle].take().filter(|_| live.is_some());
                                change.apply_to(&mut state);
                                shard.shard.arena.values[handle] = Some(state.ok_or_else(no_state)?);
                                let word = deadline_word(words[0], deadline_ms);
                                slot.set_state([word, words[1], 0]);
                            }
                            None => insert(&mut shard, place, change, deadline_ms)?,
                        }
                    }
                    outcome
                }
            };
            return Ok(outcome);
        }
    }
}

fn insert<S: State>(
    shard: &mut Guard<'_, Wide<Values<S>>>,
    place: Place,
    change: impl Change<S>,
    deadline_ms: f64,
) -> Result<(), Error> {
    let mut state = None;
    change.apply_to(&mut state);
    let state = state.ok_or_else(no_state)?;
    while !shard.reserve(place) {
        // No slot of such a table is ever locked, and the shard has live ones: this ends at once.
    }
    let handle = shard.shard.arena.keep(state);
    shard.insert(place, [deadline_word(0, deadline_ms), handle as u64, 0]);
    Ok(())
}

impl<S> fmt::Debug for Values<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("len", &self.values.len()).finish_non_exhaustive()
    }
}
