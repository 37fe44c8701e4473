//! What the layer and its hooks see of a request.

use std::fmt;
use std::net::SocketAddr;

use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::key::PeerAddr;

/// What the framework around a service knows of a request.
///
/// The default, [`Plain`], reads what any server can put there. A crate for a framework has one of its own.
///
/// ```
/// use std::net::SocketAddr;
/// use throttlekit_tower::{Framework, RequestHead};
///
/// /// A server that puts the bare address into the extensions.
/// #[derive(Debug)]
/// struct Ours;
///
/// impl Framework for Ours {
///     fn peer(&self, request: &RequestHead<'_>) -> Option<SocketAddr> {
///         request.extensions().get::<SocketAddr>().copied()
///     }
/// }
///
/// let mut request = http::Request::new(());
/// assert_eq!(RequestHead::within(&request, &Ours).peer(), None);
/// request.extensions_mut().insert(SocketAddr::from(([203, 0, 113, 5], 41_000)));
/// assert!(RequestHead::within(&request, &Ours).peer().is_some());
/// ```
pub trait Framework: fmt::Debug + Send + Sync + 'static {
    /// The address of the other end of the connection; [`PeerAddr`] of the extensions unless told otherwise.
    fn peer(&self, request: &RequestHead<'_>) -> Option<SocketAddr> {
        request.extensions().get::<PeerAddr>().map(|peer| peer.0)
    }

    /// The path that rules match, percent-encoded as it was sent; the path of the URI unless told otherwise.
    fn path<'a>(&self, request: &RequestHead<'a>) -> &'a str {
        request.uri().path()
    }
}

/// No framework: the peer is the extension [`PeerAddr`], the path that of the URI.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Framework for Plain {}

/// A request without its body.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    framework: &'a dyn Framework,
}

impl<'a> RequestHead<'a> {
    /// The head of `request`, with the framework [`Plain`].
    pub fn new<B>(request: &'a Request<B>) -> Self {
        Self::within(request, &Plain)
    }

    /// The head of `request`, with what `framework` knows.
    #[inline]
    pub fn within<B>(request: &'a Request<B>, framework: &'a dyn Framework) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            framework,
        }
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI.
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The header fields.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions.
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The address of the other end of the connection, if the framework knows it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.framework.peer(self)
    }

    /// The path that rules match.
    pub fn path(&self) -> &'a str {
        self.framework.path(self)
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Shows no header field, since they carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").field("method", self.method).field("path", &self.path()).finish_non_exhaustive()
    }
}
