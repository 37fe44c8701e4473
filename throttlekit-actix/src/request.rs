//! What the middleware and its hooks see of a request.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::http::{Method, Uri};
use actix_web::{HttpMessage as _, HttpRequest};
use throttlekit_http::Head;
use throttlekit_http::key::Claims;

/// A request without its body.
///
/// ```
/// use actix_web::test::TestRequest;
/// use throttlekit_actix::RequestHead;
///
/// let request = TestRequest::with_uri("/orders?page=2").peer_addr("203.0.113.5:41000".parse()?).to_http_request();
/// let head = RequestHead::new(&request);
/// assert_eq!((head.path(), head.uri().query()), ("/orders", Some("page=2")));
/// assert_eq!(head.peer(), Some("203.0.113.5:41000".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    request: &'a HttpRequest,
}

impl<'a> RequestHead<'a> {
    /// The head of `request`.
    #[inline]
    pub fn new(request: &'a HttpRequest) -> Self {
        Self { request }
    }

    /// The request as actix-web has it: its extensions, the application's data, what the route matched.
    pub fn request(&self) -> &'a HttpRequest {
        self.request
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.request.method()
    }

    /// The URI.
    pub fn uri(&self) -> &'a Uri {
        self.request.uri()
    }

    /// The header fields.
    pub fn headers(&self) -> &'a HeaderMap {
        self.request.headers()
    }

    /// The address of the other end of the connection; `None` on a Unix domain socket.
    #[inline]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.request.peer_addr()
    }

    /// The whole path that rules match, also within a scope, percent-encoded as it was sent.
    #[inline]
    pub fn path(&self) -> &'a str {
        self.request.path()
    }
}

impl<'a> Head<'a> for RequestHead<'a> {
    #[inline]
    fn method(&self) -> &'a str {
        self.request.method().as_str()
    }

    #[inline]
    fn path(&self) -> &'a str {
        self.request.path()
    }

    fn query(&self) -> Option<&'a str> {
        self.request.uri().query()
    }

    #[inline]
    fn peer(&self) -> Option<SocketAddr> {
        self.request.peer_addr()
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.request.headers().get_all(name).map(HeaderValue::as_bytes)
    }

    fn claim(&self, name: &str) -> Option<Cow<'a, str>> {
        // The extensions are borrowed for as long as they are looked at, and no longer.
        self.request.extensions().get::<Claims>()?.get(name).map(|value| Cow::Owned(value.to_owned()))
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Shows no header field and no path, since both may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").field("method", self.method()).finish_non_exhaustive()
    }
}
