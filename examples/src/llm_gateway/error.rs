//! Refusals and failures in the shape in which `OpenAI`'s API tells them, so that its SDKs raise the errors they know.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;
use throttlekit::{Axis, Decision};
use throttlekit_axum::Rejection;

/// An answer that is not the upstream's.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// What went wrong in general.
    kind: &'static str,
    /// And in particular.
    code: &'static str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, code }
    }

    /// A request that no correct client sends.
    pub(crate) fn invalid(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(status, "invalid_request_error", code, message)
    }

    /// A limit on `what` is reached.
    pub(crate) fn limited(what: &'static str, decision: &Decision) -> Self {
        let seconds = std::time::Duration::from_millis(decision.retry_after_ms.max(1));
        let message = format!("The limit on {what} is reached, try again in {seconds:?}.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, what, "rate_limit_exceeded", message)
    }

    /// The limits cannot be asked, or cannot tell.
    pub(crate) fn unavailable(status: StatusCode) -> Self {
        Self::new(status, "server_error", "limits_unavailable", "The limits of this key are not known at the moment.")
    }

    fn to_response(&self) -> Response<Bytes> {
        let error = json!({ "message": self.message, "type": self.kind, "param": null, "code": self.code });
        let mut response = Response::new(Bytes::from(json!({ "error": error }).to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> axum::response::Response {
        self.to_response().map(Body::from)
    }
}

/// Tells of what the rules of the file refuse.
pub(crate) fn refusal(rejection: &Rejection<'_>) -> Response<Bytes> {
    let error = match rejection {
        Rejection::Limited(limited) => {
            let what = match limited.admission.binding {
                Some(Axis::Concurrency) => "requests in flight",
                Some(Axis::Cost) => "tokens",
                _ => "requests",
            };
            ApiError::limited(what, &limited.admission.decision)
        }
        other => {
            let status = StatusCode::from_u16(other.status());
            ApiError::unavailable(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
    };
    error.to_response()
}
