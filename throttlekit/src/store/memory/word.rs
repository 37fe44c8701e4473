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
//! There is no room for the sign of an instant before the epoch. It is kept as one that is 2^96 times as far after it, from 2^33
//! to 2^161: those up to 2^65 are packed, so their bits are free, and limits may reach none beyond.
//!
//! What is no number stands for a word that its holder has taken, with how often its slot was taken in the lowest bits.

/// What an instant has beside its seven first bits.
const REST_BITS: u32 = 57;
const REST: u64 = (1 << REST_BITS) - 1;
/// The seven first bits of the instants that are packed.
const FIRST: u64 = FIRST_MS.to_bits();
/// 2^33.
const FIRST_MS: f64 = 8_589_934_592.0;
/// 2^96: distances from 2^-63 to 2^65 ms become those from 2^33 to 2^161.
const BEFORE: f64 = 79_228_162_514_264_337_593_543_950_336.0;
/// 2^161, the first of the far ones that stands for itself.
const AFTER_BEFORE: f64 = FIRST_MS * FIRST_MS * 0.5 * BEFORE;
/// The last that stands for an instant before the epoch.
const LAST_BEFORE: f64 = f64::from_bits(AFTER_BEFORE.to_bits() - 1);
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

/// The word of `instant_ms` in a slot whose word is `old`, for the same key. What is no number, or before the epoch by less than
/// 2^-63 ms, is kept as the epoch.
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
    } else if instant_ms > FIRST_MS {
        // Beyond the packed ones, so beyond what limits may reach.
        instant_ms.max(AFTER_BEFORE).to_bits()
    } else if instant_ms > 0.0 {
        bits
    } else {
        let before = -instant_ms * BEFORE;
        if before >= FIRST_MS { before.min(LAST_BEFORE).to_bits() } else { 0 }
    }
}

/// The instant; no number if it was taken.
#[inline]
pub(super) fn unpack(word: u64) -> f64 {
    if is_packed(word) { f64::from_bits(bits(word)) } else { unpack_other(word) }
}

#[cold]
fn unpack_other(word: u64) -> f64 {
    let instant_ms = f64::from_bits(word);
    if (FIRST_MS..AFTER_BEFORE).contains(&instant_ms) { -instant_ms / BEFORE } else { instant_ms }
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
    const NEAREST_MS: f64 = FIRST_MS / BEFORE;

    #[test]
    fn any_instant_comes_back() {
        let next_down = |instant: f64| f64::from_bits(instant.to_bits() - 1);
        let edges = [FIRST_MS, 2.0, f64::INFINITY, f64::MAX, 5e-324].into_iter();
        let around =
            edges.flat_map(|edge| [edge.to_bits() - 1, edge.to_bits(), edge.to_bits() + 1]).map(f64::from_bits);
        let around = around.filter(|instant| !instant.is_nan());
        let before = [NEAREST_MS, 1.0, 9_900.3, NOW, FIRST_MS, next_down(END_MS)].map(|distance| -distance);
        for instant in around.chain(before).chain([0.0, NOW, next_down(END_MS), AFTER_BEFORE]) {
            for old in [0, pack(NOW, 0), sealed(pack(NOW, 0)), pack(5.0, 0), pack(-5.0, 0)] {
                let word = pack(instant, old);
                assert_eq!(unpack(word).to_bits(), instant.to_bits(), "{instant:e}");
                assert_eq!(is_packed(word), (FIRST_MS..END_MS).contains(&instant), "{instant:e}");
                assert!(!is_sealed(word), "{instant:e}");
            }
        }
        let kept = |instant| unpack(pack(instant, pack(NOW, 0))).to_bits();
        for none in [f64::NAN, -f64::NAN, -0.0, -5e-324, -next_down(NEAREST_MS)] {
            assert_eq!(kept(none), 0, "{none:e}");
        }
        // Beyond what limits may reach.
        for far in [END_MS, next_down(AFTER_BEFORE)] {
            assert_eq!(kept(far), AFTER_BEFORE.to_bits(), "{far:e}");
        }
        for far in [-END_MS, f64::MIN, f64::NEG_INFINITY] {
            assert_eq!(kept(far), (-next_down(END_MS)).to_bits(), "{far:e}");
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
