//! Who asks: from a request to the key that a limiter counts under.
//!
//! | extractor | key |
//! |---|---|
//! | [`PeerIp`] | the peer's address; of an IPv6 address its first 64 bits |
//! | [`ClientIp`] | the client's address behind proxies that are trusted |
//! | [`ApiKey`] | an API key, hashed |
//! | [`ClaimKey`] | what the program has verified of the client |
//! | [`HeaderKey`], [`QueryKey`], [`CookieKey`] | a value that the client sends |
//! | [`PathParam`] | a part of the path |
//! | [`AllKeys`] | several of these together |
//! | [`Hashed`] | any of these, hashed |
//! | [`ConstantKey`] | one key for everybody |
//! | a closure, or a type that implements [`KeyExtractor`] | whatever it says |

mod all;
mod api_key;
mod claim;
mod client;
mod constant;
mod hashed;
mod header;
mod path;
mod peer;
mod value;

use std::fmt;

use throttlekit::identity::{AddressText, BoundedKey, HashedKey, MAX_KEY_BYTES};

pub use all::AllKeys;
pub use api_key::ApiKey;
pub use claim::{ClaimKey, Claims};
pub use constant::ConstantKey;
pub use hashed::Hashed;
pub use header::{CookieKey, HeaderKey, QueryKey};
pub use path::PathParam;
pub use peer::PeerIp;
pub use throttlekit::identity::{ClientIp, KeyHasher};

use crate::door::Door;
pub(crate) use client::stand_in;
#[cfg(feature = "config")]
pub(crate) use value::header as only_value;

/// Finds the key of a request.
///
/// Closures are extractors. One that borrows from the request goes through [`key_fn`](crate::Builder::key_fn), which lets its
/// types be inferred.
pub trait KeyExtractor<D: Door>: Send + Sync + 'static {
    /// The key, or `None` if the request has none; what happens then is the choice of [`MissingKey`](throttlekit::MissingKey).
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>>;

    /// Whether it cannot do without the [peer's address](crate::Head::peer): if a request then has no key since its server does
    /// not say that, the middleware tells of it. `false` is what is given here.
    fn reads_peer(&self) -> bool {
        false
    }
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

/// The key of one request. Borrowed text, addresses and hashes need no allocation.
///
/// A key that is longer than [`MAX_KEY_BYTES`] counts under its hash. `Debug` shows no text.
#[derive(Clone)]
pub struct Key<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Borrowed(&'a str),
    Address(AddressText),
    Hashed(HashedKey),
    Owned(String),
}

impl Key<'_> {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Borrowed(text) => text,
            Repr::Address(text) => text.as_str(),
            Repr::Hashed(text) => text.as_str(),
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

impl From<AddressText> for Key<'_> {
    fn from(text: AddressText) -> Self {
        Self(Repr::Address(text))
    }
}

impl From<HashedKey> for Key<'_> {
    fn from(text: HashedKey) -> Self {
        Self(Repr::Hashed(text))
    }
}

impl<'a> From<BoundedKey<'a>> for Key<'a> {
    fn from(key: BoundedKey<'a>) -> Self {
        match key.plain() {
            Some(text) => Self::from(text),
            None => Self::from(key.as_str().to_owned()),
        }
    }
}

impl Key<'_> {
    /// Whatever made the key, it is not longer than a store should keep.
    #[inline]
    pub(crate) fn bound(&mut self) {
        if self.as_str().len() > MAX_KEY_BYTES {
            self.shorten();
        }
    }

    #[cold]
    fn shorten(&mut self) {
        let bounded = BoundedKey::new(self.as_str().as_bytes(), MAX_KEY_BYTES).as_str().to_owned();
        *self = Self::from(bounded);
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The key of requests that have no key of their own.
pub(crate) const ANONYMOUS: &str = "anon";
