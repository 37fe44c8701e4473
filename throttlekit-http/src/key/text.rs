//! A short text without allocation.

use std::net::Ipv4Addr;

use arrayvec::{ArrayString, CapacityError};

/// Room for `peer:` and the longest address, `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`.
pub(crate) type InlineText = ArrayString<48>;

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
pub(super) fn push_ipv4(text: &mut InlineText, address: Ipv4Addr) -> Result<(), CapacityError> {
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
    text.try_push_str(decimal).map_err(CapacityError::simplify)
}
