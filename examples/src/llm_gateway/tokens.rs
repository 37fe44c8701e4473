//! The tokens of each client: reserved when a request comes, counted while its answer passes, settled at its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header, request};
use axum::response::Response;
use hyper::body::Incoming;
use throttlekit::budget::{LearnedReservation, ReservationOptions};
use throttlekit::{BuildError, Decision, FailMode, Meter, TokioRuntime};
use throttlekit_axum::{Admitted, KeyMeter};
use throttlekit_llm::{
    Account as _, BytesPerToken, CountTokens as _, Dialect, End, Exhausted, Framing, MeterAccount, MeteredBody,
    ModelRequest, Opaque, Report, StreamPolicy,
};

use crate::error::ApiError;
use crate::idle::Idle;
use crate::serve::ErrorLog;

/// The limiter of the file that counts tokens. A rule that does not name it counts none.
const LIMITER: &str = "tokens";

/// Counts the tokens of all clients.
pub(crate) struct Tokens {
    /// While a store is out: answers pass, and what they cost is counted when it is back; or they are cut.
    open: Streams,
    closed: Streams,
    /// Of a rule that is tried out: whatever is left, answers pass and are counted.
    shadow: Streams,
    lengths: Lengths,
    errors: Arc<ErrorLog>,
    /// Whether streams are asked to say what they cost.
    include_usage: bool,
}

/// How answers are counted.
#[derive(Clone)]
struct Streams {
    texts: StreamPolicy,
    /// Texts of which the request does not say how long they may be: how long they were is learnt.
    unbounded: StreamPolicy,
    /// Sounds and pictures, whose bytes say nothing of tokens: they cost what was reserved.
    others: StreamPolicy,
}

/// How long answers are whose requests do not say how long they may be, learnt from those of all clients.
#[derive(Clone)]
struct Lengths(Arc<Mutex<LearnedReservation>>);

/// The tokens of one request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// By which API, if that is known.
    dialect: Option<Dialect>,
    /// Those of the question.
    input: u64,
    /// With the most that the answer may have, or what such answers have.
    most: u64,
    /// The request says how long its answer may be.
    is_bounded: bool,
    /// Where tokens are counted, it cannot be answered.
    refusal: Option<ApiError>,
}

/// What one request has reserved.
pub(crate) struct Reserved {
    meter: KeyMeter,
    account: MeterAccount,
    dialect: Option<Dialect>,
    /// The tokens of the question.
    input: u64,
    is_bounded: bool,
    streams: Streams,
    errors: Arc<ErrorLog>,
}

impl Tokens {
    pub(crate) fn new(include_usage: bool) -> Result<Self, BuildError> {
        let (lengths, errors) = (Lengths::new()?, Arc::new(ErrorLog::new()));
        Ok(Self {
            open: Streams::new(Exhausted::Cut, FailMode::Open, &lengths, &errors)?,
            closed: Streams::new(Exhausted::Cut, FailMode::Closed, &lengths, &errors)?,
            shadow: Streams::new(Exhausted::Finish, FailMode::Open, &lengths, &errors)?,
            lengths,
            errors,
            include_usage,
        })
    }

    /// Reads what a request may cost, and asks its answer to say what it did cost, if that is wanted.
    pub(crate) fn read(&self, head: &request::Parts, body: Bytes) -> (Asked, Bytes) {
        let Some(dialect) = Dialect::of_path(head.uri.path()) else {
            return (Asked::about(&body), body);
        };
        if !is_plain(&head.headers) {
            let message = "A request whose tokens are counted has no content encoding.";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let refusal = ApiError::invalid(status, "unsupported_content_encoding", message);
            return (Asked { refusal: Some(refusal), ..Asked::about(&body) }, body);
        }
        let Ok(request) = ModelRequest::read(dialect, &body, &mut BytesPerToken::default()) else {
            let message = "The body of the request is no JSON object in UTF-8.";
            let refusal = ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_json", message);
            return (Asked { refusal: Some(refusal), ..Asked::about(&body) }, body);
        };
        let refusal = request.background().then(|| {
            let message = "Tokens of an answer that is fetched later cannot be counted: leave out `background`.";
            ApiError::invalid(StatusCode::BAD_REQUEST, "unsupported_parameter", message)
        });
        let input = request.input().max(1);
        let is_bounded = request.max_output().is_some();
        // What is learnt is of all choices together.
        let most = if is_bounded { request.reservation(0) } else { input.saturating_add(self.lengths.learnt()) };
        let body = if self.include_usage { request.with_usage(body) } else { body };
        (Asked { dialect: Some(dialect), input, most: most.max(input), is_bounded, refusal }, body)
    }

    /// Takes the tokens of a request, beyond those that its admission took. `None` if nobody counts tokens.
    pub(crate) async fn reserve(
        &self,
        admitted: Option<&Admitted>,
        asked: Asked,
    ) -> Result<Option<Reserved>, ApiError> {
        let Some((admitted, meter)) = admitted.and_then(|admitted| Some((admitted, admitted.meter(LIMITER)?))) else {
            return Ok(None);
        };
        let streams = match admitted.fail_mode() {
            _ if admitted.is_shadow() => &self.shadow,
            FailMode::Closed => &self.closed,
            _ => &self.open,
        };
        let mut account = account(&meter);
        let taken = match asked.refusal {
            Some(refusal) => Err((refusal, None)),
            None => self.take(&meter, &mut account, asked.most, admitted.fail_mode()).await,
        };
        if let Err((refusal, denial)) = taken {
            // A rule that is tried out lets every request pass.
            if !admitted.is_shadow() {
                self.give_back(&meter, account).await;
                if let Some(denial) = denial {
                    meter.show(denial);
                }
                return Err(refusal);
            }
        }
        Ok(Some(Reserved {
            meter,
            account,
            dialect: asked.dialect,
            input: asked.input,
            is_bounded: asked.is_bounded,
            streams: streams.clone(),
            errors: Arc::clone(&self.errors),
        }))
    }

