//! A call: what an erased store runs at once.

use std::any::Any;
use std::fmt;

use crate::error::Error;
use crate::program::{Change, Formula, Program, State, Step};
use crate::store::distinct::Distinct;
use crate::store::few::Few;
use crate::store::script::{Cell, Script, ScriptRun, Task};

/// What becomes of a call with several programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Each program's change counts on its own.
    Each,
    /// The changes count only if every program wants one.
    All,
}

/// One write that a store has to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The position in [`Call::keys`].
    pub key: usize,
    /// The new state as text and how long it lives in milliseconds; `None` deletes the key.
    pub state: Option<(String, f64)>,
}

/// Distinct keys, ordered programs on them, one rule: a single check, a batch and a joint admission are the same thing.
///
/// A store reads the state of every key, calls [`step`](Self::step), and makes the writes that it returns, atomically.
/// After a lost race it reads again and steps again; the answers of the last step count.
pub struct Call {
    now_ms: f64,
    rule: Rule,
    keys: Distinct<String>,
    parts: Few<(usize, Box<dyn Part>)>,
}

impl Call {
    /// A call at `now_ms`, the limiter's own time; a store with a clock of its own steps at that instead.
    pub fn new(now_ms: f64, rule: Rule) -> Self {
        Self { now_ms, rule, keys: Distinct::new(), parts: Few::new() }
    }

    /// Adds a program on a key (prefix included). Programs on one key see each other's changes, in this order.
    pub fn push<P: Program>(&mut self, key: String, program: P, request: P::Request) {
        let at = self.keys.place(key);
        self.parts
            .push((at, Box::new(Typed { program, request, judged: None, pending: Pending::Nothing, reply: None })));
    }

