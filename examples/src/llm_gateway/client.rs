//! Who asks: the API key of a request, and what stands for it everywhere else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use throttlekit::identity::KeyHasher;

use crate::error::ApiError;

/// The field under which the rules of the file find who asks. What a client sends in it counts for nothing.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-client");

/// Marks the keys, so that another secret one day makes other keys.
const KEY_ID: &str = "k1";

/// Without a secret of the operator's. API keys are long and random, so nobody finds them by trying.
const USUAL_SECRET: &str = "llm-gateway: client keys";

/// Makes keys of API keys: counts are kept below these, so that no store and no log holds a secret.
pub(crate) fn hasher(secret: Option<&str>) -> Result<KeyHasher, String> {
    let hasher = KeyHasher::new(KEY_ID, secret.unwrap_or(USUAL_SECRET));
    hasher.map_err(|error| format!("GATEWAY_KEY_SECRET cannot be used: {error}"))
}

/// Finds out who asks. Without an API key a request goes no further.
pub(crate) async fn identify(State(hasher): State<Arc<KeyHasher>>, mut request: Request, next: Next) -> Response {
    let Some(key) = api_key(request.headers()) else {
        let message = "There is no API key: send it as `Authorization: Bearer KEY`.";
        let refusal = ApiError::invalid(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response();
    };
    let key = hasher.hash(key);
    let Ok(value) = HeaderValue::from_str(key.as_str()) else {
        return ApiError::unavailable(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    };
    request.headers_mut().insert(CLIENT, value);
    next.run(request).await
}

/// The only bearer token of a request. Of two it is not known whose request it is.
fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
