//! One reservation: what it debits, and how it ends.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::Observer;
use crate::permit::{Outcome, Permit, Settle, Slot};
use crate::program::Refund;
use crate::run::Run;
use crate::store::Keyspace;

use super::book::Book;
use super::gate::Inner;
use super::reserve::Ticket;
use super::rule::Served;

/// A place in the book, given back when dropped.
pub(super) struct Held {
    book: Arc<Book>,
    key: Arc<str>,
    number: u64,
    counted: Mutex<Counted>,
}

/// What a reservation had counted by the meter.
#[derive(Clone, Copy, Default)]
struct Counted {
    tokens: u64,
    /// The end of the window of the last debit, and what was debited in it.
    window_end_ms: i64,
    in_window: u64,
}

impl Held {
    pub(super) fn new(book: Arc<Book>, key: Arc<str>, number: u64) -> Self {
        Self { book, key, number, counted: Mutex::default() }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Plain numbers: a panic leaves them numbers.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        self.book.open().strike(&self.key, self.number);
    }

    /// The meter has counted `tokens`.
    fn count(&self, tokens: u64, window_end_ms: i64, expires_ms: i64) {
        {
            let mut counted = self.counted();
            if counted.window_end_ms != window_end_ms {
                (counted.window_end_ms, counted.in_window) = (window_end_ms, 0);
            }
            counted.tokens = counted.tokens.saturating_add(tokens);
            counted.in_window = counted.in_window.saturating_add(tokens);
        }
        self.book.count(&self.key, self.number, tokens, expires_ms);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Settle for Held {
    /// Whatever came of the work: what it produced, the meter has counted.
    fn settle(&self, _slot: Slot, _outcome: Outcome) {
        self.give_back();
    }
}

/// Tokens that are kept for one piece of work; from a [`Gate`](super::Gate).
///
/// Dropped, it gives back what was not debited, and the policy learns nothing. What was debited stays counted: it was
/// produced.
pub struct Reservation<K: Keyspace<Served>, C: Clock, O: Observer + Clone> {
    gate: Arc<Inner<K, C, O>>,
    held: Arc<Held>,
    ticket: Option<Ticket>,
    tokens: u64,
}

impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> Reservation<K, C, O> {
    pub(super) fn new(gate: Arc<Inner<K, C, O>>, held: Held, ticket: Option<Ticket>, tokens: u64) -> Self {
        Self { gate, held: Arc::new(held), ticket, tokens }
    }

    /// How many tokens were reserved.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How many tokens were debited so far.
    pub fn debited(&self) -> u64 {
        self.held.counted().tokens
    }

    /// Counts `tokens` that are about to go out, as [`TokenBudget::debit`](super::TokenBudget::debit) does, and takes them
    /// off what is reserved. Work may produce more than was reserved for it, while the budget lasts.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if `tokens` is 0 or above 2^53 - 1; `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the store may have counted the tokens. They then stay reserved until this is settled,
    /// and a [`commit`](Self::commit) counts them again.
    pub fn debit(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        let debited = self.gate.meter.run_debit(&self.held.key, tokens);
        self.counting(debited, tokens, |decision| decision.allowed)
    }

    /// Counts `tokens` that were produced already, as [`TokenBudget::charge`](super::TokenBudget::charge) does, whatever is
    /// left, and takes them off what is reserved.
    ///
    /// # Errors
    ///
    /// As [`debit`](Self::debit), and `invalid_argument` if the window would count more than 2^53 - 1.
    ///
    /// # Cancel safety
    ///
    /// As [`debit`](Self::debit).
    pub fn charge(&self, tokens: u64) -> Run<Result<Decision, Error>> {
        let charged = self.gate.meter.run_charge(&self.held.key, tokens);
        self.counting(charged, tokens, |_| true)
    }

    /// Takes `tokens` off what is reserved once the meter has counted them.
    fn counting(
        &self,
        answer: Run<Result<Decision, Error>>,
        tokens: u64,
        counts: impl FnOnce(&Decision) -> bool + Send + 'static,
    ) -> Run<Result<Decision, Error>> {
        let held = Arc::clone(&self.held);
        let expires_ms = self.gate.expiry(self.gate.meter.clock.now_ms());
        answer.map(move |result| {
            let decision = result?;
            if counts(&decision) {
                held.count(tokens, decision.reset_at_ms, expires_ms);
            }
            Ok(decision)
        })
    }

    /// Ends work that cost `tokens` in all: the difference to what was debited is charged or given back, the reservation
    /// ends, and the policy learns the cost.
    ///
    /// What was debited in a window that is over is not given back, since the window that goes on has not counted it, unless
    /// as debt; see [`TokenBudget::refund`](super::TokenBudget::refund). The answer is the decision of that charge or refund;
    /// `None` if there was no difference.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the difference, or what the window would count with it, is above 2^53 - 1; `store_unavailable` and
    /// `state_invalid` from the store. The reservation is over all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the reservation is given back, and the store may or may not have counted the difference.
    pub fn commit(mut self, tokens: u64) -> Run<Result<Option<Decision>, Error>> {
        if let Some(ticket) = self.ticket.take() {
            self.gate.learn(ticket, tokens);
        }
        let counted = *self.held.counted();
        let (meter, key) = (&self.gate.meter, &self.held.key);
        let settled = if tokens > counted.tokens {
            meter.run_charge(key, tokens - counted.tokens)
        } else {
            let surplus = (counted.tokens - tokens).min(counted.in_window);
            if surplus == 0 {
                return Run::ready(Ok(None));
            }
            #[allow(clippy::cast_precision_loss)] // at most what was debited
            let units = surplus as f64;
            meter.run_refund(key, Refund { units, reset_at_ms: Some(counted.window_end_ms) })
        };
        // The reservation counts until the charge does.
        settled.map(move |result| {
            drop(self);
            result.map(Some)
        })
    }

    /// Ends work that cost what was debited; the policy learns that. For work that was cut off by a denial too, if that
    /// should teach the policy.
    pub fn finish(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.learn(ticket, self.debited());
        }
    }

    /// Gives back what was not debited; the policy learns nothing. As dropping it.
    pub fn release(self) {}

    /// The reservation as a permit, for doors: it is given back when the permit is settled or dropped, whatever the outcome.
    pub fn into_permit(self) -> Permit {
        let slot = Slot { taken_at: self.held.number, detail: 0 };
        Permit::new(self.held, slot)
    }
}

impl<K: Keyspace<Served>, C: Clock, O: Observer + Clone> fmt::Debug for Reservation<K, C, O> {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tokens", &self.tokens)
            .field("debited", &self.debited())
            .finish_non_exhaustive()
    }
}
