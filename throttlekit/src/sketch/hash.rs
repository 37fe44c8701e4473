//! From keys to columns.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use siphasher::sip::SipHasher13;

use super::Accuracy;

/// The function that places keys in the columns of a sketch, with its seed.
///
/// Sketches can be merged only if their functions are equal. `Debug` does not show the seed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SketchHash {
    /// SipHash-1-3 under a 128-bit seed, and for each row a multiplication of its own. Without the seed nobody can find
    /// keys that meet; rows are independent of each other.
    Keyed([u64; 2]),
    /// 32-bit FNV-1a over the UTF-16 units of the key, low byte first, from a basis for each row: for sketches that are
    /// exchanged with processes that know only this one.
    ///
    /// Its low bits depend on nothing but the low bits of the key and the seed. Where the number of columns is even, keys
    /// meet in several rows at once ten to two hundred times more often than the bounds presume.
    Fnv(u32),
}

impl SketchHash {
    /// [`Keyed`](Self::Keyed) under a seed that the process draws from the system's entropy.
    pub fn random() -> Self {
        let state = RandomState::new();
        Self::Keyed([state.hash_one(0_u8), state.hash_one(1_u8)])
    }

    /// [`Keyed`](Self::Keyed) under a seed that is the same everywhere, so that sketches of several processes can be
    /// merged out of the box. Everybody knows it: where keys come from strangers, give processes a secret seed.
    pub fn shared() -> Self {
        Self::Keyed([SHARED_SEED, 0])
    }
}

/// The seed of sketches that are exchanged without one being chosen: 2^32 divided by the golden ratio.
const SHARED_SEED: u64 = 0x9e37_79b1;

impl fmt::Debug for SketchHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyed(_) => "Keyed",
            Self::Fnv(_) => "Fnv",
        })
    }
}

/// A key, hashed as far as all rows share it.
#[derive(Clone, Copy)]
pub(super) enum Mark<'a> {
    Hashed(u64),
    Text(&'a str),
}

/// The columns of every key.
#[derive(Clone)]
pub(super) struct Columns {
    hasher: Hasher,
    width: u32,
}

#[derive(Clone)]
enum Hasher {
    /// The odd factor of each row.
    Keyed { hasher: SipHasher13, rows: Box<[u64]> },
    /// The basis of each row.
    Fnv { seed: u32, rows: Box<[u32]> },
}

impl Columns {
    pub(super) fn new(hash: SketchHash, accuracy: Accuracy) -> Self {
        let depth = accuracy.depth();
        let hasher = match hash {
            SketchHash::Keyed([a, b]) => {
                let hasher = SipHasher13::new_with_keys(a, b);
                let factor = |row: usize| {
                    // No text has this form: 0xff is no byte of UTF-8.
                    let mut label = [0xff; 9];
                    label[1..].copy_from_slice(&(row as u64).to_le_bytes());
                    hasher.hash(&label) | 1
                };
                Hasher::Keyed { hasher, rows: (0..depth).map(factor).collect() }
            }
            SketchHash::Fnv(seed) => {
                Hasher::Fnv { seed, rows: (0..depth).map(|row| fnv(&format!("row:{row}"), seed)).collect() }
            }
        };
        #[allow(clippy::cast_possible_truncation)] // at most 2^28
        Self { hasher, width: accuracy.width() as u32 }
    }

    #[inline(always)]
    pub(super) fn mark<'a>(&self, key: &'a str) -> Mark<'a> {
        match &self.hasher {
            Hasher::Keyed { hasher, .. } => Mark::Hashed(hasher.hash(key.as_bytes())),
            Hasher::Fnv { .. } => Mark::Text(key),
        }
    }

    /// Tells `visit` where the counters of a key are in rows that follow each other.
    ///
    /// The hash of the key is uniform in 64 bits for whoever lacks the seed; multiplied by an odd number of the row's own,
    /// its upper half is that row's hash (multiply and shift: Dietzfelbinger and others, 1997). A second multiplication
    /// brings it into the range without a division (Lemire, 2019).
    #[inline(always)]
    pub(super) fn each(&self, mark: Mark<'_>, mut visit: impl FnMut(usize)) {
        let mut row = 0;
        match (&self.hasher, mark) {
            (Hasher::Keyed { rows, .. }, Mark::Hashed(hash)) => {
                for factor in rows {
                    let mixed = hash.wrapping_mul(*factor) >> 32;
                    #[allow(clippy::cast_possible_truncation)] // below the width
                    visit(row + ((mixed * u64::from(self.width)) >> 32) as usize);
                    row += self.width as usize;
                }
            }
            (Hasher::Fnv { rows, .. }, Mark::Text(key)) => {
                for basis in rows {
                    visit(row + (fnv(key, *basis) % self.width) as usize);
                    row += self.width as usize;
                }
            }
            // A mark of other columns; there is no such call.
            _ => {}
        }
    }

    /// One of `shards` shards, a power of two.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // fewer bits than any usize has
    pub(super) fn shard(&self, mark: Mark<'_>, shards: usize) -> usize {
        let hash = match (&self.hasher, mark) {
            // Lower bits: a column is the upper half of a product, on which they alone have no say.
            (_, Mark::Hashed(hash)) => hash,
            // Upper bits: the lower ones choose columns.
            (Hasher::Fnv { seed, .. }, Mark::Text(key)) => u64::from(fnv(key, *seed) >> 16),
            (Hasher::Keyed { .. }, Mark::Text(_)) => 0,
        };
        hash as usize & (shards - 1)
    }
}

