//! The `http` section: which policies apply to which requests.

use super::key::{ClientIpSpec, KeySource};
use super::plans::PlansSpec;
use crate::fallback::{FailMode, MissingKey};
use crate::headers::HeaderSet;
use crate::permit::Outcome;
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
#[allow(clippy::struct_excessive_bools)] // each is a switch of the file
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
    /// How the client's address is found, for the key, and where an address stands in for a key that is missing.
    pub client_ip: ClientIpSpec,
    /// Other policies for some of the requests; `None` if all meet [`policies`](Self::policies).
    pub plans: Option<PlansSpec>,
    /// What happens to a request without that key.
    pub missing: MissingKey,
    /// What a request costs, in units: finite, above 0, at most 2^53 - 1.
    pub cost: f64,
    /// Policies of which a request takes another number of units, in the same range: by name, each once. A plan has those of
    /// its rule that name policies of the plan, unless it says so itself.
    pub costs: Vec<(String, f64)>,
    /// How much its requests matter, where there are slots for some only.
    pub priority: Priority,
    /// What happens when the store is unavailable; `None` if each policy says so for itself.
    pub fail_mode: Option<FailMode>,
    /// Which header fields tell the client about the limit.
    pub headers: HeaderSet,
    /// Whether `OPTIONS` requests are limited too.
    pub options: bool,
    /// Whether every request passes, and the decisions are only told.
    pub shadow: bool,
    /// Whether refusals are answered with `application/problem+json`.
    pub problem_json: bool,
    /// Whether a response of 500 and above is a sign of overload.
    pub drop_on_5xx: bool,
    /// How the work for a client that hangs up ends: [`Outcome::Dropped`] or [`Outcome::Ignored`].
    pub on_disconnect: Outcome,
}

impl HttpRule {
    /// A rule for all methods of `path`: one unit of each policy, keyed by the peer's address.
    pub fn new(path: impl Into<String>, policies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            path: path.into(),
            methods: Vec::new(),
            policies: policies.into_iter().map(Into::into).collect(),
            key: KeySource::default(),
            client_ip: ClientIpSpec::default(),
            plans: None,
            missing: MissingKey::default(),
            cost: 1.0,
            costs: Vec::new(),
            priority: Priority::Normal,
            fail_mode: None,
            headers: HeaderSet::default(),
            options: false,
            shadow: false,
            problem_json: false,
            drop_on_5xx: false,
            on_disconnect: Outcome::Dropped,
        }
    }

    /// What a request costs of the policy called `name`, in units, where [`costs`](Self::costs) says so; `None` where it
    /// is [`cost`](Self::cost).
    ///
    /// ```
    /// use throttlekit::config::HttpRule;
    ///
    /// let mut rule = HttpRule::new("/chat", ["requests", "tokens"]);
    /// rule.costs = vec![("tokens".to_owned(), 500.0)];
    /// assert_eq!((rule.cost_of("tokens"), rule.cost_of("requests")), (Some(500.0), None));
    /// ```
    pub fn cost_of(&self, name: &str) -> Option<f64> {
        self.costs.iter().find(|(policy, _)| policy == name).map(|(_, units)| *units)
    }
}
