//! Networks whose word is taken.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::BuildError;

/// What an entry may look like.
const ALLOWED: &str = "must be an IP address or a network such as 10.0.0.0/8 or 2001:db8::/32, with a prefix of 0 to 32 \
                       bits for IPv4 and 0 to 128 for IPv6";

/// A set of networks. A question costs a binary search, however long the list is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Networks {
    /// Disjoint, in the order of their addresses, IPv4 first.
    sorted: Vec<IpNet>,
}

impl Networks {
    /// Reads entries: an address, or an address and a prefix.
    pub(super) fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, BuildError> {
        let read = |entry: S| {
            let entry = entry.as_ref();
            network(entry).ok_or_else(|| BuildError::new("clientIp.trustProxy", format!("{entry:?}"), ALLOWED))
        };
        let networks = entries.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = IpNet::aggregate(&networks);
        sorted.sort_unstable_by_key(IpNet::network);
        Ok(Self { sorted })
    }

    /// Whether `address` is in one of them. IPv4 is never in an IPv6 network, nor the other way round.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let above = self.sorted.partition_point(|network| network.network() <= address);
        above.checked_sub(1).and_then(|last| self.sorted.get(last)).is_some_and(|network| network.contains(&address))
    }
}

/// Reads one entry. IPv4 that is written as IPv6 counts its prefix from the start of the longer form.
fn network(entry: &str) -> Option<IpNet> {
    let (address, prefix) = match entry.split_once('/') {
        Some((address, prefix)) => (address, Some(bits(prefix)?)),
        None => (entry, None),
    };
    let written: IpAddr = address.parse().ok()?;
    let address = written.to_canonical();
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => whole,
        Some(prefix) if written != address => prefix.checked_sub(96)?,
        Some(prefix) => prefix,
    };
    IpNet::new(address, prefix).ok().map(|network| network.trunc())
}

/// One to three decimal digits. An empty prefix would be a network of everybody.
fn bits(text: &str) -> Option<u8> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
