//! A table in process that forgets no state while that lives.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{BuildError, Error};
use crate::fingerprint::{ByFingerprint, HashKey};
use crate::observe::TableReport;
use crate::program::{Change, Program, State, Step};
use crate::run::Run;
use crate::store::{Keyspace, prefixed};

/// The number of keys a ledger holds unless it is told otherwise.
pub const DEFAULT_MAX_KEYS: usize = 100_000;

/// A bounded table in process that never forgets a state that still lives.
///
/// A [`Table`](crate::store::memory::Table) at its bound evicts a key that was not used lately, which then starts afresh. For
/// a budget that is a gift: whoever makes enough keys up gets what was spent back. A ledger frees expired states only. At
/// its bound, with none expired, new keys share a common account, one for each of its shards (at most 64), until that
/// account expires. So what a key uses is never forgotten, and what all keys beyond the bound use together is at most one
/// budget for each shard. [`shared`](Self::shared) counts how often that happened; then the bound is too small.
///
/// Keys are kept as keyed fingerprints of 64 bits, never as text. A clone is a handle to the same keys.
///
/// ```
/// use throttlekit::ManualClock;
/// use throttlekit::budget::{Budget, Ledger, TokenBudget};
///
/// let budget = Budget::builder().budget(10.0).window_ms(1_000.0).build()?;
/// let ledger = Ledger::bounded(1)?;
/// let budget = TokenBudget::builder(budget).keyspace(ledger.clone()).clock(ManualClock::new(0.0)).build();
/// assert_eq!(budget.debit("a", 10)?.remaining, 0);
/// assert_eq!(budget.debit("b", 4)?.remaining, 6);
/// assert_eq!(budget.debit("c", 4)?.remaining, 2, "b and c share an account");
/// assert!(!budget.debit("a", 1)?.allowed, "a is not forgotten");
/// assert_eq!((ledger.len(), ledger.shared()), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ledger<S: State> {
    core: Arc<Core<S>>,
    prefix: Arc<str>,
    /// The secret of the fingerprints below the prefix.
    secret: HashKey,
}

struct Core<S> {
    /// As many as a power of two.
    shards: Box<[Mutex<Shard<S>>]>,
    secret: HashKey,
    max_keys: usize,
    /// Keys in all shards; never above the bound but for an instant of being found too high.
    len: AtomicUsize,
    shared: AtomicU64,
}

struct Shard<S> {
    states: HashMap<u64, Account<S>, ByFingerprint>,
    /// No state expires earlier.
    first_deadline_ms: f64,
    /// What keys beyond the bound share.
    common: Account<S>,
}

/// A state and when it expires.
struct Account<S> {
    state: Option<S>,
    deadline_ms: f64,
}

impl<S: State> Account<S> {
    const EMPTY: Self = Self { state: None, deadline_ms: f64::NEG_INFINITY };

    fn live(&self, now_ms: f64) -> Option<&S> {
        self.state.as_ref().filter(|_| self.deadline_ms > now_ms)
    }

    fn write(&mut self, change: impl Change<S>, now_ms: f64, ttl_ms: f64) {
        // Taken out meanwhile: an aged state is none to the change.
        let mut state = self.state.take().filter(|_| self.deadline_ms > now_ms);
        change.apply_to(&mut state);
        self.state = state;
        self.deadline_ms = now_ms + ttl_ms.max(0.0);
    }
}

/// Where a new state goes.
enum Room {
    Own,
    Common,
    /// Not known before other shards were looked at.
    Elsewhere,
}

impl<S: State> Ledger<S> {
    /// The largest bound: 2^32 keys.
    pub const MAX_KEYS: u64 = 1 << 32;

    /// A ledger of at most [`DEFAULT_MAX_KEYS`] keys.
    pub fn new() -> Self {
        Self::of(DEFAULT_MAX_KEYS)
    }

    /// A ledger of at most `max_keys` keys, 1 to 2^32.
    ///
    /// # Errors
    ///
    /// `ledger.maxKeys` if it is out of this range.
    pub fn bounded(max_keys: usize) -> Result<Self, BuildError> {
        if max_keys == 0 || max_keys as u64 > Self::MAX_KEYS {
            return Err(BuildError::new("ledger.maxKeys", max_keys, "must be a whole number from 1 to 2^32"));
        }
        Ok(Self::of(max_keys))
    }

    fn of(max_keys: usize) -> Self {
        let shards = (max_keys / 256).clamp(1, 64).next_power_of_two();
        let shard = || Shard { states: HashMap::default(), first_deadline_ms: f64::INFINITY, common: Account::EMPTY };
        let core = Core {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            secret: HashKey::random(),
            max_keys,
            len: AtomicUsize::new(0),
            shared: AtomicU64::new(0),
        };
        let secret = core.secret;
        Self { core: Arc::new(core), prefix: Arc::from(""), secret }
    }

