//! The store in process: a bounded table of keyed fingerprints, safe under threads, without a task.
//!
//! ```
//! use throttlekit::store::memory::Table;
//! use throttlekit::{Gcra, Limiter};
//!
//! let table = Table::bounded(10_000)?;
//! let limiter = Limiter::builder(Gcra::per_second(10)?).keyspace(table.clone()).build();
//! limiter.check("user-1")?;
//! assert_eq!(table.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How it works, what it promises and how that is checked:
//!
#![doc = include_str!("../../../docs/memory-store.md")]
#![doc = include_str!("../../../docs/benchmarks.md")]

mod boxed;
mod core;
mod inline;
mod layout;
mod lines;
#[cfg(all(test, loom))]
mod loom_tests;
mod prolong;
mod shard;
mod slot;
mod sync;
mod word;

pub(crate) use layout::Then;
pub use layout::{AsInstant, AsPair, Boxed, Instant, Layout, Pair};

use std::fmt;
use std::sync::Arc;

use self::core::Core;
use self::layout::{Spared, sealed::Kind};
use crate::error::{BuildError, Error};
use crate::fingerprint::{HashKey, Mark};
use crate::observe::TableReport;
use crate::program::{Program, State};
use crate::run::Run;
use crate::store::{Keyspace, Moment};

type ShapeOf<S> = <<S as State>::Layout as Kind<S>>::Shape;

/// A bounded table of states of one type, safe under threads, the default [`Keyspace`] of a limiter.
///
/// A clone is a handle to the same keys. Keys are kept as keyed fingerprints, never as text: two keys meet with
/// probability `n / 2^64` at `n` live keys (from 256 shards on; see the [module](self)).
///
/// At the bound, expired entries go first, then entries that were not used lately; a key that is evicted starts anew. A table with
/// several shards looks for them near the new key only. Choose the bound above the number of keys that are live at once.
///
/// # Panics
///
/// No method but [`new`](Self::new) panics by itself. A panic in a program's step changes nothing; one in [`Change`](crate::Change) for a
/// [`Boxed`] state drops that key.
pub struct Table<S: State> {
    core: Arc<Core<ShapeOf<S>>>,
    key: HashKey,
}

/// The number of keys a table holds unless it is told otherwise.
pub const DEFAULT_MAX_KEYS: usize = 1_000_000;

/// Settings of a [`Table`].
#[derive(Clone, Debug)]
#[must_use = "settings make no table until `build` is called"]
pub struct TableBuilder {
    max_keys: usize,
    shards: Option<usize>,
    seed: Option<[u64; 2]>,
}

impl TableBuilder {
    /// The largest bound: 2^32 keys.
    pub const MAX_KEYS: u64 = 1 << 32;
    /// Above this many shards each of them grows instead.
    const MAX_SHARDS: usize = 1 << 16;
    /// What the 16 bits that count a shard's lines leave room for.
    const MAX_KEYS_PER_SHARD: usize = 1 << 17;

