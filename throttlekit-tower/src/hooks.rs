//! What the user hangs onto the layer. Nothing of it can leave a request unanswered.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use crate::reject::{Failure, Limited, Reject, Rejection};
use crate::request::{Framework, Plain, RequestHead};

type Skip = dyn Fn(&RequestHead<'_>) -> bool + Send + Sync;
type OnLimited = dyn Fn(&Limited<'_>) + Send + Sync;
type OnError = dyn Fn(&Failure<'_>) + Send + Sync;

/// The hooks of a layer.
#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) framework: Arc<dyn Framework>,
    pub(crate) skip: Option<Arc<Skip>>,
    pub(crate) on_limited: Option<Arc<OnLimited>>,
    pub(crate) on_error: Option<Arc<OnError>>,
    pub(crate) reject: Option<Arc<dyn Reject>>,
    pub(crate) share_decision: bool,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            framework: Arc::new(Plain),
            skip: None,
            on_limited: None,
            on_error: None,
            reject: None,
            share_decision: false,
        }
    }
}

impl Hooks {
    /// Whether the request is to be left alone. A test that panics leaves no request alone.
    #[inline]
    pub(crate) fn skips(&self, request: &RequestHead<'_>) -> bool {
        self.skip.as_ref().is_some_and(|skip| unwound(|| skip(request)).unwrap_or(false))
    }

    /// Tells of a denial.
    pub(crate) fn limited(&self, limited: &Limited<'_>) {
        if let Some(hook) = &self.on_limited {
            unwound(|| hook(limited));
        }
    }

    /// Tells of a failure.
    pub(crate) fn failed(&self, failure: &Failure<'_>) {
        if let Some(hook) = &self.on_error {
            unwound(|| hook(failure));
        }
    }

    /// The response to a request that is not passed on.
    pub(crate) fn response(&self, rejection: &Rejection<'_>) -> Response<Bytes> {
        let own = self.reject.as_ref().and_then(|reject| unwound(|| reject.response(rejection)));
        own.unwrap_or_else(|| rejection.response())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("framework", &self.framework)
            .field("skip", &self.skip.is_some())
            .field("on_limited", &self.on_limited.is_some())
            .field("on_error", &self.on_error.is_some())
            .field("reject", &self.reject.is_some())
            .field("share_decision", &self.share_decision)
            .finish()
    }
}

/// What `run` gives, or `None` if it panics: a user's hook must not take the request with it.
#[inline]
pub(crate) fn unwound<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}
