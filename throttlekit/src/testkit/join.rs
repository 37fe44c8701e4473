//! Waiting for several futures in one task, without an async runtime.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::run::BoxFuture;

/// One of several futures.
struct Member<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    bell: Arc<Bell>,
    answer: Option<T>,
}

/// Wakes the task that waits for all, and remembers for which of them.
struct Bell {
    rung: AtomicBool,
    task: Arc<Mutex<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        // A waker has no state that a panic could leave broken. It is not called under the lock: it may do anything.
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.wake();
    }
}

/// The answers of all `futures`, in their order. They make progress together.
pub(super) async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let task = Arc::new(Mutex::new(Waker::noop().clone()));
    let member = |future| {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Arc::clone(&task) });
        Member { future, bell, answer: None }
    };
    let mut members: Vec<Member<'_, T>> = futures.into_iter().map(member).collect();
    poll_fn(|cx| {
        task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        for member in members.iter_mut().filter(|member| member.answer.is_none()) {
            if member.bell.rung.swap(false, Ordering::Acquire) {
                let waker = Waker::from(Arc::clone(&member.bell));
                if let Poll::Ready(answer) = member.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    member.answer = Some(answer);
                }
            }
        }
        if members.iter().all(|member| member.answer.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    members.into_iter().filter_map(|member| member.answer).collect()
}

/// The answer of `future`, unless `end` comes first.
pub(super) async fn first<T>(future: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut end) = (pin!(future), pin!(end));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Polls `future` up to `polls` times, each time that it is woken, and then drops it; its answer, if it came by then.
pub(super) async fn cut<T>(mut future: BoxFuture<T>, polls: usize) -> Option<T> {
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
