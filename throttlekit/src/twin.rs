//! Twins: the step of a program as a Redis script.
//!
//! A store that runs scripts can run a program where its state is, in one round trip. For that the program carries a
//! [`Twin`]: the same step in Lua, in a file beside its Rust. The pure step is the truth. The script only has to come to
//! the same state; the answer is computed by stepping from what the script found, at the time at which it ran. So an
//! answer takes no Lua, and many steps on one key need no more of an answer than one.
//!
//! # The Lua side
//!
//! The text returns a table of functions. `state` is whatever `load` makes of a stored state, `nil` for none; no function
//! may change one, since a step in a joint run may come to nothing, and keys that hold the same text, or nothing, share what
//! one step made of it.
//!
//! | function | what it does |
//! |---|---|
//! | `read(raw, first, last, now, a, pure)` | puts what is stored under `KEYS[first..last]` into `raw[first..last]`: a text, a list, or `false` for nothing; writes nothing if `pure`; may return a table to take the place of `raw`, with all that was in it |
//! | `load(raw, now, a)` | the state that a stored value means; a second value that is not `nil` says that it means none |
//! | `step(state, now, a, r)` | `nil` to keep it, or the new state and how long it lives in milliseconds; `false` to forget the key |
//! | `show(state)` | of a key that holds nothing but a text: that text |
//! | `save(key, state, ttl, now, a)` | in place of `show`, for every other key: stores a state; `ttl` is a whole number of at least 1, as text |
//! | `tell(key, raw, now, a)` | optional: completes `raw`, before anything is written, by what the answer needs beside |
//!
//! `now` is in whole milliseconds since the Unix epoch, `a` holds the numbers of the program and `r` those of the request.
//! In scope are `LEASE`, `GIVE_BACK` and `lease` for strategies that [know leases](Twin::leasing); `call` and `try` (which raise or return the error of a command), `format`, `floor`, `ceil`, `max` and `min`; `number`,
//! which reads a finite number or gives `nil`; `text`, which writes one with 17 digits; and two readers: `strings(raw,
//! first, last)` for keys that hold a text, and `reply(raw, first, last, command, ...)` for any other command. A reader of its
//! own that gets an error for a key of another type puts it into `raw` and sets `broken[i]`.
//!
//! All arithmetic is that of doubles, in the order of the Rust step.

use crate::error::Error;
use crate::program::Program;

/// The most numbers that one [`Numbers`] holds.
const MOST: usize = 8;

/// The second number of a request to a twin that knows leases and refunds; see [`Twin::leasing`].
pub(crate) const LEASE: f64 = 1.0;
pub(crate) const GIVE_BACK: f64 = 2.0;

/// Numbers for a script, each passed so that it arrives exactly: at most eight.
///
/// ```
/// use throttlekit::twin::Numbers;
///
/// let numbers = Numbers::from([10.0, 0.5]);
/// assert_eq!(numbers.as_slice(), [10.0, 0.5]);
/// assert!(Numbers::from([]).as_slice().is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    numbers: [f64; MOST],
    len: usize,
}

impl Numbers {
    /// The numbers in their order.
    pub fn as_slice(&self) -> &[f64] {
        self.numbers.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> From<[f64; N]> for Numbers {
    fn from(some: [f64; N]) -> Self {
        const { assert!(N <= MOST, "a script takes at most eight numbers of a program or request") };
        let mut numbers = [0.0; MOST];
        for (place, number) in numbers.iter_mut().zip(some) {
            *place = number;
        }
        Self { numbers, len: N }
    }
}

impl PartialEq for Numbers {
    /// Whether both have the same bits.
    fn eq(&self, other: &Self) -> bool {
        self.as_slice().iter().map(|number| number.to_bits()).eq(other.as_slice().iter().map(|number| number.to_bits()))
    }
}

impl Eq for Numbers {}

impl std::hash::Hash for Numbers {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for number in self.as_slice() {
            number.to_bits().hash(state);
        }
    }
}

/// What a script found under a key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Raw {
    /// Nothing.
    Nothing,
    /// A whole number.
    Whole(i64),
    /// A text, not necessarily UTF-8.
    Text(Vec<u8>),
    /// Several values.
    List(Vec<Self>),
    /// The command that reads failed, with this message. The message names no key.
    Failed(String),
}

impl Raw {
    /// The finite number that it is the text of.
    pub fn number(&self) -> Option<f64> {
        match self {
            #[allow(clippy::cast_precision_loss)] // a script's whole numbers come from doubles
            Self::Whole(number) => Some(*number as f64),
            Self::Text(_) => self.text()?.trim_ascii().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    /// The text, if it is one and UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The values of a list; nothing is an empty one.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::Nothing => Some(&[]),
            Self::List(values) => Some(values),
            _ => None,
        }
    }
}

