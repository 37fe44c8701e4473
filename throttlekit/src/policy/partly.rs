//! What stands in for the policies of a rule of which not all are local.

use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask};
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::Observer;
use crate::run::Run;

/// Decides by the policies that have a say, and answers for all: whoever shows the answers knows them by their places.
pub(super) struct Partly {
    admit: Arc<dyn Admit>,
    places: Arc<[Place]>,
}

/// Who answers for a policy that limits units.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// Nobody: it is open.
    Nobody,
    /// What stands in for its limiter.
    StandIn,
    /// Its own limiter, of which a request takes these units, or as many as it asks for.
    Itself(Option<f64>),
}

impl Partly {
    /// `admit` as it is, if all of `places` are stood in for.
    pub(super) fn over(admit: Arc<dyn Admit>, places: Vec<Place>) -> Arc<dyn Admit> {
        let all = places.iter().all(|place| *place == Place::StandIn);
        if all { admit } else { Arc::new(Self { admit, places: places.into() }) }
    }
}

impl Admit for Partly {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let places = Arc::clone(&self.places);
        self.admit.admit(ask).map(move |answer| answer.map(|admission| placed(&places, admission)))
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let admit = Arc::clone(&self.admit).observed(observer)?;
        Some(Arc::new(Self { admit, places: Arc::clone(&self.places) }))
    }

    /// None of what stands in: it is soon forgotten, and the limiter itself never gave it.
    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        match self.places.get(place)? {
            Place::Nobody | Place::StandIn => None,
            Place::Itself(units) => Some(units.unwrap_or(ask.cost)),
        }
    }
}

/// `admission` with a decision for each of `places`; the open ones show nothing.
fn placed(places: &[Place], admission: Admission) -> Admission {
    let one = [admission.decision];
    let mut decisions = admission.each.as_deref().unwrap_or(&one).iter().copied();
    let decision = |place: &Place| {
        let decision = if *place == Place::Nobody { None } else { decisions.next() };
        decision.unwrap_or(Decision::ALLOW_FULL)
    };
    let each = Some(places.iter().map(decision).collect());
    Admission { each, ..admission }
}
