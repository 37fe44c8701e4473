//! How many tokens the provider says an answer cost.

/// How many tokens the provider says there are; `None` where it said nothing.
///
/// Providers count on: where an answer says it several times, the last one is right, field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request. With Anthropic those that came from a cache, or went into one, are not among them.
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
