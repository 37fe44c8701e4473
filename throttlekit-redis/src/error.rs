//! What the server or the network answered, as errors of the family.

use std::fmt;
use std::sync::Arc;

use redis::{RedisError, ServerError, ServerErrorKind, Value};
use throttlekit::Error;

/// Why there is no answer: the connection could not be made, broke, or stayed silent. Whether anything ran is unknown.
///
/// Cheap to clone, since one broken connection fails everything that waits for it. Its text never holds a secret.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Arc<str>);

impl Failure {
    /// A failure for this reason.
    pub(crate) fn new(reason: impl Into<Arc<str>>) -> Self {
        Self(reason.into())
    }

    /// The server did not answer.
    pub(crate) fn silent() -> Self {
        Self::new("the server did not answer in time")
    }

    /// The failure of an exchange on an open connection.
    pub(crate) fn of_exchange(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::silent();
        }
        match error.kind() {
            redis::ErrorKind::Parse => Self::new("the server's answer does not parse"),
            _ => Self::new(format!("the connection broke: {}", error.category())),
        }
    }

    /// The failure to log in on a connection just made. A server may repeat what it was sent, so its text is not shown.
    pub(crate) fn of_login(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::silent();
        }
        match error.code() {
            Some(code) => Self::new(format!("the server refused the connection: {code}")),
            None => Self::new(format!("the connection could not be set up: {}", error.category())),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::store_unavailable(failure)
    }
}

/// The answer of a script, or the error that the server gave in its place. Errors nested in an answer stay values.
pub(crate) fn answer(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(error) => Err(refusal(&error)),
        value => Ok(value),
    }
}

/// Whether the server said that it does not know the script. It proves that the script did not run.
pub(crate) fn is_noscript(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::NoScript)
        || error.details().is_some_and(|details| details.contains("NOSCRIPT"))
}

/// The code that an error is about: its own, or, where an old server wraps what a script's command failed with, that
/// one's.
pub(crate) fn code(error: &ServerError) -> &str {
    let code = error.code();
    if code != "ERR" {
        return code;
    }
    let details = error.details().unwrap_or_default();
    if !details.contains("running script") {
        return code;
    }
    details
        .split(|c: char| c.is_whitespace() || c == ':')
        .map(|word| word.trim_start_matches('-'))
        .find(|word| CODES.contains(word))
        .unwrap_or(code)
}

/// Codes that a command inside a script can fail with.
const CODES: [&str; 8] =
    ["WRONGTYPE", "READONLY", "OOM", "MISCONF", "NOREPLICAS", "NOPERM", "MASTERDOWN", "CLUSTERDOWN"];

/// The error of the family for an error of the server.
pub(crate) fn refusal(error: &ServerError) -> Error {
    let code = code(error);
    let details = error.details().unwrap_or_default();
    match code {
        "WRONGTYPE" => Error::state_invalid("the key holds a value of another type (WRONGTYPE)"),
        "CROSSSLOT" => Error::invalid_argument(
            "the keys of one call are in different slots of the cluster: \
             give them a common part in braces, as in {tenant}",
        ),
        // Raised by the script itself: arithmetic on something that is not a number, say.
        "ERR" if details.contains("script") && !details.contains("SCRIPT KILL") => {
            Error::state_invalid(format_args!("the script failed: {}", shortened(details)))
        }
        // Not the details: with an unknown command they repeat its arguments.
        "ERR" => Error::store_unavailable("the server refused the command (ERR)"),
        code => Error::store_unavailable(format_args!("the server answered {code}")),
    }
}

/// The first 200 characters.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}