/// How a program reads its state from what its script found.
pub type ReadState<P> = fn(&P, &Raw) -> Result<Option<<P as Program>::State>, Error>;

/// The step of `P` as a script; see the [module](self) for its Lua side.
///
/// ```
/// use throttlekit::twin::Twin;
/// use throttlekit::{Error, Program, Step};
///
/// /// Counts up to a bound.
/// #[derive(Clone)]
/// struct UpTo(f64);
///
/// impl Program for UpTo {
///     type State = f64;
///     type Change = f64;
///     type Request = ();
///     type Outcome = bool;
///     type Reply = bool;
///     fn step(&self, state: Option<&f64>, _now_ms: f64, _request: &()) -> Step<f64, bool> {
///         let next = state.copied().unwrap_or(0.0) + 1.0;
///         if next > self.0 {
///             return Step::Keep(false);
///         }
///         Step::Write { change: next, ttl_ms: 60_000.0, outcome: true }
///     }
///     fn reply(&self, _now_ms: f64, _request: &(), outcome: bool) -> bool {
///         outcome
///     }
///     fn twin(&self) -> Option<Twin<Self>> {
///         const LUA: &str = "
///             local function load(raw) return number(raw), not number(raw) or nil end
///             local function step(count, now, a)
///               local next = (count or 0) + 1
///               if next > a[1] then return nil end
///               return next, 60000
///             end
///             return {read = strings, load = load, step = step, show = text}";
///         Some(Twin::new(LUA, |up_to: &Self| [up_to.0].into(), |()| [].into(), |_, raw| match raw.number() {
///             Some(count) => Ok(Some(count)),
///             None => Err(Error::state_invalid("not a count")),
///         }))
///     }
/// }
/// assert!(UpTo(3.0).twin().is_some());
/// ```
pub struct Twin<P: Program> {
    pub(crate) lua: &'static str,
    pub(crate) args: fn(&P) -> Numbers,
    pub(crate) request: fn(&P::Request) -> Numbers,
    pub(crate) state: ReadState<P>,
    leasing: bool,
}

impl<P: Program> Twin<P> {
    /// A twin by its text, the numbers of a program and of a request, and how the state reads that `read` and `tell`
    /// return. That is not asked for [`Raw::Nothing`] and [`Raw::Failed`]; what it cannot read is `state_invalid`. It may
    /// be as much of the state as the step and the projections of this very program look at.
    ///
    /// Programs with the same text share keys, so they must have the same type of state.
    pub fn new(
        lua: &'static str,
        args: fn(&P) -> Numbers,
        request: fn(&P::Request) -> Numbers,
        state: ReadState<P>,
    ) -> Self {
        Self { lua, args, request, state, leasing: false }
    }

    /// Says that the text is that of a [`Strategy`](crate::Strategy) and knows leases and refunds by the second number of a
    /// request:
    ///
    /// | request | step |
    /// |---|---|
    /// | `{units}` | takes them all or none |
    /// | `{units, LEASE}` | takes them, or else as many whole ones as are left: `lease(step, left, state, now, a, r)` |
    /// | `{units, GIVE_BACK, known, reset}` | puts them back as [`Strategy::refund`] does, or keeps the state if that fails; `known` is 1 if the reset is, else 0 |
    ///
    /// Without, [leases](crate::lease) and refunds are stepped in Rust over the text of the state.
    ///
    /// [`Strategy::refund`]: crate::Strategy::refund
    #[must_use]
    pub fn leasing(mut self) -> Self {
        self.leasing = true;
        self
    }

    /// Whether the text knows leases and refunds.
    pub fn knows_leases(&self) -> bool {
        self.leasing
    }

    /// The text.
    pub fn lua(&self) -> &'static str {
        self.lua
    }

    /// The twin of a program that forgets the key, whatever is there and whoever put it there.
    pub fn remove() -> Self {
        Self::new("", |_| Numbers::from([]), |_| Numbers::from([]), |_, _| Ok(None))
    }
}

impl<P: Program> std::fmt::Debug for Twin<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Twin").field("lua", &self.lua).finish_non_exhaustive()
    }
}

/// The state that `decode` makes of what is stored, or the error that it makes none.
pub(crate) fn readable<S>(decoded: Option<S>) -> Result<Option<S>, Error> {
    decoded.map(Some).ok_or_else(|| Error::state_invalid("what is stored is no state of this limit"))
}
