//! Where the tokens of an answer are counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use throttlekit::budget::{Reservation, Served};
use throttlekit::store::Keyspace;
use throttlekit::{Clock, Decision, Error, ErrorKind, MAX_SAFE, Meter, Observer, Refund, Run};

/// Counts the tokens of one answer, and settles them when it is over.
///
/// [`MeterAccount`] is one, and a [`Reservation`] of a [`Gate`](throttlekit::budget::Gate) is another.
pub trait Account: fmt::Debug + Send + 'static {
    /// Tokens that were counted before the answer began.
    fn prepaid(&self) -> u64;

    /// Tokens that are kept for the answer, counted or not.
    fn reserved(&self) -> u64;

    /// Counts tokens that are about to go out, if there are any left; a denial counts nothing.
    ///
    /// # Errors
    ///
    /// As [`Meter::debit`].
    fn debit(&self, tokens: u64) -> Run<Result<Decision, Error>>;

    /// Counts tokens that were produced already, whatever is left.
    ///
    /// # Errors
    ///
    /// As [`Meter::charge`].
    fn charge(&self, tokens: u64) -> Run<Result<Decision, Error>>;

    /// Is told that a debit or charge of `tokens` was counted, by this decision.
    fn counted(&mut self, tokens: u64, decision: &Decision);

    /// Ends it: the answer cost `tokens` in all. The difference to what was counted is charged or given back, and the last
    /// decision on that is the answer; `None` if there was nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Meter::charge`] and [`Meter::refund`].
    fn settle(self: Box<Self>, tokens: u64) -> Run<Result<Option<Decision>, Error>>;
}

/// The account of one key at a [`Meter`].
///
/// Tokens that were counted in a window that is over are not given back, since the window that goes on has not counted
/// them; where it inherited them as debt, they are as [`TokenBudget::refund`](throttlekit::budget::TokenBudget::refund) does
/// it. Nor are those that a limit took which [stood in](Meter::outage_turns) for the meter during an outage: what is used counts
/// as used of the others first.
pub struct MeterAccount {
    meter: Arc<dyn Meter>,
    key: Arc<str>,
    /// By the last decision: those of one window have one reset.
    current: Taken,
    /// By all decisions before.
    earlier: Taken,
    /// Those that something else may have counted, while the store of the meter was out.
    elsewhere: u64,
    /// The [turns](Meter::outage_turns) of the meter before the last debit.
    turns: AtomicU64,
}

/// In place of turns, after a charge: nothing stands in for that.
const CHARGED: u64 = u64::MAX;

/// Tokens that were counted, by a decision with this reset.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    tokens: u64,
    /// `None` if nothing was counted, or it is not known when.
    reset_at_ms: Option<i64>,
}

/// The answer to a [`MeterAccount::reserve`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The decision of the meter.
    pub decision: Decision,
    /// The account, from which the tokens are gone; `None` on a denial.
    pub account: Option<MeterAccount>,
}

impl MeterAccount {
    /// An account from which nothing is gone yet.
    pub fn new(meter: Arc<dyn Meter>, key: impl Into<Arc<str>>) -> Self {
        let turns = AtomicU64::new(CHARGED);
        Self { meter, key: key.into(), current: Taken::default(), earlier: Taken::default(), elsewhere: 0, turns }
    }

    /// An account from which `taken` is gone already: by the admission of the request, for instance, which took it together
    /// with other limits. It is settled as what the account takes itself.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use throttlekit::Refund;
    /// use throttlekit::budget::{Budget, TokenBudget};
    /// use throttlekit_llm::{Account, MeterAccount};
    ///
    /// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
    /// let meter = Arc::new(TokenBudget::new(budget));
    /// let admitted = meter.debit("key-1", 400)?;
    /// let account = MeterAccount::with_taken(meter.clone(), "key-1", Refund::new(400.0).of(&admitted));
    /// Box::new(account).settle(150).now().expect("in process nothing waits")?;
    /// assert_eq!(meter.remaining("key-1")?, 850);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_taken(meter: Arc<dyn Meter>, key: impl Into<Arc<str>>, taken: Refund) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; a part of a token is none
        let tokens = taken.units as u64;
        let current = Taken { tokens, reset_at_ms: taken.reset_at_ms };
        Self { current, ..Self::new(meter, key) }
    }

    /// Takes `tokens` more, for an answer that is to come, so that those that are taken come to `tokens` in all, or to as many
    /// as [`reserve`](Self::reserve) would take. Answers the decision; `None` if so many are taken already, and nobody was
    /// asked. A denial takes nothing.
    ///
    /// # Errors
    ///
    /// As [`Meter::debit`].
    ///
    /// # Cancel safety
    ///
    /// As [`reserve`](Self::reserve).
    pub async fn reserve_up_to(&mut self, tokens: u64) -> Result<Option<Decision>, Error> {
        let more = self.worth_taking(tokens).saturating_sub(self.prepaid());
        if more == 0 {
            return Ok(None);
        }
        let decision = self.debit(more).await?;
        if decision.allowed {
            self.counted(more, &decision);
        }
        Ok(Some(decision))
    }

    /// Takes `tokens` now, for an answer that is to come: those of the request, and those that the answer may have. What
    /// the answer does not need is given back when it is over. 0 takes nothing and asks nobody.
    ///
    /// A [`TokenBudget`](throttlekit::budget::TokenBudget) admits a debit while anything is left, and counts it in full, so
    /// no more than the whole budget is taken, however much a request may want: what is beyond is counted when it is used. To
    /// admit only what fits, let it take [whole debits](throttlekit::budget::BudgetBuilder::whole_debits), or reserve at a
    /// [`Gate`](throttlekit::budget::Gate).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use throttlekit::budget::{Budget, TokenBudget};
    /// use throttlekit_llm::{Account, MeterAccount};
    ///
    /// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
    /// let meter = Arc::new(TokenBudget::new(budget));
    /// let opened = MeterAccount::reserve(meter.clone(), "key-1", 400).now().expect("in process nothing waits")?;
    /// assert_eq!(opened.account.map(|account| account.prepaid()), Some(400));
    /// assert_eq!(meter.remaining("key-1")?, 600);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Meter::debit`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, a store may have counted the tokens, and nobody gives them back.
    pub fn reserve(meter: Arc<dyn Meter>, key: impl Into<Arc<str>>, tokens: u64) -> Run<Result<Opened, Error>> {
        let mut account = Self::new(meter, key);
        let tokens = account.worth_taking(tokens);
        if tokens == 0 {
            let decision = Decision::ALLOW_FULL;
            return Run::ready(Ok(Opened { decision, account: Some(account) }));
        }
        account.debit(tokens).map(move |result| {
            let decision = result?;
            if !decision.allowed {
                return Ok(Opened { decision, account: None });
            }
            account.counted(tokens, &decision);
            Ok(Opened { decision, account: Some(account) })
        })
    }

    /// As many of `tokens` as it makes sense to take at once.
    fn worth_taking(&self, tokens: u64) -> u64 {
        tokens.min(self.meter.debit_ceiling().unwrap_or(MAX_SAFE)).min(MAX_SAFE)
    }

    /// Whether the last debit may have been answered by what stands in for the meter.
    fn was_elsewhere(&self) -> bool {
        // Whoever is told has the answer, so the order of the two is that of the program.
        let before = self.turns.load(Ordering::Relaxed);
        before != CHARGED && (before % 2 == 1 || self.meter.outage_turns() != before)
    }

    fn refund(&self, tokens: u64, taken: Taken) -> Option<Run<Result<Decision, Error>>> {
        let tokens = tokens.min(taken.tokens);
        if tokens == 0 {
            return None;
        }
        let mut refund = Refund::new(units(tokens));
        refund.reset_at_ms = taken.reset_at_ms;
        Some(self.meter.refund_of(&self.key, refund))
    }
}

