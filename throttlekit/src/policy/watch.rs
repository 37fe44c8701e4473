//! Reading a file again when it changes.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

use super::registry::Policies;
use super::reload::ReloadReport;
use crate::config::{ConfigErrors, content_of};
use crate::runtime::{Runtime, TaskHandle};

/// A shorter pause between two looks would be no pause.
const SHORTEST: Duration = Duration::from_millis(1);

impl Policies {
    /// Reads the file again that the policies came from whenever its content changes, until the returned handle is dropped
    /// or nobody holds the policies any more.
    ///
    /// The file is looked at after each `interval`, at least 1 ms. One that changed is read when it was the same at two
    /// looks in a row, so a file that is still being written is left alone. `tell` gets what came of it, as
    /// [`reload_file`](Self::reload_file) does: what changed, or everything that is wrong, once for each change of the file.
    /// Then, or if it cannot be read, the current configuration stays in effect. A change that means the same is not told.
    ///
    /// The task reads the file and makes the limiters on the thread that polls it. Both take a moment, and no check waits
    /// for them.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use throttlekit::TokioRuntime;
    /// use throttlekit::policy::Policies;
    ///
    /// # let file = std::env::temp_dir().join(format!("throttlekit-watch-{}.yaml", std::process::id()));
    /// # std::fs::write(&file, "limiters: {}")?;
    /// let policies = Policies::load_file(&file)?;
    /// let watching = policies.watch_file(TokioRuntime, Duration::from_secs(1), |result| match result {
    ///     Ok(report) => println!("{report}"),
    ///     Err(errors) => eprintln!("the limits stay as they are:\n{errors}"),
    /// })?;
    /// # std::fs::remove_file(&file)?;
    /// drop(watching); // from here on the file is not looked at
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "tokio"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// If the policies came from no file.
    ///
    /// # Panics
    ///
    /// Where the runtime cannot spawn: that of tokio has to be current.
    pub fn watch_file(
        &self,
        runtime: impl Runtime,
        interval: Duration,
        tell: impl Fn(Result<ReloadReport, ConfigErrors>) + Send + Sync + 'static,
    ) -> Result<TaskHandle, ConfigErrors> {
        let file = self.file()?.to_owned();
        let runtime = Arc::new(runtime);
        let (policies, interval) = (self.downgrade(), interval.max(SHORTEST));
        let sleeper = Arc::clone(&runtime);
        Ok(runtime.spawn(Box::pin(async move {
            let mut seen = hash_of(&content_of(&file));
            // What was there when the policies were loaded may have changed since.
            let mut read = None;
            loop {
                sleeper.sleep(interval).await;
                let Some(policies) = policies() else { return };
                let content = content_of(&file);
                let now = hash_of(&content);
                if now == seen && read != Some(now) {
                    read = Some(now);
                    // Not the file again, which may have changed since.
                    match policies.reload_content(content) {
                        Ok(report) if !report.is_changed() => {}
                        result => tell(result),
                    }
                }
                seen = now;
            }
        })))
    }
}

/// A hash of what was found in a file; `None` if it cannot be read.
fn hash_of(content: &Result<Vec<u8>, ConfigErrors>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(content.as_ref().ok()?);
    Some(hasher.finish())
}
