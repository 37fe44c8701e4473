//! The limits in front, the upstream behind, and between them the tokens.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Router, middleware};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use throttlekit::identity::KeyHasher;
use throttlekit::policy::Policies;
use throttlekit_axum::{Admitted, ThrottleLayer, Throttled};
use throttlekit_llm::Dialect;

use crate::client;
use crate::error::{self, ApiError};
use crate::forward::Upstream;
use crate::path;
use crate::serve::ErrorLog;
use crate::tokens::{Asked, Tokens};

/// A request whose tokens are counted is read before it is sent on; a longer one is refused. It is more than the context
/// of any model.
const LONGEST_REQUEST: usize = 16 << 20;

/// What all requests have in common.
struct Gateway {
    upstream: Upstream,
    tokens: Tokens,
    /// How long a request may take to arrive. It holds a slot meanwhile.
    arrives_within: Duration,
}

/// The whole gateway.
pub(crate) fn router(
    policies: &Policies,
    upstream: Upstream,
    hasher: KeyHasher,
    include_usage: bool,
    arrives_within: Duration,
) -> Result<Router, Box<dyn Error>> {
    let errors = ErrorLog::new();
    let limits = ThrottleLayer::from_config(policies)?
        // What the tokens of an answer are counted on, once they are known.
        .share(true)
        .reject(error::refusal)
        .on_error(move |failure| errors.write(failure.policy, failure.error));
    let key = upstream.key_of();
    let gateway = Arc::new(Gateway { upstream, tokens: Tokens::new(include_usage)?, arrives_within });
    // Layers that come later are outside: first it is found out who asks, then whether there is such a path, and then the
    // limits of that client decide.
    Ok(Router::new()
        .route("/v1/{*path}", any(forward))
        .layer(limits)
        .layer(middleware::from_fn_with_state(key, path::check))
        .layer(middleware::from_fn_with_state(Arc::new(hasher), client::identify))
        .fallback(|| async { ApiError::invalid(StatusCode::NOT_FOUND, "unknown_url", "The API is below /v1.") })
        .with_state(gateway))
}

async fn forward(State(gateway): State<Arc<Gateway>>, throttled: Option<Throttled>, request: Request) -> Response {
    let admitted = throttled.as_deref();
    let (mut head, body) = request.into_parts();
    head.headers.remove(client::CLIENT);
    // Whatever makes a model work is posted.
    let answered = if head.method == Method::POST {
        gateway.metered(admitted, head, body).await
    } else {
        gateway.tokens.spare(admitted).await;
        gateway.upstream.send(head, body).await.map(|response| response.map(Body::new))
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// Whether a request brings files, which may be large and are no text. They pass as they come. An API that is known takes
/// none, and may read the text of a request whatever its type.
fn brings_files(head: &request::Parts) -> bool {
    if Dialect::of_path(head.uri.path()).is_some() {
        return false;
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
}

/// The whole body of a request, if it comes in time.
async fn whole(body: Body, within: Duration) -> Result<Bytes, ApiError> {
    let Ok(body) = tokio::time::timeout(within, Limited::new(body, LONGEST_REQUEST).collect()).await else {
        let message = "The request did not arrive in time.";
        return Err(ApiError::invalid(StatusCode::REQUEST_TIMEOUT, "request_timeout", message));
    };
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("A request has at most {LONGEST_REQUEST} bytes.");
            Err(ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message))
        }
        Err(_) => Err(ApiError::invalid(StatusCode::BAD_REQUEST, "incomplete_request", "The request broke off.")),
    }
}

impl Gateway {
    async fn metered(
        &self,
        admitted: Option<&Admitted>,
        mut head: request::Parts,
        body: Body,
    ) -> Result<Response, ApiError> {
        let (asked, body) = if brings_files(&head) {
            (Asked::FILES, body)
        } else {
            let body = match whole(body, self.arrives_within).await {
                Ok(body) => body,
                Err(error) => {
                    self.tokens.spare(admitted).await;
                    return Err(error);
                }
            };
            let (asked, body) = self.tokens.read(&head, body);
            // It may have another length now.
            head.headers.remove(header::CONTENT_LENGTH);
            (asked, Body::from(body))
        };
        // A compressed answer cannot be read on its way; without the field any would do.
        head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let reserved = self.tokens.reserve(admitted, asked).await?;
        match (self.upstream.send(head, body).await, reserved) {
            (Ok(response), Some(reserved)) => Ok(reserved.meter(response).await),
            (Ok(response), None) => Ok(response.map(Body::new)),
            (Err(error), reserved) => {
                if let Some(reserved) = reserved {
                    reserved.give_back().await;
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    use super::whole;

    const SPAN: Duration = Duration::from_secs(60);

    /// A byte every second.
    fn trickle(bytes: u64) -> Body {
        Body::from_stream(stream::unfold(bytes, |left| async move {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), left.checked_sub(1)?))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_arrive_in_time_is_refused() {
        let start = Instant::now();
        let refusal = whole(trickle(1_000), SPAN).await.expect_err("it takes longer");
        assert_eq!((refusal.into_response().status(), start.elapsed()), (StatusCode::REQUEST_TIMEOUT, SPAN));
        assert_eq!(whole(trickle(30), SPAN).await.expect("in time"), vec![b'x'; 30]);
    }
}
