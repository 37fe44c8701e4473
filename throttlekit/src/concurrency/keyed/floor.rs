//! Tenants and those who wait: what is behind the lock.

use std::task::Waker;

use super::tenants::{Rules, Tenants};
use crate::concurrency::share::Share;
use crate::concurrency::waiters::{Place, Standing, Waiters};
use crate::concurrency::word::{View, Word};
use crate::priority::Priority;

/// See the module.
pub(super) struct Floor {
    pub(super) tenants: Tenants,
    waiters: Option<Waiters>,
}

/// Waiters know tenants by their numbers.
fn number_of(key: u64) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX)
}

impl Floor {
    /// With room for `waiting`, if requests wait at all.
    pub(super) fn new(rules: Rules, waiting: Option<usize>) -> Self {
        Self { tenants: Tenants::new(rules), waiters: waiting.map(Waiters::new) }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiters.as_ref().map_or(0, Waiters::len)
    }

    /// What a tenant has to leave to the others. Where requests wait, the order in which they are served sees to that.
    fn kept_from(&mut self, number: u32, ceiling: u32) -> u32 {
        if self.waiters.is_some() || self.tenants.is_below(number, ceiling) {
            return 0;
        }
        u32::try_from(self.tenants.unused(ceiling)).unwrap_or(u32::MAX)
    }

    /// Takes a slot for a tenant, if there is one for it and nobody is next.
    pub(super) fn take(&mut self, word: &Word, share: Share, number: u32) -> Result<View, View> {
        let view = word.view();
        let taken = self.waiters.as_ref().is_some_and(Waiters::any_next);
        if taken || self.tenants.room(number) == 0 {
            return Err(view);
        }
        let kept = self.kept_from(number, word.ceiling(view));
        let view = word.take_leaving(share, kept)?;
        self.hold(number);
        Ok(view)
    }

    /// Takes a slot for a tenant, or for none, whatever the limit is.
    pub(super) fn take_beyond(&mut self, word: &Word, number: Option<u32>) -> Option<View> {
        let view = word.take_beyond().ok()?;
        if let Some(number) = number {
            self.hold(number);
        }
        Some(view)
    }

    fn hold(&mut self, number: u32) {
        self.tenants.hold(number);
        // It is not idle, so the time does not matter.
        self.tenants.set_waiting(number, true, 0);
        self.rank(number);
    }

    fn rank(&mut self, number: u32) {
        if let Some(waiters) = &mut self.waiters {
            waiters.rank(u64::from(number), self.tenants.rank(number));
        }
    }

    /// Says whether a tenant is idle by now.
    fn look_after(&mut self, number: u32, now_ns: u64) {
        let waits = self.waiters.as_ref().is_some_and(|waiters| waiters.has(u64::from(number)));
        self.tenants.set_waiting(number, waits, now_ns);
    }

    /// Gives back a slot, of a tenant or of none.
    pub(super) fn give(&mut self, word: &Word, number: Option<u32>, now_ns: u64) {
        word.give();
        if let Some(number) = number {
            self.tenants.release(number);
            self.rank(number);
            self.look_after(number, now_ns);
        }
        self.tenants.expire(now_ns);
    }

    /// How many more slots a tenant could take after `view`.
    pub(super) fn remaining(&mut self, word: &Word, share: Share, number: u32, view: View) -> u32 {
        let ceiling = word.ceiling(view);
        let free = share.of(ceiling).saturating_sub(view.in_flight());
        let own = self.tenants.guaranteed(number, ceiling).saturating_sub(self.tenants.held(number));
        let others = if self.waiters.is_some() {
            0
        } else {
            u32::try_from(self.tenants.unused(ceiling)).unwrap_or(u32::MAX).saturating_sub(own)
        };
        free.min(own.max(free.saturating_sub(others))).min(self.tenants.room(number))
    }

    /// A place in the queue for a tenant; none if there is no queue or it is full.
    pub(super) fn join(&mut self, number: u32, priority: Priority, now_ns: u64) -> Option<Place> {
        let place = self.waiters.as_mut()?.push(u64::from(number), priority, self.tenants.rank(number))?;
        if let Some(displaced) = &place.displaced {
            self.look_after(number_of(displaced.key), now_ns);
        }
        self.look_after(number, now_ns);
        Some(place)
    }

    /// See [`Waiters::look`].
    pub(super) fn look(&mut self, ticket: u64, waker: &Waker) -> Standing {
        self.waiters.as_mut().map_or(Standing::Displaced, |waiters| waiters.look(ticket, waker))
    }

    /// See [`Waiters::leave`].
    pub(super) fn leave(&mut self, ticket: u64, now_ns: u64) -> Standing {
        let Some(waiters) = &mut self.waiters else { return Standing::Displaced };
        let key = waiters.key_of(ticket);
        let standing = waiters.leave(ticket);
        if let Some(key) = key {
            self.look_after(number_of(key), now_ns);
        }
        standing
    }

    /// Hands a slot to whoever is next: first those who hold less than they are guaranteed. Answers whom to wake; none if
    /// there is no slot or nobody waits for it.
    #[allow(clippy::option_option)] // whether somebody got a slot, and whether that one can be woken
    pub(super) fn serve_one(&mut self, word: &Word) -> Option<Option<Waker>> {
        let ceiling = word.ceiling(word.view());
        let tenants = &self.tenants;
        let waiters = self.waiters.as_mut()?;
        let next = waiters.next(|key| tenants.is_below(number_of(key), ceiling))?;
        let view = word.take_in_turn().ok()?;
        let waker = waiters.seat(next, view);
        self.hold(number_of(next.1));
        Some(waker)
    }
}
