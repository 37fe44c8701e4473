//! Nanoseconds by a count of the processor, held to the monotonic clock of the operating system.

use std::fmt;
use std::time::Duration;

use super::NANOS_PER_MS;
use super::guard::Source;
use super::sync::{AtomicU64, Ordering, fence, spin_loop};

/// A reading of the system is good for this part of a millisecond: what the count and the system differ by in that time is
/// below what either of them can tell.
const PARTS: u64 = 8;
const SPAN_NS: u64 = NANOS_PER_MS / PARTS;
/// Slower counts are too coarse for latencies.
const SLOWEST_PER_MS: u64 = 1 << 14;
/// A reading of the system that took longer than this part of a millisecond was interrupted: which count belongs to it is
/// not known.
const SHARP: u64 = 64;
/// How often to look again while another thread asks the system, which takes some ten nanoseconds. Once under loom, so that its
/// models see that it took too long.
const LOOKS: usize = if cfg!(loom) { 1 } else { 16 };
/// A rate is in 2^-32 ns for one count. Times the counts of a span it fits into 64 bits, by far.
const RATE_BITS: u32 = 32;

/// Real time since some fixed moment, which never goes back.
///
/// A span begins with a reading of the system, and lasts until the next one. It begins at what the system shows or where
/// the span before it could end at the latest, whichever is later: so no reading of a span is before one of an earlier span.
/// If that is ahead of the system, the rate is lowered by as much as pays the lead off within the span.
///
/// The numbers of a span are read whole: `version` is odd while they are written, and another one afterwards. Who may write
/// is who made it odd; nobody waits for that one, but asks the system and raises `floor` to the answer, below which nobody
/// reads from then on.
#[repr(align(64))] // apart from what is written less often
pub(super) struct Stopwatch {
    version: AtomicU64,
    from_ticks: AtomicU64,
    lasts: AtomicU64,
    from_ns: AtomicU64,
    rate: AtomicU64,
    floor: AtomicU64,
}

/// The numbers of a span.
#[derive(Clone, Copy)]
struct Span {
    from_ticks: u64,
    /// In ticks.
    lasts: u64,
    from_ns: u64,
    rate: u64,
}

impl Span {
    /// The time a number of ticks after its begin, which is not above `lasts`.
    #[inline]
    fn after(self, passed: u64) -> u64 {
        self.from_ns.saturating_add(passed.wrapping_mul(self.rate) >> RATE_BITS)
    }
}

impl Stopwatch {
    pub(super) fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            from_ticks: AtomicU64::new(0),
            lasts: AtomicU64::new(0),
            from_ns: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            floor: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the beginning of `source`.
    #[inline]
    pub(super) fn ns(&self, source: &impl Source) -> u64 {
        self.look(source.ticks()).unwrap_or_else(|| self.ask(source))
    }

    /// The time by the running span, if it holds `ticks`.
    #[inline]
    fn look(&self, ticks: u64) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        let span = self.span();
        let floor = self.floor.load(Ordering::Relaxed);
        // Keeps what was read before the second look at the version.
        fence(Ordering::Acquire);
        let passed = ticks.wrapping_sub(span.from_ticks);
        let is_whole = version % 2 == 0 && self.version.load(Ordering::Relaxed) == version;
        (passed < span.lasts && is_whole).then(|| span.after(passed).max(floor))
    }

    #[inline]
    fn span(&self) -> Span {
        Span {
            from_ticks: self.from_ticks.load(Ordering::Relaxed),
            lasts: self.lasts.load(Ordering::Relaxed),
            from_ns: self.from_ns.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
        }
    }

    /// The time by the system, which begins a span.
    #[cold]
    fn ask(&self, source: &impl Source) -> u64 {
        let per_ms = source.ticks_per_ms();
        if per_ms < SLOWEST_PER_MS {
            return nanos(source.elapsed());
        }
        for _ in 0..LOOKS {
            let version = self.version.load(Ordering::Relaxed);
            let is_free = version % 2 == 0;
            let odd = version.wrapping_add(1);
            if is_free && self.version.compare_exchange(version, odd, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                let ns = self.begin(source, per_ms);
                self.version.store(odd.wrapping_add(1), Ordering::Release);
                match ns {
                    Some(ns) => return ns.max(self.floor.load(Ordering::Relaxed)),
                    None => break,
                }
            }
            spin_loop();
            if let Some(ns) = self.look(source.ticks()) {
                return ns;
            }
        }
        // Whoever writes has lost its core, or whoever reads. No span that is or was goes further than this.
        let latest = self.from_ns.load(Ordering::Relaxed).saturating_add(SPAN_NS);
        let ns = nanos(source.elapsed()).max(latest);
        self.floor.fetch_max(ns, Ordering::Relaxed).max(ns)
    }

    /// Begins a span, and answers when; `None` if the system took too long to answer. Only while the version is odd.
    fn begin(&self, source: &impl Source, per_ms: u64) -> Option<u64> {
        let last = self.span();
        let from_ticks = source.ticks();
        let passed = from_ticks.wrapping_sub(last.from_ticks);
        if passed < last.lasts {
            // Another thread was here.
            return Some(last.after(passed));
        }
        if last.lasts > 0 && passed.wrapping_neg() < per_ms / SHARP {
            // And the count of its core is a little ahead.
            return Some(last.from_ns);
        }
        let now_ns = nanos(source.elapsed());
        if source.ticks().wrapping_sub(from_ticks) >= per_ms / SHARP {
            return None;
        }
        let latest = last.after(last.lasts);
        let lead = latest.saturating_sub(now_ns).min(SPAN_NS / 2);
        let even = (NANOS_PER_MS << RATE_BITS) / per_ms;
        let from_ns = now_ns.max(latest);
        self.write(Span { from_ticks, lasts: per_ms / PARTS, from_ns, rate: even - even * lead / SPAN_NS });
        Some(from_ns)
    }

    fn write(&self, span: Span) {
        // Keeps it after the version became odd.
        fence(Ordering::Release);
        self.from_ticks.store(span.from_ticks, Ordering::Relaxed);
        self.lasts.store(span.lasts, Ordering::Relaxed);
        self.from_ns.store(span.from_ns, Ordering::Relaxed);
        self.rate.store(span.rate, Ordering::Relaxed);
    }
}

/// Whole nanoseconds: over five hundred years fit.
fn nanos(elapsed: Duration) -> u64 {
    const NANOS_PER_SEC: u64 = 1_000_000_000;
    elapsed.as_secs().saturating_mul(NANOS_PER_SEC).saturating_add(u64::from(elapsed.subsec_nanos()))
}

impl fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopwatch").field("from_ns", &self.from_ns).finish_non_exhaustive()
    }
}
