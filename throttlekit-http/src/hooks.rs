//! What the user hangs onto a middleware. Nothing of it can leave a request unanswered.

use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use throttlekit::Observer;

use crate::door::{Answer, Door};
use crate::forms::grpc_type;
use crate::reject::{Failure, Limited, Reject, Rejection};

type Skip<D> = dyn for<'a> Fn(&<D as Door>::Head<'a>) -> bool + Send + Sync;
type OnLimited<D> = dyn for<'a> Fn(&Limited<'a, <D as Door>::Head<'a>>) + Send + Sync;
type OnError<D> = dyn for<'a> Fn(&Failure<'a, <D as Door>::Head<'a>>) + Send + Sync;

/// The hooks of a middleware.
pub(crate) struct Hooks<D: Door> {
    pub(crate) skip: Option<Arc<Skip<D>>>,
    pub(crate) on_limited: Option<Arc<OnLimited<D>>>,
    pub(crate) on_error: Option<Arc<OnError<D>>>,
    pub(crate) reject: Option<Arc<dyn Reject<D>>>,
    /// Who is told of clients that go away.
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether the service is to know of its admission.
    pub(crate) share: bool,
    pub(crate) hold_upgrades: bool,
}

impl<D: Door> Default for Hooks<D> {
    fn default() -> Self {
        Self {
            skip: None,
            on_limited: None,
            on_error: None,
            reject: None,
            observer: None,
            share: false,
            hold_upgrades: false,
        }
    }
}

impl<D: Door> Clone for Hooks<D> {
    fn clone(&self) -> Self {
        let Self { skip, on_limited, on_error, reject, observer, share, hold_upgrades } = self;
        Self {
            skip: skip.clone(),
            on_limited: on_limited.clone(),
            on_error: on_error.clone(),
            reject: reject.clone(),
            observer: observer.clone(),
            share: *share,
            hold_upgrades: *hold_upgrades,
        }
    }
}

impl<D: Door> Hooks<D> {
    /// Whether the request is to be left alone. A test that panics leaves no request alone.
    #[inline]
    pub(crate) fn skips(&self, request: &D::Head<'_>) -> bool {
        self.skip.as_ref().is_some_and(|skip| unwound(|| skip(request)).unwrap_or(false))
    }

    /// Tells of a denial.
    pub(crate) fn limited<'a>(&self, limited: &Limited<'a, D::Head<'a>>) {
        if let Some(hook) = &self.on_limited {
            unwound(|| hook(limited));
        }
    }

    /// Tells of a failure.
    pub(crate) fn failed<'a>(&self, failure: &Failure<'a, D::Head<'a>>) {
        if let Some(hook) = &self.on_error {
            unwound(|| hook(failure));
        }
    }

    /// Tells of a mistake in how the application is put together. Where there is no hook it is on standard error, since all goes
    /// on as if nothing were wrong.
    #[cold]
    pub(crate) fn misconfigured<'a>(&self, failure: &Failure<'a, D::Head<'a>>) {
        self.failed(failure);
        if self.on_error.is_none() {
            // If nobody reads that either, nobody wants to know.
            let _ = writeln!(std::io::stderr(), "throttlekit: {}", failure.error);
        }
    }

    /// The response to a request that is not passed on: the user's, else one in the form that the client speaks.
    pub(crate) fn response<'a>(&self, problem_json: bool, rejection: &Rejection<'a, D::Head<'a>>) -> D::Response {
        let own = self.reject.as_ref().and_then(|reject| unwound(|| reject.response(rejection)));
        own.unwrap_or_else(|| {
            D::respond(if let Some(content_type) = grpc_type(rejection.request()) {
                Answer { content_type, ..rejection.grpc() }
            } else if problem_json {
                rejection.problem()
            } else {
                rejection.answer()
            })
        })
    }
}

impl<D: Door> fmt::Debug for Hooks<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("skip", &self.skip.is_some())
            .field("on_limited", &self.on_limited.is_some())
            .field("on_error", &self.on_error.is_some())
            .field("reject", &self.reject.is_some())
            .field("observer", &self.observer.is_some())
            .field("share", &self.share)
            .field("hold_upgrades", &self.hold_upgrades)
            .finish()
    }
}

/// What `run` gives, or `None` if it panics: a user's hook must not take the request with it.
#[inline]
pub(crate) fn unwound<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Tells `observer` something by `call`. What it does wrong harms nobody, and it may count that.
pub(crate) fn told(observer: &dyn Observer, call: impl FnOnce()) {
    if unwound(call).is_none() {
        // One that panics here as well counts nothing.
        let _ = unwound(|| observer.panicked());
    }
}
