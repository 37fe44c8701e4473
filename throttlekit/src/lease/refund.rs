//! Units that were taken and not used.

use std::sync::Arc;

use super::two_tier::{Tier, TwoTier};
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::GiveBack;
use crate::observe::Observer;
use crate::program::{Refund, Strategy, no_refunds};
use crate::run::Run;
use crate::store::Keyspace;
use crate::strategy::validate_units;

impl<S, K, C, O> TwoTier<S, K, C, O>
where
    S: Strategy,
    K: Keyspace<S::State>,
    C: Clock,
    O: Observer + Clone,
{
    /// Gives units back that were taken from `key` and not used; the decision shows what there is then. It gives no event.
    ///
    /// Leased, they are held again, without a trip: coupled to windows, as many as were taken here in this one; else as long
    /// as no more is held than a lease leaves behind, and none is on its way. What is beyond goes to the store, as in the other
    /// modes all does, which keeps of it what is [missing from the key](crate::Limiter::run_refund). Of a window that is over
    /// nothing is given back.
    ///
    /// ```
    /// use throttlekit::budget::Budget;
    /// use throttlekit::{ManualClock, Refund};
    ///
    /// let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build()?;
    /// let gateway = budget.leased().batch(500.0).clock(ManualClock::new(0.0)).build()?;
    /// let reserved = gateway.run_check("key-1", 400.0).now().expect("in process nothing waits")?;
    /// assert_eq!(reserved.remaining, 100);
    /// let unused = Refund::new(350.0).of(&reserved);
    /// assert_eq!(gateway.run_refund("key-1", unused).now().expect("held here")?.remaining, 450);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `throttlekit_error` if the strategy [takes no units back](Strategy::REFUNDS); otherwise as
    /// [`run_check`](Self::run_check).
    pub fn run_refund(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        if !S::REFUNDS {
            return Run::ready(Err(no_refunds(self.core.strategy.name())));
        }
        if let Err(error) = validate_units::<S>(refund.units) {
            return Run::ready(Err(error));
        }
        let Tier::Leased(leases) = &self.core.tier else { return self.refund_in_store(key, &refund) };
        let now_ns = self.core.clock.monotonic_ns();
        let held = leases.book.with(leases.book.mark(key), |holding| {
            let rest = holding.take_back(&leases.terms, &refund, now_ns);
            (rest, holding.allowed(&leases.terms))
        });
        match held {
            Some((rest, decision)) if rest <= 0.0 => Run::ready(Ok(decision)),
            Some((rest, _)) => self.refund_in_store(key, &Refund { units: rest, ..refund }),
            None => self.refund_in_store(key, &refund),
        }
    }

    fn refund_in_store(&self, key: &str, refund: &Refund) -> Run<Result<Decision, Error>> {
        let (core, owned) = (Arc::clone(&self.core), Box::<str>::from(key));
        self.core.run(key, &GiveBack(self.core.strategy.clone()), refund).map(move |result| {
            if result.is_ok() {
                // What is remembered here of a store that had too little is old.
                core.tier.ask_again(&owned);
            }
            result
        })
    }
}
