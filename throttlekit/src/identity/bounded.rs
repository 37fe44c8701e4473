//! Keys from strangers: bounded in length, and of one kind each.

use sha2::{Digest as _, Sha256};

use super::hashed::HashedKey;

/// How long a key should be at most, in bytes, wherever it comes from; longer ones are hashed.
pub const MAX_KEY_BYTES: usize = 512;

/// Starts the key of a value that was hashed.
const HASH_MARK: &str = "sha256:";

/// Starts the key of a peer that stands in for another key. No [`BoundedKey`] of a client's value does.
pub const PEER_MARK: &str = "peer:";

/// What only keys of the right kind may start with.
pub(super) const MARKS: [&str; 2] = [HASH_MARK, PEER_MARK];

/// A value that a client sent, as a key: as it stands, or hashed.
///
/// ```
/// use throttlekit::identity::BoundedKey;
///
/// assert_eq!(BoundedKey::new(b"tenant-1", 256).as_str(), "tenant-1");
/// let long = BoundedKey::new(&[b'x'; 257], 256);
/// assert!(long.as_str().starts_with("sha256:") && long.as_str().len() == 71);
/// // Nobody can pose as a key of another kind.
/// assert!(BoundedKey::new(b"peer:192.0.2.1", 256).as_str().starts_with("sha256:"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundedKey<'v>(Kind<'v>);

#[derive(Clone, PartialEq, Eq)]
enum Kind<'v> {
    Plain(&'v str),
    Hashed(HashedKey),
}

impl<'v> BoundedKey<'v> {
    /// The value as it stands if it is UTF-8 of at most `max_bytes`, holds no NUL, which not every store can keep, and does
    /// not start like a key of another kind (`sha256:`, `peer:`). Otherwise `sha256:` and its digest in hex, 71 bytes.
    #[inline]
    pub fn new(value: &'v [u8], max_bytes: usize) -> Self {
        if value.len() <= max_bytes {
            if let Ok(text) = std::str::from_utf8(value) {
                if !value.contains(&0) && !MARKS.iter().any(|mark| text.starts_with(mark)) {
                    return Self(Kind::Plain(text));
                }
            }
        }
        Self(Kind::Hashed(hashed(value)))
    }

    /// The value itself, if it is the key.
    pub fn plain(&self) -> Option<&'v str> {
        match self.0 {
            Kind::Plain(text) => Some(text),
            Kind::Hashed(_) => None,
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Plain(text) => text,
            Kind::Hashed(hashed) => hashed.as_str(),
        }
    }
}

impl std::fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

#[cold]
fn hashed(value: &[u8]) -> HashedKey {
    HashedKey::new(HASH_MARK, &Sha256::digest(value))
}

/// Several values as one key, such as a tenant and an address: two different lists never give one key, whatever is in
/// the values.
///
/// Each value is preceded by its length in bytes and followed by a comma.
///
/// ```
/// use throttlekit::identity::join_key;
///
/// assert_eq!(join_key(["acme", "192.0.2.1"]), "4:acme,9:192.0.2.1,");
/// assert_ne!(join_key(["a,1:b", "c"]), join_key(["a", "b,1:c"]));
/// ```
pub fn join_key<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    use std::fmt::Write as _;
    let mut key = String::new();
    for part in parts {
        // Writing to a `String` cannot fail.
        let _ = write!(key, "{}:{part},", part.len());
    }
    key
}
