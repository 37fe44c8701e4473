//! Work that goes on while no caller waits: leases fetched beforehand, units that go back, the search for idle keys.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::flight::Waiting;
use super::holding::{Landed, Lease};
use crate::observe::contained;
use crate::run::BoxFuture;
use crate::runtime::{Runtime, TaskHandle};

/// More is not remembered: what is left then is driven by the next caller on its key, or lost to all but the store.
const MOST: usize = 65_536;

/// What a task is given to do.
pub(super) struct Background {
    inbox: Mutex<Inbox>,
    task: Mutex<Option<TaskHandle>>,
}

#[derive(Default)]
struct Inbox {
    flights: VecDeque<Arc<Lease>>,
    waker: Option<Waker>,
}

/// Who has keys that may be idle.
pub(super) trait Sweep: Send + Sync {
    /// Gives the units of idle keys back.
    fn sweep(&self);
}

impl Background {
    /// Starts a task that ends with [`stop`](Self::stop), or with its owner. It sweeps after each `idle`.
    pub(super) fn start(owner: Weak<dyn Sweep>, runtime: &Arc<dyn Runtime>, idle: Option<Duration>) -> Arc<Self> {
        let background = Arc::new(Self { inbox: Mutex::default(), task: Mutex::new(None) });
        let timer = idle.map(|span| Timer { span, ring: runtime.sleep(span), runtime: Arc::clone(runtime) });
        let worker = Worker { background: Arc::downgrade(&background), owner, timer, running: Vec::new(), waker: None };
        *lock(&background.task) = Some(runtime.spawn(Box::pin(worker)));
        background
    }

    /// Hands over a flight; whether there was room for it.
    pub(super) fn push(&self, flight: Arc<Lease>) -> bool {
        let mut inbox = lock(&self.inbox);
        if inbox.flights.len() >= MOST {
            return false;
        }
        inbox.flights.push_back(flight);
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Ends the task. What it had under way is left to callers.
    pub(super) fn stop(&self) {
        let task = lock(&self.task).take();
        drop(task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A queue and a handle are whole whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task.
struct Worker {
    background: Weak<Background>,
    owner: Weak<dyn Sweep>,
    timer: Option<Timer>,
    running: Vec<Waiting<Landed>>,
    waker: Option<Waker>,
}

struct Timer {
    span: Duration,
    ring: BoxFuture<()>,
    runtime: Arc<dyn Runtime>,
}

impl Future for Worker {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Flights know the waker of their last poll.
        let same = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !same {
            this.waker = Some(cx.waker().clone());
        }
        this.running.retain_mut(|waiting| (same && !waiting.flight().is_rung()) || goes_on(waiting, cx));
        loop {
            let (Some(background), Some(owner)) = (this.background.upgrade(), this.owner.upgrade()) else {
                return Poll::Ready(());
            };
            if let Some(timer) = &mut this.timer {
                while timer.ring.as_mut().poll(cx).is_ready() {
                    owner.sweep();
                    timer.ring = timer.runtime.sleep(timer.span);
                }
            }
            let flights = {
                let mut inbox = lock(&background.inbox);
                inbox.waker = Some(cx.waker().clone());
                std::mem::take(&mut inbox.flights)
            };
            if flights.is_empty() {
                return Poll::Pending;
            }
            for flight in flights {
                let mut waiting = flight.wait();
                if goes_on(&mut waiting, cx) {
                    this.running.push(waiting);
                }
            }
        }
    }
}

/// Polls a flight; whether it goes on. A panic ends it, and not the task, which others need.
fn goes_on(waiting: &mut Waiting<Landed>, cx: &mut Context<'_>) -> bool {
    contained(|| Pin::new(waiting).poll(cx).is_pending()).unwrap_or(false)
}
