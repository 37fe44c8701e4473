//! An admission by several limits carries the decision of each, if they were told so.

use throttlekit::{Admit as _, Ask, Gcra, ManualClock, Multi};

#[test]
fn an_admission_carries_the_decision_of_each_limit_in_their_order() {
    let gcra = |limit: f64| Gcra::builder().limit(limit).period_ms(1_000.0).build().expect("good options");
    let both = Multi::all()
        .dimension("wide", gcra(10.0), 1.0)
        .dimension("narrow", gcra(1.0), 1.0)
        .clock(ManualClock::new(0.0))
        .keep_each(true)
        .build()
        .expect("good options");
    let ask = |key| both.admit(&Ask::new(key)).now().expect("memory does not wait").expect("a decision");

    let admission = ask("a");
    let remaining = |each: &[throttlekit::Decision]| each.iter().map(|one| one.remaining).collect::<Vec<_>>();
    assert_eq!(admission.each.as_deref().map(remaining), Some(vec![9, 0]));
    assert_eq!((admission.decision.limit, admission.decision.remaining), (1, 0));

    let denied = ask("a");
    let allowed = |each: &[throttlekit::Decision]| each.iter().map(|one| one.allowed).collect::<Vec<_>>();
    assert_eq!(denied.each.as_deref().map(allowed), Some(vec![true, false]));
    assert!(!denied.decision.allowed);
}