    /// The number of keys held, those included that have expired and whose room was not used again yet.
    pub fn len(&self) -> usize {
        self.core.len.load(Ordering::Relaxed).min(self.core.max_keys)
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most keys it holds.
    pub fn max_keys(&self) -> usize {
        self.core.max_keys
    }

    /// How often a key beyond the bound was judged by an account that it shares.
    pub fn shared(&self) -> u64 {
        self.core.shared.load(Ordering::Relaxed)
    }

    /// Runs `program` on `key` at `now_ms`, in whole milliseconds since the Unix epoch. Never waits for anything but
    /// another thread's step.
    ///
    /// # Errors
    ///
    /// What [`Step::Fail`] carries.
    pub fn apply<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Reply, Error> {
        let outcome = self.core.step(self.secret.fingerprint(key), now_ms, program, request)?;
        Ok(program.reply(now_ms, request, outcome))
    }

    /// Lets all states that live at `now_ms` live until `deadline_ms` at least, which is asked of each.
    #[cfg_attr(not(feature = "config"), allow(dead_code))] // what a reload calls
    pub(crate) fn prolong(&self, now_ms: f64, deadline_ms: impl Fn(&S) -> f64) {
        for index in 0..self.core.shards.len() {
            let shard = &mut *self.core.lock(index);
            for account in shard.states.values_mut().chain([&mut shard.common]) {
                if let Some(state) = account.live(now_ms) {
                    account.deadline_ms = account.deadline_ms.max(deadline_ms(state));
                }
            }
        }
    }
}

impl<S: State> Core<S> {
    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard<S>> {
        // A panic in a step changes nothing, one in a change drops the state that it was to change.
        self.shards[shard & (self.shards.len() - 1)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::cast_possible_truncation)] // which shard: any bits do
    fn step<P: Program<State = S>>(
        &self,
        fingerprint: u64,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Result<P::Outcome, Error> {
        // The upper bits: the map uses the lower ones.
        let home = (fingerprint >> 32) as usize;
        let mut looked_elsewhere = false;
        loop {
            let mut guard = self.lock(home);
            let shard = &mut *guard;
            if let Some(account) = shard.states.get_mut(&fingerprint) {
                return match program.step(account.live(now_ms), now_ms, request) {
                    Step::Keep(outcome) => Ok(outcome),
                    Step::Write { change, ttl_ms, outcome } => {
                        account.write(change, now_ms, ttl_ms);
                        shard.first_deadline_ms = shard.first_deadline_ms.min(account.deadline_ms);
                        Ok(outcome)
                    }
                    Step::Remove(outcome) => {
                        shard.states.remove(&fingerprint);
                        self.len.fetch_sub(1, Ordering::Relaxed);
                        Ok(outcome)
                    }
                    Step::Fail(error) => Err(error),
                };
            }
            // Who shared an account goes on with it, also if there is room by now: it is in use in this window.
            let common = shard.common.live(now_ms);
            let shares = common.is_some();
            let (change, ttl_ms, outcome) = match program.step(common, now_ms, request) {
                Step::Write { change, ttl_ms, outcome } => (change, ttl_ms, outcome),
                // Others share what would be removed.
                Step::Keep(outcome) | Step::Remove(outcome) => return Ok(outcome),
                Step::Fail(error) => return Err(error),
            };
            let room = if shares { Room::Common } else { self.room(shard, now_ms, looked_elsewhere) };
            match room {
                Room::Own => {
                    let mut account = Account::EMPTY;
                    account.write(change, now_ms, ttl_ms);
                    shard.first_deadline_ms = shard.first_deadline_ms.min(account.deadline_ms);
                    shard.states.insert(fingerprint, account);
                }
                Room::Common => {
                    self.shared.fetch_add(1, Ordering::Relaxed);
                    shard.common.write(change, now_ms, ttl_ms);
                }
                Room::Elsewhere => {
                    drop(guard);
                    (0..self.shards.len()).for_each(|other| self.sweep(&mut self.lock(other), now_ms));
                    looked_elsewhere = true;
                    continue;
                }
            }
            return Ok(outcome);
        }
    }

    /// Takes the room of one key, if there is some.
    fn room(&self, shard: &mut Shard<S>, now_ms: f64, looked_elsewhere: bool) -> Room {
        if self.take_room() {
            return Room::Own;
        }
        self.sweep(shard, now_ms);
        match self.take_room() {
            true => Room::Own,
            false if looked_elsewhere => Room::Common,
            false => Room::Elsewhere,
        }
    }

    fn take_room(&self) -> bool {
        let free = self.len.fetch_add(1, Ordering::Relaxed) < self.max_keys;
        if !free {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        free
    }

    /// Drops what has expired. Windows end for all keys at once, so this finds something or costs nothing.
    fn sweep(&self, shard: &mut Shard<S>, now_ms: f64) {
        if shard.first_deadline_ms > now_ms {
            return;
        }
        let before = shard.states.len();
        let mut first = f64::INFINITY;
        shard.states.retain(|_, account| {
            let lives = account.live(now_ms).is_some();
            if lives {
                first = first.min(account.deadline_ms);
            }
            lives
        });
        shard.first_deadline_ms = first;
        self.len.fetch_sub(before - shard.states.len(), Ordering::Relaxed);
    }
}

impl<S: State> From<&Ledger<S>> for TableReport {
    fn from(ledger: &Ledger<S>) -> Self {
        Self::new(ledger.len(), ledger.max_keys())
    }
}

impl<S: State> Keyspace<S> for Ledger<S> {
    const IMMEDIATE: bool = true;

    fn table_state(&self) -> Option<TableReport> {
        Some(self.into())
    }

    fn scoped(&self, prefix: &str) -> Self {
        if prefix.is_empty() {
            return self.clone();
        }
        let prefix: Arc<str> = prefixed(&self.prefix, prefix).into();
        let secret = self.core.secret.scoped(&prefix);
        Self { core: Arc::clone(&self.core), prefix, secret }
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
        Run::ready(keys.iter().map(|key| self.apply(key, now_ms, program, request)).collect())
    }
}

impl<S: State> Default for Ledger<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: State> Clone for Ledger<S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), prefix: Arc::clone(&self.prefix), secret: self.secret }
    }
}

impl<S: State> fmt::Debug for Ledger<S> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("len", &self.len())
            .field("max_keys", &self.max_keys())
            .field("shared", &self.shared())
            .finish_non_exhaustive()
    }
}
