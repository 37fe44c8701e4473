//! This project, at each of its levels, over one table.

use std::hint::black_box;

use throttlekit::store::Keyspace;
use throttlekit::store::memory::Table;
use throttlekit::{
    Admission, Admit, Ask, BuildError, Clock, Decision, DynLimiter, Error, Gcra, Limiter, MAX_SAFE, Permit, Program,
    Run,
};

use super::Rival;
use super::arithmetic::Limit;

/// The table of GCRA states.
pub type States = Table<<Gcra as Program>::State>;

/// The limit as this project states it.
///
/// # Errors
///
/// If it is not one that the strategy takes.
pub fn gcra(limit: Limit) -> Result<Gcra, BuildError> {
    Gcra::builder().limit(1.0).period_ms(limit.interval_ms).burst(limit.burst).build()
}

/// A limit of as many digits as limits in use have, where its numbers are shown. It admits every request of a run too, if
/// each costs [`SHOWN_COST`]: four million a second come back.
///
/// # Errors
///
/// If it is not one that the strategy takes.
pub fn shown(clock: impl Clock) -> Result<impl DynLimiter, BuildError> {
    Ok(Limiter::builder(gcra(Limit { interval_ms: 0.01, burst: 5_000.0 })?).clock(clock).build())
}

/// The units of a request to a limit that is [`shown`].
pub const SHOWN_COST: f64 = 0.025;

/// A table for `keys` keys: the default bound, or twice the keys where that is too small.
///
/// # Errors
///
/// If the bound is not one that the table takes.
pub fn state_table(keys: usize) -> Result<States, BuildError> {
    let default = States::new();
    if keys < default.max_keys() { Ok(default) } else { States::bounded(2 * keys) }
}

/// The same with a fixed hash secret, so that it grows at the same keys in every run.
///
/// # Errors
///
/// If the bound is not one that the table takes.
pub fn seeded_table(keys: usize) -> Result<States, BuildError> {
    Table::builder().max_keys(2 * keys).seed([0x5eed, 0x6804]).build()
}

/// The store alone: the caller reads the clock.
#[derive(Debug)]
pub struct ThroughTable<C> {
    table: States,
    gcra: Gcra,
    clock: C,
}

impl<C> ThroughTable<C> {
    /// Over `table`.
    ///
    /// # Errors
    ///
    /// As [`gcra`].
    pub fn new(table: States, limit: Limit, clock: C) -> Result<Self, BuildError> {
        Ok(Self { table, gcra: gcra(limit)?, clock })
    }
}

impl<C: Clock> Rival for ThroughTable<C> {
    type Session = ();
    type Answer = Result<Decision, Error>;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Self::Answer {
        self.table.apply(key, self.clock.now_ms(), &self.gcra, &1.0)
    }

    #[inline]
    fn allowed(answer: &Self::Answer) -> bool {
        matches!(answer, Ok(decision) if decision.allowed)
    }
}

/// What a caller who knows the type writes.
#[derive(Debug)]
pub struct ThroughLimiter<C: Clock>(Limiter<Gcra, States, C>);

impl<C: Clock> ThroughLimiter<C> {
    /// Over `table`.
    ///
    /// # Errors
    ///
    /// As [`gcra`].
    pub fn new(table: States, limit: Limit, clock: C) -> Result<Self, BuildError> {
        limiter(table, limit, clock).map(Self)
    }
}

fn limiter<C: Clock>(table: States, limit: Limit, clock: C) -> Result<Limiter<Gcra, States, C>, BuildError> {
    Ok(Limiter::builder(gcra(limit)?).keyspace(table).clock(clock).build())
}

impl<C: Clock> Rival for ThroughLimiter<C> {
    type Session = ();
    type Answer = Result<Decision, Error>;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Self::Answer {
        self.0.check(key)
    }

    #[inline]
    fn allowed(answer: &Self::Answer) -> bool {
        matches!(answer, Ok(decision) if decision.allowed)
    }
}

/// The same, 64 keys a call.
#[derive(Debug)]
pub struct Batched<C: Clock>(Limiter<Gcra, States, C>);

impl<C: Clock> Batched<C> {
    /// Keys in one batch.
    pub const SIZE: usize = 64;

    /// Over `table`.
    ///
    /// # Errors
    ///
    /// As [`gcra`].
    pub fn new(table: States, limit: Limit, clock: C) -> Result<Self, BuildError> {
        limiter(table, limit, clock).map(Self)
    }
}

impl<C: Clock> Rival for Batched<C> {
    type Session = ();
    type Answer = Result<Decision, Error>;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Self::Answer {
        self.0.check(key)
    }

    #[inline]
    fn allowed(answer: &Self::Answer) -> bool {
        matches!(answer, Ok(decision) if decision.allowed)
    }

    #[inline]
    fn run(&self, (): &mut (), keys: &[&str]) -> usize {
        let mut allowed = 0;
        for batch in keys.chunks(Self::SIZE) {
            let answers = black_box(self.0.check_many(black_box(batch), 1.0)).unwrap_or_default();
            allowed += answers.iter().filter(|decision| decision.allowed).count();
        }
        allowed
    }

    /// Batches follow each other at once all the same.
    #[inline]
    fn run_in_turn(&self, session: &mut (), keys: &[&str]) -> usize {
        self.run(session, keys)
    }
}

/// What a door asks that knows no more than the trait.
pub struct ThroughAdmit(Box<dyn Admit>);

impl ThroughAdmit {
    /// Over `table`.
    ///
    /// # Errors
    ///
    /// As [`gcra`].
    pub fn new<C: Clock>(table: States, limit: Limit, clock: C) -> Result<Self, BuildError> {
        Ok(Self(Box::new(limiter(table, limit, clock)?)))
    }

    /// The same steps without a limiter, and so without a place for an observer.
    ///
    /// # Errors
    ///
    /// As [`gcra`].
    pub fn by_hand<C: Clock>(table: States, limit: Limit, clock: C) -> Result<Self, BuildError> {
        Ok(Self(Box::new(ThroughTable::new(table, limit, clock)?)))
    }
}

/// As a limiter does it that nobody observes.
impl<C: Clock> Admit for ThroughTable<C> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        #[allow(clippy::cast_precision_loss)] // exact
        let legal = ask.cost > 0.0 && ask.cost <= MAX_SAFE as f64;
        if !legal {
            return Run::ready(Err(Error::invalid_argument("the cost is out of its range")));
        }
        match self.table.run(ask.key, self.clock.now_ms(), &self.gcra, &ask.cost) {
            Run::Ready(Some(Ok(decision))) => Run::Ready(Some(Ok(Admission::rate(decision)))),
            other => other.map(|result| result.map(Admission::rate)),
        }
    }
}

impl std::fmt::Debug for ThroughAdmit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThroughAdmit").finish_non_exhaustive()
    }
}

impl Rival for ThroughAdmit {
    type Session = ();
    /// What a door goes on with.
    type Answer = Option<(Decision, Permit)>;

    #[inline]
    fn check(&self, (): &mut (), key: &str) -> Self::Answer {
        // In place, as doors do: an admission is large.
        match self.0.admit(&Ask::new(key)) {
            Run::Ready(Some(Ok(admission))) => Some((admission.decision, admission.permit)),
            _ => None,
        }
    }

    #[inline]
    fn allowed(answer: &Self::Answer) -> bool {
        matches!(answer, Some((decision, _)) if decision.allowed)
    }
}
