//! Whether a store is out.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Whether a store is out: from a failure to the next success. Clones are handles to the same knowledge.
///
/// A [`CircuitBreaker`](crate::store::CircuitBreaker) has one and keeps it current; whatever stands in for limits over that
/// store begins afresh with each outage, and is forgotten when it ends.
///
/// ```
/// use throttlekit::Outage;
///
/// let outage = Outage::new();
/// outage.begin();
/// outage.begin();
/// assert_eq!((outage.is_on(), outage.count()), (true, 1));
/// outage.end();
/// assert!(!outage.is_on());
/// ```
#[derive(Clone, Default)]
pub struct Outage(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How often an outage began or ended: odd during one.
    turns: AtomicU64,
    stand_ins: Mutex<Vec<Weak<dyn StandIn>>>,
}

/// What only serves during an outage.
pub(crate) trait StandIn: Send + Sync {
    /// The outage is over.
    fn stand_down(&self);
}

impl Outage {
    /// A store that is not out.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the store is out.
    pub fn is_on(&self) -> bool {
        self.turns() % 2 == 1
    }

    /// How many outages have begun.
    pub fn count(&self) -> u64 {
        self.turns().div_ceil(2)
    }

    /// The store failed. Does nothing during an outage.
    pub fn begin(&self) {
        self.turn();
    }

    /// The store answered. Does nothing between outages, and then is one atomic read.
    #[inline]
    pub fn end(&self) {
        if self.is_on() {
            self.end_now();
        }
    }

    #[cold]
    fn end_now(&self) {
        let turns = self.turns();
        let next = turns.wrapping_add(1);
        let ended =
            turns % 2 == 1 && self.0.turns.compare_exchange(turns, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if ended {
            let stand_ins: Vec<_> = self.stand_ins().iter().filter_map(Weak::upgrade).collect();
            for stand_in in stand_ins {
                stand_in.stand_down();
            }
        }
    }

    /// How often an outage began or ended: odd during one.
    pub(crate) fn turns(&self) -> u64 {
        self.0.turns.load(Ordering::Acquire)
    }

    /// Begins an outage unless there is one, and gives the number that is its own.
    pub(crate) fn turn(&self) -> u64 {
        let mut turns = self.turns();
        while turns % 2 == 0 {
            let next = turns.wrapping_add(1);
            match self.0.turns.compare_exchange_weak(turns, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return next,
                Err(current) => turns = current,
            }
        }
        turns
    }

    /// Whether the outage of this [number](Self::turn) goes on.
    pub(crate) fn is_in(&self, turn: u64) -> bool {
        self.turns() == turn
    }

    /// Tells `stand_in` when an outage is over.
    pub(crate) fn add(&self, stand_in: Weak<dyn StandIn>) {
        let mut stand_ins = self.stand_ins();
        stand_ins.retain(|known| known.strong_count() > 0);
        stand_ins.push(stand_in);
    }

    fn stand_ins(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn StandIn>>> {
        // A list of weak pointers is whole whatever panicked.
        self.0.stand_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage").field("is_on", &self.is_on()).field("count", &self.count()).finish()
    }
}