    /// Takes so many tokens, or as many of them as there ever are. A refusal comes with the denial, if that is what it is of.
    async fn take(
        &self,
        meter: &KeyMeter,
        account: &mut MeterAccount,
        tokens: u64,
        fail_mode: FailMode,
    ) -> Result<(), (ApiError, Option<Decision>)> {
        match account.reserve_up_to(tokens).await {
            Ok(Some(denial)) if !denial.allowed => Err((ApiError::limited(LIMITER, &denial), Some(denial))),
            Ok(decision) => {
                if let Some(decision) = decision {
                    meter.show(decision);
                }
                Ok(())
            }
            Err(error) => {
                self.errors.write(LIMITER, &error);
                match (error.is_store_unavailable(), fail_mode) {
                    (true, FailMode::Closed) => Err((ApiError::unavailable(StatusCode::SERVICE_UNAVAILABLE), None)),
                    (true, _) => Ok(()),
                    (false, _) => Err((ApiError::unavailable(StatusCode::INTERNAL_SERVER_ERROR), None)),
                }
            }
        }
    }

    /// Gives back what the admission of a request took that needs no tokens.
    pub(crate) async fn spare(&self, admitted: Option<&Admitted>) {
        if let Some(meter) = admitted.and_then(|admitted| admitted.meter(LIMITER)) {
            self.give_back(&meter, account(&meter)).await;
        }
    }

    async fn give_back(&self, meter: &KeyMeter, account: MeterAccount) {
        give_back(meter, account, &self.errors).await;
    }
}

/// Whether the body of a request is as it was written.
fn is_plain(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().all(|codings| codings.to_str().is_ok_and(Framing::is_plain))
}

impl Lengths {
    fn new() -> Result<Self, BuildError> {
        // Nothing at first. A step is as long as a long answer, if there is more than was thought, and a quarter of that if
        // there is less, so that four of five answers have no more than is learnt.
        let options = ReservationOptions::new(1.0, 4.0, 32_768.0).initial_reservation(0.0).step_scale(1_024.0);
        Ok(Self(Arc::new(Mutex::new(options.build()?))))
    }

    fn learned(&self) -> MutexGuard<'_, LearnedReservation> {
        // Numbers: a panic leaves them numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learnt(&self) -> u64 {
        self.learned().reserve()
    }

    /// Learns how long an answer was, if all of it is there.
    #[allow(clippy::cast_precision_loss)] // about so many
    fn observe(&self, report: &Report<'_>) {
        let length = report.usage.output.or((report.estimated > 0).then_some(report.estimated));
        // Bytes that cannot be read say nothing of tokens.
        let length = length.filter(|_| report.end == End::Completed && report.framing != Framing::Opaque);
        if let Some(length) = length {
            self.learned().observe(length as f64);
        }
    }
}

impl Streams {
    fn new(
        exhausted: Exhausted,
        fail_mode: FailMode,
        lengths: &Lengths,
        errors: &Arc<ErrorLog>,
    ) -> Result<Self, BuildError> {
        let policy = || {
            let errors = Arc::clone(errors);
            let policy = StreamPolicy::builder().exhausted(exhausted).fail_mode(fail_mode);
            policy.runtime(TokioRuntime).on_unsettled(move |error| errors.write(LIMITER, error))
        };
        let lengths = lengths.clone();
        Ok(Self {
            texts: policy().build()?,
            unbounded: policy().on_end(move |report| lengths.observe(report)).build()?,
            others: policy().opaque(Opaque::Reservation).build()?,
        })
    }

    /// How an answer with these fields is counted.
    fn of(&self, headers: &HeaderMap, is_bounded: bool) -> &StreamPolicy {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.to_ascii_lowercase();
        // What does not say what it is may be a text.
        if !(kind.is_empty() || kind.starts_with("text/") || kind.contains("json")) {
            &self.others
        } else if is_bounded {
            &self.texts
        } else {
            &self.unbounded
        }
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

/// Gives everything back, and shows that: there is no answer.
async fn give_back(meter: &KeyMeter, account: MeterAccount, errors: &ErrorLog) {
    match Box::new(account).settle(0).await {
        Ok(decision) => decision.into_iter().for_each(|decision| meter.show(decision)),
        // If the store is out now, the tokens stay counted until their window is over.
        Err(error) => errors.write(LIMITER, &error),
    }
}

impl Asked {
    /// A request that is no text.
    pub(crate) const FILES: Self = Self { dialect: None, input: 1, most: 1, is_bounded: true, refusal: None };

    /// A request of which no more is known than its bytes.
    fn about(body: &Bytes) -> Self {
        let mut counter = BytesPerToken::default();
        counter.text(body);
        let input = counter.tokens().max(1);
        Self { dialect: None, input, most: input, is_bounded: true, refusal: None }
    }
}

impl Reserved {
    /// Counts the answer as it passes. One that is no success costs nothing, and says so in its head.
    pub(crate) async fn meter(self, response: Response<Idle<Incoming>>) -> Response {
        if !response.status().is_success() {
            self.give_back().await;
            return response.map(Body::new);
        }
        let policy = self.streams.of(response.headers(), self.is_bounded);
        let response = policy.wrap(response, self.account, Some(self.input));
        response.map(|body| Body::new(self.dialect.into_iter().fold(body, MeteredBody::with_dialect)))
    }

    /// Gives everything back: there was no answer.
    pub(crate) async fn give_back(self) {
        give_back(&self.meter, self.account, &self.errors).await;
    }
}
