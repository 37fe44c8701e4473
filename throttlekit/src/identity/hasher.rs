//! Keyed hashes of what must not be stored.

use std::fmt;

use arrayvec::ArrayString;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::bounded::MARKS;
use super::hashed::HashedKey;
use crate::error::BuildError;

/// How long a key id may be, in bytes.
pub(super) const MAX_KEY_ID: usize = 16;

/// How short a secret may be, in bytes: what is shorter than half the digest can be searched for.
pub(crate) const MIN_SECRET: usize = 16;

/// HMAC-SHA-256 of `raw` under `secret`, in 64 hex digits: the same in every language, for fleets that share keys.
///
/// It says nothing of its secret. Prefer a [`KeyHasher`], whose hashes tell which secret they were made with, and which
/// refuses short secrets.
///
/// ```
/// use throttlekit::identity::hash_key;
///
/// let hashed = hash_key("1.2.3.4", "s3cret");
/// assert_eq!(hashed.as_str(), "74add449bacaccbde49f551ae1b799fa3e9ed6111fe27bb4349c5d32689f31eb");
/// ```
pub fn hash_key(raw: impl AsRef<[u8]>, secret: impl AsRef<[u8]>) -> HashedKey {
    HashedKey::new("", &digest(&keyed(secret.as_ref()), raw.as_ref()))
}

/// Makes keys of API keys, addresses and other things that neither a store nor a log should hold.
///
/// A key is `<key id>:<hex>`, the hex being HMAC-SHA-256 of what was given. Whoever reads it, but not the secret,
/// cannot find out what it stands for, not even by trying all addresses there are. Hash an address after it was
/// [aggregated](super::aggregate).
///
/// **Rotation.** A new secret has a new id, and so every key is new, and starts with its whole budget: a rotation costs
/// each client at most one further budget. Secrets that were in use before may be given as
/// [`previous`](KeyHasherBuilder::previous); no request counts under them, but [`all`](Self::all) finds what a client
/// had there.
///
/// The secrets are overwritten when the hasher is dropped, and `Debug` does not show them.
///
/// ```
/// use throttlekit::identity::KeyHasher;
///
/// let hasher = KeyHasher::new("2026-11", "not a secret, but long enough")?;
/// let key = hasher.hash("sk-1234");
/// assert!(key.as_str().starts_with("2026-11:"));
/// assert_eq!(key, hasher.hash("sk-1234"));
/// assert_ne!(key, hasher.hash("sk-1235"));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone)]
pub struct KeyHasher {
    primary: Keyed,
    previous: Vec<Keyed>,
    truncated: bool,
}

/// A secret in the form that is hashed with.
#[derive(Clone)]
struct Keyed {
    /// The key id and a colon.
    mark: ArrayString<{ MAX_KEY_ID + 1 }>,
    mac: Hmac<Sha256>,
}

impl KeyHasher {
    /// Hashes under `secret`, and marks each key with `key_id`.
    ///
    /// # Errors
    ///
    /// As [`KeyHasherBuilder::build`].
    pub fn new(key_id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, BuildError> {
        Self::builder(key_id, secret).build()
    }

    /// Starts with `secret` for all new keys, marked with `key_id`.
    pub fn builder(key_id: impl Into<String>, secret: impl AsRef<[u8]>) -> KeyHasherBuilder {
        let primary = Given::new(key_id, secret);
        KeyHasherBuilder { primary, previous: Vec::new(), truncated: false, allow_short_secrets: false }
    }

    /// The key of `raw`. Nothing is allocated.
    pub fn hash(&self, raw: impl AsRef<[u8]>) -> HashedKey {
        self.under(&self.primary, raw.as_ref())
    }

    /// The key of `raw` under each secret, the current one first: for whoever resets a client or looks one up while
    /// a rotation is under way.
    ///
    /// ```
    /// use throttlekit::identity::KeyHasher;
    ///
    /// let hasher = KeyHasher::builder("b", "the secret from now on").previous("a", "the secret until now").build()?;
    /// let keys: Vec<_> = hasher.all("sk-1234").collect();
    /// assert_eq!(keys[0], hasher.hash("sk-1234"));
    /// assert_eq!(keys[1], KeyHasher::new("a", "the secret until now")?.hash("sk-1234"));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn all<'h>(&'h self, raw: &'h (impl AsRef<[u8]> + ?Sized)) -> impl Iterator<Item = HashedKey> + 'h {
        std::iter::once(&self.primary).chain(&self.previous).map(move |keyed| self.under(keyed, raw.as_ref()))
    }

    /// What marks new keys.
    pub fn key_id(&self) -> &str {
        self.primary.mark.trim_end_matches(':')
    }

