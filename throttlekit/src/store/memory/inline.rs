//! States that fit a slot: checked without a mutex.

use super::core::{Core, Place, Shape, Slot};
use super::layout::{Spared, Then, sealed::Kind};
use super::slot::{Tag, Words, same};
use super::sync::Backoff;
use super::{Instant, Pair};
use crate::error::Error;
use crate::program::{Change, Program, State, Step};
use crate::store::Moment;
use crate::store::memory::{AsInstant, AsPair};

/// A state and the words of its slot.
pub trait Inline<S> {
    type Shape: Shape;
    fn load(words: [u64; 3]) -> S;
    /// The words of `state`, for a slot whose word 1 was `old`.
    fn store(state: S, old: u64, deadline_ms: f64) -> [u64; 3];
}

/// What a step over a copy of the state asks for.
enum Wish<O> {
    Keep(O),
    Write([u64; 3], O),
    Remove(O),
}

/// Steps over the state in `words`, and turns what the program wants into words.
#[inline(always)]
fn step<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    words: Option<[u64; 3]>,
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
) -> Result<Wish<P::Outcome>, Error> {
    // What has expired is never ahead, so this need not wait for that to be known.
    if words.is_some_and(|words| program.is_ahead(&I::load(words), at.now_ms)) {
        at.read_again();
    }
    let now_ms = at.now_ms;
    let live = live::<S, I>(words, now_ms);
    match program.step(live.as_ref(), now_ms, request) {
        Step::Keep(outcome) => Ok(Wish::Keep(outcome)),
        Step::Write { change, ttl_ms, outcome } => {
            let mut state = live;
            change.apply_to(&mut state);
            let state = state.ok_or_else(no_state)?;
            let old = words.map_or(0, |words| words[0]);
            Ok(Wish::Write(I::store(state, old, now_ms + ttl_ms.max(0.0)), outcome))
        }
        Step::Remove(outcome) => Ok(Wish::Remove(outcome)),
        Step::Fail(error) => Err(error),
    }
}

#[inline(always)]
fn live<S: State + Copy, I: Inline<S>>(words: Option<[u64; 3]>, now_ms: f64) -> Option<S> {
    words.filter(|words| I::Shape::is_live(words[0], now_ms)).map(I::load)
}

#[cold]
pub(super) fn no_state() -> Error {
    Error::state_invalid("a change left no state")
}

/// What one try over a slot came to.
enum Tried<O> {
    /// The step's outcome.
    Done(Result<O, Error>),
    /// Another thread was faster, or holds the slot.
    Again,
    /// The mutex is needed.
    Remove,
}

/// Reads, steps and, if the program wants it, writes, unless another thread gets in between. With `USUAL` what is not usual
/// is left to a try without, so that there is little to decide.
#[inline(always)]
fn attempt<S: State + Copy, I: Inline<S>, P: Program<State = S>, const USUAL: bool>(
    (slot, tag): (Slot<'_, I::Shape>, Tag),
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
) -> Tried<P::Outcome> {
    let words = slot.state();
    if (USUAL && !slot.is_usual(words)) || !slot.unchanged(tag, words) {
        return Tried::Again;
    }
    let outcome = match step::<S, I, P>(Some(words), at, program, request) {
        Ok(Wish::Keep(outcome)) => {
            slot.mark(tag);
            outcome
        }
        Ok(Wish::Write(new, outcome)) => {
            if let Some(written) = slot.exchange(words, new) {
                if !written {
                    return Tried::Again;
                }
                slot.mark(tag);
                return Tried::Done(Ok(outcome));
            }
            if (USUAL && <I::Shape as Shape>::Words::SWAPPED) || !slot.try_lock(tag) {
                return Tried::Again;
            }
            // An equal tag can be 32 writes younger, or that of a slot that was freed and taken again.
            let held = slot.seal();
            if !same(held, words) {
                slot.set_state(held);
                slot.unlock(tag);
                return Tried::Again;
            }
            slot.set_state(new);
            slot.unlock_written(tag);
            outcome
        }
        Ok(Wish::Remove(_)) => return Tried::Remove,
        Err(error) => return Tried::Done(Err(error)),
    };
    Tried::Done(Ok(outcome))
}

#[inline(always)]
fn apply<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
) -> Result<P::Outcome, Error> {
    let at_home = core.find_at_home(place).map(|found| attempt::<S, I, P, true>(found, at, program, request));
    // Taken apart in each way: a result that both ways write to would be in memory.
    let outcome = if let Some(Tried::Done(result)) = at_home {
        result?
    } else {
        // A copy: what is lent to a function that is not inlined is in memory.
        let mut moment = *at;
        let outcome = apply_anywhere::<S, I, P>(core, place, &mut moment, program, request)?;
        *at = moment;
        outcome
    };
    Ok(outcome)
}

/// A check of a key that is not at home, not there, or in use.
#[inline(never)]
fn apply_anywhere<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
) -> Result<P::Outcome, Error> {
    let mut backoff = Backoff::new();
    loop {
        let Some((slot, mut tag)) = core.find(place) else {
            match under_mutex::<S, I, P>(core, place, at, program, request) {
                Some(result) => return result,
                None => continue,
            }
        };
        while tag.is_same_key(place.tag) {
            match attempt::<S, I, P, false>((slot, tag), at, program, request) {
                Tried::Done(result) => return result,
                Tried::Again => backoff.wait(),
                Tried::Remove => {
                    if let Some(result) = under_mutex::<S, I, P>(core, place, at, program, request) {
                        return result;
                    }
                }
            }
            tag = slot.tag();
        }
    }
}

