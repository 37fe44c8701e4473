//! What a server answers to those who ask for metrics.

use super::metrics::Metrics;
use super::text::CONTENT_TYPE;
use crate::clock::Clock;

/// The answer to an HTTP request, for any server to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of `content-type`.
    pub content_type: &'static str,
    /// The value of `allow`, where the status demands one.
    pub allow: Option<&'static str>,
    /// The body.
    pub body: String,
}

impl<C: Clock> Metrics<C> {
    /// Answers a request by its method and its target. `/metrics` has the metrics, and `/healthz` and `/health` say `ok`, each
    /// to a `GET`. Another path is not found (404), another method not allowed (405). A query does not matter.
    ///
    /// Whoever can send such a request can read it. There is nothing secret in it, and yet it is best served where only those
    /// are who need it, such as on the loopback address.
    ///
    /// ```
    /// use throttlekit::prometheus::{CONTENT_TYPE, Metrics};
    ///
    /// let metrics = Metrics::new();
    /// let response = metrics.respond("GET", "/metrics?from=here");
    /// assert_eq!((response.status, response.content_type), (200, CONTENT_TYPE));
    /// assert_eq!(metrics.respond("GET", "/healthz").body, "ok\n");
    /// assert_eq!(metrics.respond("POST", "/metrics").status, 405);
    /// assert_eq!(metrics.respond("GET", "/x").status, 404);
    /// ```
    pub fn respond(&self, method: &str, target: &str) -> Response {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let (status, content_type, body) = match (method, path) {
            ("GET", "/metrics") => (200, CONTENT_TYPE, self.render()),
            ("GET", "/healthz" | "/health") => (200, PLAIN, "ok\n".to_owned()),
            ("GET", _) => (404, PLAIN, "not found\n".to_owned()),
            _ => (405, PLAIN, "method not allowed\n".to_owned()),
        };
        Response { status, content_type, allow: (status == 405).then_some("GET"), body }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
