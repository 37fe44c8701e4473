//! Whom a request counts for, as a configuration says it.

use super::secret::Secret;
use crate::error::BuildError;
use crate::identity::{ClientIp, KeyHasher};

/// Where the key of a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySource {
    /// The address of the peer.
    #[default]
    Peer,
    /// The address of the client, as the rule's [`ClientIpSpec`] finds it.
    ClientIp,
    /// The value of a header field; the name is in lower case.
    Header(String),
    /// The value of a parameter of the query.
    Query(String),
    /// The value of a cookie.
    Cookie(String),
    /// What a parameter of the rule's path stands for.
    PathParam(String),
    /// What the program has verified of the client and calls by this name, such as a claim of a token.
    Claim(String),
    /// One key for all requests.
    Constant(String),
    /// A secret of the client, hashed.
    ApiKey(ApiKeySpec),
    /// All of these together; a request without one of them has no key.
    All(Vec<Self>),
}

/// Where an API key is, and what it is hashed with.
///
/// ```
/// use throttlekit::config::{ApiKeySource, ApiKeySpec};
///
/// let spec = ApiKeySpec::new(ApiKeySource::Bearer, "2026-11", "read this from the environment");
/// assert!(spec.hasher()?.hash("sk-1234").as_str().starts_with("2026-11:"));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKeySpec {
    /// Where the client puts it.
    pub from: ApiKeySource,
    /// What marks the keys that are made with the secret: 1 to 16 letters, digits, `.`, `_` and `-`.
    pub key_id: String,
    /// What API keys are hashed with, at least 16 bytes.
    pub secret: Secret,
    /// What they were hashed with before: ids and secrets.
    pub previous: Vec<(String, Secret)>,
    /// Whether half of each hash is enough.
    pub truncated: bool,
}

/// Where a client puts its API key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiKeySource {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header field; the name is in lower case.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// A cookie.
    Cookie(String),
}

impl ApiKeySpec {
    /// A key at `from`, hashed with `secret` in full; no secret was in use before.
    pub fn new(from: ApiKeySource, key_id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { from, key_id: key_id.into(), secret: Secret::new(secret), previous: Vec::new(), truncated: false }
    }

    /// What makes keys as this says.
    ///
    /// # Errors
    ///
    /// As [`KeyHasherBuilder::build`](crate::identity::KeyHasherBuilder::build).
    pub fn hasher(&self) -> Result<KeyHasher, BuildError> {
        let builder = KeyHasher::builder(self.key_id.as_str(), self.secret.expose()).truncated(self.truncated);
        let add = |builder: crate::identity::KeyHasherBuilder, (id, secret): &(String, Secret)| {
            builder.previous(id.as_str(), secret.expose())
        };
        self.previous.iter().fold(builder, add).build()
    }
}

/// How the address of a client is found behind proxies; see [`ClientIp`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIpSpec {
    /// Which proxies are believed.
    pub trust_proxy: TrustProxy,
    /// Which header field they write; `None` for `x-forwarded-for`.
    pub header: Option<String>,
    /// How many bits of an IPv6 address count, 0 to 128.
    pub ipv6_prefix: u8,
    /// Whether entries that are no addresses are left out before anything is counted.
    pub lenient: bool,
    /// Whether an address of NAT64 is the IPv4 address in it.
    pub unwrap_nat64: bool,
    /// Whether nobody knows the peer, so that the field is read without it.
    pub peer_hidden: bool,
}

/// Which proxies are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustProxy {
    /// None.
    #[default]
    Nobody,
    /// This many.
    Hops(u32),
    /// Those in these networks.
    Networks(Vec<String>),
}

impl ClientIpSpec {
    /// What finds the address as this says.
    ///
    /// # Errors
    ///
    /// As [`ClientIpBuilder::build`](crate::identity::ClientIpBuilder::build).
    pub fn build(&self) -> Result<ClientIp, BuildError> {
        let mut builder = ClientIp::builder()
            .ipv6_prefix(self.ipv6_prefix)
            .lenient(self.lenient)
            .unwrap_nat64(self.unwrap_nat64)
            .peer_hidden(self.peer_hidden);
        if let Some(header) = &self.header {
            builder = builder.header(header);
        }
        match &self.trust_proxy {
            TrustProxy::Nobody => builder,
            TrustProxy::Hops(hops) => builder.trust_hops(*hops),
            TrustProxy::Networks(networks) => builder.trust_proxies(networks),
        }
        .build()
    }
}

impl Default for ClientIpSpec {
    /// Nobody is believed; 64 bits of IPv6.
    fn default() -> Self {
        Self {
            trust_proxy: TrustProxy::Nobody,
            header: None,
            ipv6_prefix: ClientIp::DEFAULT_IPV6_PREFIX,
            lenient: false,
            unwrap_nat64: false,
            peer_hidden: false,
        }
    }
}
