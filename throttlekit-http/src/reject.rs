//! What a request gets that is not passed on.

use std::fmt;

use bytes::Bytes;
use throttlekit::{Admission, Error};

use crate::door::{Answer, Door};
use crate::refusal;

/// A denial, as hooks and responses see it. `Debug` does not show the key.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Limited<'a, H> {
    /// The request.
    pub request: H,
    /// The key it counted under. It may be a secret or an address: think before logging it.
    pub key: &'a str,
    /// The name of the policy that denied.
    pub policy: &'a str,
    /// What the limiter answered.
    pub admission: &'a Admission,
    /// Whether the request passes all the same, since the rule only tries its limit out.
    pub shadow: bool,
}

/// A request that could not be decided, as hooks and responses see it. `Debug` does not show the key.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Failure<'a, H> {
    /// The request.
    pub request: H,
    /// The key it was to count under; `None` if it has none, or none was found. It may be a secret or an address: think
    /// before logging it.
    pub key: Option<&'a str>,
    /// The name of the policy that was asked.
    pub policy: &'a str,
    /// Whether it was asked for an admission by several axes: work in flight and units, or what
    /// [joins them](throttlekit::Admit::joins_axes).
    pub joint: bool,
    /// Why there is no decision.
    pub error: &'a Error,
}

/// Why a request is answered here and not passed on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Rejection<'a, H> {
    /// The limit is reached: 429.
    Limited(Limited<'a, H>),
    /// The store cannot be reached and the fail mode is closed: 503.
    Unavailable(Failure<'a, H>),
    /// The request could not be judged, such as for a cost that is none: 500.
    Failed(Failure<'a, H>),
    /// The request has no key, and the rule demands one: 400.
    MissingKey(H),
}

impl<H: fmt::Debug> fmt::Debug for Limited<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("request", &self.request)
            .field("policy", &self.policy)
            .field("admission", &self.admission)
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}

impl<H: fmt::Debug> fmt::Debug for Failure<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("request", &self.request)
            .field("policy", &self.policy)
            .field("joint", &self.joint)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<H> Rejection<'_, H> {
    /// The request.
    pub fn request(&self) -> &H {
        match self {
            Self::Limited(limited) => &limited.request,
            Self::Unavailable(failure) | Self::Failed(failure) => &failure.request,
            Self::MissingKey(request) => request,
        }
    }

    /// The status of the usual response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Limited(_) => 429,
            Self::Unavailable(_) => 503,
            Self::Failed(_) => 500,
            Self::MissingKey(_) => 400,
        }
    }

    /// The body of the usual response, as JSON. It tells a client nothing about the inside of the service.
    pub fn body(&self) -> Bytes {
        match self {
            Self::Limited(limited) => refusal::limited(&limited.admission.decision),
            Self::Unavailable(Failure { joint: true, .. }) => {
                Bytes::from_static(br#"{"error":"admission unavailable"}"#)
            }
            Self::Unavailable(_) => Bytes::from_static(refusal::UNAVAILABLE),
            Self::Failed(failure) => refusal::failed(failure.error),
            Self::MissingKey(_) => Bytes::from_static(br#"{"error":"rate limit key missing"}"#),
        }
    }

    /// The usual response: [`status`](Self::status) and [`body`](Self::body) as `application/json`.
    pub fn answer(&self) -> Answer {
        Answer { status: self.status(), content_type: "application/json", fields: Vec::new(), body: self.body() }
    }
}

/// Makes the responses to requests that are not passed on. Closures are responders.
///
/// The header fields of the limit are added to a response of [`Rejection::Limited`], except those that are set already.
pub trait Reject<D: Door>: Send + Sync + 'static {
    /// The response to a request that is not passed on. If this panics the usual response is sent.
    fn response<'a>(&self, rejection: &Rejection<'a, D::Head<'a>>) -> D::Response;
}

impl<D: Door, F> Reject<D> for F
where
    F: for<'a> Fn(&Rejection<'a, D::Head<'a>>) -> D::Response + Send + Sync + 'static,
{
    fn response<'a>(&self, rejection: &Rejection<'a, D::Head<'a>>) -> D::Response {
        self(rejection)
    }
}