    /// The most keys the table holds, 1 to 2^32. Default: [`DEFAULT_MAX_KEYS`].
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// The number of shards, rounded up to a power of two: 1 to 65,536, and at least one for each 131,072 keys of the
    /// bound. Default: one for each 1,024 keys of the bound.
    ///
    /// With one shard the order of eviction depends on nothing but the seed.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The secret of the fingerprints, for runs that must repeat. Default: drawn at random, as it must be wherever keys
    /// come from strangers.
    pub fn seed(mut self, seed: [u64; 2]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the table.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range, or the system does not reserve the memory that `max_keys` may need.
    pub fn build<S: State>(self) -> Result<Table<S>, BuildError> {
        if self.max_keys == 0 || self.max_keys as u64 > Self::MAX_KEYS {
            return Err(BuildError::new("memory.maxKeys", self.max_keys, "must be a whole number from 1 to 2^32"));
        }
        let shards = match self.shards {
            None => (self.max_keys / 1_024).clamp(1, Self::MAX_SHARDS),
            Some(shards) => {
                let least = self.max_keys.div_ceil(Self::MAX_KEYS_PER_SHARD);
                if !(least..=Self::MAX_SHARDS).contains(&shards) {
                    let allowed = format!("must be a whole number from {least} to {}", Self::MAX_SHARDS);
                    return Err(BuildError::new("memory.shards", shards, allowed));
                }
                shards
            }
        };
        let core = Core::new(self.max_keys, shards).ok_or_else(|| {
            BuildError::new("memory.maxKeys", self.max_keys, "must be small enough for the memory to be reserved")
        })?;
        Ok(Table { core: Arc::new(core), key: self.seed.map_or_else(HashKey::random, HashKey::from_seed) })
    }
}

impl Table<()> {
    /// Settings of a table.
    pub fn builder() -> TableBuilder {
        TableBuilder { max_keys: DEFAULT_MAX_KEYS, shards: None, seed: None }
    }
}

impl<S: State> Table<S> {
    /// A table of at most [`DEFAULT_MAX_KEYS`] keys.
    ///
    /// # Panics
    ///
    /// If the system does not reserve 60 MB of address space.
    pub fn new() -> Self {
        Table::builder().build().expect("the default settings are in range, and 60 MB of address space are there")
    }

    /// A table of at most `max_keys` keys.
    ///
    /// # Errors
    ///
    /// If `max_keys` is 0 or above 2^32.
    pub fn bounded(max_keys: usize) -> Result<Self, BuildError> {
        Table::builder().max_keys(max_keys).build()
    }

    /// The number of keys held, those included that have expired and whose room was not used again yet.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most keys the table holds.
    pub fn max_keys(&self) -> usize {
        self.core.max_keys
    }

    /// How many keys had to give way at the bound before they expired, since the table was made. A number that goes on growing
    /// says that the bound is below the number of keys that are live at once or, with several shards, not far above it: then
    /// those that have expired are elsewhere, and a live key near the new one went.
    pub fn evicted(&self) -> u64 {
        self.core.evicted()
    }

    /// Whether `key` is held and has not expired at `now_ms`. This is no use of the key in the sense of eviction.
    pub fn contains(&self, key: &str, now_ms: f64) -> bool {
        self.core.contains(self.core.place(self.key.fingerprint(key)), now_ms)
    }

    /// Frees what has expired in one shard, whose number is `index` modulo the number of shards.
    pub(crate) fn free_expired(&self, index: usize, now_ms: f64) {
        self.core.free_expired(index, now_ms);
    }

    /// Lets all keys that live at `now_ms` live until `deadline_ms` at least.
    #[cfg_attr(not(feature = "config"), allow(dead_code))] // what a reload calls
    pub(crate) fn prolong(&self, now_ms: f64, deadline_ms: f64) {
        self.core.prolong(now_ms, deadline_ms);
    }

    /// A number that orders the locks of tables. Handles to one table have the same.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.core).addr()
    }

    /// Runs `program` on `key` at `now_ms`, in whole milliseconds since the Unix epoch. Never waits for anything but
    /// another thread's few instructions.
    ///
    /// # Errors
    ///
    /// What [`Step::Fail`](crate::Step::Fail) carries.
    #[inline(always)]
    pub fn apply<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Reply, Error> {
        self.apply_at(key, Mark::default(), &mut Moment::given(now_ms), program, request)
    }

