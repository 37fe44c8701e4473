//! The client's address behind proxies.

use std::net::IpAddr;

use super::address::{aggregate, parse_address, without_nat64};
use super::chain::{Entries, Form};
use super::client_ip_builder::ClientIpBuilder;
use super::proxies::Networks;
use super::text::AddressText;

/// Finds the address of the client, so that the client cannot choose it.
///
/// Behind a proxy the peer of a connection is the proxy. It says in a header field for whom it asks, and clients can send
/// that field too. So the field is only read as far as proxies of one's own have written it: entry by entry from the
/// right, where each proxy adds the address of its own peer.
///
/// - By default [nobody is trusted](ClientIpBuilder::trust_nobody): no field is read, and the client is the peer.
/// - With [networks](ClientIpBuilder::trust_proxies) the client is the first address from the right, beginning with the
///   peer, that is in none of them; if all are, the leftmost.
/// - With a [number of proxies](ClientIpBuilder::trust_hops) it is the address that many places to the left of the
///   peer; if there are fewer, the leftmost.
///
/// An entry that is no address (`unknown`, a name, garbage) keeps its place and is never trusted. Where it is the one
/// to be chosen, the nearest address to its right counts, which a proxy has written. An empty entry is none.
///
/// It never fails, answers the same for the same input, and takes time in proportion to what is read. Nothing is
/// allocated.
///
/// ```
/// use throttlekit::identity::{AddressText, ClientIp};
///
/// let behind = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).build()?;
/// let key = |peer: [u8; 4], line: &str| {
///     behind.derive(Some(peer.into()), [line.as_bytes()]).as_ref().map(AddressText::as_str).map(str::to_owned)
/// };
/// // The client wrote the first entry, the outer proxy the second, the inner proxy the third.
/// assert_eq!(key([10, 0, 0, 1], "6.6.6.6, 198.51.100.7, 10.0.0.5").as_deref(), Some("198.51.100.7"));
/// // Whoever reaches this program past the proxies is believed nothing.
/// assert_eq!(key([203, 0, 113, 9], "6.6.6.6").as_deref(), Some("203.0.113.9"));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIp {
    pub(super) trust: Trust,
    /// In lower case.
    pub(super) header: Box<str>,
    pub(super) field: Field,
    pub(super) ipv6_prefix: u8,
    pub(super) lenient: bool,
    pub(super) unwrap_nat64: bool,
    pub(super) peer_hidden: bool,
}

/// Who is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Nobody,
    /// This many proxies.
    Hops(u32),
    Proxies(Networks),
}

/// What a header field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// One entry for each proxy.
    Chain(Form),
    /// The client's address, which the proxy puts in place of whatever was there.
    Single,
}

impl ClientIp {
    /// The IPv6 prefix unless another is asked for: one customer usually has a /64 to himself.
    pub const DEFAULT_IPV6_PREFIX: u8 = 64;

    /// Starts with nobody trusted, `x-forwarded-for`, and /64 of IPv6.
    pub fn builder() -> ClientIpBuilder {
        ClientIpBuilder::new()
    }

    /// The header field whose values [`derive`](Self::derive) needs, in lower case; `None` if none is read.
    pub fn header(&self) -> Option<&str> {
        match self.trust {
            Trust::Nobody => None,
            Trust::Hops(_) | Trust::Proxies(_) => Some(&self.header),
        }
    }

    /// How many bits of an IPv6 address make the key.
    pub fn ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix
    }

    /// Whether a middleware reads the field of a request whose peer it does not know.
    pub fn hides_peer(&self) -> bool {
        self.peer_hidden
    }

    /// The key of the client: its [aggregated](super::aggregate) address as text.
    ///
    /// `peer` is the other end of the connection, or what the PROXY protocol says of it; `None` for a Unix socket or a
    /// platform that hides it. `values` are the values of the [`header`](Self::header), one for each line, in their order.
    ///
    /// Without a peer the rightmost entry takes its place; the networks of the trusted proxies then apply to that.
    /// `None` if there is no address at all.
    ///
    /// ```
    /// use throttlekit::identity::{AddressText, ClientIp};
    ///
    /// let client = ClientIp::builder().trust_hops(1).build()?;
    /// let derived = client.derive(Some([10, 0, 0, 1].into()), [&b"2001:db8:1:2::3"[..]]);
    /// assert_eq!(derived.as_ref().map(AddressText::as_str), Some("2001:db8:1:2::"));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    #[inline]
    pub fn derive<'v, I>(&self, peer: Option<IpAddr>, values: I) -> Option<AddressText>
    where
        I: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        self.resolve(peer, values).map(|address| AddressText::of(aggregate(address, self.ipv6_prefix)))
    }

    /// The client's whole address, of which [`derive`](Self::derive) makes the key.
    #[inline]
    pub fn resolve<'v, I>(&self, peer: Option<IpAddr>, values: I) -> Option<IpAddr>
    where
        I: IntoIterator<Item = &'v [u8], IntoIter: DoubleEndedIterator>,
    {
        let peer = peer.map(|peer| self.unwrapped(peer.to_canonical()));
        match (&self.trust, self.field) {
            (Trust::Nobody, _) => peer,
            (_, Field::Single) => self.single(peer, values.into_iter()),
            (_, Field::Chain(form)) => {
                let lines = values.into_iter().rev();
                let entries = lines.flat_map(|line| Entries::new(form, self.lenient, line));
                self.walk(peer, entries.map(|entry| entry.map(|address| self.unwrapped(address))))
            }
        }
    }

    /// The only address in the field, if whoever sent it is believed; otherwise the peer.
    fn single<'v>(&self, peer: Option<IpAddr>, mut values: impl Iterator<Item = &'v [u8]>) -> Option<IpAddr> {
        if let (Trust::Proxies(networks), Some(peer)) = (&self.trust, peer) {
            if !networks.contain(peer) {
                return Some(peer);
            }
        }
        // If there are two, a client may have sent one of them.
        let (Some(value), None) = (values.next(), values.next()) else { return peer };
        let address = std::str::from_utf8(value).ok().and_then(parse_address);
        address.map(|address| self.unwrapped(address)).or(peer)
    }

    /// Goes from the peer to the left until the trust ends.
    fn walk(&self, peer: Option<IpAddr>, entries: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut nearest = None;
        let mut left = match self.trust {
            Trust::Hops(hops) => hops,
            Trust::Nobody | Trust::Proxies(_) => 0,
        };
        for hop in peer.map(Some).into_iter().chain(entries) {
            if hop.is_none() && self.lenient {
                continue;
            }
            nearest = hop.or(nearest);
            match &self.trust {
                Trust::Proxies(networks) if hop.is_some_and(|address| networks.contain(address)) => {}
                Trust::Hops(_) if left > 0 => left -= 1,
                _ => break,
            }
        }
        nearest
    }

    fn unwrapped(&self, address: IpAddr) -> IpAddr {
        if self.unwrap_nat64 { without_nat64(address) } else { address }
    }
}

impl Default for ClientIp {
    /// Trusts nobody: the client is the peer, and of an IPv6 address the first 64 bits count.
    fn default() -> Self {
        Self {
            trust: Trust::Nobody,
            header: ClientIpBuilder::DEFAULT_HEADER.into(),
            field: Field::Chain(Form::List),
            ipv6_prefix: Self::DEFAULT_IPV6_PREFIX,
            lenient: false,
            unwrap_nat64: false,
            peer_hidden: false,
        }
    }
}
