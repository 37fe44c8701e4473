//! Who asks: keys that a client can neither choose nor read.
//!
//! A limit is as good as the key it counts under. A client who can choose the key has as many limits as he likes; one
//! who can choose another's uses that up. This module makes keys of what servers know about a client, without any type
//! of a web framework:
//!
//! | to | use |
//! |---|---|
//! | find the client's address behind proxies | [`ClientIp`] |
//! | read an address, or count a customer's IPv6 network as one | [`parse_address`], [`aggregate`] |
//! | have an address as the text of a key | [`AddressText`] |
//! | keep API keys and addresses out of stores and logs | [`KeyHasher`], [`hash_key`] |
//! | take a value of any length from a client | [`BoundedKey`] |
//! | make one key of several values | [`join_key`] |
//!
//! ```
//! use throttlekit::identity::{AddressText, ClientIp};
//!
//! let client = ClientIp::builder().trust_proxies(["10.0.0.0/8", "fd00::/8"]).build()?;
//! let forwarded_for = [&b"6.6.6.6, 198.51.100.7"[..]];
//! let key = client.derive(Some([10, 0, 0, 1].into()), forwarded_for);
//! assert_eq!(key.as_ref().map(AddressText::as_str), Some("198.51.100.7"));
//! # Ok::<(), throttlekit::BuildError>(())
//! ```

mod address;
mod bounded;
mod chain;
mod client_ip;
mod client_ip_builder;
mod hashed;
mod hasher;
mod proxies;
mod text;

pub use address::{aggregate, parse_address};
pub use bounded::{BoundedKey, MAX_KEY_BYTES, PEER_MARK, join_key};
pub use client_ip::ClientIp;
pub use client_ip_builder::ClientIpBuilder;
pub use hashed::HashedKey;
#[cfg(feature = "config")]
pub(crate) use hasher::MIN_SECRET;
pub use hasher::{KeyHasher, KeyHasherBuilder, hash_key};
pub use text::AddressText;
