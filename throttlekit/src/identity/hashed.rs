//! A digest as the text of a key.

use std::fmt;

use arrayvec::ArrayString;

/// The longest key id, a colon, and 32 bytes in hex.
const CAPACITY: usize = super::hasher::MAX_KEY_ID + 1 + 64;

/// A key that was hashed: its mark, if it has one, a colon, and lower-case hex. On the stack, at most 81 bytes.
///
/// `Debug` shows nothing of it: it stands for one person or one key for as long as the secret is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashedKey(ArrayString<CAPACITY>);

impl HashedKey {
    /// `mark` has a colon if it is not empty; with the digest it fits.
    pub(super) fn new(mark: &str, digest: &[u8]) -> Self {
        const HEX: [u8; 16] = *b"0123456789abcdef";
        let mut text = ArrayString::new();
        // It cannot fail: the longest mark was checked when it was given.
        let _ = text.try_push_str(mark);
        for byte in digest {
            for digit in [byte >> 4, byte & 15] {
                let _ = text.try_push(char::from(HEX[usize::from(digit)]));
            }
        }
        Self(text)
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for HashedKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for HashedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedKey(..)")
    }
}
