//! How the kit gets at the store under test.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::case::CASES;
use super::join::first;
use crate::run::BoxFuture;
use crate::runtime::Runtime;
use crate::store::DynStore;

/// By which time the store under test works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Programs step at the time of the call, which the kit makes up: from the 14th of November 2023 it moves on in jumps of
    /// any size.
    Caller {
        /// Whether entries expire by that time too. If not, the store must keep them longer than the run takes, whatever
        /// their time to live. Either way nothing may sweep them by real time.
        expires: bool,
    },
    /// Programs step at the store's own time, whatever the caller's.
    Store,
}

type Open = Box<dyn Fn() -> Arc<dyn DynStore> + Send + Sync>;
type Wait = Box<dyn Fn(Duration) -> BoxFuture<()> + Send + Sync>;

/// How the kit gets at the store under test, and what it may expect.
///
/// ```
/// use std::sync::Arc;
/// use throttlekit::store::{Call, Store};
/// use throttlekit::testkit::{Harness, Time};
///
/// struct Down;
///
/// impl Store for Down {
///     async fn run(&self, _call: &mut Call) -> Result<(), throttlekit::Error> {
///         Err(throttlekit::Error::store_unavailable("no route to host"))
///     }
/// }
///
/// let harness = Harness::new(|| Arc::new(Down), Time::Store).prefix("{kit}");
/// assert!(harness.cases().any(|name| name == "concurrent calls lose nothing"));
/// assert!(!harness.cases().any(|name| name == "streams have their digests"));
/// ```
pub struct Harness {
    open: Open,
    prefix: String,
    time: Time,
    wait: Option<Wait>,
    golden: Option<String>,
    limit: Option<(Arc<dyn Runtime>, Duration)>,
    stream_steps: usize,
}

impl Harness {
    /// The store that `open` gives handles of: a new one at each call, as another process would have it, all of the same
    /// backend.
    pub fn new(open: impl Fn() -> Arc<dyn DynStore> + Send + Sync + 'static, time: Time) -> Self {
        Self {
            open: Box::new(open),
            // The seed of the standard library's maps is random.
            prefix: format!("testkit-{:016x}", RandomState::new().hash_one(0)),
            time,
            wait: None,
            golden: None,
            limit: None,
            stream_steps: usize::MAX,
        }
    }

    /// What every key starts with, such as a cluster's `{tag}`. No key with it may be there. The default is a random one.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How to let the store's own time pass: by moving it, or by waiting. Without, stores that work by
    /// [their own time](Time::Store) are not asked whether entries expire.
    #[must_use]
    pub fn wait_with(mut self, wait: impl Fn(Duration) -> BoxFuture<()> + Send + Sync + 'static) -> Self {
        self.wait = Some(Box::new(wait));
        self
    }

    /// The golden vectors of the family, as the text of their file; only their suites of rate limits are replayed. Needs
    /// [`Time::Caller`].
    #[must_use]
    pub fn golden(mut self, vectors: impl Into<String>) -> Self {
        self.golden = Some(vectors.into());
        self
    }

    /// How long one case may take; after that it has failed, and the next one begins. Without, a store that never answers
    /// is never reported.
    #[must_use]
    pub fn time_limit(mut self, runtime: impl Runtime, limit: Duration) -> Self {
        self.limit = Some((Arc::new(runtime), limit));
        self
    }

    /// Follows the streams for so many of their 2,000 steps at most; with fewer their digests are not compared, only their
    /// decisions. For stores that answer too slowly for all of them.
    #[must_use]
    pub fn stream_steps(mut self, steps: usize) -> Self {
        self.stream_steps = steps;
        self
    }

    /// The names of the cases that [`conformance`](super::conformance) runs with this harness.
    pub fn cases(&self) -> impl Iterator<Item = &'static str> + '_ {
        CASES.iter().filter(|case| (case.applies)(self)).map(|case| case.name)
    }

    /// A new handle.
    pub(super) fn open(&self) -> Arc<dyn DynStore> {
        (self.open)()
    }

    pub(super) fn key_prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn vectors(&self) -> Option<&str> {
        self.golden.as_deref()
    }

    pub(super) fn steps(&self) -> usize {
        self.stream_steps
    }

    /// Whether programs step at the time that the kit says.
    pub(super) fn at_callers_time(&self) -> bool {
        matches!(self.time, Time::Caller { .. })
    }

    /// Whether entries expire at the time that the kit says.
    pub(super) fn expires_by_call(&self) -> bool {
        self.time == Time::Caller { expires: true }
    }

    pub(super) fn can_wait(&self) -> bool {
        self.time == Time::Store && self.wait.is_some()
    }

    /// Lets the store's own time pass.
    pub(super) async fn wait(&self, span: Duration) {
        if let Some(wait) = &self.wait {
            wait(span).await;
        }
    }

    /// What `case` answers, unless the limit is over before.
    pub(super) async fn within_limit<T>(&self, case: impl Future<Output = T> + Send) -> Option<T> {
        match &self.limit {
            Some((runtime, limit)) => first(case, runtime.sleep(*limit)).await,
            None => Some(case.await),
        }
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("prefix", &self.prefix).field("time", &self.time).finish_non_exhaustive()
    }
}
