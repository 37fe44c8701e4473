//! Who asks: the API key of a request, and what stands for it everywhere else.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use throttlekit::config::StoreKind;
use throttlekit::identity::KeyHasher;

use crate::error::ApiError;

/// The field under which the rules of the file find who asks. What a client sends in it counts for nothing.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-client");

/// Makes keys of API keys: counts are kept below these, so that no store and no log holds a secret. `key_id` marks them, so
/// that another secret one day makes other keys.
///
/// Without a secret one is drawn, if nobody else has to find the same keys in `store`.
pub(crate) fn hasher(secret: Option<&str>, key_id: Option<&str>, store: StoreKind) -> Result<KeyHasher, String> {
    let mut drawn = [0; 32];
    let secret = match secret {
        Some(secret) => secret.as_bytes(),
        None if store == StoreKind::Memory => {
            getrandom::fill(&mut drawn).map_err(|error| format!("no random numbers: {error}"))?;
            &drawn
        }
        None => {
            let why =
                "with a store: all that count in it must know a client by the same key, and so must the next start";
            return Err(format!("GATEWAY_KEY_SECRET is needed {why}"));
        }
    };
    let hasher = KeyHasher::new(key_id.unwrap_or("k1"), secret);
    hasher.map_err(|error| format!("GATEWAY_KEY_SECRET or GATEWAY_KEY_ID cannot be used: {error}"))
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

#[cfg(test)]
mod tests {
    use throttlekit::config::StoreKind;

    use super::hasher;

    #[test]
    fn a_secret_is_drawn_where_nobody_else_counts() {
        let keys = [(); 2].map(|()| hasher(None, None, StoreKind::Memory).expect("random numbers").hash("sk-1"));
        assert_ne!(keys[0], keys[1]);
        for store in [StoreKind::Redis, StoreKind::Postgres, StoreKind::DynamoDb] {
            let error = hasher(None, Some("k2"), store).expect_err("others have to find the keys");
            assert!(error.contains("GATEWAY_KEY_SECRET is needed"), "{error}");
            let keys =
                [(); 2].map(|()| hasher(Some("not a secret, but long"), None, store).expect("it is good").hash("sk-1"));
            assert_eq!(keys[0], keys[1]);
        }
    }

    #[test]
    fn the_id_marks_the_keys() {
        let key = |id| hasher(None, id, StoreKind::Memory).expect("a good id").hash("sk-1");
        assert!(key(None).as_str().starts_with("k1:") && key(Some("2026-11")).as_str().starts_with("2026-11:"));
        let error = hasher(None, Some("a:b"), StoreKind::Memory).expect_err("it has a colon");
        assert!(error.contains("GATEWAY_KEY_ID") && error.contains("a:b"), "{error}");
    }
}
