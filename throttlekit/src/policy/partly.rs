//! What stands in for the policies of a rule of which not all are local.

use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask};
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::Observer;
use crate::run::Run;

/// Decides by the policies that are local, and answers for all: whoever shows the answers knows them by their places.
pub(super) struct Partly {
    local: Arc<dyn Admit>,
    /// Of each policy that limits units, whether it is local.
    places: Arc<[bool]>,
}

impl Partly {
    /// `local` as it is, if it decides for all of `places`.
    pub(super) fn over(local: Arc<dyn Admit>, places: Vec<bool>) -> Arc<dyn Admit> {
        if places.iter().all(|local| *local) { local } else { Arc::new(Self { local, places: places.into() }) }
    }
}

impl Admit for Partly {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let places = Arc::clone(&self.places);
        self.local.admit(ask).map(move |answer| answer.map(|admission| placed(&places, admission)))
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let local = Arc::clone(&self.local).observed(observer)?;
        Some(Arc::new(Self { local, places: Arc::clone(&self.places) }))
    }
}

/// `admission` with a decision for each of `places`; the open ones show nothing.
fn placed(places: &[bool], admission: Admission) -> Admission {
    let one = [admission.decision];
    let mut decisions = admission.each.as_deref().unwrap_or(&one).iter().copied();
    let decision = |local: &bool| if *local { decisions.next() } else { None }.unwrap_or(Decision::ALLOW_FULL);
    let each = Some(places.iter().map(decision).collect());
    Admission { each, ..admission }
}
