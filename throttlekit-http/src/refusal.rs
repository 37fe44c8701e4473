//! What a handler answers where a limit refuses it more.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;
use throttlekit::{Decision, Error, RateLimitExceeded};

use crate::door::Answer;

/// Why a handler refuses a request that was admitted: what it counts beside the door's unit was denied, or could not be
/// counted. Made of the errors of a [`KeyMeter`](crate::KeyMeter) and of [`Decision::into_result`] by `?`.
///
/// The client gets the usual response of a door, in JSON. It is made without the request and its rule, so that problem
/// details, gRPC and a [`reject`](crate::Limits::reject) of one's own do not apply: a handler that needs another form
/// matches on it.
///
/// ```
/// use throttlekit_http::{KeyMeter, Refusal};
///
/// /// Costs a unit for each 1,000 bytes.
/// async fn count(meter: KeyMeter, bytes: usize) -> Result<u64, Refusal> {
///     let decision = meter.debit((bytes / 1_000) as f64).await?.into_result()?;
///     Ok(decision.remaining)
/// }
/// # let _ = count;
///
/// let out = Refusal::from(throttlekit::Error::store_unavailable("connection refused"));
/// assert_eq!((out.status(), out.body()), (503, r#"{"error":"rate limiter unavailable"}"#.into()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The limit is reached: 429.
    Limited(Decision),
    /// It could not be asked: 503 if its store is out, else 500.
    Failed(Error),
}

impl Refusal {
    /// The status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Limited(_) => 429,
            Self::Failed(error) if error.is_store_unavailable() => 503,
            Self::Failed(_) => 500,
        }
    }

    /// The body of the response, as JSON. It tells a client nothing about the inside of the service.
    pub fn body(&self) -> Bytes {
        match self {
            Self::Limited(decision) => limited(decision),
            Self::Failed(error) if error.is_store_unavailable() => Bytes::from_static(UNAVAILABLE),
            Self::Failed(error) => failed(error),
        }
    }

    /// The whole response. Of a denial it has `Retry-After`; the other fields of a limit are those of the admission, if the
    /// door writes any.
    pub fn answer(&self) -> Answer {
        let fields = match self {
            // Rounded up, and at least a second: whoever waits for so long is not denied for being early.
            Self::Limited(decision) => {
                vec![("retry-after", decision.retry_after_ms.div_ceil(1_000).max(1).to_string())]
            }
            Self::Failed(_) => Vec::new(),
        };
        Answer { status: self.status(), content_type: "application/json", fields, body: self.body() }
    }
}

/// The body of a denial.
pub(crate) fn limited(decision: &Decision) -> Bytes {
    Bytes::from(format!(r#"{{"error":"Too Many Requests","retryAfterMs":{}}}"#, decision.retry_after_ms))
}

/// The body where a store is out.
pub(crate) const UNAVAILABLE: &[u8] = br#"{"error":"rate limiter unavailable"}"#;

/// The body of any other failure.
pub(crate) fn failed(error: &Error) -> Bytes {
    Bytes::from(format!(r#"{{"error":"rate limiter error","code":"{}"}}"#, error.code()))
}

impl From<RateLimitExceeded> for Refusal {
    fn from(exceeded: RateLimitExceeded) -> Self {
        Self::Limited(exceeded.decision())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(decision) => write!(f, "rate limit exceeded; retry after {}ms", decision.retry_after_ms),
            Self::Failed(_) => f.write_str("the rate limiter could not decide"),
        }
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Limited(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}