    /// As [`apply`](Self::apply), with the [mark](Self::mark) of `key`, or none; `at` is then the moment of the step.
    #[inline(always)]
    pub(crate) fn apply_at<P: Program<State = S>>(
        &self,
        key: &str,
        mark: Mark,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Reply, Error> {
        let place = self.core.place(self.key.fingerprint_of(key, mark));
        // The reply is made here, once, from an outcome that fits registers: made further down, it would be copied.
        match <S::Layout as Kind<S>>::apply(&self.core, place, at, program, request) {
            Ok(outcome) => Ok(program.reply(at.now_ms, request, outcome)),
            Err(error) => Err(error),
        }
    }

    /// Runs `program` on each of `keys` in order. For many keys this is faster than one by one, since the memory of the
    /// next ones is fetched while the first are judged.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply); the keys before the one that failed have been judged.
    pub fn apply_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Result<Vec<P::Reply>, Error> {
        self.apply_many_at(keys, &mut Moment::given(now_ms), program, request)
    }

    /// As [`apply_many`](Self::apply_many); `at` is then the moment of the last step. No step is before another one.
    pub(crate) fn apply_many_at<P: Program<State = S>>(
        &self,
        keys: &[&str],
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Result<Vec<P::Reply>, Error> {
        /// As many as the processor can fetch at once.
        const AHEAD: usize = 16;
        let mut replies = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AHEAD) {
            // All hashes first: the processor looks some 200 instructions ahead, and a hash between two loads would leave
            // it with one miss at a time.
            let mut places = [self.core.place(0); AHEAD];
            for (place, key) in places.iter_mut().zip(keys) {
                *place = self.core.place(self.key.fingerprint(key));
            }
            let places = &places[..keys.len()];
            std::hint::black_box(places.iter().fold(0, |touched, place| touched ^ self.core.touch(*place)));
            for place in places {
                let outcome = <S::Layout as Kind<S>>::apply(&self.core, *place, at, program, request)?;
                replies.push(program.reply(at.now_ms, request, outcome));
            }
        }
        Ok(replies)
    }

    /// One frame of a joint run: takes the key, steps, tells `then` whether the program wants a change, and makes it if
    /// `then` says so. `then` may enter other tables, of a higher [`id`](Self::id) only. `spared` is shown the state if the
    /// program wants a change and it is not made. `at` is then the moment of the step.
    pub(crate) fn joint<P: Program<State = S>>(
        &self,
        key: &str,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
        then: Then<'_>,
        spared: Spared<'_, S>,
    ) -> Result<P::Reply, Error> {
        let place = self.core.place(self.key.fingerprint(key));
        let outcome = <S::Layout as Kind<S>>::joint(&self.core, place, at, program, request, then, spared)?;
        Ok(program.reply(at.now_ms, request, outcome))
    }
}

impl<S: State> Clone for Table<S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), key: self.key }
    }
}

impl<S: State> Default for Table<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: State> fmt::Debug for Table<S> {
    /// Shows neither keys nor the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("len", &self.len()).field("max_keys", &self.max_keys()).finish_non_exhaustive()
    }
}

impl<S: State> From<&Table<S>> for TableReport {
    fn from(table: &Table<S>) -> Self {
        Self::new(table.len(), table.max_keys()).evicted(table.evicted())
    }
}

impl<S: State> Keyspace<S> for Table<S> {
    const IMMEDIATE: bool = true;

    fn table_state(&self) -> Option<TableReport> {
        Some(self.into())
    }

    fn scoped(&self, prefix: &str) -> Self {
        let key = if prefix.is_empty() { self.key } else { self.key.scoped(prefix) };
        Self { core: Arc::clone(&self.core), key }
    }

    #[inline(always)]
    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        Run::ready(self.apply(key, now_ms, program, request))
    }

    #[inline(always)]
    fn mark(&self, key: &str) -> Mark {
        self.key.mark(key)
    }

    #[inline(always)]
    fn run_at<P: Program<State = S>>(
        &self,
        key: &str,
        mark: Mark,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        Run::ready(self.apply_at(key, mark, at, program, request))
    }

    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        Run::ready(self.apply_many(keys, now_ms, program, request))
    }

    fn run_many_at<P: Program<State = S>>(
        &self,
        keys: &[&str],
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        Run::ready(self.apply_many_at(keys, at, program, request))
    }
}

impl State for () {
    type Layout = Boxed;

    fn encode(&self) -> String {
        "null".to_owned()
    }

    fn decode(text: &str) -> Option<Self> {
        (text.trim() == "null").then_some(())
    }
}

/// A number, such as a count.
impl State for f64 {
    type Layout = Pair;

    fn encode(&self) -> String {
        self.to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl AsPair for f64 {
    fn to_words(self) -> [u64; 2] {
        [self.to_bits(), 0]
    }

    fn from_words(words: [u64; 2]) -> Self {
        Self::from_bits(words[0])
    }
}
