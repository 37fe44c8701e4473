//! Other forms of a rejection: problem details, and gRPC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use throttlekit::ErrorKind;
use throttlekit::headers::Headers;

use crate::door::{Answer, Head};
use crate::reject::Rejection;

/// The type of what answers `request`, if that is a call of gRPC: browsers speak a dialect of it.
///
/// A call is always a `POST`. Its refusal has the status 200, which caches would keep for everybody as the answer to a
/// `GET`.
pub(crate) fn grpc_type<'a>(request: &impl Head<'a>) -> Option<&'static str> {
    const TYPES: [&str; 3] = ["application/grpc-web-text", "application/grpc-web", "application/grpc"];
    if request.method() != "POST" {
        return None;
    }
    let asked = request.values("content-type").next()?;
    TYPES
        .into_iter()
        .find(|known| asked.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes())))
}

impl<H> Rejection<'_, H> {
    /// The response as problem details (RFC 9457).
    ///
    /// A denial has the type that the draft of the `RateLimit` fields registers, and names the policy in
    /// `violated-policies`; other rejections have none but their status. The wait is in `retryAfterMs`.
    ///
    /// ```
    /// use throttlekit_http::Rejection;
    ///
    /// let missing = Rejection::MissingKey(()).problem();
    /// assert_eq!((missing.status, missing.content_type), (400, "application/problem+json"));
    /// assert_eq!(missing.body, r#"{"title":"Rate limit key missing","status":400}"#);
    /// ```
    pub fn problem(&self) -> Answer {
        let status = self.status();
        let body = match self {
            Self::Limited(limited) => {
                let wait = limited.admission.decision.retry_after_ms;
                // The name as a structured field has it is one in JSON too: both escape the same two characters.
                let named = Headers::default().policy(limited.policy);
                let policy = named.quoted_policy();
                Bytes::from(format!(
                    r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Too Many Requests","status":{status},"violated-policies":[{policy}],"retryAfterMs":{wait}}}"#
                ))
            }
            Self::Unavailable(failure) if failure.joint => {
                Bytes::from_static(br#"{"title":"Admission unavailable","status":503}"#)
            }
            Self::Unavailable(_) => Bytes::from_static(br#"{"title":"Rate limiter unavailable","status":503}"#),
            Self::Failed(failure) => Bytes::from(format!(
                r#"{{"title":"Rate limiter error","status":{status},"code":"{}"}}"#,
                failure.error.code()
            )),
            Self::MissingKey(_) => Bytes::from_static(br#"{"title":"Rate limit key missing","status":400}"#),
        };
        Answer { status, content_type: "application/problem+json", fields: Vec::new(), body }
    }

    /// The response to a call of gRPC: status, message and, on a denial, the details that tell clients when to come back
    /// (`google.rpc.RetryInfo`), in header fields and without a body. Where waiting does not help it tells them of no wait,
    /// since they would be back at once.
    ///
    /// | rejection | status |
    /// |---|---|
    /// | the limit is reached | 8, `RESOURCE_EXHAUSTED` |
    /// | the store is unavailable | 14, `UNAVAILABLE` |
    /// | a bad cost, no key | 3, `INVALID_ARGUMENT` |
    /// | anything else | 13, `INTERNAL` |
    pub fn grpc(&self) -> Answer {
        let (code, message) = match self {
            Self::Limited(limited) => match limited.admission.decision.retry_after_ms {
                0 => (8, "rate limit exceeded".to_owned()),
                wait_ms => (8, format!("rate limit exceeded; retry after {wait_ms}ms")),
            },
            Self::Unavailable(_) => (14, "rate limiter unavailable".to_owned()),
            Self::Failed(failure) if failure.error.kind() == ErrorKind::InvalidArgument => {
                (3, "rate limiter error: invalid_argument".to_owned())
            }
            Self::Failed(failure) => (13, format!("rate limiter error: {}", failure.error.code())),
            Self::MissingKey(_) => (3, "rate limit key missing".to_owned()),
        };
        let mut fields = vec![("grpc-status", code.to_string())];
        match self {
            Self::Limited(limited) if limited.admission.decision.retry_after_ms > 0 => {
                let details = retry_details(code, &message, limited.admission.decision.retry_after_ms);
                fields.push(("grpc-status-details-bin", STANDARD_NO_PAD.encode(details)));
            }
            _ => {}
        }
        fields.push(("grpc-message", message));
        Answer { status: 200, content_type: "application/grpc", fields, body: Bytes::new() }
    }
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo`, as protocol buffers. Two messages of three fields do not call for
/// generated code.
fn retry_details(code: u64, message: &str, wait_ms: u64) -> Vec<u8> {
    let mut delay = Vec::new();
    number(&mut delay, 1, wait_ms / 1_000);
    number(&mut delay, 2, wait_ms % 1_000 * 1_000_000);
    let mut info = Vec::new();
    bytes(&mut info, 1, &delay);
    let mut any = Vec::new();
    bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
    bytes(&mut any, 2, &info);
    let mut status = Vec::new();
    number(&mut status, 1, code);
    bytes(&mut status, 2, message.as_bytes());
    bytes(&mut status, 3, &any);
    status
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[allow(clippy::cast_possible_truncation)] // seven bits
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
