//! What the program has verified of a client.

use std::borrow::Cow;
use std::fmt;

use super::{Key, KeyExtractor, value};
use crate::door::{Door, Head as _};

/// What the program has verified of the client, by name: claims of a token, the user of a session, the plan of an account.
///
/// Whoever verifies it puts it into the request's extensions, before the limit. The names are the program's own.
///
/// ```
/// use throttlekit_http::key::Claims;
///
/// let claims = Claims::new().with("sub", "user-17").with("tenant", "acme");
/// assert_eq!(claims.get("tenant"), Some("acme"));
/// // A name is no secret, but what it says may be.
/// assert_eq!(format!("{claims:?}"), r#"Claims {"sub", "tenant"}"#);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims(Vec<(Box<str>, Box<str>)>);

impl Claims {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a claim; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
        self
    }

    /// What is said under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims ")?;
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// One of the [`Claims`] of the client as the key.
///
/// Treated like the value of a [`HeaderKey`](super::HeaderKey); an empty one counts as missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimKey(Box<str>);

impl ClaimKey {
    /// Takes the claim called `name`.
    pub fn named(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }
}

impl<D: Door> KeyExtractor<D> for ClaimKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let claim = match request.claim(&self.0)? {
            Cow::Borrowed(claim) => Cow::Borrowed(claim.as_bytes()),
            Cow::Owned(claim) => Cow::Owned(claim.into_bytes()),
        };
        (!claim.is_empty()).then(|| value::bounded(claim))
    }
}
