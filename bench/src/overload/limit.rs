//! What limits the work in flight, as the simulation sees it.

use std::collections::HashMap;
use std::fmt;

use throttlekit::{Admit, Ask, GuardBuilder, ManualClock, Outcome, Permit};

use super::Phase;

/// A limit of the work in flight.
pub trait Limit {
    /// Told when the server changes; of interest to an oracle.
    fn phase(&mut self, _phase: &Phase) {}

    /// Told the time before anything happens at it.
    fn advance(&mut self, now_ms: f64);

    /// A slot, if there is one while `in_flight` requests are.
    fn take(&mut self, in_flight: usize) -> Option<u64>;

    /// Takes `slot` back after the request took `latency_ms` and while `in_flight` were, itself included.
    fn give(&mut self, slot: u64, latency_ms: f64, in_flight: usize);

    /// The limit now.
    fn limit(&self) -> u32;
}

/// A fixed multiple of the capacity, which is told: what a limit could be at best.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    share: f64,
    limit: u32,
}

impl Fixed {
    /// `share` times the capacity.
    pub fn new(share: f64) -> Self {
        Self { share, limit: 0 }
    }
}

impl Limit for Fixed {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small and positive
    fn phase(&mut self, phase: &Phase) {
        self.limit = (f64::from(phase.capacity) * self.share).round() as u32;
    }

    fn advance(&mut self, _now_ms: f64) {}

    fn take(&mut self, in_flight: usize) -> Option<u64> {
        (in_flight < self.limit as usize).then_some(0)
    }

    fn give(&mut self, _slot: u64, _latency_ms: f64, _in_flight: usize) {}

    fn limit(&self) -> u32 {
        self.limit
    }
}

/// A guard of this project.
pub struct Guarded {
    guard: Box<dyn Admit>,
    asks: Box<dyn FnMut() -> Ask<'static>>,
    clock: ManualClock,
    held: HashMap<u64, Permit>,
    next: u64,
}

impl Guarded {
    /// What `settings` build, on a clock of its own.
    ///
    /// # Panics
    ///
    /// If a setting is refused.
    pub fn new(settings: GuardBuilder) -> Self {
        let build = |clock| settings.clock(clock).build().expect("the scenario's settings are in range");
        Self::asked(build, || Ask::new(""))
    }

    /// What `build` makes with a clock of its own, asked what `asks` gives for one request after the other. It has to learn its
    /// limit, and may not let requests wait.
    pub fn asked<G: Admit>(build: impl FnOnce(ManualClock) -> G, asks: impl FnMut() -> Ask<'static> + 'static) -> Self {
        let clock = ManualClock::new(0.0);
        let guard = Box::new(build(clock.clone()));
        Self { guard, asks: Box::new(asks), clock, held: HashMap::new(), next: 0 }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("limit", &self.limit()).finish_non_exhaustive()
    }
}

impl Limit for Guarded {
    fn advance(&mut self, now_ms: f64) {
        self.clock.set(now_ms);
    }

    fn take(&mut self, _in_flight: usize) -> Option<u64> {
        let permit = self.guard.admit(&(self.asks)()).now().ok()?.ok()?.permit;
        permit.is_held().then(|| {
            self.next += 1;
            self.held.insert(self.next, permit);
            self.next
        })
    }

    fn give(&mut self, slot: u64, _latency_ms: f64, _in_flight: usize) {
        if let Some(mut permit) = self.held.remove(&slot) {
            permit.settle(Outcome::Completed);
        }
    }

    fn limit(&self) -> u32 {
        self.guard.guard_state().map_or(0, |(report, _)| report.limit)
    }
}
