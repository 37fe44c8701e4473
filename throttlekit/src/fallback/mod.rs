//! What happens when a door cannot ask, or gets no decision.

mod limiter;
mod share;
mod standby;

pub use limiter::Fallback;
#[cfg(feature = "config")]
pub(crate) use limiter::standby;
pub use share::Share;
#[cfg(feature = "config")]
pub(crate) use standby::Standby;

/// What a door does with a request when the store is unavailable.
///
/// It applies to [`ErrorKind::StoreUnavailable`](crate::ErrorKind::StoreUnavailable) and to nothing else: a bad argument
/// and an unreadable state are errors, and are never admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailMode {
    /// The request passes, as if there were no limit.
    #[default]
    Open,
    /// The request is refused.
    Closed,
    /// A limit in memory decides: the same strategy with this share of its units, starting empty at each outage, until
    /// the first success of the store.
    Local(Share),
}

impl FailMode {
    /// The name in configuration: `open`, `closed` or `local`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Local(_) => "local",
        }
    }
}

/// What a door does with a request that does not carry the key it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissingKey {
    /// The address of the peer is the key.
    #[default]
    Peer,
    /// All such requests share one key.
    Shared,
    /// The request is refused.
    Reject,
    /// The request passes without being counted.
    Skip,
}

impl MissingKey {
    /// The name in configuration: `peer`, `shared`, `reject` or `skip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Shared => "shared",
            Self::Reject => "reject",
            Self::Skip => "skip",
        }
    }
}
