//! The options of [`ClientIp`].

use super::chain::{Form, is_token};
use super::client_ip::{ClientIp, Field, Trust};
use super::proxies::Networks;
use crate::error::BuildError;

/// Builds a [`ClientIp`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientIpBuilder {
    trust: Asked,
    header: Option<String>,
    ipv6_prefix: u8,
    lenient: bool,
    unwrap_nat64: bool,
    peer_hidden: bool,
}

/// Whom the caller wants to be believed.
#[derive(Clone, Debug)]
enum Asked {
    Nobody,
    Hops(u32),
    Proxies(Vec<String>),
}

impl ClientIpBuilder {
    pub(super) const DEFAULT_HEADER: &'static str = "x-forwarded-for";

    pub(super) fn new() -> Self {
        Self {
            trust: Asked::Nobody,
            header: None,
            ipv6_prefix: ClientIp::DEFAULT_IPV6_PREFIX,
            lenient: false,
            unwrap_nat64: false,
            peer_hidden: false,
        }
    }

    /// Reads no header field. The default. The last of the three `trust_` options counts.
    pub fn trust_nobody(mut self) -> Self {
        self.trust = Asked::Nobody;
        self
    }

    /// Believes `count` proxies, wherever they are: right if clients can reach this program through just so many.
    ///
    /// With 0 the peer is the client. Where the platform [hides](Self::peer_hidden) the peer and adds the client's address
    /// itself, 0 is right too: the rightmost entry then stands for the peer, and 1 would take what the client wrote.
    pub fn trust_hops(mut self, count: u32) -> Self {
        self.trust = Asked::Hops(count);
        self
    }

    /// Believes proxies in these networks: addresses, or networks such as `10.0.0.0/8` and `2001:db8::/32`. The better
    /// choice where they are known: whoever gets past the proxies is believed nothing.
    ///
    /// A prefix has one to three digits. IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 network.
    pub fn trust_proxies<S: Into<String>>(mut self, networks: impl IntoIterator<Item = S>) -> Self {
        self.trust = Asked::Proxies(networks.into_iter().map(Into::into).collect());
        self
    }

    /// Which header field is read, in any case; `x-forwarded-for` unless another is named. Only one ever is: of two,
    /// clients could write the one that the proxy leaves alone.
    ///
    /// `x-forwarded-for` and `forwarded` (RFC 7239) hold an entry for each proxy. Any other field, such as
    /// `cf-connecting-ip`, `x-real-ip`, `true-client-ip` or `fly-client-ip`, holds the client's address and nothing else.
    /// It counts if the peer is a trusted proxy, or is not known; if proxies are counted, always, so let nobody else
    /// connect. A field that is repeated, or holds no address, counts as absent, and then the client is the peer.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.header = Some(name.into());
        self
    }

    /// How many bits of an IPv6 address make the key, 0 to 128; 64 unless told otherwise.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits;
        self
    }

    /// Leaves entries that are no addresses out before anything is counted, as other members of the family do; `false`
    /// unless told otherwise.
    ///
    /// **Only for a fleet that has to agree with them until all have moved.** An address with a port is such an entry. If
    /// a proxy writes one, or `unknown`, the entry to its left takes its place, and that is what the client wrote.
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Whether an address of the NAT64 prefix `64:ff9b::/96` is the IPv4 address in it; `false` unless told otherwise.
    /// Otherwise all who come through any NAT64 share one /64.
    pub fn unwrap_nat64(mut self, unwrap: bool) -> Self {
        self.unwrap_nat64 = unwrap;
        self
    }

    /// Says that nobody knows the peer, as behind a Unix socket or on a platform that hides it, so that a middleware reads
    /// the field without it; `false` unless told otherwise.
    ///
    /// Otherwise a request whose peer is not known has no address for it: a server that forgets to tell the peer would let
    /// each client write its own. [`derive`](ClientIp::derive) and [`resolve`](ClientIp::resolve) are told each time, and
    /// do not ask.
    pub fn peer_hidden(mut self, hidden: bool) -> Self {
        self.peer_hidden = hidden;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If a network does not parse, the prefix is above 128, the name is not one of a header field, or a header was named
    /// that would never be read: nobody is trusted, or none of the proxies that put a single address there. Also if the
    /// peer is hidden and nobody is trusted: there would be no address at all.
    ///
    /// ```
    /// use throttlekit::identity::ClientIp;
    ///
    /// let error = ClientIp::builder().trust_proxies(["10.0.0.0/"]).build().unwrap_err();
    /// assert!(error.to_string().starts_with(r#"clientIp.trustProxy is "10.0.0.0/": must be an IP address or a network"#));
    /// ```
    pub fn build(self) -> Result<ClientIp, BuildError> {
        if self.ipv6_prefix > 128 {
            let allowed = "must be a whole number from 0 to 128";
            return Err(BuildError::new("clientIp.ipv6Prefix", self.ipv6_prefix, allowed));
        }
        let header = self.header.as_deref().unwrap_or(Self::DEFAULT_HEADER).to_ascii_lowercase();
        if !is_token(header.as_bytes()) {
            return Err(BuildError::new(
                "clientIp.header",
                format!("{header:?}"),
                "must be the name of a header field",
            ));
        }
        let field = match header.as_str() {
            Self::DEFAULT_HEADER => Field::Chain(Form::List),
            "forwarded" => Field::Chain(Form::Forwarded),
            _ => Field::Single,
        };
        let unread = match self.trust {
            Asked::Nobody => self.header.is_some(),
            Asked::Hops(0) => field == Field::Single,
            Asked::Hops(_) | Asked::Proxies(_) => false,
        };
        if unread {
            let allowed = "is not read unless trusted proxies, or how many there are, are given too";
            return Err(BuildError::new("clientIp.header", header, allowed));
        }
        if self.peer_hidden && matches!(self.trust, Asked::Nobody) {
            let allowed = "must be false unless trusted proxies, or how many there are, are given too";
            return Err(BuildError::new("clientIp.peerHidden", true, allowed));
        }
        let trust = match self.trust {
            Asked::Nobody => Trust::Nobody,
            Asked::Hops(hops) => Trust::Hops(hops),
            Asked::Proxies(networks) => Trust::Proxies(Networks::parse(networks)?),
        };
        Ok(ClientIp {
            trust,
            header: header.into(),
            field,
            ipv6_prefix: self.ipv6_prefix,
            lenient: self.lenient,
            unwrap_nat64: self.unwrap_nat64,
            peer_hidden: self.peer_hidden,
        })
    }
}
