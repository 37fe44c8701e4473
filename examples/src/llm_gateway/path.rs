//! Which requests go on: by the spelling of their path and, with a key of the operator's, by what they ask for.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// What may be posted with a key of the operator's: APIs whose tokens are counted, and those whose requests say what they
/// cost. Files, batches, threads and their like belong to the account, and so to all clients.
const POSTED: [&str; 12] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/variations",
];

/// Whose key the upstream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOf {
    Client,
    Operator,
}

/// Lets a request pass whose path is what it seems to be, and that may be sent with this key.
pub(crate) async fn check(State(key): State<KeyOf>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !is_normal(path) {
        let message = "The path has needless escapes, dot segments or empty segments: write it without.";
        return ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_url", message).into_response();
    }
    if key == KeyOf::Operator && !is_open(request.method(), path) {
        let message = "This gateway has no such method and path.";
        return ApiError::invalid(StatusCode::NOT_FOUND, "unknown_url", message).into_response();
    }
    next.run(request).await
}

/// Whether a path has one reading (RFC 3986, section 6.2.2): the rules of the file see it as it is written, and the upstream
/// may see it as it is meant.
fn is_normal(path: &str) -> bool {
    let mut escapes =
        path.split('%').skip(1).map(|rest| rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()));
    let is_needed = |byte: u8| !(byte.is_ascii_alphanumeric() || b"-._~\\".contains(&byte));
    // Names of models have slashes, which clients escape.
    let path = path.replace("%2F", "/").replace("%2f", "/");
    let inner = path.strip_prefix('/').map(|path| path.strip_suffix('/').unwrap_or(path));
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
    escapes.all(|byte| byte.is_some_and(is_needed))
        && !path.contains('\\')
        && inner.is_some_and(|inner| inner.split('/').all(is_plain))
}

/// Whether a request reaches nothing that another client made, and no work that is not counted.
fn is_open(method: &Method, path: &str) -> bool {
    match *method {
        Method::POST => POSTED.contains(&path),
        Method::GET | Method::HEAD => path == "/v1/models" || path.starts_with("/v1/models/"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::{is_normal, is_open};

    #[test]
    fn a_path_with_another_reading_is_not_normal() {
        for path in ["/v1/responses", "/v1/responses/", "/v1/models/a%2Fb%20c", "/v1/models/a:b", "/v1/models/..a"] {
            assert!(is_normal(path), "{path}");
        }
        for path in [
            "/v1//chat/completions",
            "/v1/responses/.",
            "/v1/free/../responses",
            "/v1/free/%2e%2E/responses",
            "/v1/free/.%2e%2fresponses",
            "/v1/free%2F..%2Fresponses",
            "/v1/free/..\\responses",
            "/v1/free/..%5Cresponses",
            "/v1/%72esponses",
            "/v1/responses%",
            "/v1/responses%zz",
        ] {
            assert!(!is_normal(path), "{path}");
        }
    }

    #[test]
    fn with_a_key_of_the_operator_only_what_is_counted_is_open() {
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/images/edits"] {
            assert!(is_open(&Method::POST, path) && !is_open(&Method::GET, path), "{path}");
        }
        for path in ["/v1/models", "/v1/models/m", "/v1/models/a/b"] {
            assert!(is_open(&Method::GET, path) && is_open(&Method::HEAD, path), "{path}");
            assert!(!is_open(&Method::POST, path) && !is_open(&Method::DELETE, path), "{path}");
        }
        for path in
            ["/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/threads/runs", "/v1/Responses", "/v1/x/responses"]
        {
            assert!(!is_open(&Method::POST, path), "{path}");
        }
        for path in ["/v1/files", "/v1/files/file-1/content", "/v1/responses/resp_1", "/v1/realtime", "/v1/models2"] {
            assert!(!is_open(&Method::GET, path), "{path}");
        }
    }
}
