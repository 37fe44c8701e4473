//! Addresses in the options of an example.

use std::net::SocketAddr;

/// An IP address and a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:3000")
}
