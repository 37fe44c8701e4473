//! The peer's address.

use std::net::IpAddr;

use throttlekit::BuildError;
use throttlekit::identity::{AddressText, ClientIp, aggregate};

use super::{Key, KeyExtractor};
use crate::door::{Door, Head as _};

/// The peer's address as the key, without the port.
///
/// IPv4 as it is, an IPv4-mapped IPv6 address as IPv4, and of any other IPv6 address the first 64 bits (or as many as
/// [`with_ipv6_prefix`](Self::with_ipv6_prefix) says), the rest zero, in canonical text: `2001:db8:abcd:1234::`. What
/// proxies say in header fields is not read; behind one, take a [`ClientIp`](super::ClientIp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIp {
    ipv6_prefix: u8,
}

impl PeerIp {
    /// Keeps the first `bits` of an IPv6 address, 0 to 128.
    ///
    /// # Errors
    ///
    /// If `bits` is above 128.
    pub fn with_ipv6_prefix(bits: u8) -> Result<Self, BuildError> {
        if bits > 128 {
            return Err(BuildError::new("peerIp.ipv6Prefix", bits, "must be a whole number from 0 to 128"));
        }
        Ok(Self { ipv6_prefix: bits })
    }

    /// Leaves the key of `address` in `text`.
    #[inline]
    pub(crate) fn write(self, address: IpAddr, text: &mut AddressText) {
        text.set(aggregate(address, self.ipv6_prefix));
    }
}

impl Default for PeerIp {
    fn default() -> Self {
        Self { ipv6_prefix: ClientIp::DEFAULT_IPV6_PREFIX }
    }
}

impl<D: Door> KeyExtractor<D> for PeerIp {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let peer = request.peer()?;
        Some(Key::from(AddressText::of(aggregate(peer.ip(), self.ipv6_prefix))))
    }

    fn reads_peer(&self) -> bool {
        true
    }
}
