//! The `http` section: which policies apply to which requests.

use crate::fallback::{FailMode, MissingKey};
use crate::headers::HeaderSet;
use crate::priority::Priority;

/// The `http` section of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HttpSpec {
    /// The rules, in the order of the file. Order has no meaning: the most specific match counts.
    pub rules: Vec<HttpRule>,
}

/// Which requests one rule is about, and what happens to them.
///
/// A rule is complete: what the file left out has its default here.
///
/// ```
/// use throttlekit::config::{HttpRule, KeySource};
/// use throttlekit::MissingKey;
///
/// let mut rule = HttpRule::new("/api/{id}", ["api"]);
/// assert_eq!((rule.key, rule.missing, rule.fail_mode), (KeySource::Peer, MissingKey::Peer, None));
/// rule.key = KeySource::Header("x-api-key".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpRule {
    /// Which paths, in axum's pattern syntax: `/api/hello`, `/users/{id}`, `/files/{*rest}`.
    pub path: String,
    /// Which methods, in upper case; empty for all of them. `GET` includes `HEAD` unless another rule of the same path
    /// names `HEAD`.
    pub methods: Vec<String>,
    /// The names of the policies that are admitted together; at least one.
    pub policies: Vec<String>,
    /// Where the key comes from.
    pub key: KeySource,
    /// What happens to a request without that key.
    pub missing: MissingKey,
    /// What a request costs, in units: finite, above 0, at most 2^53 - 1.
    pub cost: f64,
    /// How much its requests matter, where there are slots for some only.
    pub priority: Priority,
    /// What happens when the store is unavailable; `None` if each policy says so for itself.
    pub fail_mode: Option<FailMode>,
    /// Which header fields tell the client about the limit.
    pub headers: HeaderSet,
    /// Whether `OPTIONS` requests are limited too.
    pub options: bool,
}

impl HttpRule {
    /// A rule for all methods of `path`: one unit of each policy, keyed by the peer's address.
    pub fn new(path: impl Into<String>, policies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            path: path.into(),
            methods: Vec::new(),
            policies: policies.into_iter().map(Into::into).collect(),
            key: KeySource::default(),
            missing: MissingKey::default(),
            cost: 1.0,
            priority: Priority::Normal,
            fail_mode: None,
            headers: HeaderSet::default(),
            options: false,
        }
    }
}

/// Where the key of a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySource {
    /// The address of the peer.
    #[default]
    Peer,
    /// The value of a header field; the name is in lower case.
    Header(String),
    /// One key for all requests.
    Constant(String),
}
