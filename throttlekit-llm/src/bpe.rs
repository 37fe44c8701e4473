//! Counting by the tokenizer of a model.

use std::fmt;
use std::str;

use tiktoken_rs::CoreBPE;

use crate::count::CountTokens;

/// Counts with the byte pair encoding of `OpenAI`'s models.
///
/// Each chunk's text is encoded by itself. Providers send whole tokens, so that is how many there are; a token that is cut
/// into two chunks counts as two. It allocates for each chunk, and takes a microsecond or so for each token.
///
/// The first of each kind in a process reads its vocabulary, which takes some tenths of a second and tens of megabytes: make
/// one at start.
///
/// ```
/// use throttlekit_llm::{Bpe, CountTokens};
///
/// let mut counter = Bpe::o200k();
/// counter.text(b"Hello, w");
/// counter.text(b"orld!");
/// assert_eq!(counter.tokens(), 4);
/// ```
pub struct Bpe {
    encoding: &'static CoreBPE,
    /// Text that is not counted yet: that of one chunk, or the start of a character.
    text: Vec<u8>,
    tokens: u64,
}

impl Bpe {
    /// The encoding `o200k_base`, of GPT-4o and the models after it.
    pub fn o200k() -> Self {
        Self::new(tiktoken_rs::o200k_base_singleton())
    }

    /// The encoding `cl100k_base`, of GPT-4 and GPT-3.5.
    pub fn cl100k() -> Self {
        Self::new(tiktoken_rs::cl100k_base_singleton())
    }

    /// The encoding of a model; `None` if it is not known.
    ///
    /// ```
    /// use throttlekit_llm::Bpe;
    ///
    /// assert!(Bpe::of_model("gpt-4o-mini").is_some());
    /// assert!(Bpe::of_model("somebody-else").is_none());
    /// ```
    pub fn of_model(model: &str) -> Option<Self> {
        tiktoken_rs::bpe_for_model(model).ok().map(Self::new)
    }

    fn new(encoding: &'static CoreBPE) -> Self {
        Self { encoding, text: Vec::new(), tokens: 0 }
    }

    fn add(&mut self, tokens: usize) {
        self.tokens = self.tokens.saturating_add(tokens as u64);
    }
}

impl CountTokens for Bpe {
    fn text(&mut self, piece: &[u8]) {
        self.text.extend_from_slice(piece);
    }

    fn tokens(&mut self) -> u64 {
        let mut text = std::mem::take(&mut self.text);
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (valid, broken) = match str::from_utf8(rest) {
                Ok(all) => (all, None),
                Err(error) => {
                    let valid = rest.get(..error.valid_up_to()).and_then(|valid| str::from_utf8(valid).ok());
                    (valid.unwrap_or_default(), Some(error.error_len()))
                }
            };
            self.add(self.encoding.count_ordinary(valid));
            rest = rest.get(valid.len()..).unwrap_or_default();
            match broken {
                // No character: a token for what is none.
                Some(Some(len)) => {
                    self.add(1);
                    rest = rest.get(len..).unwrap_or_default();
                }
                // The start of a character.
                Some(None) => break,
                None => {}
            }
        }
        // The room is kept for the next chunk.
        let left = rest.len();
        let read = text.len() - left;
        text.drain(..read);
        self.text = text;
        self.tokens
    }
}

impl fmt::Debug for Bpe {
    /// Shows no text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bpe").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}
