//! The shipped two-tier limiter keeps its promise under every schedule of a small fleet.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use bench::schedule::{Fleet, Setting, search, settings};

#[test]
fn no_schedule_breaks_the_promise() {
    for (name, setting) in settings(false) {
        let searched = search(setting, setting.limit).unwrap();
        let searched = searched.unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
        assert!(searched.states > 500, "{name}: {searched:?}");
    }
}

/// The search finds what there is to find: units that outlive their window.
#[test]
fn without_coupling_a_schedule_exceeds_the_limit() {
    let setting = Setting { coupled: false, ..Setting::new(2, 2.0, 2.0, 2) };
    let broken = search(setting, 2.0).unwrap().unwrap_err();
    assert_eq!(broken.what, "3 units were admitted in a window, 2 may be");
    let mut fleet = Fleet::new(setting).unwrap();
    for step in &broken.schedule {
        assert!(fleet.wrong(2.0).is_none() && fleet.steps().contains(step), "{step:?}");
        fleet.happen(*step);
    }
    assert_eq!(fleet.admitted(), 3.0, "the schedule says what happened");
}

/// Units on their way count as held: two leases at most are carried into a window, and its own units come on top.
#[test]
fn what_is_carried_over_is_bounded() {
    let setting = Setting { coupled: false, halves: 2, ..Setting::new(2, 2.0, 2.0, 2) };
    let searched = search(setting, 2.0 + 2.0 * 2.0).unwrap().unwrap();
    assert!(searched.most >= 3.0, "{searched:?}");
}