/// FNV-1a in 32 bits over the UTF-16 units of `text`, of each the low byte first.
fn fnv(text: &str, basis: u32) -> u32 {
    const PRIME: u32 = 0x0100_0193;
    let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
    bytes.fold(basis, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Accuracy, Columns, SketchHash, fnv};

    /// The column of a key in each row.
    fn places(columns: &Columns, key: &str) -> Vec<usize> {
        let (mut places, width) = (Vec::new(), columns.width as usize);
        columns.each(columns.mark(key), |place| places.push(place - places.len() * width));
        places
    }

    #[test]
    fn fnv_has_its_vectors() {
        let texts = [("", 0x811c_9dc5), ("a", 0x2b24_d044), ("\u{e9}", 0x59fb_6f0c), ("\u{1f600}", 0xb34a_1daa)];
        for (text, hash) in texts {
            assert_eq!(fnv(text, 0x811c_9dc5), hash, "{text:?}");
        }
        let seeds = |seed| (0..7).map(|row| fnv(&format!("row:{row}"), seed)).collect::<Vec<_>>();
        let of_12345 = [0x214c_2ea9, 0xfb49_b440, 0x6d51_237b, 0x474e_a912, 0xb956_184d, 0x9353_9de4, 0x055b_0d1f];
        assert_eq!(seeds(12_345), of_12345);
        let of_shared = [0xc292_3441, 0x9c8f_b9d8, 0x0e97_2913, 0xe894_aeaa, 0x5a9c_1de5, 0x3499_a37c, 0xa6a1_12b7];
        assert_eq!(seeds(0x9e37_79b1), of_shared);
    }

    #[test]
    fn fnv_columns_have_their_vectors() {
        let columns = |seed, key: &str| places(&Columns::new(SketchHash::Fnv(seed), Accuracy::default()), key);
        assert_eq!(columns(12_345, "1.2.3.4"), [251, 106, 265, 104, 47, 222, 157]);
        assert_eq!(columns(12_345, "10.0.0.1"), [191, 198, 29, 196, 11, 82, 121]);
        assert_eq!(columns(12_345, "user:42"), [92, 253, 78, 111, 104, 89, 42]);
        assert_eq!(columns(12_345, ""), [137, 160, 59, 98, 253, 20, 191]);
        assert_eq!(columns(0x9e37_79b1, "hot"), [42, 139, 40, 249, 174, 255, 156]);
        assert_eq!(columns(0x9e37_79b1, "x"), [241, 64, 35, 130, 229, 52, 7]);
    }

    /// How often two of a million keys in sequence meet in two rows at once, over how often they would if the rows were
    /// independent; for all pairs of `depth` rows together.
    #[allow(clippy::cast_precision_loss)] // counts of a test
    fn two_row_ratio(hash: SketchHash, width: u32) -> f64 {
        const KEYS: usize = 1_000_000;
        const DEPTH: usize = 4;
        let accuracy = Accuracy::of_size(width, 4).unwrap();
        let columns = Columns::new(hash, accuracy);
        let width = accuracy.width();
        let pairs: Vec<_> = (0..DEPTH).flat_map(|row| (0..row).map(move |other| (other, row))).collect();
        let mut cells = vec![0_u32; pairs.len() * width * width];
        let (mut key, mut at) = (String::new(), [0; DEPTH]);
        for id in 0..KEYS {
            key.clear();
            write!(key, "user:{id}").unwrap();
            let mut row = 0;
            columns.each(columns.mark(&key), |place| {
                at[row] = place - row * width;
                row += 1;
            });
            for (index, (a, b)) in pairs.iter().enumerate() {
                cells[(index * width + at[*a]) * width + at[*b]] += 1;
            }
        }
        let met: f64 = cells.iter().map(|count| f64::from(*count) * (f64::from(*count) - 1.0) / 2.0).sum();
        let (keys, cells) = (KEYS as f64, (width * width) as f64);
        met / (pairs.len() as f64 * keys * (keys - 1.0) / 2.0 / cells)
    }

    #[test]
    fn rows_are_independent() {
        for width in [256, 272, 275] {
            for hash in [SketchHash::shared(), SketchHash::random()] {
                let ratio = two_row_ratio(hash, width);
                assert!((0.8..1.25).contains(&ratio), "{ratio} at {width} columns");
            }
        }
    }

    /// The measure sees what it is there for.
    #[test]
    fn rows_of_fnv_are_not_independent_at_even_widths() {
        assert!(two_row_ratio(SketchHash::Fnv(12_345), 272) > 2.0);
    }
}
