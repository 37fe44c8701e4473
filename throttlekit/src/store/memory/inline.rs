//! States that fit a slot: checked without a mutex.

use std::marker::PhantomData;

use super::core::{Core, Place, Shape, Slot};
use super::layout::{Then, sealed::Kind};
use super::sync::{Backoff, Ordering};
use super::{Instant, Pair};
use crate::error::Error;
use crate::program::{Change, Program, State, Step};
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
#[inline]
fn step<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    words: Option<[u64; 3]>,
    now_ms: f64,
    program: &P,
    request: &P::Request,
) -> Result<Wish<P::Outcome>, Error> {
    let live = words.filter(|words| I::Shape::is_live(words[0], now_ms)).map(I::load);
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

#[cold]
pub(super) fn no_state() -> Error {
    Error::state_invalid("a change left no state")
}

#[inline]
fn apply<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    now_ms: f64,
    program: &P,
    request: &P::Request,
) -> Result<P::Reply, Error> {
    type Of<I, S> = Core<<I as Inline<S>>::Shape>;
    let mut backoff = Backoff::new();
    'find: loop {
        let Some((slot, mut tag)) = core.find(place) else {
            match under_mutex::<S, I, P>(core, place, now_ms, program, request) {
                Some(result) => return result,
                None => continue,
            }
        };
        loop {
            let words = Of::<I, S>::read(slot);
            if Of::<I, S>::unchanged(slot, tag, words) {
                match step::<S, I, P>(Some(words), now_ms, program, request)? {
                    Wish::Keep(outcome) => {
                        Of::<I, S>::mark(slot, tag);
                        return Ok(program.reply(now_ms, request, outcome));
                    }
                    Wish::Write(new, outcome) => {
                        if Of::<I, S>::try_lock(slot, tag) {
                            // An equal tag can be 64 writes younger, or a slot that was freed and taken again.
                            if Of::<I, S>::read(slot) == words {
                                Of::<I, S>::write(slot, new);
                                Of::<I, S>::unlock_written(slot, tag);
                                return Ok(program.reply(now_ms, request, outcome));
                            }
                            Of::<I, S>::unlock(slot, tag);
                        }
                    }
                    Wish::Remove(_) => match under_mutex::<S, I, P>(core, place, now_ms, program, request) {
                        Some(result) => return result,
                        None => continue 'find,
                    },
                }
            }
            backoff.wait();
            tag = slot[0].load(Ordering::Acquire);
            if !Of::<I, S>::is_of(tag, place) {
                continue 'find;
            }
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
    now_ms: f64,
    program: &P,
    request: &P::Request,
) -> Option<Result<P::Reply, Error>> {
    loop {
        let mut shard = core.lock_shard(place);
        let found = core.find_in_line(place);
        let words = match found {
            None => None,
            Some((_, slot, tag)) => {
                let words = Core::<I::Shape>::read(slot);
                if !Core::<I::Shape>::unchanged(slot, tag, words) {
                    return None;
                }
                Some(words)
            }
        };
        let outcome = match step::<S, I, P>(words, now_ms, program, request) {
            Err(error) => return Some(Err(error)),
            Ok(Wish::Keep(outcome)) => outcome,
            Ok(Wish::Remove(outcome)) => match found {
                Some((line, slot, tag)) if !shard.remove(line, slot, tag) => return None,
                _ => outcome,
            },
            Ok(Wish::Write(new, outcome)) => {
                if found.is_some() {
                    return None;
                }
                if !shard.reserve(place, now_ms) {
                    drop(shard);
                    core.evict_elsewhere(place, now_ms);
                    continue;
                }
                shard.insert(place, new, now_ms);
                outcome
            }
        };
        drop(shard);
        return Some(Ok(program.reply(now_ms, request, outcome)));
    }
}

/// Holds the lock bit of a slot over code of the user's, which may panic.
struct Locked<'a, H: Shape> {
    slot: Slot<'a>,
    tag: u64,
    /// What is written when the lock bit is given back.
    new: Option<[u64; 3]>,
    shape: PhantomData<H>,
}

