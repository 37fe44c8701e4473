//! Hash slots: which part of a cluster a key belongs to.

use crc::{CRC_16_XMODEM, Crc};

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key: the CRC of the text in its first braces, if there is any, otherwise of the whole key.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    CRC.checksum(tag(key)) % SLOTS
}

/// What is hashed of a key.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inner = key.get(open + 1..).unwrap_or_default();
    match inner.iter().position(|&byte| byte == b'}') {
        Some(close) if close > 0 => &inner[..close],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::slot_of;

    #[test]
    fn the_whole_key_is_hashed_unless_braces_hold_a_part() {
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            ("", 0),
            ("foo", 12_182),
            ("123456789", 12_739),
            ("{foo}", 12_182),
            ("a{foo}b", 12_182),
            ("{foo}{bar}", 12_182),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        for whole in ["{}foo", "foo{", "foo}{", "foo{}{bar}"] {
            assert_eq!(slot_of(whole.as_bytes()), super::CRC.checksum(whole.as_bytes()) % super::SLOTS, "{whole}");
        }
    }
}
