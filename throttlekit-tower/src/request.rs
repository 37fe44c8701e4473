//! What the layer and its hooks see of a request.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};
use throttlekit_http::Head;
use throttlekit_http::key::Claims;

/// The address of the other end of the connection. A server without a framework puts it into the request's extensions.
///
/// ```
/// use throttlekit_tower::{PeerAddr, Plain, RequestHead};
///
/// let mut request = http::Request::get("/").body(())?;
/// request.extensions_mut().insert(PeerAddr("203.0.113.5:41000".parse()?));
/// assert_eq!(RequestHead::<Plain>::new(&request).peer(), Some("203.0.113.5:41000".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// What the framework around a service knows of a request.
///
/// The default, [`Plain`], reads what any server can put there. A crate for a framework has one of its own.
///
/// ```
/// use std::net::SocketAddr;
/// use throttlekit_tower::{Framework, Plain, RequestHead};
///
/// /// A server that puts the bare address into the extensions.
/// #[derive(Debug)]
/// struct Ours;
///
/// impl Framework for Ours {
///     type Bodies = Plain;
///
///     fn peer(request: &RequestHead<'_, Self>) -> Option<SocketAddr> {
///         request.extensions().get::<SocketAddr>().copied()
///     }
/// }
///
/// let mut request = http::Request::new(());
/// assert_eq!(RequestHead::<Ours>::new(&request).peer(), None);
/// request.extensions_mut().insert(SocketAddr::from(([203, 0, 113, 5], 41_000)));
/// assert_eq!(RequestHead::<Ours>::new(&request).peer(), Some(([203, 0, 113, 5], 41_000).into()));
/// ```
pub trait Framework: Sized + Send + Sync + 'static {
    /// What the bodies of responses are: [`Plain`] leaves them of the type [`ResponseBody`](crate::ResponseBody).
    type Bodies;

    /// What an application has to do where [`peer`](Self::peer) finds nothing, as the end of a sentence for its log.
    /// Unless told otherwise that is to put a [`PeerAddr`] there; whoever looks elsewhere should say where.
    const PEER_REMEDY: &'static str = "the server has to put a `PeerAddr` into the extensions of each request";

    /// The address of the other end of the connection; [`PeerAddr`] of the extensions unless told otherwise.
    fn peer(request: &RequestHead<'_, Self>) -> Option<SocketAddr> {
        request.extensions().get::<PeerAddr>().map(|peer| peer.0)
    }

    /// The path that rules match, percent-encoded as it was sent; the path of the URI unless told otherwise.
    fn path<'a>(request: &RequestHead<'a, Self>) -> &'a str {
        request.uri().path()
    }
}

/// No framework: the peer is the extension [`PeerAddr`], the path that of the URI.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Framework for Plain {
    type Bodies = Self;
}

/// A request without its body, in the framework `F`.
pub struct RequestHead<'a, F = Plain> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    framework: PhantomData<fn() -> F>,
}

impl<'a, F: Framework> RequestHead<'a, F> {
    /// The head of `request`.
    #[inline]
    pub fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            framework: PhantomData,
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
    #[inline]
    pub fn peer(&self) -> Option<SocketAddr> {
        F::peer(self)
    }

    /// The path that rules match.
    #[inline]
    pub fn path(&self) -> &'a str {
        F::path(self)
    }
}

impl<'a, F: Framework> Head<'a> for RequestHead<'a, F> {
    fn method(&self) -> &'a str {
        self.method.as_str()
    }

    #[inline]
    fn path(&self) -> &'a str {
        F::path(self)
    }

    fn query(&self) -> Option<&'a str> {
        self.uri.query()
    }

    #[inline]
    fn peer(&self) -> Option<SocketAddr> {
        F::peer(self)
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn claim(&self, name: &str) -> Option<Cow<'a, str>> {
        self.extensions.get::<Claims>()?.get(name).map(Cow::Borrowed)
    }
}

impl<F> Clone for RequestHead<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for RequestHead<'_, F> {}

impl<F: Framework> fmt::Debug for RequestHead<'_, F> {
    /// Shows no header field and no path, since both may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").field("method", self.method).finish_non_exhaustive()
    }
}