    /// The caller's time, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> f64 {
        self.now_ms
    }

    /// What becomes of the changes.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The distinct keys, as the store should name them below its own prefix.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether no program ever changes anything, so that a plain read will do.
    pub fn read_only(&self) -> bool {
        self.parts.iter().all(|(_, part)| part.read_only())
    }

    /// The call in closed form, if it is a single program that has one.
    pub fn formula(&self) -> Option<Formula> {
        match &*self.parts {
            [(_, part)] => part.formula(),
            _ => None,
        }
    }

    /// Whether no program looks at the state (see [`Program::IGNORES_STATE`]), so that nothing has to be read: the step
    /// gets `None` for every key, and the writes need no condition.
    pub fn ignores_state(&self) -> bool {
        self.parts.iter().all(|(_, part)| part.ignores_state())
    }

    /// Runs every program over `states`, the live state of each of [`keys`](Self::keys), and returns what to write: at
    /// most one write for a key.
    ///
    /// # Errors
    ///
    /// `state_invalid` if a state does not parse, and what a program fails with. Nothing is to be written then.
    ///
    /// # Panics
    ///
    /// If `states` is not as long as [`keys`](Self::keys).
    pub fn step(&mut self, states: &[Option<String>], now_ms: f64) -> Result<Vec<Write>, Error> {
        assert_eq!(states.len(), self.keys.len(), "one state for each key of the call");
        let mut states = states.to_vec();
        let mut writes: Vec<Option<Write>> = vec![None; states.len()];
        let mut all = true;
        for (key, part) in self.parts.iter_mut() {
            let key = *key;
            match part.step(states[key].as_deref(), now_ms)? {
                Effect::Keep => all = false,
                Effect::Write(text, ttl_ms) => {
                    states[key] = Some(text.clone());
                    writes[key] = Some(Write { key, state: Some((text, ttl_ms)) });
                }
                Effect::Remove => {
                    states[key] = None;
                    writes[key] = Some(Write { key, state: None });
                }
            }
        }
        if self.rule == Rule::All && !all {
            return Ok(Vec::new());
        }
        Ok(writes.into_iter().flatten().collect())
    }

    /// The programs, in the order in which they were added, as a store that runs scripts sees them.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = Task> + '_ {
        self.parts.iter().map(|(key, part)| Task { key: *key, script: part.script() })
    }

    /// Steps one program alone, over the text of its key, and says what it wants; for a store that sends finished writes
    /// along with scripts. The caller puts the effects of programs on one key together.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    ///
    /// # Panics
    ///
    /// If there is no program at `index`.
    pub fn step_one(&mut self, index: usize, state: Option<&str>, now_ms: f64) -> Result<Effect, Error> {
        self.parts[index].1.judge(state, now_ms)
    }

    /// Steps programs from what a script found, at the time at which it ran, and returns how many changes count.
    ///
    /// `places` says for each of [`keys`](Self::keys) which of the `cells` is its own; programs on keys without a place are
    /// left for another script. Calls that ran on a key together share its cell. A program that was
    /// [stepped alone](Self::step_one) is not stepped again.
    ///
    /// Under [`Rule::All`] every key must have a place, and no two programs may be on one key.
    ///
    /// # Errors
    ///
    /// `state_invalid` if a state does not parse, and what a program fails with. Under [`Rule::Each`] the changes of the
    /// other programs are made all the same.
    ///
    /// # Panics
    ///
    /// If a place has no cell.
    pub fn replay(&mut self, now_ms: f64, places: &[Option<usize>], cells: &mut [Cell]) -> Result<u64, Error> {
        let (mut changes, mut failed) = (0, None);
        for (key, part) in self.parts.iter_mut() {
            let Some(place) = places.get(*key).copied().flatten() else { continue };
            let cell = &mut cells[place];
            match part.replay(cell, now_ms) {
                Ok(changed) => changes += u64::from(changed),
                Err(error) => failed = failed.or(Some(error)),
            }
            if self.rule == Rule::Each {
                part.commit(cell);
            }
        }
        if self.rule == Rule::All {
            let all = failed.is_none() && changes == self.parts.len() as u64;
            changes = if all { changes } else { 0 };
            for (key, part) in self.parts.iter_mut().filter(|_| all) {
                if let Some(place) = places.get(*key).copied().flatten() {
                    part.commit(&mut cells[place]);
                }
            }
        }
        failed.map_or(Ok(changes), Err)
    }

    /// The replies of the programs, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// `state_invalid` if the store never stepped the call or a reply has another type.
    pub(crate) fn into_replies<R: 'static>(mut self) -> Result<Vec<R>, Error> {
        self.parts.iter_mut().map(|(_, part)| reply(part.as_mut())).collect()
    }

    /// The reply of the first program.
    ///
    /// # Errors
    ///
    /// As [`into_replies`](Self::into_replies), and if there is no program.
    pub(crate) fn into_reply<R: 'static>(mut self) -> Result<R, Error> {
        self.parts.first_mut().map_or_else(|| Err(not_run()), |(_, part)| reply(part.as_mut()))
    }
}

/// Takes the reply out of a program.
fn reply<R: 'static>(part: &mut dyn Part) -> Result<R, Error> {
    part.reply().downcast_mut::<Option<R>>().and_then(Option::take).ok_or_else(not_run)
}

fn not_run() -> Error {
    Error::state_invalid("the store did not run the call")
}

impl fmt::Debug for Call {
    /// Shows no key text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("now_ms", &self.now_ms)
            .field("rule", &self.rule)
            .field("keys", &self.keys.len())
            .field("programs", &self.parts.len())
            .finish()
    }
}

/// What one program wants of its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing. Under [`Rule::All`] a refusal.
    Keep,
    /// The new state as text, and how long it lives in milliseconds.
    Write(String, f64),
    /// To forget it.
    Remove,
}

