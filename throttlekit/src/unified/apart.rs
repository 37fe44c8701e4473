//! Rate and cost where nothing holds both: one after the other, and the first one back if the second one refuses.

use std::mem;
use std::sync::Arc;

use super::{Answer, Held, Parts, Wish};
use crate::admit::{Axes, Axis};
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{DynLimiter, Owed};
use crate::program::Refund;
use crate::run::Run;

/// Which one is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    RateFirst,
    CostFirst,
}

impl Order {
    /// First comes one that takes units back; of two one in memory, which does so at once and without fail. `None` if
    /// neither takes units back.
    pub(super) fn of(rate: &dyn DynLimiter, cost: &dyn DynLimiter) -> Option<Self> {
        match (rate.refunds(), cost.refunds()) {
            (true, true) if cost.is_immediate() && !rate.is_immediate() => Some(Self::CostFirst),
            (true, _) => Some(Self::RateFirst),
            (false, true) => Some(Self::CostFirst),
            (false, false) => None,
        }
    }

    fn axes(self) -> (Axis, Axis) {
        match self {
            Self::RateFirst => (Axis::Rate, Axis::Cost),
            Self::CostFirst => (Axis::Cost, Axis::Rate),
        }
    }
}

/// The place of one of the two axes.
fn slot(axes: &mut Axes, axis: Axis) -> &mut Option<Decision> {
    if axis == Axis::Rate { &mut axes.rate } else { &mut axes.cost }
}

impl<C: Clock> Parts<C> {
    fn limiter(&self, axis: Axis) -> Option<&Arc<dyn DynLimiter>> {
        if axis == Axis::Rate { self.rate.as_ref() } else { self.cost.as_ref() }
    }

    pub(super) fn apart(self: &Arc<Self>, order: Order, held: &mut Held, key: &str, wish: Wish) -> Run<Answer> {
        let Some(first) = self.limiter(order.axes().0) else { return self.ask_rate(held, key, wish) };
        let before = first.outage_turns();
        match first.check(key, units(order.axes().0, wish)).now() {
            Ok(Ok(decision)) => self.go_on(order, (decision, before), held, key, wish),
            Ok(Err(error)) => Run::ready(Err(error)),
            Err(waiting) => {
                let (parts, key, mut held) = (Arc::clone(self), key.to_owned(), mem::take(held));
                Run::wait(async move {
                    let decision = waiting.await?;
                    parts.go_on(order, (decision, before), &mut held, &key, wish).await
                })
            }
        }
    }

    /// Goes on once the first one has answered, whose outages were `before` that.
    fn go_on(
        self: &Arc<Self>,
        order: Order,
        (taken, before): (Decision, u64),
        held: &mut Held,
        key: &str,
        wish: Wish,
    ) -> Run<Answer> {
        let (first, second) = order.axes();
        *slot(&mut held.axes, first) = Some(taken);
        let (Some(one), Some(other)) = (self.limiter(first).filter(|_| taken.allowed), self.limiter(second)) else {
            return Run::ready(Ok(self.answer(held, wish)));
        };
        // What stood in for it may have answered, and it would get what it never gave.
        let by_itself = before % 2 == 0 && one.outage_turns() == before;
        let refund = by_itself.then(|| Refund::new(units(first, wish)).of(&taken));
        let owed = Owed::new(Arc::clone(one), key.into(), refund);
        match other.check(key, units(second, wish)).now() {
            Ok(result) => self.conclude(order, result, owed, held, wish),
            Err(waiting) => {
                let (parts, mut held) = (Arc::clone(self), mem::take(held));
                Run::wait(async move {
                    let result = waiting.await;
                    parts.conclude(order, result, owed, &mut held, wish).await
                })
            }
        }
    }

    /// Answers once the second one has.
    fn conclude(
        self: &Arc<Self>,
        order: Order,
        result: Result<Decision, Error>,
        mut owed: Owed,
        held: &mut Held,
        wish: Wish,
    ) -> Run<Answer> {
        let (first, second) = order.axes();
        if let Ok(decision) = &result {
            *slot(&mut held.axes, second) = Some(*decision);
            if decision.allowed {
                owed.keep();
                return Run::ready(Ok(self.answer(held, wish)));
            }
        }
        let Some(refund) = owed.give_back() else { return Run::ready(Ok(self.answer(held, wish))) };
        let (parts, mut held) = (Arc::clone(self), mem::take(held));
        refund.map(move |refunded| {
            result?;
            // If it could not be given back, the decision shows what there was after it was taken.
            if let (Ok(state), Some(decision)) = (refunded, slot(&mut held.axes, first)) {
                *decision = decision.as_it_is(&state);
            }
            Ok(parts.answer(&mut held, wish))
        })
    }
}

fn units(axis: Axis, wish: Wish) -> f64 {
    if axis == Axis::Rate { wish.rate } else { wish.cost }
}
