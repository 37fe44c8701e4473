//! The count-min sketch.

use std::fmt;
use std::sync::OnceLock;

use super::cells::Cells;
use super::hash::Columns;
use super::{Accuracy, MergeError, SketchHash, Snapshot};

/// How often each of any number of keys was seen, in memory that depends on the [`Accuracy`] alone (Cormode and
/// Muthukrishnan, 2005).
///
/// With N the [total](Self::total), for each key
///
/// ```text
/// true count <= estimate                        always, up to 2^32 - 1, where counters stay
/// estimate <= true count + epsilon * N          with a probability of at least 1 - delta
/// ```
///
/// With the conservative update an estimate is at most that of the plain one for the same stream.
///
/// ```
/// use throttlekit::sketch::{Accuracy, CountMin};
///
/// let mut seen = CountMin::builder().accuracy(Accuracy::new(0.001, 0.01)?).build();
/// for _ in 0..3 {
///     seen.add("10.0.0.1", 1);
/// }
/// assert_eq!(seen.add("10.0.0.2", 5), 5);
/// assert_eq!((seen.estimate("10.0.0.1"), seen.estimate("10.0.0.9"), seen.total()), (3, 0, 8));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
///
/// # Merging
///
/// Sketches of several processes become one of all their streams if they have the same size, function and seed. Plain
/// ones then equal, counter for counter, a sketch that saw all streams; conservative ones still never estimate below the
/// truth.
///
/// ```
/// use throttlekit::sketch::{CountMin, SketchHash};
///
/// let of_the_fleet = || CountMin::builder().hash(SketchHash::Keyed([17, 42])).build();
/// let (mut here, mut there) = (of_the_fleet(), of_the_fleet());
/// here.add("10.0.0.1", 3);
/// there.add("10.0.0.1", 4);
/// here.merge(&CountMin::from_bytes(&there.to_bytes())?)?;
/// assert_eq!(here.estimate("10.0.0.1"), 7);
///
/// let alone = CountMin::builder().build();
/// assert!(here.merge(&alone).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CountMin {
    pub(super) accuracy: Accuracy,
    pub(super) hash: SketchHash,
    pub(super) conservative: bool,
    /// Of a sketch that was decoded, made when a key is looked for: with what belongs to each row it would take more memory than the
    /// bytes did.
    columns: OnceLock<Columns>,
    pub(super) cells: Cells,
}

