//! What is counted of rules with slots while their store is out.

use std::sync::Arc;

use throttlekit::analytics::Analytics;
use throttlekit::policy::{Guarded, LoadOptions, Policies};
use throttlekit::prometheus::Metrics;
use throttlekit::{Admit, Ask, Error, Lane, ManualClock, Observer};

use crate::support::outage::{Mood, Opener};
use crate::support::polled;

const FILE: &str = "
store: { redis: { url: redis://cache }, breaker: { failures: 2 } }
limiters:
  api: { strategy: fixedWindow, limit: 4, period: 1d, failMode: local, concurrency: { limit: 9 } }
  slots: { concurrency: { limit: 9 } }
  rate: { strategy: fixedWindow, limit: 4, period: 1d, failMode: local }
  open: { strategy: fixedWindow, limit: 4, period: 1d }
http:
  rules:
    - { path: /one, policy: api }
    - { path: /two, policies: [slots, rate, open] }
";

/// What a door does: asks for slots and limits, and what stands in for these if the store is out.
fn allows(guarded: &Guarded, standby: &dyn Admit) -> Result<bool, Error> {
    let entry = polled(guarded.enter(&Ask::new("k")), 1).expect("an answer at once");
    let answer = match entry.result {
        Err(error) if error.is_store_unavailable() => standby.admit(&Ask::new("k")).now().expect("in memory"),
        answer => answer,
    };
    answer.map(|admission| admission.decision.allowed)
}

#[test]
fn a_request_that_is_decided_in_memory_counts_as_a_whole() {
    for (path, label) in [("/one", "api"), ("/two", "slots+rate+open")] {
        for from_the_start in [true, false] {
            let clock = ManualClock::new(1_000.0);
            let opener = Opener::new(&clock);
            let metrics = Metrics::builder().clock(clock.clone()).build().unwrap();
            let admissions = Analytics::builder().clock(clock.clone()).build_for_admissions().unwrap();
            let observer: Arc<dyn Observer> = Arc::new((metrics.clone(), admissions.clone()));
            let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
            let options = if from_the_start { options.observer(Arc::clone(&observer)) } else { options };
            let set = Policies::load(FILE, options).unwrap().current();
            let rule = &set.rules()[set.rule_for("GET", path).unwrap()];
            let (mut guarded, mut standby) = (rule.guarded().unwrap().clone(), Arc::clone(rule.standby().unwrap()));
            if !from_the_start {
                guarded = guarded.observed(&observer);
                standby = standby.observed(&observer).unwrap();
            }
            let counted = || {
                let text = metrics.render();
                let of = |name: &str, labels: &str| {
                    let series = format!("throttlekit_{name}{{policy=\"{label}\"{labels}}} ");
                    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
                };
                let totals = admissions.totals();
                assert_eq!((of("allowed_total", ""), of("denied_total", "")), (totals.allowed, totals.denied));
                assert_eq!(of("denied_by_axis_total", ",axis=\"rate\""), admissions.snapshot().denied_by(Lane::Rate));
                (totals.allowed, totals.denied)
            };

            opener.store.set(Mood::Down);
            let allowed = [(); 5].map(|()| allows(&guarded, &*standby).unwrap());
            assert_eq!((allowed, counted()), ([true, true, true, true, false], (4, 1)), "{path}");
            opener.store.set(Mood::Up);
            clock.advance(200.0);
            assert!(allows(&guarded, &*standby).unwrap());
            assert_eq!(counted(), (5, 1), "{path}");
        }
    }
}
