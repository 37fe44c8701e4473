//! Scripts that the server runs.

mod compose;

use std::fmt;

pub use compose::scripts;
pub(crate) use compose::{FORGET, GUARD, Lua, Scripts};

/// The text of a script and the digest that the server knows it by.
pub(crate) struct Script {
    text: String,
    sha1: String,
}

impl Script {
    /// A script of this text.
    pub(crate) fn new(text: String) -> Self {
        let sha1 = redis::Script::new(&text).get_hash().to_owned();
        Self { text, sha1 }
    }

    /// The text, byte for byte as the server digests it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The digest of the text, in lower-case hexadecimal.
    pub(crate) fn sha1(&self) -> &str {
        &self.sha1
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.sha1).finish()
    }
}