/// What needs the mutex: a key that is absent or to be removed. `None` if the key is there and keeps being there: it is
/// looked for again.
#[cold]
#[inline(never)]
fn under_mutex<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
) -> Option<Result<P::Outcome, Error>> {
    loop {
        let mut shard = core.lock_shard(place, at);
        let found = core.find_in_line(place);
        let words = match found {
            None => None,
            Some((_, slot, tag)) => {
                let words = slot.state();
                if !slot.unchanged(tag, words) {
                    return None;
                }
                Some(words)
            }
        };
        let outcome = match step::<S, I, P>(words, at, program, request) {
            Err(error) => return Some(Err(error)),
            Ok(Wish::Keep(outcome)) => outcome,
            Ok(Wish::Remove(outcome)) => match found {
                Some((line, slot, tag)) => {
                    let judged = words.unwrap_or_default();
                    if !shard.remove(line, slot, tag, |held| same(held, judged)) {
                        return None;
                    }
                    outcome
                }
                None => outcome,
            },
            Ok(Wish::Write(new, outcome)) => {
                if found.is_some() {
                    return None;
                }
                if !shard.reserve(place) {
                    drop(shard);
                    core.evict_elsewhere(place, at.now_ms);
                    continue;
                }
                shard.insert(place, new);
                outcome
            }
        };
        return Some(Ok(outcome));
    }
}

/// Holds the lock bit of a slot and its state over code of the user's, which may panic.
struct Locked<'a, H: Shape> {
    slot: Slot<'a, H>,
    tag: Tag,
    /// The state that it gets back.
    state: [u64; 3],
    written: bool,
}

impl<H: Shape> Drop for Locked<'_, H> {
    fn drop(&mut self) {
        self.slot.set_state(self.state);
        if self.written {
            self.slot.unlock_written(self.tag);
        } else {
            self.slot.unlock(self.tag);
        }
    }
}

/// One frame of a joint run: the mutex keeps an absent key absent, the lock bit keeps a present one as it is, until
/// `then` has said what becomes of all.
fn joint<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    at: &mut Moment<'_>,
    program: &P,
    request: &P::Request,
    then: Then<'_>,
    spared: Spared<'_, S>,
) -> Result<P::Outcome, Error> {
    let mut backoff = Backoff::new();
    loop {
        let mut shard = core.lock_shard(place, at);
        let outcome = if let Some((line, slot, tag)) = core.find_in_line(place) {
            if !slot.try_lock(tag) {
                drop(shard);
                backoff.wait();
                continue;
            }
            let mut locked = Locked::<I::Shape> { slot, tag, state: slot.seal(), written: false };
            match step::<S, I, P>(Some(locked.state), at, program, request)? {
                Wish::Keep(outcome) => {
                    then(false)?;
                    outcome
                }
                Wish::Write(new, outcome) => {
                    if then(true)? {
                        (locked.state, locked.written) = (new, true);
                    } else {
                        spared(live::<S, I>(Some(locked.state), at.now_ms).as_ref(), at.now_ms);
                    }
                    outcome
                }
                Wish::Remove(outcome) => {
                    let remove = then(true)?;
                    if !remove {
                        spared(live::<S, I>(Some(locked.state), at.now_ms).as_ref(), at.now_ms);
                    }
                    drop(locked);
                    if remove {
                        // Checks that were waiting for the lock bit may come first; they are forgotten too.
                        while let Some((_, tag)) = core.find(place) {
                            if shard.remove(line, slot, tag, |_| true) {
                                break;
                            }
                            backoff.wait();
                        }
                    }
                    outcome
                }
            }
        } else {
            match step::<S, I, P>(None, at, program, request)? {
                Wish::Keep(outcome) => {
                    then(false)?;
                    outcome
                }
                Wish::Remove(outcome) => {
                    if !then(true)? {
                        spared(None, at.now_ms);
                    }
                    outcome
                }
                Wish::Write(new, outcome) => {
                    // Room is made when the change is sure, so that a refusal evicts nobody; only a shard without keys
                    // of its own must ask its neighbours, and cannot while other locks are held.
                    if !shard.has_live() && !shard.reserve(place) {
                        drop(shard);
                        core.evict_elsewhere(place, at.now_ms);
                        continue;
                    }
                    if then(true)? {
                        let mut wait = Backoff::new();
                        while !shard.reserve(place) {
                            wait.wait();
                        }
                        shard.insert(place, new);
                    } else {
                        spared(None, at.now_ms);
                    }
                    outcome
                }
            }
        };
        return Ok(outcome);
    }
}

macro_rules! inline_kind {
    ($kind:ident, $as:ident) => {
        impl<S: State + $as> Kind<S> for $kind {
            type Shape = <Self as Inline<S>>::Shape;

            #[inline(always)]
            fn apply<P: Program<State = S>>(
                core: &Core<Self::Shape>,
                place: Place,
                at: &mut Moment<'_>,
                program: &P,
                request: &P::Request,
            ) -> Result<P::Outcome, Error> {
                apply::<S, Self, P>(core, place, at, program, request)
            }

            fn joint<P: Program<State = S>>(
                core: &Core<Self::Shape>,
                place: Place,
                at: &mut Moment<'_>,
                program: &P,
                request: &P::Request,
                then: Then<'_>,
                spared: Spared<'_, S>,
            ) -> Result<P::Outcome, Error> {
                joint::<S, Self, P>(core, place, at, program, request, then, spared)
            }
        }
    };
}

inline_kind!(Instant, AsInstant);
inline_kind!(Pair, AsPair);
