//! The answer of everything that may have to wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A boxed future without borrows.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer that is ready, or one to wait for.
///
/// One type for the typed and the erased API, for blocking and for asynchronous callers: in memory every answer is
/// [`Ready`](Self::Ready), without allocation; a remote store's is a boxed future that borrows nothing.
///
/// ```
/// use throttlekit::Run;
///
/// assert_eq!(Run::ready(20).map(|n| n + 1).now().unwrap(), 21);
/// assert!(Run::wait(async { 21 }).now().is_err());
/// ```
#[must_use = "an answer that has to be waited for does nothing until it is polled"]
pub enum Run<T> {
    /// The answer; `None` once it has been taken by a poll.
    Ready(Option<T>),
    /// The answer comes later.
    Wait(BoxFuture<T>),
}

impl<T> Run<T> {
    /// An answer that is there.
    #[inline]
    pub fn ready(value: T) -> Self {
        Self::Ready(Some(value))
    }

    /// An answer that comes later.
    pub fn wait(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Wait(Box::pin(future))
    }

    /// The answer if it is there, otherwise `self` back.
    ///
    /// # Errors
    ///
    /// `self`, if the answer has to be waited for or was already taken by a poll.
    #[inline]
    pub fn now(self) -> Result<T, Self> {
        match self {
            Self::Ready(Some(value)) => Ok(value),
            other => Err(other),
        }
    }

    /// Applies `f` to the answer, at once if it is there.
    #[inline]
    pub fn map<U>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Run<U>
    where
        T: 'static,
    {
        match self {
            Self::Ready(value) => Run::Ready(value.map(f)),
            Self::Wait(future) => Run::Wait(Box::pin(async move { f(future.await) })),
        }
    }
}

// The value is only ever moved out, never pinned in place.
impl<T> Unpin for Run<T> {}

impl<T> Future for Run<T> {
    type Output = T;

    /// # Panics
    ///
    /// If polled again after it gave its answer.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Ready(value) => Poll::Ready(value.take().expect("`Run` polled after its answer was taken")),
            Self::Wait(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Run<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(value) => f.debug_tuple("Ready").field(value).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
        }
    }
}