impl<H: Shape> Drop for Locked<'_, H> {
    fn drop(&mut self) {
        match self.new {
            Some(new) => {
                Core::<H>::write(self.slot, new);
                Core::<H>::unlock_written(self.slot, self.tag);
            }
            None => Core::<H>::unlock(self.slot, self.tag),
        }
    }
}

/// One frame of a joint run: the mutex keeps an absent key absent, the lock bit keeps a present one as it is, until
/// `then` has said what becomes of all.
fn joint<S: State + Copy, I: Inline<S>, P: Program<State = S>>(
    core: &Core<I::Shape>,
    place: Place,
    now_ms: f64,
    program: &P,
    request: &P::Request,
    then: Then<'_>,
) -> Result<P::Reply, Error> {
    let mut backoff = Backoff::new();
    loop {
        let mut shard = core.lock_shard(place);
        let outcome = if let Some((line, slot, tag)) = core.find_in_line(place) {
            if !Core::<I::Shape>::try_lock(slot, tag) {
                drop(shard);
                backoff.wait();
                continue;
            }
            let mut locked = Locked::<I::Shape> { slot, tag, new: None, shape: PhantomData };
            match step::<S, I, P>(Some(Core::<I::Shape>::read(slot)), now_ms, program, request)? {
                Wish::Keep(outcome) => {
                    then(false)?;
                    outcome
                }
                Wish::Write(new, outcome) => {
                    if then(true)? {
                        locked.new = Some(new);
                    }
                    outcome
                }
                Wish::Remove(outcome) => {
                    let remove = then(true)?;
                    drop(locked);
                    if remove {
                        // Checks that were waiting for the lock bit may come first; they are forgotten too.
                        while let Some((_, tag)) = core.find(place) {
                            if shard.remove(line, slot, tag) {
                                break;
                            }
                            backoff.wait();
                        }
                    }
                    outcome
                }
            }
        } else {
            match step::<S, I, P>(None, now_ms, program, request)? {
                Wish::Keep(outcome) => {
                    then(false)?;
                    outcome
                }
                Wish::Remove(outcome) => {
                    then(true)?;
                    outcome
                }
                Wish::Write(new, outcome) => {
                    // Room is made when the change is sure, so that a refusal evicts nobody; only a shard without keys
                    // of its own must ask its neighbours, and cannot while other locks are held.
                    let early = !shard.has_live();
                    if early && !shard.reserve(place, now_ms) {
                        drop(shard);
                        core.evict_elsewhere(place, now_ms);
                        continue;
                    }
                    let commit = then(true);
                    match commit {
                        Ok(true) => {
                            let mut wait = Backoff::new();
                            while !early && !shard.reserve(place, now_ms) {
                                wait.wait();
                            }
                            shard.insert(place, new, now_ms);
                        }
                        Ok(false) | Err(_) if early => shard.unreserve(),
                        Ok(false) | Err(_) => {}
                    }
                    commit?;
                    outcome
                }
            }
        };
        drop(shard);
        return Ok(program.reply(now_ms, request, outcome));
    }
}

macro_rules! inline_kind {
    ($kind:ident, $as:ident) => {
        impl<S: State + $as> Kind<S> for $kind {
            type Shape = <Self as Inline<S>>::Shape;

            #[inline]
            fn apply<P: Program<State = S>>(
                core: &Core<Self::Shape>,
                place: Place,
                now_ms: f64,
                program: &P,
                request: &P::Request,
            ) -> Result<P::Reply, Error> {
                apply::<S, Self, P>(core, place, now_ms, program, request)
            }

            fn joint<P: Program<State = S>>(
                core: &Core<Self::Shape>,
                place: Place,
                now_ms: f64,
                program: &P,
                request: &P::Request,
                then: Then<'_>,
            ) -> Result<P::Reply, Error> {
                joint::<S, Self, P>(core, place, now_ms, program, request, then)
            }
        }
    };
}

inline_kind!(Instant, AsInstant);
inline_kind!(Pair, AsPair);
