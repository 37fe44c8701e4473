//! What is held for one key, and what may be done with it: decisions without clocks, I/O or locks.
//!
//! All instants are nanoseconds of the holder's monotonic clock. A window's end is placed on it from the instant at which
//! the lease was asked for: the store granted later than that, so the end found is at most too early, by less than a
//! round trip, whatever any wall clock shows.

use std::sync::Arc;

use super::book::Entry;
use super::flight::Flight;
use super::grant::{GrantForm, Granted, Wanted};
use super::sizing::Sizer;
use crate::decision::{Decision, ceil_ms, floor_units};
use crate::error::Error;
use crate::math::floor_f64;
use crate::program::Refund;
use crate::strategy::counted;

/// Makes a sizer for each key.
pub(super) type SizerFactory = Arc<dyn Fn() -> Box<dyn Sizer> + Send + Sync>;

/// What all keys of a limiter have in common.
pub(super) struct Terms {
    pub(super) form: GrantForm,
    pub(super) coupled: bool,
    /// Units of a lease, where no sizer says how many.
    pub(super) batch: f64,
    pub(super) sizers: Option<SizerFactory>,
    /// At how many units left more are fetched beforehand; 0 is never.
    pub(super) low_water: f64,
    /// The ceiling of the strategy, as it is shown.
    pub(super) limit: u64,
    /// Whether units are whole.
    pub(super) whole: bool,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Landed {
    /// Its units are held.
    Credited,
    /// It got none, or fewer than were needed.
    Denied(Decision),
    /// Its window was over: nothing of it may be spent.
    Late,
    /// The key was forgotten meanwhile.
    Lost,
}

pub(super) type Lease = Flight<Landed>;

/// What to do with a request.
pub(super) enum Verdict {
    /// It is decided. A flight that nobody waits for may have to be driven.
    Decided(Decision, Option<Arc<Lease>>),
    /// It waits for this flight.
    Wait(Arc<Lease>),
    /// No lease can ever serve it: the store decides it as it is.
    Direct,
    /// It cannot be counted.
    Failed(Error),
}

/// What is held for one key.
pub(super) struct Holding {
    /// The key as the caller names it.
    pub(super) key: Arc<str>,
    credits: f64,
    /// How many units may be held once some came back: coupled, those that were granted in this window; else what the
    /// largest lease leaves at most.
    most: f64,
    newest: Option<Newest>,
    exhausted: Option<Exhausted>,
    /// The lease that callers wait for.
    demanded: Option<Arc<Lease>>,
    /// The lease that was asked for beforehand.
    refill: Option<Arc<Lease>>,
    learning: Option<Box<Learning>>,
    used_ns: u64,
}

/// What the newest answer said.
#[derive(Clone, Copy)]
struct Newest {
    reset_at_ms: i64,
    /// The end of its window by the store's clock, and by the holder's.
    end_ms: Option<f64>,
    ends_ns: Option<u64>,
}

/// The store has too little, as far as is known.
#[derive(Clone, Copy)]
struct Exhausted {
    until_ns: u64,
    /// It concerns requests that lack at least this much: 0 where the store has nothing at all until then.
    lacking: f64,
    reset_at_ms: i64,
}

/// Learns how much to lease.
struct Learning {
    sizer: Box<dyn Sizer>,
    demand: f64,
    /// When the window ends whose demand is being counted.
    ends_ns: Option<u64>,
}

impl Holding {
    pub(super) fn new(key: Arc<str>, terms: &Terms) -> Self {
        let learning = |sizer| Box::new(Learning { sizer, demand: 0.0, ends_ns: None });
        Self {
            key,
            credits: 0.0,
            most: 0.0,
            newest: None,
            exhausted: None,
            demanded: None,
            refill: None,
            learning: terms.sizers.as_ref().map(|new| learning(new())),
            used_ns: 0,
        }
    }

    /// Decides a request, if that is possible without waiting: whether it was served or denied from what is known here.
    #[inline]
    pub(super) fn try_local(&mut self, terms: &Terms, cost: f64, now_ns: u64) -> Option<Decision> {
        self.used_ns = now_ns;
        self.roll(now_ns);
        self.discard(terms, now_ns);
        let left = self.credits - cost;
        // A cost that is lost beside what is held is refused elsewhere.
        if left >= 0.0 && left < self.credits {
            self.count(cost);
            self.credits = left;
            return Some(self.allowed(terms));
        }
        let denial = self.known_denial(terms, cost, now_ns)?;
        self.count(cost);
        Some(denial)
    }