    fn under(&self, keyed: &Keyed, raw: &[u8]) -> HashedKey {
        let digest = digest(&keyed.mac, raw);
        let (half, _) = digest.split_at(digest.len() / 2);
        HashedKey::new(&keyed.mark, if self.truncated { half } else { &digest })
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

/// Builds a [`KeyHasher`].
#[derive(Clone)]
#[must_use]
pub struct KeyHasherBuilder {
    primary: Given,
    previous: Vec<Given>,
    truncated: bool,
    allow_short_secrets: bool,
}

/// A secret as it was given, of which only the form that is hashed with is kept.
#[derive(Clone)]
struct Given {
    key_id: String,
    bytes: usize,
    mac: Hmac<Sha256>,
}

impl KeyHasherBuilder {
    /// Adds a secret that was in use before; see [`KeyHasher::all`].
    pub fn previous(mut self, key_id: impl Into<String>, secret: impl AsRef<[u8]>) -> Self {
        self.previous.push(Given::new(key_id, secret));
        self
    }

    /// Whether only the first 128 bits of each hash are used, in 32 hex digits; `false` unless told otherwise. Stores that
    /// keep keys as text need less memory then, and two clients still do not meet by chance.
    pub fn truncated(mut self, truncated: bool) -> Self {
        self.truncated = truncated;
        self
    }

    /// Takes secrets of less than 16 bytes; `false` unless told otherwise. For tests, and for fleets that have one.
    pub fn allow_short_secrets(mut self, allow: bool) -> Self {
        self.allow_short_secrets = allow;
        self
    }

    /// Checks ids and secrets.
    ///
    /// # Errors
    ///
    /// If a key id is not 1 to 16 letters, digits, `.`, `_` and `-`, is given twice, or marks keys of another kind
    /// (`peer`, `sha256`); if a secret has less than 16 bytes and short ones were not allowed. No message shows a secret.
    pub fn build(self) -> Result<KeyHasher, BuildError> {
        let given = std::iter::once(&self.primary).chain(&self.previous);
        let mut keyed = Vec::with_capacity(1 + self.previous.len());
        for Given { key_id, bytes, mac } in given {
            if *bytes < MIN_SECRET && !self.allow_short_secrets {
                let allowed = "must have at least 16 bytes, unless short secrets are allowed";
                return Err(BuildError::new("keyHasher.secret", format!("{bytes} bytes long"), allowed));
            }
            let mark = mark(key_id)?;
            if keyed.iter().any(|earlier: &Keyed| earlier.mark == mark) {
                return Err(BuildError::new("keyHasher.keyId", format!("{key_id:?}"), "must not be given twice"));
            }
            keyed.push(Keyed { mark, mac: mac.clone() });
        }
        let previous = keyed.split_off(1);
        let primary = keyed.pop().ok_or_else(|| BuildError::missing("keyHasher.secret"))?;
        Ok(KeyHasher { primary, previous, truncated: self.truncated })
    }
}

impl fmt::Debug for KeyHasherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasherBuilder").field("key_id", &self.primary.key_id).finish_non_exhaustive()
    }
}

impl Given {
    fn new(key_id: impl Into<String>, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        Self { key_id: key_id.into(), bytes: secret.len(), mac: keyed(secret) }
    }
}

/// A key id that can stand before a colon, with the colon.
fn mark(key_id: &str) -> Result<ArrayString<{ MAX_KEY_ID + 1 }>, BuildError> {
    let refused = |allowed: &'static str| BuildError::new("keyHasher.keyId", format!("{key_id:?}"), allowed);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if key_id.is_empty() || key_id.len() > MAX_KEY_ID || !key_id.bytes().all(legal) {
        return Err(refused("must be 1 to 16 letters, digits, '.', '_' and '-'"));
    }
    let mut text = ArrayString::new();
    // It cannot fail: the length was just checked.
    let _ = text.try_push_str(key_id);
    let _ = text.try_push(':');
    if MARKS.contains(&text.as_str()) {
        return Err(refused("must not mark keys of another kind"));
    }
    Ok(text)
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes secrets of any length")
}

fn digest(mac: &Hmac<Sha256>, raw: &[u8]) -> [u8; 32] {
    mac.clone().chain_update(raw).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::Sha256;

    /// A promise that a feature of a dependency keeps: an HMAC holds nothing but hashes that have begun.
    #[test]
    fn secrets_are_overwritten_when_dropped() {
        fn is_overwritten<T: zeroize::ZeroizeOnDrop>() {}
        is_overwritten::<Sha256>();
    }
}