/// A program with its request and, after a step, its reply; the type is known inside only.
trait Part: Send {
    fn read_only(&self) -> bool;
    fn formula(&self) -> Option<Formula>;
    fn ignores_state(&self) -> bool;
    fn step(&mut self, state: Option<&str>, now_ms: f64) -> Result<Effect, Error>;
    fn script(&self) -> Option<Script>;
    /// Steps, and remembers that it did.
    fn judge(&mut self, state: Option<&str>, now_ms: f64) -> Result<Effect, Error>;
    /// Steps from a cell unless it was judged, and says whether that would change something.
    fn replay(&mut self, cell: &mut Cell, now_ms: f64) -> Result<bool, Error>;
    /// Makes the change that the last replay wanted, if any.
    fn commit(&mut self, cell: &mut Cell);
    /// The reply, an `Option` of its type: none before a step.
    fn reply(&mut self) -> &mut dyn Any;
}

struct Typed<P: Program> {
    program: P,
    request: P::Request,
    /// Whether it wants a change, if it was stepped alone.
    judged: Option<bool>,
    pending: Pending<P::Change>,
    reply: Option<P::Reply>,
}

/// The change that a replay wants and that may come to nothing.
enum Pending<C> {
    Nothing,
    Write(C),
    Remove,
}

impl<P: Program> Part for Typed<P> {
    fn read_only(&self) -> bool {
        P::READ_ONLY
    }

    fn formula(&self) -> Option<Formula> {
        self.program.formula(&self.request)
    }

    fn ignores_state(&self) -> bool {
        P::IGNORES_STATE
    }

    fn step(&mut self, text: Option<&str>, now_ms: f64) -> Result<Effect, Error> {
        let mut state = match text.filter(|_| !P::IGNORES_STATE) {
            None => None,
            Some(text) => {
                Some(P::State::decode(text).ok_or_else(|| Error::state_invalid("the stored text does not parse"))?)
            }
        };
        let (effect, outcome) = match self.program.step(state.as_ref(), now_ms, &self.request) {
            Step::Keep(outcome) => (Effect::Keep, outcome),
            Step::Remove(outcome) => (Effect::Remove, outcome),
            Step::Write { change, ttl_ms, outcome } => {
                change.apply_to(&mut state);
                match state {
                    Some(state) => (Effect::Write(state.encode(), ttl_ms), outcome),
                    None => return Err(Error::state_invalid("a change left no state")),
                }
            }
            Step::Fail(error) => return Err(error),
        };
        self.reply = Some(self.program.reply(now_ms, &self.request, outcome));
        Ok(effect)
    }

    fn script(&self) -> Option<Script> {
        let twin = self.program.twin()?;
        let run = if P::READ_ONLY {
            ScriptRun::Read
        } else if twin.lua.is_empty() {
            ScriptRun::Remove
        } else {
            ScriptRun::Step((twin.request)(&self.request))
        };
        Some(Script { lua: twin.lua, args: (twin.args)(&self.program), run })
    }

    fn judge(&mut self, state: Option<&str>, now_ms: f64) -> Result<Effect, Error> {
        let effect = self.step(state, now_ms)?;
        self.judged = Some(effect != Effect::Keep);
        Ok(effect)
    }

    fn replay(&mut self, cell: &mut Cell, now_ms: f64) -> Result<bool, Error> {
        if let Some(wants) = self.judged {
            return Ok(wants);
        }
        self.pending = Pending::Nothing;
        let state = if P::IGNORES_STATE { None } else { cell.state(&self.program)?.as_ref() };
        let outcome = match self.program.step(state, now_ms, &self.request) {
            Step::Keep(outcome) => outcome,
            Step::Write { change, outcome, .. } => {
                self.pending = Pending::Write(change);
                outcome
            }
            Step::Remove(outcome) => {
                self.pending = Pending::Remove;
                outcome
            }
            Step::Fail(error) => return Err(error),
        };
        self.reply = Some(self.program.reply(now_ms, &self.request, outcome));
        Ok(!matches!(self.pending, Pending::Nothing))
    }

    fn commit(&mut self, cell: &mut Cell) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Remove => cell.forget(),
            Pending::Write(change) => cell.change(&self.program, change),
        }
    }

    fn reply(&mut self) -> &mut dyn Any {
        &mut self.reply
    }
}
