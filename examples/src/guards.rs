//! The limits on work in flight, for metrics.

use throttlekit::policy::Policies;
use throttlekit::prometheus::Metrics;

/// Shows them in `metrics` as they are whenever somebody looks, also after a reload.
pub(crate) fn show(metrics: &Metrics, policies: &Policies) {
    let policies = policies.clone();
    metrics.guards(move |tell| {
        for policy in policies.current().iter() {
            if let Some(report) = policy.guard_report() {
                tell(policy.name(), report);
            }
        }
    });
}
