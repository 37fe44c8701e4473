//! The one word that slots are taken from and given back to.

use super::share::Share;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The most slots that a guard can count.
pub(super) const MOST: u32 = (1 << COUNT_BITS) - 1;

// From the lowest bit: in flight, limit, probing, waiting, generation.
const COUNT_BITS: u32 = 24;
const LIMIT_SHIFT: u32 = COUNT_BITS;
const PROBING: u64 = 1 << (2 * COUNT_BITS);
const WAITING: u64 = PROBING << 1;
const GENERATION_SHIFT: u32 = 2 * COUNT_BITS + 2;
const COUNT_MASK: u64 = MOST as u64;

/// Generation, limit and slots in flight: what one atomic read sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct View(u64);

#[allow(clippy::cast_possible_truncation)] // masked or shifted to fewer than 32 bits
impl View {
    pub(super) fn in_flight(self) -> u32 {
        (self.0 & COUNT_MASK) as u32
    }

    pub(super) fn limit(self) -> u32 {
        (self.0 >> LIMIT_SHIFT & COUNT_MASK) as u32
    }

    pub(super) fn probing(self) -> bool {
        self.0 & PROBING != 0
    }

    /// Whether somebody waits for a slot.
    pub(super) fn waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// The same slots in flight under another limit, one generation on.
    fn with_limit(self, limit: u32, probing: bool) -> Self {
        let generation = (self.0 >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT;
        let limit = u64::from(limit.min(MOST)) << LIMIT_SHIFT;
        let probing = if probing { PROBING } else { 0 };
        Self(generation | probing | limit | self.0 & (WAITING | COUNT_MASK))
    }
}

/// Counts slots. Taking one compares with the limit and counts in one atomic step, so there is no moment at which more are
/// counted than the limit of that moment allows.
///
/// Giving back releases and taking acquires: what happened before a slot was given back is seen by whoever takes it next.
#[derive(Debug)]
#[repr(align(64))] // alone on its cache line: every request writes it
pub(super) struct Word {
    bits: AtomicU64,
    /// What holds while the word says that a probe runs. Apart from the word: it is not a bound that must hold exactly, it
    /// only lowers the limit, which is.
    probe_ceiling: AtomicU32,
    pub(super) pressure: Pressure,
}

/// Whether requests were refused while fewer slots were taken than the limit allows, and no probe ran: because they may use
/// a share of it only. How many are in flight then does not show that the limit is in the way.
#[derive(Debug)]
pub(super) struct Pressure(AtomicBool);

impl Pressure {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[cold]
    fn raise(&self) {
        // Nearly always it is raised already, and what nobody writes is read by all at once.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was raised since the last time.
    pub(super) fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

impl Word {
    pub(super) fn new(limit: u32) -> Self {
        let bits = AtomicU64::new(u64::from(limit.min(MOST)) << LIMIT_SHIFT);
        Self { bits, probe_ceiling: AtomicU32::new(MOST), pressure: Pressure::new() }
    }

    #[inline]
    pub(super) fn view(&self) -> View {
        View(self.bits.load(Ordering::Acquire))
    }

    /// The limit, or what a running probe leaves of it.
    #[inline]
    pub(super) fn ceiling(&self, view: View) -> u32 {
        if view.probing() { view.limit().min(self.probe_ceiling.load(Ordering::Relaxed)) } else { view.limit() }
    }

    /// Takes a slot from that share of the ceiling, unless somebody waits. Answers what the word then is, or, if there is no
    /// slot, what it was.
    #[inline]
    pub(super) fn take(&self, share: Share) -> Result<View, View> {
        self.take_below(|view| {
            // Nearly always: one test for both.
            if view.0 & (WAITING | PROBING) == 0 {
                share.of(view.limit())
            } else if view.waiting() {
                0
            } else {
                share.of(self.ceiling(view))
            }
        })
    }

    /// Takes a slot from that share of the ceiling, less `kept`. Does not look whether somebody waits.
    pub(super) fn take_leaving(&self, share: Share, kept: u32) -> Result<View, View> {
        self.take_below(|view| share.of(self.ceiling(view)).saturating_sub(kept))
    }

    /// Takes a slot for somebody whose turn it is.
    pub(super) fn take_in_turn(&self) -> Result<View, View> {
        self.take_below(|view| self.ceiling(view))
    }

    /// Takes a slot, or else marks that somebody waits, in one step.
    pub(super) fn take_or_wait(&self) -> Result<View, View> {
        let mut seen = self.bits.load(Ordering::Relaxed);
        loop {
            let view = View(seen);
            let free = view.in_flight() < self.ceiling(view);
            let next = if free { seen + 1 } else { seen | WAITING };
            match self.bits.compare_exchange_weak(seen, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if free => return Ok(View(next)),
                Ok(_) => return Err(View(next)),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes back the mark that somebody waits.
    pub(super) fn nobody_waits(&self) {
        self.bits.fetch_and(!WAITING, Ordering::Relaxed);
    }

    /// Takes a slot whatever the limit is. Fails if no more can be counted.
    pub(super) fn take_beyond(&self) -> Result<View, View> {
        self.take_below(|_| MOST)
    }

    #[inline]
    fn take_below(&self, ceiling: impl Fn(View) -> u32) -> Result<View, View> {
        let mut seen = self.bits.load(Ordering::Relaxed);
        loop {
            let view = View(seen);
            if view.in_flight() >= ceiling(view) {
                if view.in_flight() < view.limit() && !view.probing() {
                    self.pressure.raise();
                }
                return Err(view);
            }
            // The count is below its maximum: it does not carry into the limit.
            match self.bits.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(View(seen + 1)),
                Err(now) => seen = now,
            }
        }
    }

    /// Gives back a slot that was taken. Answers what the word was.
    #[inline]
    pub(super) fn give(&self) -> View {
        let before = View(self.bits.fetch_sub(1, Ordering::Release));
        debug_assert!(before.in_flight() > 0, "a slot is given back once");
        before
    }

    /// Sets the limit, and the lower ceiling of a probe if one runs. Writes nothing if nothing changes. One thread at a
    /// time.
    #[inline]
    pub(super) fn install(&self, limit: u32, probe: Option<u32>) {
        let limit = limit.min(MOST);
        if let Some(ceiling) = probe {
            self.probe_ceiling.store(ceiling, Ordering::Relaxed);
        }
        let mut seen = self.bits.load(Ordering::Relaxed);
        while View(seen).limit() != limit || View(seen).probing() != probe.is_some() {
            let next = View(seen).with_limit(limit, probe.is_some());
            match self.bits.compare_exchange_weak(seen, next.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{MOST, Share, Word};

    #[test]
    fn fields_do_not_run_into_each_other() {
        let word = Word::new(MOST);
        let taken = word.take(Share::ALL).ok().unwrap();
        assert_eq!((taken.in_flight(), taken.limit(), taken.generation()), (1, MOST, 0));
        for generation in 1..=40_000 {
            word.install(generation, (generation % 2 == 0).then_some(1));
            let view = word.view();
            assert_eq!((view.in_flight(), view.limit(), view.probing()), (1, generation, generation % 2 == 0));
            assert_eq!(view.generation(), generation % (1 << 14), "the generation wraps and spills nowhere");
        }
        word.install(u32::MAX, None);
        assert_eq!(word.view().limit(), MOST);
        word.give();
        assert_eq!(word.view().in_flight(), 0);
    }

    #[test]
    fn while_somebody_waits_slots_go_in_turn_only() {
        let word = Word::new(2);
        assert!(word.take_or_wait().is_ok() && word.take_or_wait().is_ok());
        assert!(!word.view().waiting() && word.take_or_wait().is_err_and(super::View::waiting));
        assert!(word.give().waiting());
        word.install(3, None);
        assert!(word.view().waiting() && word.take(Share::ALL).is_err());
        assert!(word.take_in_turn().is_ok_and(|view| view.in_flight() == 2));
        word.nobody_waits();
        assert!(word.take(Share::ALL).is_ok() && word.take(Share::ALL).is_err());
    }

    #[test]
    fn what_does_not_change_is_no_new_generation() {
        let word = Word::new(5);
        word.install(5, None);
        assert_eq!(word.view().generation(), 0);
        word.install(5, Some(2));
        assert_eq!((word.view().generation(), word.view().limit(), word.view().probing()), (1, 5, true));
        assert!(word.take(Share::ALL).is_ok() && word.take(Share::ALL).is_ok() && word.take(Share::ALL).is_err());
        assert!(word.take_beyond().is_ok());
    }
}
