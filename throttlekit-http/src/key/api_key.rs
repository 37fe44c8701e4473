//! API keys, which are only counted under a keyed hash.

use std::borrow::Cow;

use throttlekit::BuildError;
use throttlekit::identity::KeyHasher;

use super::{Key, KeyExtractor, value};
use crate::door::{Door, Head};

/// An API key of the client as the key, hashed under a secret: no store, log or metric sees the key itself.
///
/// A request with the key twice, or with an empty one, has none.
#[derive(Clone, Debug)]
pub struct ApiKey {
    place: Place,
    hasher: KeyHasher,
}

/// Where the client puts it.
#[derive(Clone, Debug)]
enum Place {
    Bearer,
    Header(Box<str>),
    Query(Box<str>),
    Cookie(Box<str>),
}

impl ApiKey {
    /// Reads `Authorization: Bearer KEY`.
    pub fn bearer(hasher: KeyHasher) -> Self {
        Self { place: Place::Bearer, hasher }
    }

    /// Reads the header field called `name`, in any case.
    ///
    /// # Errors
    ///
    /// If `name` is no header name.
    pub fn header(name: &str, hasher: KeyHasher) -> Result<Self, BuildError> {
        let name = value::token("apiKey.header", &name.to_ascii_lowercase(), "must be a header field name")?;
        Ok(Self { place: Place::Header(name), hasher })
    }

    /// Reads the parameter of the query called `name`.
    pub fn query(name: impl Into<Box<str>>, hasher: KeyHasher) -> Self {
        Self { place: Place::Query(name.into()), hasher }
    }

    /// Reads the cookie called `name`.
    ///
    /// # Errors
    ///
    /// If no cookie can be called so.
    pub fn cookie(name: &str, hasher: KeyHasher) -> Result<Self, BuildError> {
        let name = value::token("apiKey.cookie", name, "must be the name of a cookie")?;
        Ok(Self { place: Place::Cookie(name), hasher })
    }

    fn raw<'a>(&self, request: &impl Head<'a>) -> Option<Cow<'a, [u8]>> {
        match &self.place {
            Place::Bearer => value::bearer(request).map(Cow::Borrowed),
            Place::Header(name) => value::header(request, name).map(Cow::Borrowed),
            Place::Query(name) => value::query(request, name),
            Place::Cookie(name) => value::cookie(request, name),
        }
    }
}

impl<D: Door> KeyExtractor<D> for ApiKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let raw = self.raw(request).filter(|raw| !raw.is_empty())?;
        Some(Key::from(self.hasher.hash(raw)))
    }
}
