//! Work that goes on while no caller waits: leases fetched beforehand, units that go back, the search for idle keys.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
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
    /// What is under way, locked while the task works. It is here for whoever ends the task.
    running: Mutex<Vec<Waiting<Landed>>>,
    task: Mutex<Option<TaskHandle>>,
}

#[derive(Default)]
struct Inbox {
    flights: VecDeque<Arc<Lease>>,
    waker: Option<Waker>,
    stopped: bool,
}

/// Who has keys that may be idle.
pub(super) trait Sweep: Send + Sync {
    /// The units of idle keys, on their way back.
    fn sweep(&self) -> Vec<Arc<Lease>>;
}

impl Background {
    /// Starts a task that ends with [`stop`](Self::stop), or with its owner. It sweeps after each `idle`.
    pub(super) fn start(owner: Weak<dyn Sweep>, runtime: &Arc<dyn Runtime>, idle: Option<Duration>) -> Arc<Self> {
        let background = Arc::new(Self { inbox: Mutex::default(), running: Mutex::default(), task: Mutex::new(None) });
        let timer = idle.map(|span| Timer { span, ring: runtime.sleep(span), runtime: Arc::clone(runtime) });
        let worker = Worker { background: Arc::downgrade(&background), owner, timer, waker: None };
        *lock(&background.task) = Some(runtime.spawn(Box::pin(worker)));
        background
    }

    /// Hands over a flight; whether there was room for it, and a task.
    pub(super) fn push(&self, flight: Arc<Lease>) -> bool {
        let mut inbox = lock(&self.inbox);
        if inbox.stopped || inbox.flights.len() >= MOST {
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

    /// Ends the task. What it was given and is not over is for the caller to see to.
    pub(super) async fn stop(&self) -> Vec<Arc<Lease>> {
        // Not under the lock: to end a task may be anything.
        let task = lock(&self.task).take();
        drop(task);
        lock(&self.inbox).stopped = true;
        let running = std::future::poll_fn(|cx| match self.running.try_lock() {
            Ok(mut running) => Poll::Ready(std::mem::take(&mut *running)),
            Err(TryLockError::Poisoned(poisoned)) => Poll::Ready(std::mem::take(&mut *poisoned.into_inner())),
            // The task works at this moment, and stops then.
            Err(TryLockError::WouldBlock) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        let mut left: Vec<_> = running.iter().map(|waiting| Arc::clone(waiting.flight())).collect();
        left.extend(lock(&self.inbox).flights.drain(..));
        left
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Queues and a handle are whole whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task.
struct Worker {
    background: Weak<Background>,
    owner: Weak<dyn Sweep>,
    timer: Option<Timer>,
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
        let (Some(background), Some(owner)) = (this.background.upgrade(), this.owner.upgrade()) else {
            return Poll::Ready(());
        };
        let mut running = lock(&background.running);
        running.retain_mut(|waiting| (same && !waiting.flight().is_rung()) || goes_on(waiting, cx));
        loop {
            let mut flights = {
                let mut inbox = lock(&background.inbox);
                if inbox.stopped {
                    return Poll::Ready(());
                }
                inbox.waker = Some(cx.waker().clone());
                std::mem::take(&mut inbox.flights)
            };
            if let Some(timer) = &mut this.timer {
                while timer.ring.as_mut().poll(cx).is_ready() {
                    flights.extend(owner.sweep());
                    timer.ring = timer.runtime.sleep(timer.span);
                }
            }
            if flights.is_empty() {
                return Poll::Pending;
            }
            for flight in flights {
                let mut waiting = flight.wait();
                if goes_on(&mut waiting, cx) {
                    running.push(waiting);
                }
            }
        }
    }
}

/// Polls a flight; whether it goes on. A panic ends it, and not the task, which others need.
fn goes_on(waiting: &mut Waiting<Landed>, cx: &mut Context<'_>) -> bool {
    contained(|| Pin::new(waiting).poll(cx).is_pending()).unwrap_or(false)
}
