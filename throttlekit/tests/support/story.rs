//! All that an observer is told, as lines.

use std::sync::{Arc, Mutex};

use throttlekit::unified::AdmissionEvent;
use throttlekit::{Disconnect, Event, LeaseEvent, Observer, Wait};

/// Writes down what it is told, but for how long things took. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    /// The lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }

    fn write(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }
}

impl Observer for Story {
    fn observe(&self, event: &Event<'_>) {
        let result =
            event.result.map(|decision| (decision.allowed, decision.remaining)).map_err(throttlekit::Error::code);
        self.write(format!(
            "decided {} by {} on {:?} for {:?}: {} {} at {}, {:?}, {result:?}, local {}, part {}, timed {}",
            event.policy,
            event.strategy,
            event.axis,
            event.key(),
            event.cost,
            event.priority.as_str(),
            event.now_ms,
            event.kind,
            event.local,
            event.part,
            event.took_ms.is_some(),
        ));
    }

    fn stopwatch_ns(&self) -> Option<u64> {
        Some(0)
    }

    fn admitted(&self, admission: &AdmissionEvent<'_>) {
        let lane = admission.lane();
        self.write(format!("admitted {} for {:?}: {lane:?}", admission.policy, admission.key()));
    }

    fn waited(&self, wait: &Wait<'_>) {
        self.write(format!("waited {} by {}: {} {:?}", wait.policy, wait.strategy, wait.waited_ms, wait.outcome));
    }

    fn leased(&self, lease: &LeaseEvent<'_>) {
        let granted = lease.granted.map_err(throttlekit::Error::code);
        let LeaseEvent { policy, strategy, asked, spendable, .. } = lease;
        self.write(format!("leased {policy} by {strategy}: {granted:?} of {asked}, spendable {spendable}"));
    }

    fn disconnected(&self, disconnect: &Disconnect<'_>) {
        self.write(format!("gone {}: {}", disconnect.policy, disconnect.stage.as_str()));
    }
}
