//! The word of a slot that holds an instant, which one compare-and-swap may write.
//!
//! A thread that read the word of one key and was held up must not write over that of another key that took the slot
//! meanwhile, though both may be the same instant. So a word says too how often its slot was taken, in six bits that the
//! instants of our time do not need: as `f64`, the milliseconds from 2^33, in April 1970, to 2^65, beyond what limits may
//! reach, all begin with the same seven bits.
//!
//! | bit 63 | the others |
//! |---|---|
//! | 1 | how often the slot was taken, modulo 64, and the lower 57 bits of the instant |
//! | 0 | those of any other instant, as of a clock that starts at 0; written under the lock bit |
//!
//! What is no number stands for a word that its holder has taken, with how often its slot was taken in the lowest bits.

/// What an instant has beside its seven first bits.
const REST_BITS: u32 = 57;
const REST: u64 = (1 << REST_BITS) - 1;
/// The seven first bits of the instants that are packed.
const FIRST: u64 = FIRST_MS.to_bits();
/// 2^33.
const FIRST_MS: f64 = 8_589_934_592.0;
const PACKED: u64 = 1 << 63;
/// One bit under loom, so that its short models see the count come round.
const LAST_TIME: u64 = if cfg!(loom) { 1 } else { 0x3f };
const SEALED: u64 = f64::NAN.to_bits();

/// Whether one swap may write it.
#[inline]
pub(super) fn is_packed(word: u64) -> bool {
    word & PACKED != 0
}

/// Whether somebody has taken the state.
#[inline]
pub(super) fn is_sealed(word: u64) -> bool {
    !is_packed(word) && word & !LAST_TIME == SEALED
}

/// The word of `instant_ms` in a slot whose word is `old`, for the same key. What is no number, or before the epoch, is kept
/// as the epoch.
#[inline]
pub(super) fn pack(instant_ms: f64, old: u64) -> u64 {
    // Where both are packed, they differ as their instants do.
    let word = old ^ bits(old) ^ instant_ms.to_bits();
    if is_packed(old) && (word ^ old) <= REST { word } else { pack_anew(instant_ms, old) }
}

#[cold]
fn pack_anew(instant_ms: f64, old: u64) -> u64 {
    let bits = instant_ms.to_bits();
    if (bits ^ FIRST) <= REST {
        PACKED | (times(old) << REST_BITS) | (bits & REST)
    } else if instant_ms > 0.0 {
        bits
    } else {
        0
    }
}

/// The instant; no number if it was taken.
#[inline]
pub(super) fn unpack(word: u64) -> f64 {
    f64::from_bits(bits(word))
}

#[inline]
fn bits(word: u64) -> u64 {
    if is_packed(word) { (word & REST) | FIRST } else { word }
}

/// What stands for `word` while its holder has it.
pub(super) fn sealed(word: u64) -> u64 {
    SEALED | times(word)
}

/// `word` for a key that takes the slot, whose word was `old`.
pub(super) fn taken_again(word: u64, old: u64) -> u64 {
    if is_packed(word) { PACKED | (((times(old) + 1) & LAST_TIME) << REST_BITS) | (word & REST) } else { word }
}

/// How often the slot was taken, as far as the word tells.
fn times(word: u64) -> u64 {
    if is_packed(word) {
        (word >> REST_BITS) & LAST_TIME
    } else if is_sealed(word) {
        word & LAST_TIME
    } else {
        0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const NOW: f64 = 1_700_000_000_333.25;
    const END_MS: f64 = FIRST_MS * FIRST_MS * 0.5;

    #[test]
    fn any_instant_comes_back() {
        let edges = [FIRST_MS, END_MS, 2.0, f64::INFINITY, f64::MAX, 5e-324];
        let around = edges.into_iter().flat_map(|edge| [edge.to_bits() - 1, edge.to_bits(), edge.to_bits() + 1]);
        let around = around.map(f64::from_bits).filter(|instant| !instant.is_nan());
        for instant in around.chain([0.0, NOW]) {
            for old in [0, pack(NOW, 0), sealed(pack(NOW, 0)), pack(5.0, 0)] {
                let word = pack(instant, old);
                assert_eq!(unpack(word).to_bits(), instant.to_bits(), "{instant:e}");
                assert_eq!(is_packed(word), (FIRST_MS..END_MS).contains(&instant), "{instant:e}");
                assert!(!is_sealed(word), "{instant:e}");
            }
        }
        for none in [f64::NAN, -f64::NAN, -0.0, -1.5, -NOW, f64::NEG_INFINITY] {
            assert_eq!(unpack(pack(none, pack(NOW, 0))).to_bits(), 0, "{none}");
        }
    }

    #[test]
    fn each_key_that_takes_a_slot_gives_it_another_word() {
        let mut word = 0;
        for time in 1..=200_u64 {
            let before = word;
            word = taken_again(pack(NOW, 0), before);
            assert_ne!(word, before, "the same instant");
            assert_eq!((times(word), unpack(word)), (time & LAST_TIME, NOW));
            let next = pack(NOW + 1.0, word);
            assert_eq!(times(next), times(word), "it stays while the key does");
            word = sealed(word);
            assert!(is_sealed(word) && !is_packed(word) && unpack(word).is_nan());
        }
    }
}
