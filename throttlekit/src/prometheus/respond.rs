//! What a server answers to those who ask for metrics.

use super::metrics::Metrics;
use super::protobuf;
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
    pub body: Vec<u8>,
}

impl<C: Clock> Metrics<C> {
    /// Answers a request by its method, its target, and what it accepts, the value of `accept` if it has one. `/metrics` has
    /// the metrics, and `/healthz` and `/health` say `ok`, each to a `GET`. Another path is not found (404), another method not
    /// allowed (405). A query does not matter.
    ///
    /// Metrics are text, unless the protobuf format is accepted at least as gladly: then histograms are native. A Prometheus
    /// asks for it if it keeps native histograms.
    ///
    /// Whoever can send such a request can read it. There is nothing secret in it, and yet it is best served where only those
    /// are who need it, such as on the loopback address.
    ///
    /// ```
    /// use throttlekit::prometheus::{CONTENT_TYPE, Metrics};
    ///
    /// let metrics = Metrics::new();
    /// let response = metrics.respond("GET", "/metrics?from=here", None);
    /// assert_eq!((response.status, response.content_type), (200, CONTENT_TYPE));
    /// assert_eq!(metrics.respond("GET", "/healthz", None).body, b"ok\n");
    /// assert_eq!(metrics.respond("POST", "/metrics", None).status, 405);
    /// assert_eq!(metrics.respond("GET", "/x", None).status, 404);
    /// ```
    pub fn respond(&self, method: &str, target: &str, accept: Option<&str>) -> Response {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let text = |status, text: &str| (status, PLAIN, text.into());
        let (status, content_type, body) = match (method, path) {
            ("GET", "/metrics") if accept.is_some_and(prefers_protobuf) => {
                (200, protobuf::CONTENT_TYPE, self.render_protobuf())
            }
            ("GET", "/metrics") => (200, CONTENT_TYPE, self.render().into_bytes()),
            ("GET", "/healthz" | "/health") => text(200, "ok\n"),
            ("GET", _) => text(404, "not found\n"),
            _ => text(405, "method not allowed\n"),
        };
        Response { status, content_type, allow: (status == 405).then_some("GET"), body }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// Whether protobuf is among what is accepted, and text not before it.
fn prefers_protobuf(accept: &str) -> bool {
    let (mut protobuf, mut text) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut is_delimited) = (1.0, true);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "encoding" => is_delimited = value.trim() == "delimited",
                _ => {}
            }
        }
        let best: &mut f64 = match kind {
            "application/vnd.google.protobuf" if is_delimited => &mut protobuf,
            "text/plain" => &mut text,
            _ => continue,
        };
        *best = best.max(quality);
    }
    protobuf > 0.0 && protobuf >= text
}
