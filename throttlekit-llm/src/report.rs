//! How an answer ended.

use throttlekit::Error;

use crate::answer::Dialect;
use crate::scan::Framing;
use crate::usage::Usage;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// All of it went out.
    Completed,
    /// Nothing was left, or the store was out and the policy fails closed: it was cut, with a last event.
    Cut,
    /// The client went away, or whoever read it.
    Dropped,
    /// The upstream failed on the way.
    Failed,
}

/// What one answer was and cost, for metrics and logs; it shows no text and no key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// How it ended.
    pub end: End,
    /// How its documents lay in its bytes.
    pub framing: Framing,
    /// By which API it was written, if that was clear.
    pub dialect: Option<Dialect>,
    /// The model that it says it is of; empty if it did not say.
    pub model: &'a str,
    /// What the provider said of its tokens.
    pub usage: Usage,
    /// Tokens that went out, as the counter has it.
    pub estimated: u64,
    /// What it is settled as: input, if that is counted, and output.
    pub tokens: u64,
    /// Tokens that went out and were not counted, since nothing was left.
    pub forgiven: u64,
    /// The last error of the meter while it passed.
    pub error: Option<&'a Error>,
}
