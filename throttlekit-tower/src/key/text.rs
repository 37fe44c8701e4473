//! A short text without allocation.

use arrayvec::{ArrayString, CapacityError};

/// Room for `peer:` and the longest address, `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`.
pub(super) type InlineText = ArrayString<48>;

/// Three digits for each octet.
static OCTETS: &str = {
    const DIGITS: [u8; 768] = digits();
    match std::str::from_utf8(&DIGITS) {
        Ok(text) => text,
        Err(_) => panic!("digits are text"),
    }
};

#[allow(clippy::cast_possible_truncation)] // a digit is below 10
const fn digits() -> [u8; 768] {
    let mut digits = [0; 768];
    let mut octet = 0;
    while octet < 256 {
        digits[3 * octet] = b'0' + (octet / 100) as u8;
        digits[3 * octet + 1] = b'0' + (octet / 10 % 10) as u8;
        digits[3 * octet + 2] = b'0' + (octet % 10) as u8;
        octet += 1;
    }
    digits
}

/// Adds `octet` in decimal. The general formatter costs more than the check that this is for.
#[inline]
pub(super) fn push_octet(text: &mut InlineText, octet: u8) -> Result<(), CapacityError> {
    let skipped = match octet {
        100.. => 0,
        10.. => 1,
        _ => 2,
    };
    let start = 3 * usize::from(octet);
    let digits = OCTETS.get(start + skipped..start + 3).unwrap_or_default();
    text.try_push_str(digits).map_err(CapacityError::simplify)
}
