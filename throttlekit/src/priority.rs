//! How much a request matters when not all can be served.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// How much a request matters when there are slots for some only: the lowest is shed first.
///
/// It is given by [`Ask::priority`](crate::Ask::priority). Take it from what you know of the request, not from the
/// client's word: a client that may choose chooses the highest.
///
/// ```
/// use throttlekit::Priority;
///
/// assert!(Priority::Low < Priority::default() && Priority::default() < Priority::Critical);
/// assert_eq!("high".parse::<Priority>()?, Priority::High);
/// # Ok::<(), throttlekit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Work that can be done another time: prefetching, batches, retries of such.
    Low,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// A person waits for it.
    High,
    /// What the service is there for, and what keeps it running: health checks, payments.
    Critical,
}

impl Priority {
    /// All of them, the lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The stable name: `low`, `normal`, `high` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    #[inline]
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Error;

    /// Reads a stable name.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for any other text.
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == name);
        found.ok_or_else(|| Error::invalid_argument("priority must be low, normal, high or critical"))
    }
}