#[allow(clippy::cast_precision_loss)] // exact up to MAX_SAFE
fn units(tokens: u64) -> f64 {
    tokens.min(MAX_SAFE) as f64
}

impl Account for MeterAccount {
    fn prepaid(&self) -> u64 {
        self.current.tokens.saturating_add(self.earlier.tokens).saturating_add(self.elsewhere)
    }

    fn reserved(&self) -> u64 {
        self.prepaid()
    }

    fn debit(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        self.turns.store(self.meter.outage_turns(), Ordering::Relaxed);
        self.meter.debit(&self.key, units(tokens))
    }

    fn charge(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        self.turns.store(CHARGED, Ordering::Relaxed);
        self.meter.charge(&self.key, units(tokens))
    }

    fn counted(&mut self, tokens: u64, decision: &Decision) {
        if self.was_elsewhere() {
            self.elsewhere = self.elsewhere.saturating_add(tokens);
            return;
        }
        if self.current.reset_at_ms != Some(decision.reset_at_ms) {
            // Where these are windows, what is earlier is of a window that is over, and will not be given back. Where a
            // reset moves with each decision, the last one before this is as good as those before it.
            self.earlier.tokens = self.earlier.tokens.saturating_add(self.current.tokens);
            self.earlier.reset_at_ms = self.current.reset_at_ms;
            self.current = Taken { tokens: 0, reset_at_ms: Some(decision.reset_at_ms) };
        }
        self.current.tokens = self.current.tokens.saturating_add(tokens);
    }

    fn settle(self: Box<Self>, tokens: u64) -> Run<Result<Option<Decision>, Error>> {
        let counted = self.prepaid();
        if tokens > counted {
            let more = tokens - counted;
            return match self.charge(more).now() {
                // A limit without debt counts it if there is room.
                Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => told(self.debit(more)),
                Ok(result) => Run::ready(result.map(Some)),
                Err(run) => told(run),
            };
        }
        let surplus = (counted - tokens).saturating_sub(self.elsewhere);
        let last = self.refund(surplus, self.current);
        let rest = surplus.saturating_sub(self.current.tokens);
        match last.map(Run::now) {
            None => self.refund(rest, self.earlier).map_or_else(|| Run::ready(Ok(None)), told),
            Some(Ok(Ok(last))) => self.refund(rest, self.earlier).map_or_else(|| Run::ready(Ok(Some(last))), told),
            Some(Ok(Err(error))) => Run::ready(Err(error)),
            Some(Err(last)) => Run::wait(async move {
                let last = last.await?;
                match self.refund(rest, self.earlier) {
                    Some(run) => run.await.map(Some),
                    None => Ok(Some(last)),
                }
            }),
        }
    }
}

fn told(run: Run<Result<Decision, Error>>) -> Run<Result<Option<Decision>, Error>> {
    run.map(|result| result.map(Some))
}

impl fmt::Debug for MeterAccount {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterAccount").field("counted", &self.prepaid()).finish_non_exhaustive()
    }
}

/// What the answer cost is what its policy learns. Tokens of the request may be debited from it at admission.
impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Account for Reservation<K, C, O> {
    fn prepaid(&self) -> u64 {
        self.debited()
    }

    fn reserved(&self) -> u64 {
        self.tokens().max(self.debited())
    }

    fn debit(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        Self::debit(self, tokens)
    }

    fn charge(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        Self::charge(self, tokens)
    }

    fn counted(&mut self, _tokens: u64, _decision: &Decision) {}

    fn settle(self: Box<Self>, tokens: u64) -> Run<Result<Option<Decision>, Error>> {
        self.commit(tokens)
    }
}
