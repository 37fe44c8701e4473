//! What goes wrong with requests, in words without secrets.

use std::error::Error as StdError;
use std::sync::Arc;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use throttlekit::Error;

/// Why a request gave nothing. Every call that went along gets it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    text: Arc<str>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unavailable,
    Unsupported,
    Invalid,
}

impl Trouble {
    pub(crate) fn unavailable(text: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Unavailable, text: text.into() }
    }

    pub(crate) fn unsupported(text: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Unsupported, text: text.into() }
    }

    pub(crate) fn invalid(text: impl Into<Arc<str>>) -> Self {
        Self { kind: Kind::Invalid, text: text.into() }
    }

    /// What a failed request tells: the operation, and a code or a cause. The service's own message is left out, since it
    /// may quote what was sent.
    pub(crate) fn of<E, R>(operation: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: std::fmt::Debug,
    {
        let cause = match error {
            SdkError::TimeoutError(_) => "timed out".to_owned(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => "timed out".to_owned(),
            SdkError::DispatchFailure(failure) => {
                match failure.as_connector_error().and_then(|error| io_error(error)) {
                    Some(cause) => format!("no connection: {cause}"),
                    None => "no connection".to_owned(),
                }
            }
            SdkError::ServiceError(failure) => {
                failure.err().code().unwrap_or("answered with an unknown error").to_owned()
            }
            SdkError::ResponseError(_) => "answered what is not understood".to_owned(),
            // The request could not be built: credentials, region or endpoint are missing.
            _ => "cannot be sent: check the client's region, endpoint, credentials and HTTP client".to_owned(),
        };
        Self::unavailable(format!("DynamoDB {operation}: {cause}"))
    }

    pub(crate) fn into_error(self) -> Error {
        match self.kind {
            Kind::Unavailable => Error::store_unavailable(self.text),
            Kind::Unsupported => Error::unsupported(self.text.to_string()),
            Kind::Invalid => Error::invalid_argument(self.text.to_string()),
        }
    }
}

/// The error of the system behind `error`: the others name what was connected to.
fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a std::io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
