//! The store in process.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::error::{BuildError, Error};
use crate::program::{Change, Program, State, Step};
use crate::run::Run;
use crate::store::{Keyspace, prefixed};

/// How a state is kept.
pub trait Layout<S> {}
/// A state that is one f64 instant, its own deadline.
#[derive(Debug)]
pub struct Instant;
/// A state of two words.
#[derive(Debug)]
pub struct Pair;
/// Any state.
#[derive(Debug)]
pub struct Boxed;
/// A state that is one instant in ms: it expires then.
pub trait AsInstant: Copy {
    /// to ms
    fn to_instant_ms(self) -> f64;
    /// from ms
    fn from_instant_ms(ms: f64) -> Self;
}
/// A state of two words.
pub trait AsPair: Copy {
    /// to
    fn to_words(self) -> [u64; 2];
    /// from
    fn from_words(words: [u64; 2]) -> Self;
}
impl<S: AsInstant> Layout<S> for Instant {}
impl<S: AsPair> Layout<S> for Pair {}
impl<S> Layout<S> for Boxed {}

impl State for f64 {
    type Layout = Boxed;
    fn encode(&self) -> String {
        format!("{self}")
    }
    fn decode(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// stub
#[derive(Debug)]
pub struct Table<S: State> {
    inner: Arc<Mutex<HashMap<String, (S, f64)>>>,
    prefix: Arc<str>,
}
impl<S: State> Clone for Table<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), prefix: self.prefix.clone() }
    }
}
impl<S: State> Default for Table<S> {
    fn default() -> Self {
        Self::new()
    }
}
impl<S: State> Table<S> {
    /// new
    pub fn new() -> Self {
        Self { inner: Arc::default(), prefix: "".into() }
    }
    /// At most `max_keys` keys.
    ///
    /// # Errors
    /// `max_keys` 0.
    pub fn bounded(max_keys: usize) -> Result<Self, BuildError> {
        let _ = max_keys;
        Ok(Self::new())
    }
    /// entries held
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap().len()
    }
    /// none held
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// bound
    pub fn max_keys(&self) -> usize {
        1_000_000
    }
    /// present and live
    pub fn contains(&self, key: &str, now_ms: f64) -> bool {
        self.inner.lock().unwrap().get(&prefixed(&self.prefix, key)).is_some_and(|(_, e)| *e > now_ms)
    }
    /// Whether both are handles to the same keys' table.
    pub(crate) fn same_table(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
    /// A number for lock order, unique per table.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.inner) as *const u8 as usize
    }
    /// apply
    ///
    /// # Errors
    /// the step's
    pub fn apply<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Reply, Error> {
        self.joint(key, now_ms, program, request, &mut |wants| Ok(wants))
    }
    /// One frame of a joint run: locks the key, steps, tells `then` whether the program wants to change something, and
    /// makes the change if `then` says so. `then` may lock other tables, of a higher [`id`](Self::id) only.
    pub(crate) fn joint<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
        then: &mut dyn FnMut(bool) -> Result<bool, Error>,
    ) -> Result<P::Reply, Error> {
        let key = prefixed(&self.prefix, key);
        let mut map = self.inner.lock().unwrap();
        let state = map.get(&key).filter(|(_, e)| *e > now_ms).map(|(s, _)| s);
        let outcome = match program.step(state, now_ms, request) {
            Step::Keep(o) => {
                then(false)?;
                o
            }
            Step::Fail(e) => return Err(e),
            Step::Remove(o) => {
                if then(true)? {
                    map.remove(&key);
                }
                o
            }
            Step::Write { change, ttl_ms, outcome } => {
                if then(true)? {
                    let mut old = map.remove(&key).filter(|(_, e)| *e > now_ms).map(|(s, _)| s);
                    change.apply(&mut old);
                    map.insert(key, (old.unwrap(), now_ms + ttl_ms));
                }
                outcome
            }
        };
        Ok(program.reply(now_ms, request, outcome))
    }
}
impl<S: State> Keyspace<S> for Table<S> {
    fn scoped(&self, prefix: &str) -> Self {
        Self { inner: self.inner.clone(), prefix: prefixed(&self.prefix, prefix).into() }
    }
    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        Run::ready(self.apply(key, now_ms, program, request))
    }
    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        Run::ready(keys.iter().map(|k| self.apply(k, now_ms, program, request)).collect())
    }
}