    /// Decides a request, or says what it has to wait for. `offer` says whether it is new, and thus demand.
    ///
    /// `denial` is the answer of a lease that was to serve this very request; it stands unless somebody else's lease came
    /// in meanwhile.
    pub(super) fn decide(
        &mut self,
        terms: &Terms,
        cost: f64,
        now_ns: u64,
        offer: bool,
        denial: Option<Decision>,
        fly: impl FnOnce(Wanted) -> Arc<Lease>,
    ) -> Verdict {
        self.used_ns = now_ns;
        self.roll(now_ns);
        self.discard(terms, now_ns);
        if offer {
            self.count(cost);
        }
        if self.credits >= cost {
            self.credits = match counted(self.credits, self.credits - cost, cost) {
                Ok(left) => left,
                Err(error) => return Verdict::Failed(error),
            };
            let decision = self.allowed(terms);
            return Verdict::Decided(decision, self.refill_due(terms, now_ns).then(|| self.start_refill(terms, fly)));
        }
        if let Some(denial) = self.known_denial(terms, cost, now_ns) {
            return Verdict::Decided(denial, None);
        }
        if let Some(denial) = denial {
            let remaining = if terms.form == GrantForm::Whole { denial.remaining } else { floor_units(self.credits) };
            return Verdict::Decided(Decision { allowed: false, remaining, ..denial }, None);
        }
        if let Some(flight) = under_way(self.demanded.as_ref()) {
            return Verdict::Wait(Arc::clone(flight));
        }
        // One that was asked for in a window that is over by now would come late.
        let over = terms.coupled && self.newest.and_then(|newest| newest.ends_ns).is_some_and(|end| now_ns >= end);
        if let Some(flight) = under_way(self.refill.as_ref()).filter(|_| !over) {
            return Verdict::Wait(Arc::clone(flight));
        }
        #[allow(clippy::cast_precision_loss)] // only whether it is far below the cost
        if terms.form == GrantForm::Partial && cost >= terms.limit as f64 + 1.0 {
            return Verdict::Direct;
        }
        let units = self.size(terms).max(cost);
        let flight = fly(Wanted { units, need: cost - self.credits });
        self.demanded = Some(Arc::clone(&flight));
        Verdict::Wait(flight)
    }

    /// Whether units should be fetched before they are needed.
    #[inline]
    pub(super) fn refill_due(&self, terms: &Terms, now_ns: u64) -> bool {
        terms.low_water > 0.0
            && self.credits <= terms.low_water
            && !self.has_flights()
            // What a larger request lacked says nothing about a refill.
            && self.exhausted.is_none_or(|known| now_ns >= known.until_ns || known.lacking > REFILL_NEEDS)
    }

    pub(super) fn start_refill(&mut self, terms: &Terms, fly: impl FnOnce(Wanted) -> Arc<Lease>) -> Arc<Lease> {
        let units = self.size(terms);
        let flight = fly(Wanted { units, need: units.min(REFILL_NEEDS) });
        self.refill = Some(Arc::clone(&flight));
        flight
    }

    /// A flight that nobody waits for and that a poll may bring further.
    #[inline]
    pub(super) fn stray(&self) -> Option<&Arc<Lease>> {
        let stray = |flight: &&Arc<Lease>| flight.wants_driver();
        self.refill.as_ref().filter(stray).or_else(|| self.demanded.as_ref().filter(stray))
    }