impl CountMin {
    /// A sketch of the default accuracy with the plain update, under a random seed.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder() -> CountMinBuilder {
        CountMinBuilder { accuracy: Accuracy::default(), hash: None, conservative: false }
    }

    /// Adds `count` to `key`; the new estimate.
    #[inline]
    pub fn add(&mut self, key: &str, count: u64) -> u32 {
        let columns = self.columns.get_or_init(|| Columns::new(self.hash, self.accuracy));
        let mark = columns.mark(key);
        if self.conservative {
            self.cells.add_conservative(columns, mark, count)
        } else {
            self.cells.add(columns, mark, count)
        }
    }

    /// How often `key` was seen at most.
    #[inline]
    pub fn estimate(&self, key: &str) -> u32 {
        let columns = self.columns.get_or_init(|| Columns::new(self.hash, self.accuracy));
        self.cells.estimate(columns, columns.mark(key))
    }

    /// The sum of all counts, N in the bounds; stays at 2^64 - 1.
    pub fn total(&self) -> u64 {
        self.cells.total()
    }

    /// The size.
    pub fn accuracy(&self) -> Accuracy {
        self.accuracy
    }

    /// The function that places keys, with its seed.
    pub fn hash(&self) -> SketchHash {
        self.hash
    }

    /// Whether the update is conservative.
    pub fn is_conservative(&self) -> bool {
        self.conservative
    }

    /// Forgets all counts. Keeps the memory.
    pub fn clear(&mut self) {
        self.cells.clear();
    }

    /// Adds the counts of `other`.
    ///
    /// # Errors
    ///
    /// If its size, function or seed is another one. Nothing changes then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.accuracy != other.accuracy {
            return Err(MergeError::size(other.accuracy, self.accuracy));
        }
        if self.hash != other.hash {
            return Err(MergeError::new("the sketches place keys by another function or seed"));
        }
        self.conservative |= other.conservative;
        self.cells.merge(other.cells.counters().iter().copied(), other.total());
        Ok(())
    }

    /// With counters of its own, in which no key was looked for yet.
    pub(super) fn of_cells(accuracy: Accuracy, hash: SketchHash, conservative: bool, cells: Cells) -> Self {
        Self { accuracy, hash, conservative, columns: OnceLock::new(), cells }
    }

    /// A copy of the counters, without the function that places keys.
    pub fn snapshot(&self) -> Snapshot {
        #[allow(clippy::cast_precision_loss)] // from 2^53 on rounded: the form of the snapshot
        let total = self.total() as f64;
        Snapshot {
            width: self.accuracy.width(),
            depth: self.accuracy.depth(),
            total,
            counters: self.cells.counters().into(),
        }
    }

    /// Adds the counts of a snapshot, whose function and seed the caller knows to be the same. A total that is not a
    /// finite number of at least 0 is ignored; the counters count.
    ///
    /// # Errors
    ///
    /// If its size is another one, or its counters are not as many as its size says. Nothing changes then.
    pub fn merge_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), MergeError> {
        if (snapshot.width, snapshot.depth) != (self.accuracy.width(), self.accuracy.depth()) {
            return Err(MergeError::new(format!(
                "the snapshot has {} columns in {} rows, the sketch has {} in {}",
                snapshot.width,
                snapshot.depth,
                self.accuracy.width(),
                self.accuracy.depth()
            )));
        }
        if snapshot.counters.len() != self.accuracy.counters() {
            let (has, wants) = (snapshot.counters.len(), self.accuracy.counters());
            return Err(MergeError::new(format!("the snapshot has {has} counters instead of {wants}")));
        }
        let total = if snapshot.total.is_finite() { snapshot.total.max(0.0) } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and the cast saturates
        self.cells.merge(snapshot.counters.iter().copied(), total as u64);
        Ok(())
    }
}

impl Default for CountMin {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for CountMin {
    /// Equal sketches have the same size, function, seed, update and counts.
    fn eq(&self, other: &Self) -> bool {
        (self.accuracy, self.hash, self.conservative) == (other.accuracy, other.hash, other.conservative)
            && self.cells == other.cells
    }
}

impl Eq for CountMin {}

impl fmt::Debug for CountMin {
    /// Shows no seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountMin")
            .field("accuracy", &self.accuracy)
            .field("hash", &self.hash)
            .field("conservative", &self.conservative)
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

/// Builds a [`CountMin`]; from [`CountMin::builder`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CountMinBuilder {
    pub(super) accuracy: Accuracy,
    pub(super) hash: Option<SketchHash>,
    pub(super) conservative: bool,
}

impl CountMinBuilder {
    /// The size. Default: an epsilon of 0.01 and a delta of 0.001.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }

    /// The function that places keys. Default: [`SketchHash::random`], with which a sketch can be merged with its own
    /// copies only; [`SketchHash::shared`] or a seed of the fleet's lets processes exchange theirs.
    pub fn hash(mut self, hash: SketchHash) -> Self {
        self.hash = Some(hash);
        self
    }

    /// Whether counters are raised no further than a key needs: closer estimates, which merge less closely. Default: no.
    pub fn conservative(mut self, conservative: bool) -> Self {
        self.conservative = conservative;
        self
    }

    /// Builds it.
    pub fn build(self) -> CountMin {
        let Self { accuracy, hash, conservative } = self;
        let hash = hash.unwrap_or_else(SketchHash::random);
        let columns = OnceLock::from(Columns::new(hash, accuracy));
        CountMin { accuracy, hash, conservative, columns, cells: Cells::new(accuracy) }
    }
}
