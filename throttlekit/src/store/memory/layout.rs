//! How the table keeps a state: as one word, as two, or in an arena.

use std::fmt;

use super::core::{Arena, Core, Place, Shape};
use super::inline::Inline;
use super::sync::AtomicU64;
use super::word;
use crate::program::Program;
use crate::store::Moment;
use crate::{Error, State};

/// How the memory table keeps states of type `S`: [`Instant`], [`Pair`] or [`Boxed`]. Sealed.
pub trait Layout<S>: sealed::Kind<S> {}

/// A state that is one instant and means nothing once that has passed: 16 bytes a slot.
#[derive(Clone, Copy, Debug)]
pub struct Instant;

/// A state of two words: 32 bytes a slot.
#[derive(Clone, Copy, Debug)]
pub struct Pair;

/// Any state: 32 bytes a slot, and its value in an arena of its shard. Checks of one shard exclude each other.
#[derive(Clone, Copy, Debug)]
pub struct Boxed;

/// A state that is an instant in milliseconds since the Unix epoch and equals no state at all once that has passed.
pub trait AsInstant: Copy {
    /// The instant. NaN is kept as the epoch, and one beyond 2^65 ms, before or after it, as another that is as far.
    fn to_instant_ms(self) -> f64;
    /// The state from its instant.
    fn from_instant_ms(instant_ms: f64) -> Self;
}

/// A state that is two words.
pub trait AsPair: Copy {
    /// The state as words.
    fn to_words(self) -> [u64; 2];
    /// The state from its words.
    fn from_words(words: [u64; 2]) -> Self;
}

impl<S: State + AsInstant> Layout<S> for Instant {}
impl<S: State + AsPair> Layout<S> for Pair {}
impl<S: State> Layout<S> for Boxed {}

/// What a joint run calls when a program has stepped: told whether it wants a change, it says whether to make it.
pub(crate) type Then<'a> = &'a mut dyn FnMut(bool) -> Result<bool, Error>;

/// What a joint run calls with a state that a program wanted to change and that stays as it is, and with the instant of the step.
pub(crate) type Spared<'a, S> = &'a mut dyn FnMut(Option<&S>, f64);

pub(super) mod sealed {
    use super::{Core, Error, Moment, Place, Program, Shape, Spared, Then};

    /// What runs programs on keys; the moment is then that of the step.
    pub trait Kind<S>: 'static {
        type Shape: Shape;

        fn apply<P: Program<State = S>>(
            core: &Core<Self::Shape>,
            place: Place,
            at: &mut Moment<'_>,
            program: &P,
            request: &P::Request,
        ) -> Result<P::Outcome, Error>;

        fn joint<P: Program<State = S>>(
            core: &Core<Self::Shape>,
            place: Place,
            at: &mut Moment<'_>,
            program: &P,
            request: &P::Request,
            then: Then<'_>,
            spared: Spared<'_, S>,
        ) -> Result<P::Outcome, Error>;
    }
}

/// Slots of two words: `[tag, instant]`.
#[derive(Debug)]
pub struct Narrow;

impl Shape for Narrow {
    type Words = [AtomicU64; 2];
    type Arena = ();

    #[inline]
    fn is_live(first: u64, now_ms: f64) -> bool {
        word::unpack(first) > now_ms
    }

    fn prolonged(first: u64, _deadline_ms: f64) -> u64 {
        first
    }
}

impl<S: State + AsInstant> Inline<S> for Instant {
    type Shape = Narrow;

    #[inline]
    fn load(words: [u64; 3]) -> S {
        S::from_instant_ms(word::unpack(words[0]))
    }

    #[inline]
    fn store(state: S, old: u64, _deadline_ms: f64) -> [u64; 3] {
        [word::pack(state.to_instant_ms(), old), 0, 0]
    }
}

/// Slots of four words: `[tag, deadline and writes, a, b]`.
pub struct Wide<A>(std::marker::PhantomData<fn() -> A>);

impl<A> fmt::Debug for Wide<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wide")
    }
}

/// A deadline in whole milliseconds in the upper 48 bits, moved up so that instants before the epoch fit; below it a
/// counter of the slot's writes, which tells apart more states than the five bits of the tag do.
const DEADLINE_BITS: u32 = 48;
const WRITE_BITS: u32 = 64 - DEADLINE_BITS;
const EPOCH: i64 = 1 << (DEADLINE_BITS - 1);
/// The last deadline stands for never: 4,400 years from the epoch.
const NEVER: u64 = (1 << DEADLINE_BITS) - 1;

#[inline]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)] // clamped to 48 bits
pub(super) fn deadline_word(old: u64, deadline_ms: f64) -> u64 {
    let moved = crate::decision::ceil_ms(deadline_ms).saturating_add(EPOCH).clamp(0, NEVER as i64) as u64;
    (moved << WRITE_BITS) | (old.wrapping_add(1) & ((1 << WRITE_BITS) - 1))
}

impl<A: Arena> Shape for Wide<A> {
    type Words = [AtomicU64; 4];
    type Arena = A;

    #[inline]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)] // 48 bits
    fn is_live(first: u64, now_ms: f64) -> bool {
        let moved = first >> WRITE_BITS;
        (moved as i64 - EPOCH) as f64 > now_ms || moved == NEVER
    }

    fn prolonged(first: u64, deadline_ms: f64) -> u64 {
        let later = deadline_word(first, deadline_ms);
        if later >> WRITE_BITS > first >> WRITE_BITS { later } else { first }
    }
}

impl<S: State + AsPair> Inline<S> for Pair {
    type Shape = Wide<()>;

    #[inline]
    fn load(words: [u64; 3]) -> S {
        S::from_words([words[1], words[2]])
    }

    #[inline]
    fn store(state: S, old: u64, deadline_ms: f64) -> [u64; 3] {
        let [a, b] = state.to_words();
        [deadline_word(old, deadline_ms), a, b]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_visible_until_they_pass() {
        for deadline in [-5_000.0, 0.0, 0.25, 1_700_000_000_334.0, 1_700_000_000_333.25] {
            let word = deadline_word(7, deadline);
            assert_eq!(word & 0xffff, 8, "the writes are counted");
            assert!(Wide::<()>::is_live(word, deadline.ceil() - 1.0), "{deadline}");
            assert!(!Wide::<()>::is_live(word, deadline.ceil()), "{deadline}");
        }
        assert!(Wide::<()>::is_live(deadline_word(0, f64::INFINITY), 1e300), "what never expires never expires");
        assert!(!Wide::<()>::is_live(deadline_word(0, -1e300), -1e13));
    }
}
