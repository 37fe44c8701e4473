//! What went wrong on a connection, and what it means to the caller.

use deadpool_postgres::PoolError;
use throttlekit::Error;
use tokio_postgres::error::SqlState;

/// A failure before it became an error: one failure may be the answer of many calls.
#[derive(Debug)]
pub(crate) struct Trouble {
    cause: Cause,
    /// Whether it is certain that nothing was written.
    void: bool,
}

#[derive(Debug)]
enum Cause {
    /// There is no connection.
    Connect(String),
    /// The connection is gone.
    Lost(String),
    /// Nothing came in time.
    Slow(&'static str),
    /// The server refused.
    Refused(SqlState, String),
    /// The server's answer is not the one that the formula gives.
    Differs,
}

impl Trouble {
    /// A failure while nothing is committed that did not say so.
    pub(crate) fn before(error: &tokio_postgres::Error) -> Self {
        Self { void: true, ..Self::during(error) }
    }

    /// A failure of what may have been committed. A refusal undoes the transaction; of a lost connection nothing is
    /// known.
    pub(crate) fn during(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // A severed connection comes with a refusal too, but one of `COMMIT` says nothing about the commit.
            Some(refusal) => Self {
                void: !is_severed(refusal.code()),
                cause: Cause::Refused(refusal.code().clone(), refusal.message().to_owned()),
            },
            None => Self { void: false, cause: Cause::Lost(error.to_string()) },
        }
    }

    pub(crate) fn slow(what: &'static str) -> Self {
        Self { cause: Cause::Slow(what), void: false }
    }

    pub(crate) fn gone() -> Self {
        Self { cause: Cause::Lost("the connection was given up".to_owned()), void: false }
    }

    pub(crate) fn differs() -> Self {
        Self { cause: Cause::Differs, void: false }
    }

    /// Whether the same on another connection may succeed at once, and cannot count twice.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        self.void
            && match &self.cause {
                Cause::Lost(_) => true,
                Cause::Refused(code, _) => {
                    is_severed(code)
                        || *code == SqlState::T_R_SERIALIZATION_FAILURE
                        || *code == SqlState::T_R_DEADLOCK_DETECTED
                }
                Cause::Connect(_) | Cause::Slow(_) | Cause::Differs => false,
            }
    }

    /// Whether one call of many may be the reason: a text that does not parse, a key that is too long or locked.
    pub(crate) fn may_be_of_one_call(&self) -> bool {
        let Cause::Refused(code, _) = &self.cause else { return false };
        let class = code.code().get(..2);
        self.void
            && (matches!(class, Some("22" | "54"))
                || *code == SqlState::QUERY_CANCELED
                || *code == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether the table is not there.
    pub(crate) fn is_missing_table(&self) -> bool {
        matches!(&self.cause, Cause::Refused(code, _) if *code == SqlState::UNDEFINED_TABLE)
    }

    /// Whether somebody else created the table at the same time.
    pub(crate) fn is_created_twice(&self) -> bool {
        matches!(&self.cause, Cause::Refused(code, _)
            if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::DUPLICATE_TABLE)
    }

    /// Whether the connection still works.
    pub(crate) fn leaves_connection(&self) -> bool {
        matches!(&self.cause, Cause::Refused(code, _) if !is_severed(code))
    }

    /// The caller's error. It tells the server's words but for those that may hold a key or a state.
    pub(crate) fn to_error(&self) -> Error {
        match &self.cause {
            Cause::Connect(reason) => Error::store_unavailable(format_args!("no connection: {reason}")),
            Cause::Lost(reason) => Error::store_unavailable(format_args!("connection lost: {reason}")),
            Cause::Slow(what) => Error::store_unavailable(format_args!("{what} took too long")),
            Cause::Differs => Error::state_invalid("the server's arithmetic differs from the formula's"),
            Cause::Refused(code, words) => match code.code().get(..2) {
                _ if *code == SqlState::CHARACTER_NOT_IN_REPERTOIRE || *code == SqlState::UNTRANSLATABLE_CHARACTER => {
                    Error::invalid_argument("key has a character that the database's encoding does not have")
                }
                Some("22") => Error::state_invalid("the stored text does not parse"),
                Some("54") => Error::invalid_argument("key is too long for the index of the table"),
                _ => Error::store_unavailable(format_args!("{words} ({})", code.code())),
            },
        }
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        let cause = match error {
            PoolError::Timeout(_) => Cause::Slow("waiting for a connection"),
            PoolError::Backend(error) => Cause::Connect(describe(&error)),
            PoolError::PostCreateHook(_) => Cause::Connect("the session could not be set up".to_owned()),
            PoolError::Closed => Cause::Connect("the pool is closed".to_owned()),
            PoolError::NoRuntimeSpecified => Cause::Connect("the pool has no runtime for its timeouts".to_owned()),
        };
        Self { cause, void: true }
    }
}

/// The server's words, or the driver's with their cause: neither holds the password.
fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;

    match (error.as_db_error(), error.source()) {
        (Some(refusal), _) => format!("{} ({})", refusal.message(), refusal.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Whether the server ended the session with these words: it shuts down, crashed, or was told to.
fn is_severed(code: &SqlState) -> bool {
    let class = code.code().get(..2);
    class == Some("08") || code.code().starts_with("57P") || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}
