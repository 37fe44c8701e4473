//! The peer's address.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};

use throttlekit::BuildError;

use super::text::{InlineText, push_ipv4};
use super::{Key, KeyExtractor, Repr};
use crate::door::{Door, Head as _};

/// One customer usually has a /64 of IPv6 to himself, and may pick any address in it for each request.
pub(super) const DEFAULT_IPV6_PREFIX: u8 = 64;

/// The peer's address as the key, without the port.
///
/// IPv4 as it is, an IPv4-mapped IPv6 address as IPv4, and of any other IPv6 address the first 64 bits (or as many as
/// [`with_ipv6_prefix`](Self::with_ipv6_prefix) says), the rest zero, in canonical text: `2001:db8:abcd:1234::`. What
/// proxies say in header fields is not read.
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
}

impl PeerIp {
    /// Leaves the key of `address` in `text`, which is empty.
    #[inline]
    pub(crate) fn write(self, address: IpAddr, text: &mut InlineText) {
        // It cannot fail: the buffer has room for the longest address.
        let _ = write_address(text, "", address, self.ipv6_prefix);
    }
}

impl Default for PeerIp {
    fn default() -> Self {
        Self { ipv6_prefix: DEFAULT_IPV6_PREFIX }
    }
}

impl<D: Door> KeyExtractor<D> for PeerIp {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let peer = request.peer()?;
        Some(Key(Repr::Inline(address_text("", peer.ip(), self.ipv6_prefix))))
    }
}

/// `mark` and the canonical text of the aggregated address.
#[inline]
pub(super) fn address_text(mark: &str, address: IpAddr, ipv6_prefix: u8) -> InlineText {
    let mut text = InlineText::new();
    // It cannot fail: the buffer has room for the longest mark and address.
    let _ = write_address(&mut text, mark, address, ipv6_prefix);
    text
}

#[inline]
fn write_address(text: &mut InlineText, mark: &str, address: IpAddr, ipv6_prefix: u8) -> fmt::Result {
    text.try_push_str(mark).map_err(|_| fmt::Error)?;
    match address.to_canonical() {
        IpAddr::V4(address) => push_ipv4(text, address).map_err(|_| fmt::Error),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            write!(text, "{}", Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}
