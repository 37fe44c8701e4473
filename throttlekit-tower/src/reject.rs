//! What a request gets that is not passed on.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use throttlekit::{Admission, Error};

use crate::request::RequestHead;

/// A denial, as hooks and responses see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limited<'a> {
    /// The request.
    pub request: RequestHead<'a>,
    /// The key it counted under. It may be a secret or an address: think before logging it.
    pub key: &'a str,
    /// The name of the policy that denied.
    pub policy: &'a str,
    /// What the limiter answered.
    pub admission: &'a Admission,
}

/// A request that could not be decided, as hooks and responses see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The request.
    pub request: RequestHead<'a>,
    /// The name of the policy that was asked.
    pub policy: &'a str,
    /// Why there is no decision.
    pub error: &'a Error,
}

/// Why a request is answered here and not passed on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Rejection<'a> {
    /// The limit is reached: 429.
    Limited(Limited<'a>),
    /// The store cannot be reached and the fail mode is closed: 503.
    Unavailable(Failure<'a>),
    /// The request could not be judged, such as for a cost that is none: 500.
    Failed(Failure<'a>),
    /// The request has no key, and the rule demands one: 400.
    MissingKey(RequestHead<'a>),
}

impl Rejection<'_> {
    /// The status of the usual response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MissingKey(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the usual response, as JSON. It tells a client nothing about the inside of the service.
    pub fn body(&self) -> Bytes {
        match self {
            Self::Limited(limited) => {
                let wait = limited.admission.decision.retry_after_ms;
                Bytes::from(format!(r#"{{"error":"Too Many Requests","retryAfterMs":{wait}}}"#))
            }
            Self::Unavailable(_) => Bytes::from_static(br#"{"error":"rate limiter unavailable"}"#),
            Self::Failed(failure) => {
                Bytes::from(format!(r#"{{"error":"rate limiter error","code":"{}"}}"#, failure.error.code()))
            }
            Self::MissingKey(_) => Bytes::from_static(br#"{"error":"rate limit key missing"}"#),
        }
    }

    /// The usual response: [`status`](Self::status) and [`body`](Self::body) as `application/json`.
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// Makes the responses to requests that are not passed on. Closures are responders.
///
/// The layer adds its header fields to a response of [`Rejection::Limited`], except those that are set already.
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode};
/// use throttlekit_tower::{Reject, Rejection};
///
/// /// Everything as usual, but a denial is a short text.
/// #[derive(Debug)]
/// struct Plain;
///
/// impl Reject for Plain {
///     fn response(&self, rejection: &Rejection<'_>) -> Response<Bytes> {
///         if !matches!(rejection, Rejection::Limited(_)) {
///             return rejection.response();
///         }
///         let mut response = Response::new(Bytes::from_static(b"slow down"));
///         *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
///         response
///     }
/// }
///
/// # use throttlekit::{Gcra, Limiter};
/// # use throttlekit_tower::ThrottleLayer;
/// let layer = ThrottleLayer::new(Limiter::new(Gcra::per_second(5)?)).reject(Plain);
/// # let _ = layer;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
pub trait Reject: Send + Sync + 'static {
    /// The response to a request that is not passed on. If this panics the usual response is sent.
    fn response(&self, rejection: &Rejection<'_>) -> Response<Bytes>;
}

impl<F> Reject for F
where
    F: Fn(&Rejection<'_>) -> Response<Bytes> + Send + Sync + 'static,
{
    fn response(&self, rejection: &Rejection<'_>) -> Response<Bytes> {
        self(rejection)
    }
}
