//! Sketches as bytes.
//!
//! All numbers are little-endian. Nothing is allocated before the length is found to be right, and then no more than the bytes
//! have.
//!
//! | bytes | envelope |
//! |---|---|
//! | 0-3 | `TKCM` |
//! | 4 | version, 1 |
//! | 5 | function: 0 keyed, 1 FNV |
//! | 6 | update: 0 plain, 1 conservative |
//! | 7 | 0 |
//! | 8-23 | seed: two u64; for FNV the first is the seed and the second 0 |
//! | 24-27, 28-31 | columns, rows |
//! | 32-39 | total, u64 |
//! | 40- | counters, u32, row by row |
//!
//! The bare form has columns and rows (u32), the total (f64) and the counters, and says nothing of function and seed.

use std::error::Error as StdError;
use std::fmt;

use super::cells::Cells;
use super::{Accuracy, CountMin, SketchHash};

const MAGIC: [u8; 4] = *b"TKCM";
const VERSION: u8 = 1;
const KEYED: u8 = 0;
const FNV: u8 = 1;
const ENVELOPE_BYTES: usize = 40;
const BARE_BYTES: usize = 16;

/// The counters of a sketch, without the function that places keys.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The columns of a row.
    pub width: usize,
    /// The rows.
    pub depth: usize,
    /// The sum of all counts.
    pub total: f64,
    /// The counters, row by row.
    pub counters: Vec<u32>,
}

impl Snapshot {
    /// A snapshot from its parts. They are checked when it is merged.
    pub fn new(width: usize, depth: usize, total: f64, counters: Vec<u32>) -> Self {
        Self { width, depth, total, counters }
    }

    /// The bare form: what processes exchange that know no other.
    pub fn to_bare_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BARE_BYTES + 4 * self.counters.len());
        for size in [self.width, self.depth] {
            bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes.extend(self.total.to_le_bytes());
        bytes.extend(self.counters.iter().flat_map(|counter| counter.to_le_bytes()));
        bytes
    }

    /// The snapshot from its bare form.
    ///
    /// # Errors
    ///
    /// If the bytes are too few, their total is not a finite number of at least 0, or their length is not the one that their
    /// size asks for.
    pub fn from_bare_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, rest) = bytes.split_at_checked(BARE_BYTES).ok_or_else(|| too_short(bytes, BARE_BYTES))?;
        let mut head = Reader(head);
        let (width, depth) = (head.u32(), head.u32());
        let total = f64::from_bits(head.u64());
        if !(total.is_finite() && total >= 0.0) {
            return Err(DecodeError::new(format!("the total is {total:?}: must be a finite number of at least 0")));
        }
        let accuracy = size(width, depth, rest)?;
        Ok(Self { width: accuracy.width(), depth: accuracy.depth(), total, counters: counters(rest).collect() })
    }
}

impl CountMin {
    /// The sketch as bytes, with all that tells which sketches it can be merged with.
    ///
    /// The seed is among them: where it is a secret, the bytes are one too.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (function, seed) = match self.hash {
            SketchHash::Keyed(seed) => (KEYED, seed),
            SketchHash::Fnv(seed) => (FNV, [u64::from(seed), 0]),
        };
        let mut bytes = Vec::with_capacity(ENVELOPE_BYTES + self.accuracy.bytes());
        bytes.extend(MAGIC);
        bytes.extend([VERSION, function, u8::from(self.conservative), 0]);
        bytes.extend(seed.iter().flat_map(|word| word.to_le_bytes()));
        for size in [self.accuracy.width(), self.accuracy.depth()] {
            bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes.extend(self.total().to_le_bytes());
        bytes.extend(self.cells.counters().iter().flat_map(|counter| counter.to_le_bytes()));
        bytes
    }

    /// The sketch from its [bytes](Self::to_bytes).
    ///
    /// # Errors
    ///
    /// If they are not in that form, of another version, or of another length than their size asks for.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, rest) = bytes.split_at_checked(ENVELOPE_BYTES).ok_or_else(|| too_short(bytes, ENVELOPE_BYTES))?;
        let mut head = Reader(head);
        if head.take() != MAGIC {
            return Err(DecodeError::new("this is no sketch: it does not begin with TKCM"));
        }
        let [version, function, update, reserved] = head.take();
        if version != VERSION {
            return Err(DecodeError::new(format!("the version is {version}: must be {VERSION}")));
        }
        if update > 1 || reserved != 0 {
            return Err(DecodeError::new(format!("bytes 6 and 7 are {update} and {reserved}: must be 0 or 1, and 0")));
        }
        let seed = [head.u64(), head.u64()];
        let hash = match (function, seed) {
            (KEYED, seed) => SketchHash::Keyed(seed),
            (FNV, [seed, 0]) if u32::try_from(seed).is_ok() => SketchHash::Fnv(u32::try_from(seed).unwrap_or(0)),
            (FNV, _) => return Err(DecodeError::new("the seed has more than 32 bits, which FNV does not take")),
            _ => return Err(DecodeError::new(format!("the function is {function}: must be 0 or 1"))),
        };
        let (width, depth, total) = (head.u32(), head.u32(), head.u64());
        let accuracy = size(width, depth, rest)?;
        let mut cells = Cells::new(accuracy);
        cells.merge(counters(rest), total);
        Ok(Self::of_cells(accuracy, hash, update == 1, cells))
    }
}

/// The size, if `rest` holds its counters exactly.
fn size(width: u32, depth: u32, rest: &[u8]) -> Result<Accuracy, DecodeError> {
    let accuracy = Accuracy::of_size(width, depth).ok_or_else(|| {
        let most = Accuracy::MAX_COUNTERS;
        let rows = Accuracy::MAX_DEPTH;
        DecodeError::new(format!(
            "{width} columns in {depth} rows: must be 1 to {most} counters in at most {rows} rows"
        ))
    })?;
    if rest.len() != accuracy.bytes() {
        let (has, wants) = (rest.len(), accuracy.bytes());
        return Err(DecodeError::new(format!("length mismatch: the counters take {has} bytes, not {wants}")));
    }
    Ok(accuracy)
}

fn counters(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|counter| Reader(counter).u32())
}

#[cold]
fn too_short(bytes: &[u8], least: usize) -> DecodeError {
    DecodeError::new(format!("too short: {} bytes, must be at least {least}", bytes.len()))
}

/// Takes numbers from bytes that are known to be enough; zeros where they are not.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        if let Some((first, rest)) = self.0.split_first_chunk() {
            (taken, self.0) = (*first, rest);
        }
        taken
    }

    #[inline]
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// Bytes that are no sketch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    message: String,
}

impl DecodeError {
    #[cold]
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for DecodeError {}

/// Sketches that cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeError {
    message: String,
}

impl MergeError {
    #[cold]
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    #[cold]
    pub(super) fn size(theirs: Accuracy, ours: Accuracy) -> Self {
        let [theirs, ours] = [theirs, ours].map(|size| format!("{} columns in {} rows", size.width(), size.depth()));
        Self::new(format!("one sketch has {theirs}, the other {ours}"))
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for MergeError {}