    /// Takes in the answer to the lease `id` that was asked for at `asked_ns`, and says what became of it.
    ///
    /// Nothing of it is taken if the key was forgotten since, and the flight with it.
    pub(super) fn land(
        &mut self,
        terms: &Terms,
        id: u64,
        wanted: &Wanted,
        asked_ns: u64,
        now_ns: u64,
        granted: &Granted,
    ) -> Landed {
        if !self.release(id) {
            return Landed::Lost;
        }
        let ends_ns = granted.lasts_ms().map(|lasts| after(asked_ns, lasts));
        if terms.coupled && ends_ns.is_some_and(|end| now_ns >= end) {
            return Landed::Late;
        }
        self.discard(terms, now_ns);
        let running = self.newest.filter(|newest| newest.ends_ns.is_some_and(|end| now_ns < end));
        let mut older = false;
        match (running.and_then(|newest| newest.end_ms), granted.end_ms) {
            // The store is in a later window already.
            (Some(known), Some(end)) if end < known => {
                if terms.coupled {
                    return Landed::Late;
                }
                older = true;
            }
            // It turned earlier than was found here: what is held is of the window before.
            (Some(known), Some(end)) if end > known => {
                self.exhausted = None;
                if terms.coupled {
                    (self.credits, self.most) = (0.0, 0.0);
                }
            }
            _ => {}
        }
        let Decision { reset_at_ms, retry_after_ms, .. } = granted.decision;
        if !older {
            self.newest = Some(Newest { reset_at_ms, end_ms: granted.end_ms, ends_ns });
        }
        self.credits += granted.units;
        self.most = if terms.coupled { self.most + granted.units } else { self.most.max(granted.units - 1.0) };
        if let Some(learning) = &mut self.learning {
            #[allow(clippy::cast_precision_loss)] // an instant that a clock shows
            let until_reset = || after(asked_ns, reset_at_ms as f64 - granted.now_ms);
            learning.ends_ns = learning.ends_ns.or_else(|| Some(ends_ns.unwrap_or_else(until_reset)));
        }
        let short = granted.units < wanted.need;
        if terms.form == GrantForm::Partial && granted.units < wanted.units && !older {
            #[allow(clippy::cast_precision_loss)] // a wait that somebody may await
            let waits = |ms: u64| after(asked_ns, ms as f64);
            self.exhausted = match ends_ns {
                Some(until_ns) => Some(Exhausted { until_ns, lacking: 0.0, reset_at_ms }),
                None if short => {
                    let lacking = wanted.need - granted.units;
                    Some(Exhausted { until_ns: waits(retry_after_ms), lacking, reset_at_ms })
                }
                None => self.exhausted,
            };
        }
        if short { Landed::Denied(granted.decision) } else { Landed::Credited }
    }

    /// Takes in that the lease `id` failed.
    pub(super) fn release(&mut self, id: u64) -> bool {
        for flight in [&mut self.demanded, &mut self.refill] {
            if flight.as_ref().is_some_and(|flight| flight.id() == id) {
                *flight = None;
                return true;
            }
        }
        false
    }

    /// Remembers that the store denied a request of `cost` units as it was, at `asked_ns`.
    pub(super) fn refused(&mut self, cost: f64, asked_ns: u64, denial: &Decision) {
        if self.exhausted.is_none_or(|known| known.until_ns <= asked_ns) {
            #[allow(clippy::cast_precision_loss)] // a wait that somebody may await
            let until_ns = after(asked_ns, denial.retry_after_ms as f64);
            self.exhausted =
                Some(Exhausted { until_ns, lacking: cost - self.credits, reset_at_ms: denial.reset_at_ms });
        }
    }

    /// Takes back units that were taken from here and not used; how many of them are left for the store.
    pub(super) fn take_back(&mut self, terms: &Terms, refund: &Refund, now_ns: u64) -> f64 {
        self.discard(terms, now_ns);
        let Some(Newest { reset_at_ms, ends_ns, .. }) = self.newest else { return refund.units };
        if let Some(end) = ends_ns {
            let of_window = refund.reset_at_ms.unwrap_or(reset_at_ms);
            if of_window < reset_at_ms || (of_window == reset_at_ms && now_ns >= end) {
                // They ended with it.
                return 0.0;
            }
            if of_window > reset_at_ms {
                return refund.units;
            }
        }
        // Carried over, a lease on its way was asked for where few were held, and comes to what is held when it lands.
        let room = if terms.coupled || !self.has_flights() { self.most - self.credits } else { 0.0 };
        let kept = refund.units.min(room.max(0.0));
        self.credits += kept;
        refund.units - kept
    }

    /// The store may have units again.
    pub(super) fn ask_again(&mut self) {
        self.exhausted = None;
    }

