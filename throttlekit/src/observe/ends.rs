//! What else observers see: waits, leases, callers that went away.

use crate::error::Error;
use crate::priority::Priority;

/// How a request's wait for a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// It got a slot.
    Admitted,
    /// Its time was up: it was denied.
    TimedOut,
    /// Another one got its place in the queue: it was denied.
    Displaced,
    /// It was dropped: nobody wanted to know any more.
    Cancelled,
}

impl WaitOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Admitted, Self::TimedOut, Self::Displaced, Self::Cancelled];

    /// The stable name: `admitted`, `timed_out`, `displaced` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::TimedOut => "timed_out",
            Self::Displaced => "displaced",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The end of a wait for a slot, as an [`Observer`](crate::Observer) sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Wait<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// How much the request matters.
    pub priority: Priority,
    /// How long it waited, in milliseconds. It is no part of the latency that a guard learns from.
    pub waited_ms: f64,
    /// How it ended.
    pub outcome: WaitOutcome,
}

/// The answer of a store to one lease, as an [`Observer`](crate::Observer) sees it. It carries no key text.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LeaseEvent<'a> {
    /// The name of the policy, or of the strategy where there is no policy.
    pub policy: &'a str,
    /// The stable name of the strategy.
    pub strategy: &'static str,
    /// Units that were asked for.
    pub asked: f64,
    /// Units that were granted, or why there was no answer.
    pub granted: Result<f64, &'a Error>,
    /// Whether they may be spent: their window was not over and their key not forgotten when they came.
    pub spendable: bool,
    /// How long the answer took, in nanoseconds.
    pub took_ns: u64,
}

/// How far a request was when its caller went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Its limits were being asked.
    Deciding,
    /// The service behind the limits was at work, and had not answered yet.
    Working,
    /// The answer was being sent.
    Answering,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 3] = [Self::Deciding, Self::Working, Self::Answering];

    /// The stable name: `deciding`, `working` or `answering`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deciding => "deciding",
            Self::Working => "working",
            Self::Answering => "answering",
        }
    }
}

/// A caller that went away before its request was done, as an [`Observer`](crate::Observer) sees it. Doors tell of it:
/// limits cannot know.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Disconnect<'a> {
    /// The name of the policy that had admitted it or was being asked; empty where there is none.
    pub policy: &'a str,
    /// How far the request was.
    pub stage: Stage,
}

impl<'a> Disconnect<'a> {
    /// Of a request under `policy`.
    pub fn new(policy: &'a str, stage: Stage) -> Self {
        Self { policy, stage }
    }
}
