//! Who asks: from a request to the key that a limiter counts under.
//!
//! | extractor | key |
//! |---|---|
//! | [`PeerIp`] | the peer's address; of an IPv6 address its first 64 bits |
//! | [`HeaderKey`] | the value of a header field |
//! | [`ConstantKey`] | one key for everybody |
//! | a closure, or a type that implements [`KeyExtractor`] | whatever it says |

mod constant;
mod header;
mod peer;
mod text;

use std::fmt;
use std::net::SocketAddr;

pub use constant::ConstantKey;
pub use header::HeaderKey;
pub use peer::PeerIp;

use crate::door::Door;
pub(crate) use text::InlineText;

/// Finds the key of a request.
///
/// Closures are extractors. One that borrows from the request goes through [`key_fn`](crate::Builder::key_fn), which lets its
/// types be inferred.
pub trait KeyExtractor<D: Door>: Send + Sync + 'static {
    /// The key, or `None` if the request has none; what happens then is the choice of [`MissingKey`](throttlekit::MissingKey).
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>>;
}

/// A closure that finds the key of a request; it may borrow from the request.
pub trait KeyFn<'a, D: Door>: Fn(&D::Head<'a>) -> Option<Key<'a>> {}

impl<'a, D: Door, F: Fn(&D::Head<'a>) -> Option<Key<'a>>> KeyFn<'a, D> for F {}

impl<D: Door, F> KeyExtractor<D> for F
where
    F: for<'a> KeyFn<'a, D> + Send + Sync + 'static,
{
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        self(request)
    }
}

/// The key of one request. Borrowed text and addresses need no allocation.
///
/// `Debug` shows no text.
#[derive(Clone)]
pub struct Key<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Borrowed(&'a str),
    Inline(InlineText),
    Owned(String),
}

impl Key<'_> {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Borrowed(text) => text,
            Repr::Inline(text) => text.as_str(),
            Repr::Owned(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self(Repr::Borrowed(text))
    }
}

impl From<String> for Key<'_> {
    fn from(text: String) -> Self {
        Self(Repr::Owned(text))
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The key of requests that have no key of their own.
pub(crate) const ANONYMOUS: &str = "anon";

/// Starts the key of a peer that stands in for another key. [`HeaderKey`] never gives such a key, so that no client can
/// name another one's address.
pub(crate) const PEER_MARK: &str = "peer:";

/// The stand-in for a missing key by the peer's address.
pub(crate) fn peer_stand_in(peer: Option<SocketAddr>) -> Option<Key<'static>> {
    let peer = peer?;
    Some(Key(Repr::Inline(peer::address_text(PEER_MARK, peer.ip(), peer::DEFAULT_IPV6_PREFIX))))
}
