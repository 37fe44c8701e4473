//! How many tokens a text is.

use std::fmt;

use throttlekit::{BuildError, MAX_SAFE};

/// Counts the tokens of one answer while its text passes.
///
/// What the provider says in the end is what counts in the end; a counter says how many there are meanwhile.
///
/// ```
/// use throttlekit_llm::CountTokens;
///
/// /// A token is a word.
/// #[derive(Debug, Default)]
/// struct Words(u64);
///
/// impl CountTokens for Words {
///     fn text(&mut self, piece: &[u8]) {
///         self.0 += piece.iter().filter(|byte| **byte == b' ').count() as u64;
///     }
///     fn tokens(&mut self) -> u64 {
///         self.0
///     }
/// }
///
/// let mut words = Words::default();
/// words.text(b"one two ");
/// assert_eq!(words.tokens(), 2);
/// ```
pub trait CountTokens: fmt::Debug + Send + 'static {
    /// A piece of text was produced. Pieces are in UTF-8 as the provider wrote it, and may be cut anywhere.
    fn text(&mut self, piece: &[u8]);

    /// How many tokens were produced so far, in all. It never falls. Asked once for each chunk, before the chunk goes out.
    fn tokens(&mut self) -> u64;
}

/// Estimates by the number of bytes, rounded up over the whole answer.
///
/// English text has about four bytes in a token, and other languages and code fewer; a number that is too small counts
/// too many tokens until the provider says how many there are.
///
/// ```
/// use throttlekit_llm::{BytesPerToken, CountTokens};
///
/// let mut counter = BytesPerToken::default();
/// counter.text(b"five5");
/// assert_eq!(counter.tokens(), 2);
/// assert!(BytesPerToken::new(0.0).is_err());
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BytesPerToken {
    per_token: f64,
    bytes: u64,
}

impl BytesPerToken {
    /// `per_token` bytes are a token.
    ///
    /// # Errors
    ///
    /// `bytesPerToken` if it is not a finite number of at least 0.001.
    pub fn new(per_token: f64) -> Result<Self, BuildError> {
        if per_token.is_finite() && per_token >= 0.001 {
            Ok(Self { per_token, bytes: 0 })
        } else {
            Err(BuildError::new("bytesPerToken", per_token, "must be a finite number of at least 0.001"))
        }
    }

    /// `bytes` more went by.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl Default for BytesPerToken {
    /// Four bytes are a token.
    fn default() -> Self {
        Self { per_token: 4.0, bytes: 0 }
    }
}

impl CountTokens for BytesPerToken {
    fn text(&mut self, piece: &[u8]) {
        self.add(piece.len());
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)] // an estimate
    #[allow(clippy::cast_sign_loss)] // never negative
    fn tokens(&mut self) -> u64 {
        // By way of the signed type, to and from which the processor converts in one instruction; and rounded up by hand:
        // `ceil` is a call on most targets, and this is asked for each chunk.
        let tokens = self.bytes.min(i64::MAX as u64) as i64 as f64 / self.per_token;
        let whole = tokens as i64;
        let tokens = whole.saturating_add(i64::from(tokens > whole as f64)) as u64;
        tokens.min(MAX_SAFE)
    }
}

/// Counts nothing: all of an answer is counted when the provider says how much it was.
///
/// Nothing then ends an answer that is too long, and an answer whose provider says nothing costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageOnly;

impl CountTokens for UsageOnly {
    fn text(&mut self, _piece: &[u8]) {}

    fn tokens(&mut self) -> u64 {
        0
    }
}
