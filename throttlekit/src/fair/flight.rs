//! One answer that many wait for.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::run::BoxFuture;

/// A future that any of those who wait for it may drive on: it is not lost with one of them.
pub(super) struct Flight<T> {
    state: Mutex<State<T>>,
    waiting: Arc<Waiting>,
}

enum State<T> {
    Running(BoxFuture<T>),
    Landed(T),
}

/// Who waits. Whoever is woken polls; so all are, since any of them may be gone.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn open(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, waker: &Waker) {
        let mut wakers = self.open();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.open());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T: Clone + Send + 'static> Flight<T> {
    pub(super) fn new(future: BoxFuture<T>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Running(future)), waiting: Arc::default() })
    }

    /// The answer, once it is there.
    pub(super) async fn landed(self: Arc<Self>) -> T {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        // Before the future is polled, which may be woken at once.
        self.waiting.join(context.waker());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match &mut *state {
            State::Landed(value) => return Poll::Ready(value.clone()),
            State::Running(future) => {
                let waker = Waker::from(Arc::clone(&self.waiting));
                match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(value) => value,
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        *state = State::Landed(value.clone());
        drop(state);
        Arc::clone(&self.waiting).wake();
        Poll::Ready(value)
    }
}

impl<T> std::fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flight")
    }
}
