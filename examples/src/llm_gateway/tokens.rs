//! The tokens of each client: reserved when a request comes, counted while its answer passes, settled at its end.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use throttlekit::headers::{HeaderFamily, Headers, Unit};
use throttlekit::policy::{Policies, Policy};
use throttlekit::{BuildError, Decision, DynLimiter, FailMode, Meter, TokioRuntime};
use throttlekit_llm::{Account as _, BytesPerToken, Dialect, Exhausted, MeterAccount, ModelRequest, StreamPolicy};

use crate::client::Client;
use crate::error::ApiError;
use crate::serve::ErrorLog;

/// The limiter of the file that counts tokens. Without it they are not counted.
const LIMITER: &str = "tokens";

/// What a token is reckoned with in bytes, before anybody has counted it.
const BYTES_PER_TOKEN: u64 = 4;

/// Counts the tokens of all clients.
pub(crate) struct Tokens {
    policies: Policies,
    headers: Headers,
    /// While a store is out: answers pass uncounted, or are cut.
    open: StreamPolicy,
    closed: StreamPolicy,
    errors: ErrorLog,
    /// Whether streams are asked to say what they cost.
    include_usage: bool,
}

/// The tokens of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Those of the question.
    input: u64,
    /// With the most that the answer may have, if the request says so.
    most: u64,
}

/// What one request has reserved.
pub(crate) struct Reserved {
    account: MeterAccount,
    /// The tokens of the question.
    input: u64,
    policy: StreamPolicy,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Tokens {
    pub(crate) fn new(policies: &Policies, include_usage: bool) -> Result<Self, BuildError> {
        let stream = |fail_mode| {
            let policy = StreamPolicy::builder().exhausted(Exhausted::Cut).fail_mode(fail_mode);
            policy.runtime(TokioRuntime).build()
        };
        Ok(Self {
            policies: policies.clone(),
            headers: Headers::new(HeaderFamily::OpenAi).unit(Unit::Tokens).policy(LIMITER),
            open: stream(FailMode::Open)?,
            closed: stream(FailMode::Closed)?,
            errors: ErrorLog::new(),
            include_usage,
        })
    }

    /// Reads what a request to `path` may cost, and asks its answer to say what it did cost, if that is wanted.
    pub(crate) fn read(&self, path: &str, body: Bytes) -> (Asked, Bytes) {
        let dialect = Dialect::of_path(path);
        let request = dialect.map(|dialect| ModelRequest::read(dialect, &body, &mut BytesPerToken::default()));
        let Some(Ok(request)) = request else {
            // An API that is not known, or a request that its own will refuse.
            let input = u64::try_from(body.len()).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN).max(1);
            return (Asked { input, most: input }, body);
        };
        let input = request.input().max(1);
        let most = request.reservation(0).max(input);
        let body = if self.include_usage { request.with_usage(body) } else { body };
        (Asked { input, most }, body)
    }

    /// Takes the tokens of a request from `client`. `None` if nobody counts tokens.
    pub(crate) async fn reserve(&self, client: &Client, asked: Asked) -> Result<Option<Reserved>, Response> {
        let Some(policy) = self.policies.get(LIMITER) else { return Ok(None) };
        let Some(limiter) = policy.limiter() else { return Ok(None) };
        let meter: Arc<dyn Meter> = Arc::new(Arc::clone(limiter));
        match MeterAccount::reserve(meter, Arc::clone(&client.0), asked.most).await {
            Ok(opened) => {
                let fields = self.fields(&opened.decision, limiter.as_ref());
                if let Some(account) = opened.account {
                    let policy = self.stream_policy(&policy).clone();
                    Ok(Some(Reserved { account, input: asked.input, policy, fields }))
                } else {
                    let mut response = ApiError::limited("tokens", &opened.decision).into_response();
                    response.headers_mut().extend(fields);
                    Err(response)
                }
            }
            Err(error) => {
                self.errors.write(LIMITER, &error);
                if !error.is_store_unavailable() {
                    return Err(ApiError::unavailable(StatusCode::INTERNAL_SERVER_ERROR).into_response());
                }
                match policy.spec().fail_mode {
                    FailMode::Closed => Err(ApiError::unavailable(StatusCode::SERVICE_UNAVAILABLE).into_response()),
                    _ => Ok(None),
                }
            }
        }
    }

    fn stream_policy(&self, policy: &Policy) -> &StreamPolicy {
        match policy.spec().fail_mode {
            FailMode::Closed => &self.closed,
            _ => &self.open,
        }
    }

    fn fields(&self, decision: &Decision, limiter: &dyn DynLimiter) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::new();
        self.headers.for_each(decision, limiter.now_ms(), |field, value| {
            let name = HeaderName::from_bytes(field.as_str().as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.to_string())) {
                fields.push((name, value));
            }
        });
        fields
    }
}

impl Asked {
    /// A request that is no text.
    pub(crate) const FILES: Self = Self { input: 1, most: 1 };
}

impl Reserved {
    /// Counts the answer as it passes. Its header tells what was left when it began.
    pub(crate) fn meter(self, response: Response<Incoming>) -> Response {
        let mut response = self.policy.wrap(response, self.account, Some(self.input)).map(Body::new);
        response.headers_mut().extend(self.fields);
        response
    }

    /// Gives everything back: there was no answer.
    pub(crate) async fn give_back(self, headers: &mut HeaderMap) {
        // If the store is out now, the tokens stay counted until their window is over.
        let _ = Box::new(self.account).settle(0).await;
        headers.extend(self.fields);
    }
}
