//! Work that many wait for and that is done once.

use std::fmt;
use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Work under way in a task of its own, so that no waiting caller's end cuts it short for the others. Dropping it ends
/// the task.
pub(crate) struct Flight<T> {
    outcome: watch::Receiver<Option<T>>,
    task: AbortHandle,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Starts the work; `None` if there is no runtime. What the work does last, without waiting any more, may drop the
    /// flight.
    pub(crate) fn start(work: impl Future<Output = T> + Send + 'static) -> Option<Self> {
        let (sender, outcome) = watch::channel(None);
        let task = Handle::try_current().ok()?.spawn(async move {
            sender.send_replace(Some(work.await));
        });
        Some(Self { outcome, task: task.abort_handle() })
    }

    /// Whether the work will still come to an end: not if its runtime has ended.
    pub(crate) fn is_alive(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }

    /// A place to wait for the outcome.
    pub(crate) fn waiter(&self) -> Waiter<T> {
        Waiter(self.outcome.clone())
    }
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flight")
    }
}

/// Waits for a [`Flight`].
pub(crate) struct Waiter<T>(watch::Receiver<Option<T>>);

impl<T: Clone> Waiter<T> {
    /// The outcome; `None` if the work was cut short.
    pub(crate) async fn outcome(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
