//! The future of a request that waits for a slot.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::guard::Asked;
use super::queue::Patience;
use super::waiters::{Seat, Standing};
use crate::admit::Admission;
use crate::error::Error;
use crate::observe::{Begun, WaitOutcome};
use crate::permit::Permit;
use crate::priority::Priority;
use crate::run::BoxFuture;

/// Where one waits: a handle to a guard with a queue.
pub(super) trait Desk: Send + 'static {
    /// See [`Waiters::look`](super::waiters::Waiters::look).
    fn look(&self, ticket: u64, waker: &Waker) -> Standing;

    /// See [`Waiters::leave`](super::waiters::Waiters::leave).
    fn leave(&self, ticket: u64) -> Standing;

    /// The permit for a slot that was handed over. Its work starts at `now_ns`.
    fn permit(&self, seat: Seat, now_ns: u64) -> Permit;

    /// The answer, and its event.
    fn answer(&self, seat: Option<Seat>, permit: Permit, asked: Asked<'_>) -> Admission;

    /// The time in nanoseconds of the clock.
    fn now_ns(&self) -> u64;

    /// Tells the observer of a wait that is over.
    fn tell_wait(&self, priority: Priority, waited_ns: u64, outcome: WaitOutcome);
}

/// Waits for a slot, and gives up at the deadline. Dropped, it leaves the queue; a slot that it was handed goes on to the
/// next.
pub(super) struct Waiting<D: Desk> {
    desk: D,
    ticket: u64,
    deadline: BoxFuture<()>,
    since_ns: u64,
    /// For the event.
    key: Box<str>,
    priority: Priority,
    begun: Begun,
    over: bool,
}

impl<D: Desk> Waiting<D> {
    pub(super) fn new(desk: D, ticket: u64, patience: &Patience, asked: Asked<'_>) -> Self {
        let since_ns = desk.now_ns();
        let never = Box::pin(std::future::pending());
        let Asked { key, priority, begun } = asked;
        let key = key.into();
        let mut waiting = Self { desk, ticket, deadline: never, since_ns, key, priority, begun, over: false };
        // Foreign code: if it panics, the ticket is given up.
        waiting.deadline = patience.runtime.sleep(patience.timeout);
        waiting
    }

    /// Ends the wait, with a slot or without.
    fn end(&mut self, seat: Option<Seat>, outcome: WaitOutcome) -> Admission {
        self.over = true;
        let now_ns = self.desk.now_ns();
        let permit = seat.map_or_else(Permit::none, |seat| self.desk.permit(seat, now_ns));
        let asked = Asked { key: &self.key, priority: self.priority, begun: self.begun };
        let admission = self.desk.answer(seat, permit, asked);
        self.desk.tell_wait(self.priority, now_ns.saturating_sub(self.since_ns), outcome);
        admission
    }
}

// Nothing in it is pinned in place.
impl<D: Desk> Unpin for Waiting<D> {}

impl<D: Desk> Future for Waiting<D> {
    type Output = Result<Admission, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut standing = this.desk.look(this.ticket, cx.waker());
        if let Standing::Waits = standing {
            if this.deadline.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            standing = this.desk.leave(this.ticket);
        }
        Poll::Ready(Ok(match standing {
            Standing::Seated(seat) => this.end(Some(seat), WaitOutcome::Admitted),
            Standing::Waits => this.end(None, WaitOutcome::TimedOut),
            Standing::Displaced => this.end(None, WaitOutcome::Displaced),
        }))
    }
}

impl<D: Desk> Drop for Waiting<D> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let now_ns = self.desk.now_ns();
        if let Standing::Seated(seat) = self.desk.leave(self.ticket) {
            // No work was done: nothing is learnt.
            drop(self.desk.permit(seat, now_ns));
        }
        self.desk.tell_wait(self.priority, now_ns.saturating_sub(self.since_ns), WaitOutcome::Cancelled);
    }
}
