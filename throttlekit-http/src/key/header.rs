//! The value of a header field.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use throttlekit::BuildError;

use super::{Key, KeyExtractor, PEER_MARK};
use crate::door::{Door, Head as _};

/// The longest value that is a key as it stands, in bytes.
const MAX_PLAIN: usize = 256;

/// Starts the key of a value that was hashed.
const HASH_MARK: &str = "sha256:";

/// The value of one header field as the key, such as an API key.
///
/// A request that has the field twice is treated like one without it, since which of the two counts would be a guess.
/// A value over 256 bytes, or one that is not UTF-8, becomes `sha256:` and the digest in hex; so does a value that starts
/// like a key of another kind (`sha256:`, `peer:`), so that nobody can pose as somebody else by a clever value.
///
/// The field is what the client says. Where nothing before this layer has checked it, a client can take a new key for
/// each request; limit such clients by [`PeerIp`](super::PeerIp) too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderKey(Box<str>);

impl HeaderKey {
    /// Reads the field called `name`, in any case.
    ///
    /// # Errors
    ///
    /// If `name` is no header name: empty, or with characters other than letters, digits and ``!#$%&'*+-.^_`|~``.
    pub fn named(name: &str) -> Result<Self, BuildError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(BuildError::new("headerKey.name", name, "must be a header field name"));
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl<D: Door> KeyExtractor<D> for HeaderKey {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let mut values = request.values(&self.0);
        let (value, None) = (values.next()?, values.next()) else { return None };
        let plain = |text: &&str| !text.starts_with(HASH_MARK) && !text.starts_with(PEER_MARK);
        let text = std::str::from_utf8(value).ok().filter(|_| value.len() <= MAX_PLAIN).filter(plain);
        Some(text.map_or_else(|| Key::from(hashed(value)), Key::from))
    }
}

#[cold]
fn hashed(value: &[u8]) -> String {
    let mut text = String::from(HASH_MARK);
    for byte in Sha256::digest(value) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
