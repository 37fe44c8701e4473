//! The tokens of each client: reserved when a request comes, counted while its answer passes, settled at its end.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use throttlekit::policy::Policies;
use throttlekit::{BuildError, FailMode, Meter, TokioRuntime};
use throttlekit_axum::{Admitted, KeyMeter};
use throttlekit_llm::{
    Account as _, BytesPerToken, Dialect, Exhausted, MeterAccount, ModelRequest, Opaque, StreamPolicy,
};

use crate::error::ApiError;
use crate::idle::Idle;
use crate::serve::ErrorLog;

/// The limiter of the file that counts tokens. A rule that does not name it counts none.
const LIMITER: &str = "tokens";

/// What a token is reckoned with in bytes, before anybody has counted it.
const BYTES_PER_TOKEN: u64 = 4;

/// Counts the tokens of all clients.
pub(crate) struct Tokens {
    policies: Policies,
    /// While a store is out: answers pass uncounted, or are cut.
    open: Streams,
    closed: Streams,
    errors: ErrorLog,
    /// Whether streams are asked to say what they cost.
    include_usage: bool,
}

/// How answers are counted.
#[derive(Clone)]
struct Streams {
    texts: StreamPolicy,
    /// Sounds and pictures, whose bytes say nothing of tokens: they cost what was reserved.
    others: StreamPolicy,
}

/// The tokens of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Those of the question.
    input: u64,
    /// With the most that the answer may have, if the request says so.
    most: u64,
    /// The answer is to be fetched by a request that nobody can count for what it fetches.
    background: bool,
}

/// What one request has reserved.
pub(crate) struct Reserved {
    account: MeterAccount,
    /// The tokens of the question.
    input: u64,
    streams: Streams,
}

impl Tokens {
    pub(crate) fn new(policies: &Policies, include_usage: bool) -> Result<Self, BuildError> {
        Ok(Self {
            policies: policies.clone(),
            open: Streams::new(FailMode::Open)?,
            closed: Streams::new(FailMode::Closed)?,
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
            return (Asked { input, most: input, background: false }, body);
        };
        let input = request.input().max(1);
        let most = request.reservation(0).max(input);
        let body = if self.include_usage { request.with_usage(body) } else { body };
        (Asked { input, most, background: request.background() }, body)
    }

    /// Takes the tokens of a request, beyond those that its admission took. `None` if nobody counts tokens.
    pub(crate) async fn reserve(
        &self,
        admitted: Option<&Admitted>,
        asked: Asked,
    ) -> Result<Option<Reserved>, Response> {
        let Some(meter) = admitted.and_then(|admitted| admitted.meter(LIMITER)) else { return Ok(None) };
        if asked.background {
            settle(account(&meter)).await;
            let message = "Tokens of an answer that is fetched later cannot be counted: leave out `background`.";
            return Err(ApiError::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message).into_response());
        }
        let streams = self.streams().clone();
        let mut account = account(&meter);
        match account.reserve_up_to(asked.most).await {
            Ok(decision) => {
                if let Some(decision) = decision {
                    meter.show(decision);
                    if !decision.allowed {
                        settle(account).await;
                        return Err(ApiError::limited(LIMITER, &decision).into_response());
                    }
                }
                Ok(Some(Reserved { account, input: asked.input, streams }))
            }
            Err(error) => {
                self.errors.write(LIMITER, &error);
                if !error.is_store_unavailable() {
                    return Err(ApiError::unavailable(StatusCode::INTERNAL_SERVER_ERROR).into_response());
                }
                match self.fail_mode() {
                    FailMode::Closed => Err(ApiError::unavailable(StatusCode::SERVICE_UNAVAILABLE).into_response()),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Gives back what the admission of a request took that needs no tokens.
    pub(crate) async fn spare(&self, admitted: Option<&Admitted>) {
        if let Some(meter) = admitted.and_then(|admitted| admitted.meter(LIMITER)) {
            settle(account(&meter)).await;
        }
    }

    fn fail_mode(&self) -> FailMode {
        self.policies.get(LIMITER).map_or(FailMode::Open, |policy| policy.spec().fail_mode)
    }

    fn streams(&self) -> &Streams {
        match self.fail_mode() {
            FailMode::Closed => &self.closed,
            _ => &self.open,
        }
    }
}

impl Streams {
    fn new(fail_mode: FailMode) -> Result<Self, BuildError> {
        let policy = |opaque| {
            let policy = StreamPolicy::builder().exhausted(Exhausted::Cut).opaque(opaque).fail_mode(fail_mode);
            policy.runtime(TokioRuntime).build()
        };
        Ok(Self { texts: policy(Opaque::default())?, others: policy(Opaque::Reservation)? })
    }

    /// How an answer with these fields is counted.
    fn of(&self, headers: &HeaderMap) -> &StreamPolicy {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        // What does not say what it is may be a text.
        if kind.is_empty() || kind.starts_with("text/") || kind.contains("json") { &self.texts } else { &self.others }
    }
}

/// The account of a request, with what its admission took.
fn account(meter: &KeyMeter) -> MeterAccount {
    let limiter: Arc<dyn Meter> = Arc::new(meter.meter());
    match meter.taken() {
        Some(taken) => MeterAccount::with_taken(limiter, meter.key(), taken),
        None => MeterAccount::new(limiter, meter.key()),
    }
}

/// Gives everything back: there is no answer.
async fn settle(account: MeterAccount) {
    // If the store is out now, the tokens stay counted until their window is over.
    let _ = Box::new(account).settle(0).await;
}

impl Asked {
    /// A request that is no text.
    pub(crate) const FILES: Self = Self { input: 1, most: 1, background: false };
}

impl Reserved {
    /// Counts the answer as it passes.
    pub(crate) fn meter(self, response: Response<Idle<Incoming>>) -> Response {
        let policy = self.streams.of(response.headers());
        policy.wrap(response, self.account, Some(self.input)).map(Body::new)
    }

    /// Gives everything back: there was no answer.
    pub(crate) async fn give_back(self) {
        settle(self.account).await;
    }
}
