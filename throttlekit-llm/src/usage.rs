//! How many tokens the provider says an answer cost.

use crate::answer::Dialect;

/// How many tokens the provider says there are; `None` where it said nothing.
///
/// Providers count on: where an answer says it several times, the last one is right, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request. With Anthropic those that came from a cache, or went into one, are not among them; an answer is
    /// settled with them all the same.
    pub input: Option<u64>,
    /// Tokens of the answer, those of its reasoning among them.
    pub output: Option<u64>,
    /// Tokens of the request that came from a cache.
    pub cached: Option<u64>,
    /// Tokens of the request that were written into a cache.
    pub cache_written: Option<u64>,
    /// Tokens of the answer that were reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// All tokens of the request: with every API those that came from a cache, or went into one, are among them.
    pub(crate) fn whole_input(&self, dialect: Option<Dialect>) -> Option<u64> {
        let input = self.input?;
        if dialect != Some(Dialect::Messages) {
            return Some(input);
        }
        Some(input.saturating_add(self.cached.unwrap_or(0)).saturating_add(self.cache_written.unwrap_or(0)))
    }
}
