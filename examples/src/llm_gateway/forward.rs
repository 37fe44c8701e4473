//! Requests to the upstream, and its responses.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::ApiError;
use crate::idle::Idle;
use crate::path::KeyOf;
use crate::serve;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// A server that does not take a connection within this is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A connection on which nothing comes is probed after so long, then every so often, and so many times: a host that is gone
/// is found out, and what lies between is reminded of the connection.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Fields that are about one connection, and not about what is sent over it. Those that `Connection` names are too.
const OF_THIS_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields of a request by which a provider may find out who asks, or who pays. They do not go with a key that is not the
/// client's.
const OF_AN_ACCOUNT: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

/// Fields of a response that tell of these.
const TELLS_OF_AN_ACCOUNT: [HeaderName; 4] = [
    header::SET_COOKIE,
    HeaderName::from_static("anthropic-organization-id"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

/// What the names of fields begin with that tell of limits.
const OF_LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

/// The API behind the gateway. Connections to it are kept and used again.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    client: Client<Connector, Body>,
    scheme: Scheme,
    authority: Authority,
    /// What precedes the paths of requests, without a slash at its end.
    prefix: String,
    /// Sent in place of the client's.
    authorization: Option<HeaderValue>,
    timeout: Duration,
    /// How long nothing of an answer may come.
    idle_timeout: Duration,
}

impl Upstream {
    /// The API at `base`, to which `key` is shown in place of the client's. It has to begin to answer within `timeout`, and
    /// then may be silent for `idle_timeout`.
    pub(crate) fn new(
        base: &str,
        key: Option<&str>,
        timeout: Duration,
        idle_timeout: Duration,
    ) -> Result<Self, String> {
        let wrong = |what: &str| format!("--upstream {base}: {what}");
        let uri: Uri = base.parse().map_err(|error| wrong(&format!("{error}")))?;
        let uri = uri.into_parts();
        let (Some(scheme), Some(authority)) = (uri.scheme, uri.authority) else {
            return Err(wrong("must be a whole URL, such as https://api.openai.com"));
        };
        if scheme == Scheme::HTTPS && !cfg!(feature = "tls") {
            return Err(wrong("https takes the feature `tls`: cargo run --features tls --bin llm-gateway"));
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("must begin with http:// or https://"));
        }
        if uri.path_and_query.as_ref().is_some_and(|path| path.query().is_some()) {
            return Err(wrong("must not have a query"));
        }
        let prefix = uri.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/').to_owned();
        let authorization = match key {
            Some(key) => {
                let value = HeaderValue::try_from(format!("Bearer {key}"));
                let mut value = value.map_err(|_| "UPSTREAM_API_KEY holds characters that no key has")?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector()?);
        Ok(Self { client, scheme, authority, prefix, authorization, timeout, idle_timeout })
    }

    /// Whose key it gets.
    pub(crate) fn key_of(&self) -> KeyOf {
        if self.authorization.is_some() { KeyOf::Operator } else { KeyOf::Client }
    }

    /// Sends a request on; the response is there once the upstream begins to answer.
    ///
    /// Dropping the future or the response's body ends the request at the upstream too.
    pub(crate) async fn send(&self, head: request::Parts, body: Body) -> Result<Response<Idle<Incoming>>, ApiError> {
        let request = self.request(head, body)?;
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(mut response)) => {
                drop_hop(response.headers_mut());
                hide_limits(response.headers_mut());
                if self.authorization.is_some() {
                    drop_all(response.headers_mut(), &TELLS_OF_AN_ACCOUNT);
                }
                *response.version_mut() = Version::HTTP_11;
                Ok(response.map(|body| Idle::new(body, self.idle_timeout)))
            }
            Ok(Err(error)) => {
                // Its text names addresses of the inside, which are for the operator.
                serve::warn(format_args!("upstream: {}", with_causes(&error)));
                let message = "The upstream cannot be reached or broke off.";
                Err(ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", "upstream_unavailable", message))
            }
            Err(_) => {
                let message = "The upstream did not answer in time.";
                Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_error", "upstream_timeout", message))
            }
        }
    }

    fn request(&self, mut head: request::Parts, body: Body) -> Result<Request<Body>, ApiError> {
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build();
        head.uri = uri.map_err(|_| ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_url", "No such path."))?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        drop_hop(&mut head.headers);
        // The client makes its own of these.
        head.headers.remove(header::HOST);
        head.headers.remove(header::EXPECT);
        if let Some(authorization) = &self.authorization {
            drop_all(&mut head.headers, &OF_AN_ACCOUNT);
            head.headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(Request::from_parts(head, body))
    }
}

fn drop_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    drop_all(headers, &named);
    drop_all(headers, &OF_THIS_HOP);
}

fn drop_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// Removes what the upstream tells of the limits of the gateway's own key: a client has others.
fn hide_limits(headers: &mut HeaderMap) {
    let tells = |name: &&HeaderName| OF_LIMITS.iter().any(|start| name.as_str().starts_with(start));
    let names: Vec<_> = headers.keys().filter(tells).cloned().collect();
    drop_all(headers, &names);
}

/// An error with what made it, and what made that.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let errors: Vec<_> = std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    errors.join(": ")
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    // Tokens are small, and each is to be there at once.
    connector.set_nodelay(true);
    connector.set_keepalive(Some(PROBE_AFTER));
    connector.set_keepalive_interval(Some(PROBE_EVERY));
    connector.set_keepalive_retries(Some(PROBES));
    connector
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, String> {
    let mut tcp = tcp();
    tcp.enforce_http(false);
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| format!("no certificates of the system: {error}"))?;
    Ok(tls.https_or_http().enable_http1().wrap_connector(tcp))
}

#[cfg(not(feature = "tls"))]
#[allow(clippy::unnecessary_wraps)] // as with TLS, where it can fail
fn connector() -> Result<Connector, String> {
    Ok(tcp())
}
