//! Who polls work that no caller waits for, and who sleeps.

use std::sync::Arc;
use std::time::Duration;

use crate::run::BoxFuture;

/// Spawns and sleeps. A limiter that needs neither needs no runtime.
///
/// With the `tokio` feature [`TokioRuntime`] is one.
pub trait Runtime: Send + Sync + 'static {
    /// Runs `task` in the background until it ends or the returned handle is dropped.
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle;

    /// Waits for `span`, however long.
    fn sleep(&self, span: Duration) -> BoxFuture<()>;
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle {
        (**self).spawn(task)
    }

    fn sleep(&self, span: Duration) -> BoxFuture<()> {
        (**self).sleep(span)
    }
}

/// Ends its task when dropped, so that no task outlives its owner.
#[must_use = "dropping the handle ends the task"]
pub struct TaskHandle(Option<Box<dyn FnOnce() + Send>>);

impl TaskHandle {
    /// A handle that calls `abort` when dropped.
    pub fn new(abort: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(abort)))
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        if let Some(abort) = self.0.take() {
            abort();
        }
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskHandle")
    }
}

/// The tokio runtime that is current when a method is called.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioRuntime;

/// Well below what one sleep of tokio's can last.
#[cfg(feature = "tokio")]
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 86_400);

#[cfg(feature = "tokio")]
impl Runtime for TokioRuntime {
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle {
        let task = tokio::spawn(task);
        TaskHandle::new(move || task.abort())
    }

    fn sleep(&self, span: Duration) -> BoxFuture<()> {
        Box::pin(async move {
            // One sleep of tokio's ends after about 2.2 years at the latest.
            let mut left = span;
            while left > LONGEST_SLEEP {
                tokio::time::sleep(LONGEST_SLEEP).await;
                left -= LONGEST_SLEEP;
            }
            tokio::time::sleep(left).await;
        })
    }
}
