//! Work that outlives the answer it belongs to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use throttlekit::{BoxFuture, Error, Runtime, TaskHandle};

/// As many tasks as may run at once.
const MAX_TASKS: usize = 1_024;

/// Tasks on a runtime, which end with their owner.
pub(crate) struct Background {
    runtime: Box<dyn Runtime>,
    tasks: Mutex<Vec<(Arc<AtomicBool>, TaskHandle)>>,
}

impl Background {
    pub(crate) fn new(runtime: impl Runtime) -> Self {
        Self { runtime: Box::new(runtime), tasks: Mutex::default() }
    }

    /// Lets `task` run to its end.
    ///
    /// # Errors
    ///
    /// If there are too many, or the runtime is gone: then nobody runs it.
    pub(crate) fn spawn(&self, task: BoxFuture<()>) -> Result<(), Error> {
        // A list of handles: a panic leaves it one.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(done, _)| !done.load(Ordering::Relaxed));
        if tasks.len() >= MAX_TASKS {
            return Err(Error::unsupported(format!(
                "{MAX_TASKS} dropped answers are being settled, as many as may be"
            )));
        }
        let done = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&done);
        let task = Box::pin(async move {
            task.await;
            ends.store(true, Ordering::Relaxed);
        });
        // An answer may be dropped where there is no runtime, also while a panic unwinds, and some then panic.
        let spawned = catch_unwind(AssertUnwindSafe(|| self.runtime.spawn(task)));
        let handle =
            spawned.map_err(|_| Error::unsupported("the answer was dropped where its runtime takes no task"))?;
        tasks.push((done, handle));
        Ok(())
    }
}
