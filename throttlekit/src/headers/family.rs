//! Which header fields a response gets.

/// A convention for telling clients about their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderFamily {
    /// `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`: three plain numbers.
    Draft,
    /// `RateLimit` and `RateLimit-Policy`: structured fields, as draft-ietf-httpapi-ratelimit-headers-11 has them.
    Structured,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`: as widespread before any standard.
    Legacy,
    /// `x-ratelimit-limit-requests`, `x-ratelimit-limit-tokens` and so on: requests and [tokens](Unit) apart, as the API
    /// of `OpenAI` and those that are compatible with it have them.
    OpenAi,
}

impl HeaderFamily {
    /// Every family, in the order in which their fields are written.
    pub const ALL: [Self; 4] = [Self::Draft, Self::Structured, Self::Legacy, Self::OpenAi];

    /// The name in configuration: `draft`, `structured`, `legacy` or `openai`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Structured => "structured",
            Self::Legacy => "legacy",
            Self::OpenAi => "openai",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Draft => 1,
            Self::Structured => 2,
            Self::Legacy => 4,
            Self::OpenAi => 8,
        }
    }
}

/// Which header fields a response gets: any families, or none at all.
///
/// The empty set and [`NONE`](Self::NONE) differ: with the empty set a denial still says `Retry-After`; `NONE` writes
/// nothing whatever happens.
///
/// ```
/// use throttlekit::headers::{HeaderFamily, HeaderSet};
///
/// let set = HeaderSet::from_iter([HeaderFamily::Draft, HeaderFamily::Legacy]);
/// assert!(set.contains(HeaderFamily::Legacy) && !set.contains(HeaderFamily::Structured));
/// assert_eq!(HeaderSet::default(), HeaderSet::from(HeaderFamily::Draft));
/// assert_ne!(HeaderSet::EMPTY, HeaderSet::NONE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderSet {
    families: u8,
    silent: bool,
}

impl HeaderSet {
    /// No family: only `Retry-After`, and only on a denial.
    pub const EMPTY: Self = Self { families: 0, silent: false };

    /// No header field at all, not even `Retry-After`.
    pub const NONE: Self = Self { families: 0, silent: true };

    /// Adds a family. Adding one to [`NONE`](Self::NONE) ends the silence.
    #[must_use]
    pub const fn with(self, family: HeaderFamily) -> Self {
        Self { families: self.families | family.bit(), silent: false }
    }

    /// Whether the fields of `family` are written.
    pub const fn contains(self, family: HeaderFamily) -> bool {
        self.families & family.bit() != 0
    }

    /// Whether nothing is ever written.
    pub const fn is_none(self) -> bool {
        self.silent
    }

    /// Whether an allow gets any field.
    pub const fn shows_allows(self) -> bool {
        self.families != 0
    }
}

impl Default for HeaderSet {
    /// The draft family.
    fn default() -> Self {
        HeaderFamily::Draft.into()
    }
}

impl From<HeaderFamily> for HeaderSet {
    fn from(family: HeaderFamily) -> Self {
        Self::EMPTY.with(family)
    }
}

impl FromIterator<HeaderFamily> for HeaderSet {
    fn from_iter<I: IntoIterator<Item = HeaderFamily>>(families: I) -> Self {
        families.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// What a limit counts, for the family that tells these apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Requests, or whatever else a rate counts.
    #[default]
    Requests,
    /// Tokens of a language model, as a budget counts them.
    Tokens,
    /// Work in flight. The family has no fields for it, so it shows only in how long to wait.
    Slots,
}
