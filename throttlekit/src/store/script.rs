//! What a store needs that runs the [twins](crate::twin) of programs as scripts.
//!
//! It sends the [`Task`]s of one or many [`Call`](super::Call)s, gets back what the script found under each key and when,
//! and lets the calls [replay](super::Call::replay) that.

use std::any::Any;

use crate::error::Error;
use crate::program::{Change, Program, State};
use crate::twin::{Numbers, Raw, readable};

/// One program of a call.
#[derive(Clone, Debug)]
pub struct Task {
    /// The position of its key in [`Call::keys`](super::Call::keys).
    pub key: usize,
    /// Its script; `None` for a program without a twin.
    pub script: Option<Script>,
}

/// The script of one program.
#[derive(Clone, Debug)]
pub struct Script {
    /// The text of the [`Twin`](crate::twin::Twin). Empty if nothing is to be read or stepped.
    pub lua: &'static str,
    /// The numbers of the program.
    pub args: Numbers,
    /// What to run.
    pub run: ScriptRun,
}

/// What a script has to run for a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScriptRun {
    /// Nothing but reading.
    Read,
    /// Forget the key.
    Remove,
    /// The step, with the numbers of the request.
    Step(Numbers),
}

/// What a script found under one key, and what becomes of it while calls replay.
pub struct Cell {
    raw: Raw,
    /// An `Option<S>`, once it is known what `S` is.
    state: Option<Box<dyn Any + Send>>,
    forgotten: bool,
}

impl Cell {
    /// A cell with what was found.
    pub fn new(raw: Raw) -> Self {
        Self { raw, state: None, forgotten: false }
    }

    /// What is in it, as the type of `program`.
    pub(super) fn state<P: Program>(&mut self, program: &P) -> Result<&mut Option<P::State>, Error> {
        let state = match self.state.take() {
            Some(state) => state,
            None => Box::new(self.read(program)?),
        };
        let known = self.state.insert(state).downcast_mut();
        known.ok_or_else(|| Error::state_invalid("programs with states of different types ran on one key"))
    }

    fn read<P: Program>(&self, program: &P) -> Result<Option<P::State>, Error> {
        match &self.raw {
            Raw::Nothing => Ok(None),
            _ if self.forgotten => Ok(None),
            Raw::Failed(message) => Err(Error::state_invalid(message)),
            raw => {
                if let Some(twin) = program.twin() {
                    return (twin.state)(program, raw);
                }
                readable(raw.text().and_then(P::State::decode))
            }
        }
    }

    pub(super) fn change<P: Program>(&mut self, program: &P, change: P::Change) {
        // A change follows a step from this very state, so there is one of this type.
        if let Ok(state) = self.state(program) {
            change.apply_to(state);
        }
    }

    pub(super) fn forget(&mut self) {
        self.state = None;
        self.forgotten = true;
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("raw", &self.raw).finish_non_exhaustive()
    }
}
