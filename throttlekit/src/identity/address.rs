//! Reading and shortening addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefix of NAT64 that RFC 6052 sets aside, `64:ff9b::/96`.
const NAT64: u128 = 0x0064_ff9b << 96;

/// The address in `text`, if it is one: alone, with a port, or in brackets; white space around it and a zone are cut off.
///
/// IPv4 has four decimal fields without leading zeros; there is no octal, hexadecimal or short form. IPv6 follows
/// RFC 4291. An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
///
/// ```
/// use throttlekit::identity::parse_address;
///
/// for text in ["192.0.2.1", " 192.0.2.1:8080", "::ffff:192.0.2.1", "[::FFFF:c000:201]:443"] {
///     assert_eq!(parse_address(text), Some([192, 0, 2, 1].into()), "{text}");
/// }
/// for text in ["", "192.0.2", "192.0.2.01", "0x7f.0.0.1", "192.0.2.1:", "unknown", "[::1", "[::1]443"] {
///     assert_eq!(parse_address(text), None, "{text}");
/// }
/// ```
pub fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() && !is_port(after.strip_prefix(':')?) {
            return None;
        }
        bare(inside)?
    } else if let Some(address) = bare(text) {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        let address: Ipv4Addr = address.parse().ok()?;
        if !is_port(port) {
            return None;
        }
        address.into()
    };
    Some(address.to_canonical())
}

/// The same as other members of the family read it: no port after IPv4, anything after a closing bracket.
pub(super) fn parse_leniently(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    bare(text).map(|address| address.to_canonical())
}

/// An address without brackets and port; its zone is cut off.
fn bare(text: &str) -> Option<IpAddr> {
    text.split_once('%').map_or(text, |(address, _)| address).parse().ok()
}

/// A port, or what RFC 7239 allows to hide one behind.
fn is_port(text: &str) -> bool {
    let hidden =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match text.strip_prefix('_') {
        Some(rest) => hidden(rest),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// The address of the customer that `address` belongs to: of IPv6 the first `ipv6_prefix` bits, the rest zero.
///
/// One customer of a provider usually has a /64 of IPv6, some a /56 or /48, and may take another address in it for each
/// request. IPv4 stays as it is, whatever the prefix, also where it is written as IPv6. A prefix above 128 counts as 128.
///
/// ```
/// use throttlekit::identity::aggregate;
///
/// let address = "2001:db8:abcd:1234::1".parse()?;
/// assert_eq!(aggregate(address, 64).to_string(), "2001:db8:abcd:1234::");
/// assert_eq!(aggregate(address, 48).to_string(), "2001:db8:abcd::");
/// assert_eq!(aggregate("::ffff:203.0.113.9".parse()?, 0).to_string(), "203.0.113.9");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[inline]
pub fn aggregate(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The IPv4 address that a NAT64 gateway wrote into an IPv6 address; any other address as it is.
pub(super) fn without_nat64(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == NAT64 >> 32 => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}
