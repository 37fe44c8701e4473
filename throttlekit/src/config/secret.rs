//! Texts that must not show.

use std::fmt;

use zeroize::Zeroizing;

/// A text that must not show, such as a password or a URL that holds one.
///
/// `Debug` shows that there is one and nothing of it; there is no `Display`. The memory is overwritten when it is dropped.
/// Copies that others make of [`expose`](Self::expose), and the text of a file that it was written in, are not.
///
/// ```
/// use throttlekit::config::Secret;
///
/// let password = Secret::new("hunter2");
/// assert_eq!(password.expose(), "hunter2");
/// assert_eq!(format!("{password:?}"), "[redacted]");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, to be handed to what needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Looks at all of both texts, whatever they begin with.
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.expose().as_bytes(), other.expose().as_bytes());
        let differing = one.iter().zip(other).fold(0, |differing, (one, other)| differing | (one ^ other));
        one.len() == other.len() && std::hint::black_box(differing) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hidden.fmt(f)
    }
}

/// What `Debug` shows in place of a text.
pub(super) struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The same for a text that may be missing.
pub(super) fn hidden(text: Option<&String>) -> Option<Hidden> {
    text.map(|_| Hidden)
}