    /// The units that can go back to the store. The rest of the holding is gone with them: what callers give back later is
    /// not held again on the strength of a lease that is not here any more.
    pub(super) fn unspent(self, now_ns: u64) -> Option<(Arc<str>, Refund)> {
        let units = self.credits;
        let Newest { end_ms, ends_ns, .. } = self.newest?;
        let over = ends_ns.is_some_and(|end| now_ns >= end);
        (units > 0.0 && !over).then(|| (self.key, Refund { units, reset_at_ms: end_ms.map(ceil_ms) }))
    }

    /// What a check of one unit would find, as far as it is known here.
    pub(super) fn peek(&mut self, terms: &Terms, now_ns: u64) -> Option<Decision> {
        self.discard(terms, now_ns);
        if self.credits >= 1.0 { Some(self.allowed(terms)) } else { self.known_denial(terms, 1.0, now_ns) }
    }

    /// The leases on their way.
    #[inline]
    pub(super) fn flights(&self) -> impl Iterator<Item = &Arc<Lease>> {
        under_way(self.demanded.as_ref()).into_iter().chain(under_way(self.refill.as_ref()))
    }

    #[inline]
    pub(super) fn has_flights(&self) -> bool {
        self.flights().next().is_some()
    }

    /// How long it has not been asked for.
    pub(super) fn idle_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.used_ns)
    }

    /// Units that ended are gone.
    #[inline]
    fn discard(&mut self, terms: &Terms, now_ns: u64) {
        if terms.coupled && self.newest.and_then(|newest| newest.ends_ns).is_some_and(|end| now_ns >= end) {
            (self.credits, self.most) = (0.0, 0.0);
        }
    }

    /// Tells the sizer of a window that is over.
    #[inline]
    fn roll(&mut self, now_ns: u64) {
        if let Some(learning) = &mut self.learning {
            if learning.ends_ns.is_some_and(|end| now_ns >= end) {
                learning.sizer.observe(learning.demand);
                learning.demand = 0.0;
                learning.ends_ns = None;
            }
        }
    }

    #[inline]
    fn count(&mut self, cost: f64) {
        if let Some(learning) = &mut self.learning {
            learning.demand += cost;
        }
    }

    fn size(&mut self, terms: &Terms) -> f64 {
        match &mut self.learning {
            Some(learning) => {
                let size = learning.sizer.size();
                let size = if terms.whole { floor_f64(size) } else { size };
                if size.is_finite() { size.max(1.0) } else { 1.0 }
            }
            None => terms.batch,
        }
    }

    #[inline]
    pub(super) fn allowed(&self, terms: &Terms) -> Decision {
        Decision {
            allowed: true,
            limit: terms.limit,
            remaining: floor_units(self.credits),
            // There were units, so there was an answer.
            reset_at_ms: self.newest.map_or(0, |newest| newest.reset_at_ms),
            retry_after_ms: 0,
        }
    }

    /// The denial of a request that the store would deny, as is known.
    #[inline]
    fn known_denial(&self, terms: &Terms, cost: f64, now_ns: u64) -> Option<Decision> {
        let known = self.exhausted?;
        if now_ns >= known.until_ns || cost - self.credits < known.lacking {
            return None;
        }
        Some(Decision {
            allowed: false,
            limit: terms.limit,
            remaining: floor_units(self.credits),
            reset_at_ms: known.reset_at_ms,
            retry_after_ms: (known.until_ns - now_ns).div_ceil(NANOS_PER_MS),
        })
    }
}

/// A lease, unless it is over. One that is over and still here panicked before it could land.
#[inline]
fn under_way(lease: Option<&Arc<Lease>>) -> Option<&Arc<Lease>> {
    lease.filter(|lease| !lease.is_done())
}

impl Entry for Holding {
    /// A grant that is on its way must find its holder.
    fn is_busy(&self) -> bool {
        self.has_flights()
    }
}

/// With fewer units than this a refill is denied.
const REFILL_NEEDS: f64 = 1.0;

const NANOS_PER_MS: u64 = 1_000_000;

/// The instant `ms` milliseconds after another one; a span below 0 is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // saturates
pub(super) fn after(instant_ns: u64, ms: f64) -> u64 {
    instant_ns.saturating_add((ms * NANOS_PER_MS as f64) as u64)
}
