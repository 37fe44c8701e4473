//! Errors. A denial is not one: an error means that the limiter could not decide.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::decision::Decision;

/// The closed meaning of an error, with a stable machine code. The set only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation is not supported by this limiter or store.
    Unsupported,
    /// The store could not be reached or gave up on contention. The only kind that a fail mode applies to.
    StoreUnavailable,
    /// The stored state does not parse or has another shape. Never admitted.
    StateInvalid,
    /// A bad cost or key. Never admitted.
    InvalidArgument,
    /// A shaper's queue is longer than its bound.
    QueueFull,
}

impl ErrorKind {
    /// The stable code, the same in every member of the family.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsupported => "throttlekit_error",
            Self::StoreUnavailable => "store_unavailable",
            Self::StateInvalid => "state_invalid",
            Self::InvalidArgument => "invalid_argument",
            Self::QueueFull => "queue_full",
        }
    }
}

/// Why a limiter could not decide. One word wide. A clone has the same cause.
///
/// ```
/// use throttlekit::{Error, ErrorKind};
///
/// let error = Error::store_unavailable("connection refused");
/// assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
/// assert_eq!(error.code(), "store_unavailable");
/// assert_eq!(error.to_string(), "store is unavailable: connection refused");
/// ```
#[derive(Clone)]
pub struct Error(Box<Repr>);

#[derive(Clone)]
struct Repr {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after_ms: Option<u64>,
    /// Whether a store answered so.
    answered: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let answered = kind == ErrorKind::StateInvalid;
        Self(Box::new(Repr { kind, message: message.into(), retry_after_ms: None, answered, source: None }))
    }

    /// The store could not be reached; `reason` must not contain a secret.
    #[cold]
    pub fn store_unavailable(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::StoreUnavailable, format!("store is unavailable: {reason}"))
    }

    /// The stored state of a key does not parse.
    #[cold]
    pub fn state_invalid(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::StateInvalid, format!("stored state is invalid: {reason}"))
    }

    /// What others waited for panicked, whether a store had answered or not.
    #[cold]
    pub(crate) fn panicked(what: &str) -> Self {
        let mut error = Self::state_invalid(format_args!("{what} panicked"));
        error.0.answered = false;
        error
    }

    /// A bad argument; `message` names it, its value and what is allowed.
    #[cold]
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// An operation that this limiter or store does not offer.
    #[cold]
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A shaper's queue is longer than its bound; a place is free after `retry_after_ms`.
    #[cold]
    pub fn queue_full(retry_after_ms: u64) -> Self {
        let mut error = Self::new(ErrorKind::QueueFull, format!("queue is full, retry after {retry_after_ms} ms"));
        error.0.retry_after_ms = Some(retry_after_ms);
        error
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// What went wrong, as a closed set.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of [`kind`](Self::kind).
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether a fail mode applies to this error.
    pub fn is_store_unavailable(&self) -> bool {
        self.0.kind == ErrorKind::StoreUnavailable
    }

    /// Whether it shows that a store answered: with a state that does not parse. A bad argument and the like may have been
    /// refused before any store was asked.
    pub(crate) fn proves_answer(&self) -> bool {
        self.0.answered
    }

    /// How long to wait, in milliseconds, where the error knows it (a full queue).
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.0.retry_after_ms
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A denial as an error, from [`Decision::into_result`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitExceeded {
    decision: Decision,
}

impl RateLimitExceeded {
    pub(crate) fn new(decision: Decision) -> Self {
        Self { decision }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        "rate_limit_exceeded"
    }

    /// The denial.
    pub fn decision(&self) -> Decision {
        self.decision
    }
}

impl fmt::Display for RateLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rate limit exceeded; retry after {}ms", self.decision.retry_after_ms)
    }
}

impl StdError for RateLimitExceeded {}

/// An option that a constructor refuses: which one, what it was, what is allowed.
///
/// ```
/// use throttlekit::Gcra;
///
/// let error = Gcra::builder().limit(-1.0).period_ms(1_000.0).build().unwrap_err();
/// assert_eq!(error.option(), "gcra.limit");
/// assert_eq!(error.to_string(), "gcra.limit is -1: must be a finite number above 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    kind: BuildKind,
    option: &'static str,
    value: Option<String>,
    allowed: Cow<'static, str>,
}

/// What kind of thing a [`BuildError`] refuses; its stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuildKind {
    Invalid,
    Unsupported,
}

impl BuildError {
    /// `option` as `owner.option`, the value as given, and what is allowed as "must be ...".
    #[cold]
    pub fn new(option: &'static str, value: impl fmt::Display, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: BuildKind::Invalid, option, value: Some(value.to_string()), allowed: allowed.into() }
    }

    /// A required option that was not given.
    #[cold]
    pub fn missing(option: &'static str) -> Self {
        Self { kind: BuildKind::Invalid, option, value: None, allowed: Cow::Borrowed("required") }
    }

    /// An option that was not given and is required under a condition: what `allowed` says.
    #[cold]
    pub(crate) fn required(option: &'static str, allowed: &'static str) -> Self {
        Self { kind: BuildKind::Invalid, option, value: None, allowed: Cow::Borrowed(allowed) }
    }

    /// Options that are legal each for itself and make nothing that works.
    #[cold]
    pub(crate) fn unsupported(option: &'static str, allowed: &'static str) -> Self {
        Self { kind: BuildKind::Unsupported, option, value: None, allowed: Cow::Borrowed(allowed) }
    }

    /// The stable code: `config_invalid`, or `throttlekit_error` for a set of parts that is empty.
    pub fn code(&self) -> &'static str {
        match self.kind {
            BuildKind::Invalid => "config_invalid",
            BuildKind::Unsupported => "throttlekit_error",
        }
    }

    /// The refused option, as `owner.option`.
    pub fn option(&self) -> &'static str {
        self.option
    }

    /// The refused value as text; `None` if it was missing.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// What is allowed.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value}: {}", self.option, self.allowed),
            None => write!(f, "{}: {}", self.option, self.allowed),
        }
    }
}

impl StdError for BuildError {}
