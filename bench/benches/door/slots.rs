//! Limits with a slot, and what they are compared with.

use std::error::Error;

use bench::rival::{Limit, gcra};
use throttlekit::{Admission, Admit, Ask, Guard, Limiter, Outcome, Permit, Run, SystemClock, Unified};

/// A guard whose slots go along with the responses or are given back before the service is called. Both take a slot and give
/// it back, so what one costs more than the other is the permit in the body alone.
pub(crate) struct Slots {
    guard: Guard,
    along: bool,
}

impl Slots {
    /// Slots that go along with the responses.
    pub(crate) fn along() -> Result<Self, Box<dyn Error>> {
        Ok(Self { guard: Guard::fixed(100)?, along: true })
    }

    /// Slots that are given back before.
    pub(crate) fn before() -> Result<Self, Box<dyn Error>> {
        Ok(Self { along: false, ..Self::along()? })
    }
}

impl Admit for Slots {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, throttlekit::Error>> {
        let along = self.along;
        self.guard.admit(ask).map(move |answer| {
            answer.map(|mut admission| {
                if !along {
                    admission.permit.begin();
                    admission.permit.settle(Outcome::Completed);
                    admission.permit = Permit::none();
                }
                admission
            })
        })
    }
}

/// A rate as the other stacks have it, and a slot.
pub(crate) fn with_rate() -> Result<Unified, Box<dyn Error>> {
    let limiter = Limiter::builder(gcra(Limit::GENEROUS)?).clock(SystemClock::new()).build();
    Ok(Unified::builder().concurrency(Guard::fixed(100)?).rate(limiter).build()?)
}
