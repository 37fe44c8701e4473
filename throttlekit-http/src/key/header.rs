//! Values that clients send: header fields, parameters of the query, cookies.

use std::borrow::Cow;

use throttlekit::BuildError;

use super::{Key, KeyExtractor, value};
use crate::door::Door;

/// The value of one header field as the key, such as the name of a tenant.
///
/// A request that has the field twice is treated like one without it, since which of the two counts would be a guess.
/// A value over 256 bytes, or one that is not UTF-8 or holds a NUL, becomes `sha256:` and the digest in hex; so does a value
/// that starts like a key of another kind (`sha256:`, `peer:`), so that nobody can pose as somebody else by a clever value.
///
/// The field is what the client says. Where nothing before this layer has checked it, a client can take a new key for
/// each request; limit such clients by [`ClientIp`](super::ClientIp) too. An API key is better an [`ApiKey`](super::ApiKey).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderKey(Box<str>);

impl HeaderKey {
    /// Reads the field called `name`, in any case.
    ///
    /// # Errors
    ///
    /// If `name` is no header name: empty, or with characters other than letters, digits and ``!#$%&'*+-.^_`|~``.
    pub fn named(name: &str) -> Result<Self, BuildError> {
        let lower = name.to_ascii_lowercase();
        value::token("headerKey.name", &lower, "must be a header field name").map(Self)
    }
}

impl<D: Door> KeyExtractor<D> for HeaderKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        value::header(request, &self.0).map(|value| value::bounded(Cow::Borrowed(value)))
    }
}

/// The value of one parameter of the query as the key, decoded.
///
/// Treated like that of a [`HeaderKey`]; an empty one counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryKey(Box<str>);

impl QueryKey {
    /// Reads the parameter called `name`, exactly so once both are decoded.
    pub fn named(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }
}

impl<D: Door> KeyExtractor<D> for QueryKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        value::query(request, &self.0).map(value::bounded)
    }
}

/// The value of one cookie as the key, without quotes around it, percent-decoded.
///
/// Treated like that of a [`HeaderKey`]; an empty one counts as missing. The value of a session's cookie is a secret:
/// where keys are stored, an [`ApiKey`](super::ApiKey) keeps it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieKey(Box<str>);

impl CookieKey {
    /// Reads the cookie called `name`, exactly so once both are decoded.
    ///
    /// # Errors
    ///
    /// If no cookie can be called so: the same characters are allowed as in [`HeaderKey::named`].
    pub fn named(name: &str) -> Result<Self, BuildError> {
        value::token("cookieKey.name", name, "must be the name of a cookie").map(Self)
    }
}

impl<D: Door> KeyExtractor<D> for CookieKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        value::cookie(request, &self.0).map(value::bounded)
    }
}
