//! The client's address behind proxies.

use std::net::IpAddr;

use throttlekit::identity::{AddressText, ClientIp, PEER_MARK, aggregate};

use super::{Key, KeyExtractor};
use crate::door::{Door, Head};

/// The address of the client as the key, so that the client cannot choose it.
impl<D: Door> KeyExtractor<D> for ClientIp {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        resolve(self, request).map(|address| Key::from(AddressText::of(aggregate(address, self.ipv6_prefix()))))
    }

    fn reads_peer(&self) -> bool {
        !self.hides_peer()
    }
}

/// The stand-in for a missing key by the address of the client.
pub(crate) fn stand_in<'a>(client: &ClientIp, request: &impl Head<'a>) -> Option<Key<'static>> {
    let address = aggregate(resolve(client, request)?, client.ipv6_prefix());
    AddressText::marked(PEER_MARK, address).map(Key::from)
}

fn resolve<'a>(client: &ClientIp, request: &impl Head<'a>) -> Option<IpAddr> {
    let peer = request.peer().map(|peer| peer.ip());
    // Without a peer the field would be believed whoever wrote it, also where the server only forgot to tell it.
    match client.header().filter(|_| peer.is_some() || client.hides_peer()) {
        Some(name) => client.resolve(peer, request.values(name)),
        None => client.resolve(peer, []),
    }
}
