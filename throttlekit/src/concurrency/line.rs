//! The queue of a guard whose slots are taken without a lock.

use std::sync::PoisonError;
use std::task::Waker;

use super::sync::{Mutex, MutexGuard};
use super::waiters::{Rank, Standing, Waiters};
use super::word::{View, Word};
use crate::priority::Priority;

/// What became of a request that found no slot.
pub(super) enum Joined {
    /// There was one after all.
    Taken(View),
    /// It waits with this ticket.
    Waits(u64),
    /// There is no place.
    Full,
}

/// Those who wait for a slot of a [`Word`].
///
/// The word says whether anybody waits, so a slot that comes back while nobody does touches no lock. That nobody is
/// forgotten rests on three facts:
///
/// - The mark is set, under the lock, by the same atomic step that finds no slot. So at least one slot is out at that
///   moment, and whoever gives it back sees the mark.
/// - It is cleared under the lock when nobody waits, and only then.
/// - Whoever sees it, or changes the limit before giving a slot back, takes the lock and hands out slots until there are none
///   or nobody waits.
pub(super) struct Line {
    waiters: Mutex<Waiters>,
}

impl Line {
    pub(super) fn new(max: usize) -> Self {
        Self { waiters: Mutex::new(Waiters::new(max)) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // Nothing in here panics but for want of memory; what that leaves is still a queue.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes a slot if nobody waits and there is one, otherwise a place.
    pub(super) fn join(&self, word: &Word, key: u64, priority: Priority) -> Joined {
        let mut waiters = self.lock();
        if waiters.is_empty() {
            if let Ok(view) = word.take_or_wait() {
                return Joined::Taken(view);
            }
        }
        let Some(place) = waiters.push(key, priority, Some(Rank::EQUAL)) else {
            return Joined::Full;
        };
        drop(waiters);
        if let Some(waker) = place.displaced.and_then(|displaced| displaced.waker) {
            waker.wake();
        }
        Joined::Waits(place.ticket)
    }

    /// See [`Waiters::look`].
    pub(super) fn look(&self, ticket: u64, waker: &Waker) -> Standing {
        self.lock().look(ticket, waker)
    }

    /// See [`Waiters::leave`]. A slot that the ticket had is the caller's now.
    pub(super) fn leave(&self, word: &Word, ticket: u64) -> Standing {
        let mut waiters = self.lock();
        let standing = waiters.leave(ticket);
        if waiters.is_empty() {
            word.nobody_waits();
        }
        standing
    }

    /// Hands out slots until there are none or nobody waits.
    pub(super) fn serve(&self, word: &Word) {
        // Wakers run foreign code: not under the lock.
        while let Some(woken) = self.serve_one(word) {
            if let Some(waker) = woken {
                waker.wake();
            }
        }
    }

    #[allow(clippy::option_option)] // whether somebody got a slot, and whether that one can be woken
    fn serve_one(&self, word: &Word) -> Option<Option<Waker>> {
        let mut waiters = self.lock();
        let next = waiters.next(|_| true)?;
        let view = word.take_in_turn().ok()?;
        let waker = waiters.seat(next, view);
        if waiters.is_empty() {
            word.nobody_waits();
        }
        Some(waker)
    }
}
