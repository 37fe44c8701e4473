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
            Some("ERR") => Self::new("the server refused the log-in, or the number of the database"),
            Some(code) => Self::new(format!("the server refused the log-in: {code}")),
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

#[cfg(test)]
mod tests {
    use super::answer;
    use redis::parse_redis_value;
    use throttlekit::ErrorKind;

    #[track_caller]
    fn assert_is(line: &str, kind: ErrorKind, text: &str) {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let error = answer(value).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text), "{line}");
    }

    #[test]
    fn what_passes_by_itself_is_an_outage() {
        for (line, code) in [
            ("LOADING Redis is loading the dataset in memory", "LOADING"),
            ("BUSY Redis is busy running a script.", "BUSY"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
            ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
            ("MASTERDOWN Link with MASTER is down", "MASTERDOWN"),
            ("READONLY You can't write against a read only replica. script: 1f, on @user_script:1.", "READONLY"),
            ("OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:1.", "OOM"),
            ("MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
            ("NOAUTH Authentication required.", "NOAUTH"),
            ("NOPERM this user has no permissions", "NOPERM"),
            ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
            ("NEWCODE that nobody has heard of", "NEWCODE"),
            // As a server before version 7 has it.
            ("ERR Error running script (call to f_1f): @user_script:2: -OOM command not allowed", "OOM"),
            ("ERR Error running script (call to f_1f): @user_script:2: -READONLY You can't write", "READONLY"),
        ] {
            assert_is(line, ErrorKind::StoreUnavailable, &format!("store is unavailable: the server answered {code}"));
        }
        let killed = "ERR Error running script (call to f_1f): Script killed by user with SCRIPT KILL...";
        let refused = "store is unavailable: the server refused the command (ERR)";
        assert_is(killed, ErrorKind::StoreUnavailable, refused);
    }

    #[test]
    fn arguments_that_a_server_repeats_are_not_shown() {
        let line = "ERR unknown command 'EVALSHA', with args beginning with: '1f' 'tk:user-1'";
        assert_is(line, ErrorKind::StoreUnavailable, "store is unavailable: the server refused the command (ERR)");
    }

    #[test]
    fn a_state_of_another_shape_is_invalid() {
        let wrong_type = "stored state is invalid: the key holds a value of another type (WRONGTYPE)";
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:1.",
            "ERR Error running script (call to f_1f): @user_script:2: WRONGTYPE Operation against a key",
        ] {
            assert_is(line, ErrorKind::StateInvalid, wrong_type);
        }
        let line = "ERR user_script:3: attempt to compare nil with number script: 1f, on @user_script:3.";
        let text = format!("stored state is invalid: the script failed: {}", &line[4..]);
        assert_is(line, ErrorKind::StateInvalid, &text);
    }

    #[test]
    fn keys_of_several_slots_are_the_callers_mistake() {
        let value = parse_redis_value(b"-CROSSSLOT Keys in request don't hash to the same slot\r\n").unwrap();
        assert_eq!(answer(value).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn an_error_inside_an_answer_stays_a_value() {
        let value = parse_redis_value(b"*2\r\n:1\r\n-ERR inside\r\n").unwrap();
        assert!(matches!(answer(value).unwrap(), redis::Value::Array(values) if values.len() == 2));
    }
}
