//! The text of an address, without allocation.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};

use arrayvec::ArrayString;

/// The longest address, `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`, and [`AddressText::MAX_MARK`].
const CAPACITY: usize = 48;

/// The text of an address as a key: on the stack, at most 48 bytes.
///
/// IPv4 in decimal; IPv6 in the canonical form of RFC 5952, which has one text for each address. `Debug` shows nothing of
/// it, since an address is personal data.
///
/// ```
/// use throttlekit::identity::AddressText;
///
/// let text = AddressText::of("2001:DB8:0:0::1".parse()?);
/// assert_eq!(text.as_str(), "2001:db8::1");
/// assert_eq!(format!("{text:?}"), "AddressText(..)");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct AddressText(ArrayString<CAPACITY>);

impl AddressText {
    /// How long a [mark](Self::marked) may be, in bytes.
    pub const MAX_MARK: usize = 9;

    /// No text.
    #[inline]
    pub const fn new() -> Self {
        Self(ArrayString::new_const())
    }

    /// The text of `address` as it is; [`aggregate`](super::aggregate) first what is not to be told apart.
    #[inline]
    pub fn of(address: IpAddr) -> Self {
        let mut text = Self::new();
        text.set(address);
        text
    }

    /// `mark` and then the address, such as `peer:192.0.2.1`: a key that cannot be mistaken for one of another kind.
    /// `None` if the mark is longer than [`MAX_MARK`](Self::MAX_MARK).
    ///
    /// ```
    /// use throttlekit::identity::AddressText;
    ///
    /// let address = "192.0.2.1".parse()?;
    /// assert_eq!(AddressText::marked("peer:", address).as_ref().map(AddressText::as_str), Some("peer:192.0.2.1"));
    /// assert!(AddressText::marked("0123456789", address).is_none());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn marked(mark: &str, address: IpAddr) -> Option<Self> {
        if mark.len() > Self::MAX_MARK {
            return None;
        }
        let mut text = Self(ArrayString::from(mark).ok()?);
        text.push(address);
        Some(text)
    }

    /// Replaces the text by that of `address`.
    #[inline]
    pub fn set(&mut self, address: IpAddr) {
        self.0.clear();
        self.push(address);
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// It cannot fail: there is room for the longest mark and address.
    #[inline]
    fn push(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => push_ipv4(&mut self.0, address),
            IpAddr::V6(address) => {
                let _ = write!(self.0, "{address}");
            }
        }
    }
}

impl AsRef<str> for AddressText {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressText(..)")
    }
}

/// For each octet its digits, a full stop, and how many bytes both are.
static OCTETS: [([u8; 4], u8); 256] = octets();

#[allow(clippy::cast_possible_truncation)] // octets and digits
const fn octets() -> [([u8; 4], u8); 256] {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (text, length) = &mut octets[octet];
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut at = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        while at < 3 {
            text[*length as usize] = b'0' + digits[at] as u8;
            *length += 1;
            at += 1;
        }
        *length += 1;
        octet += 1;
    }
    octets
}

/// Adds `address` in decimal. The general formatter costs more than the check that this is for, and so does a copy of
/// a length that is known late, for each octet: here four bytes are stored each time, and the rest is written over.
#[inline]
fn push_ipv4(text: &mut ArrayString<CAPACITY>, address: Ipv4Addr) {
    let mut bytes = [0; 16];
    let mut end = 0;
    for octet in address.octets() {
        let (digits, length) = OCTETS[usize::from(octet)];
        if let Some(place) = bytes.get_mut(end..end + 4) {
            place.copy_from_slice(&digits);
        }
        end += usize::from(length);
    }
    // Without the last full stop.
    let decimal = std::str::from_utf8(&bytes[..end.clamp(1, 16) - 1]).unwrap_or_default();
    let _ = text.try_push_str(decimal);
}
