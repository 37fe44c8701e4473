//! Requests that wait, polled by hand.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use throttlekit::{Admission, Admit, Ask, Error, Event, Observer, Priority, Run, Wait, WaitOutcome};

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One request.
pub(crate) struct Caller {
    run: Run<Result<Admission, Error>>,
    woken: Arc<Count>,
}

impl Caller {
    pub(crate) fn new(admit: &dyn Admit, ask: &Ask<'_>) -> Self {
        Self { run: admit.admit(ask), woken: Arc::default() }
    }

    /// Polls once; the answer if it is there.
    pub(crate) fn poll(&mut self) -> Option<Admission> {
        let waker = Waker::from(Arc::clone(&self.woken));
        match Pin::new(&mut self.run).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => Some(answer.unwrap()),
            Poll::Pending => None,
        }
    }

    /// Whether it was woken since the last call.
    pub(crate) fn was_woken(&self) -> bool {
        self.woken.0.swap(0, Ordering::SeqCst) > 0
    }

    /// Goes to another task, which is woken from the next poll on.
    pub(crate) fn move_on(&mut self) {
        self.woken = Arc::default();
    }

    /// Whether the answer was there at once.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.run, Run::Ready(_))
    }
}

/// A request of normal priority.
pub(crate) fn call(admit: &dyn Admit, key: &str) -> Caller {
    Caller::new(admit, &Ask::new(key))
}

/// A request of that priority.
pub(crate) fn call_as(admit: &dyn Admit, key: &str, priority: Priority) -> Caller {
    Caller::new(admit, &Ask::new(key).priority(priority))
}

/// An answer that has to be there at once.
#[track_caller]
pub(crate) fn now(admit: &dyn Admit, key: &str) -> Admission {
    let mut caller = call(admit, key);
    assert!(caller.is_ready(), "it waits");
    caller.poll().unwrap()
}

/// Keeps what it is told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    decisions: Arc<Mutex<Vec<(Priority, bool)>>>,
    waits: Arc<Mutex<Vec<(Priority, f64, WaitOutcome)>>>,
}

impl Told {
    /// Priority, and whether it was admitted.
    pub(crate) fn decisions(&self) -> Vec<(Priority, bool)> {
        std::mem::take(&mut *self.decisions.lock().unwrap())
    }

    pub(crate) fn waits(&self) -> Vec<(Priority, f64, WaitOutcome)> {
        std::mem::take(&mut *self.waits.lock().unwrap())
    }
}

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        let allowed = event.result.is_ok_and(|decision| decision.allowed);
        self.decisions.lock().unwrap().push((event.priority, allowed));
    }

    fn waited(&self, wait: &Wait<'_>) {
        self.waits.lock().unwrap().push((wait.priority, wait.waited_ms, wait.outcome));
    }
}
