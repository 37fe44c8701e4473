//! A short text without allocation.

use std::net::Ipv4Addr;

use arrayvec::{ArrayString, CapacityError};

/// Room for `peer:` and the longest address, `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`.
pub(crate) type InlineText = ArrayString<48>;

/// A full stop and three digits for each octet.
static OCTETS: &str = {
    const DIGITS: [u8; 1024] = digits();
    match std::str::from_utf8(&DIGITS) {
        Ok(text) => text,
        Err(_) => panic!("digits are text"),
    }
};

/// For each octet, the full stop stands right before its first digit that counts.
#[allow(clippy::cast_possible_truncation)] // a digit is below 10
const fn digits() -> [u8; 1024] {
    let mut digits = [b'.'; 1024];
    let mut octet = 0;
    while octet < 256 {
        if octet >= 100 {
            digits[4 * octet + 1] = b'0' + (octet / 100) as u8;
        }
        if octet >= 10 {
            digits[4 * octet + 2] = b'0' + (octet / 10 % 10) as u8;
        }
        digits[4 * octet + 3] = b'0' + (octet % 10) as u8;
        octet += 1;
    }
    digits
}

/// Adds `address` in decimal. The general formatter costs more than the check that this is for.
#[inline]
pub(super) fn push_ipv4(text: &mut InlineText, address: Ipv4Addr) -> Result<(), CapacityError> {
    let mut stop = 1;
    for octet in address.octets() {
        let skipped = match octet {
            100.. => 0,
            10.. => 1,
            _ => 2,
        };
        let start = 4 * usize::from(octet);
        let digits = OCTETS.get(start + skipped + stop..start + 4).unwrap_or_default();
        text.try_push_str(digits).map_err(CapacityError::simplify)?;
        stop = 0;
    }
    Ok(())
}
