//! Those who wait: for a lease, for units on their way back, for all of several.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::flight::Waiting;
use super::holding::{Landed, Lease};
use super::leases::Leases;
use crate::error::Error;

/// Waits for all of them, a bounded number at a time. What they answer does not matter.
pub(super) async fn all(flights: Vec<Arc<Lease>>) {
    const AT_ONCE: usize = 64;
    for some in flights.chunks(AT_ONCE) {
        let mut waiting: Vec<Waiting<Landed>> = some.iter().map(Lease::wait).collect();
        std::future::poll_fn(|cx| {
            waiting.retain_mut(|waiting| Pin::new(waiting).poll(cx).is_pending());
            if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Units on their way back that the caller has to see to, since no task does.
pub(super) struct Errand(pub(super) Option<Waiting<Landed>>);

impl Errand {
    /// Waits for `main`, and meanwhile lets the errand go on.
    pub(super) async fn beside<T>(&mut self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        std::future::poll_fn(|cx| {
            if self.0.as_mut().is_some_and(|errand| Pin::new(errand).poll(cx).is_ready()) {
                self.0 = None;
            }
            main.as_mut().poll(cx)
        })
        .await
    }

    pub(super) async fn finish(self) {
        if let Some(errand) = self.0 {
            // What does not arrive is lost to all, and never spent twice.
            let _ = errand.await;
        }
    }
}

/// One who waits, and who hands the flight over if everybody left it.
pub(super) struct Deserting<'a> {
    leases: &'a Leases,
    waiting: Option<Waiting<Landed>>,
}

impl<'a> Deserting<'a> {
    pub(super) fn new(leases: &'a Leases, flight: &Arc<Lease>) -> Self {
        Self { leases, waiting: Some(flight.wait()) }
    }
}

impl Future for Deserting<'_> {
    type Output = Result<Landed, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.waiting {
            Some(waiting) => Pin::new(waiting).poll(cx),
            // It is there until it is dropped.
            None => Poll::Ready(Ok(Landed::Lost)),
        }
    }
}

impl Drop for Deserting<'_> {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let flight = Arc::clone(waiting.flight());
        drop(waiting);
        if flight.is_orphan() {
            // Without a task the next caller on the key drives it on.
            self.leases.hand_over(flight);
        }
    }
}
