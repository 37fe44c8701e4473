//! Decisions: how they join, and how a denial becomes an error.

use proptest::prelude::*;
use throttlekit::{Decision, MAX_SAFE};

fn decision() -> impl Strategy<Value = Decision> {
    // Small numbers beside large ones, so that equal fields come up too.
    let number = || prop_oneof![0..4_u64, 0..=MAX_SAFE];
    (any::<bool>(), number(), number(), number(), number()).prop_map(|(allowed, limit, remaining, reset, retry)| {
        let reset_at_ms = i64::try_from(reset).expect("at most 2^53 - 1");
        Decision { allowed, limit, remaining, reset_at_ms, retry_after_ms: retry }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn combine_is_a_commutative_idempotent_monoid(a in decision(), b in decision(), c in decision()) {
        prop_assert_eq!(a.combine(Decision::ALLOW_FULL), a);
        prop_assert_eq!(Decision::ALLOW_FULL.combine(a), a);
        prop_assert_eq!(a.combine(b), b.combine(a));
        prop_assert_eq!(a.combine(b).combine(c), a.combine(b.combine(c)));
        prop_assert_eq!(a.combine(a), a);
    }

    #[test]
    fn combine_takes_each_field_by_itself(a in decision(), b in decision()) {
        let both = a.combine(b);
        prop_assert_eq!(both.allowed, a.allowed && b.allowed);
        prop_assert!([a.limit, b.limit].contains(&both.limit) && both.limit <= a.limit && both.limit <= b.limit);
        prop_assert_eq!(both.remaining, [a.remaining, b.remaining].into_iter().min().expect("two"));
        prop_assert_eq!(both.reset_at_ms, [a.reset_at_ms, b.reset_at_ms].into_iter().max().expect("two"));
        prop_assert_eq!(both.retry_after_ms, [a.retry_after_ms, b.retry_after_ms].into_iter().max().expect("two"));
    }

    #[test]
    fn combining_all_is_combining_one_after_the_other(decisions in prop::collection::vec(decision(), 0..8)) {
        let mut joined = Decision::ALLOW_FULL;
        for &decision in &decisions {
            joined = joined.combine(decision);
        }
        prop_assert_eq!(Decision::combine_all(decisions), joined);
    }

    #[test]
    fn denial_becomes_an_error_that_carries_it(decision in decision()) {
        match decision.into_result() {
            Ok(same) => prop_assert!(same == decision && decision.allowed),
            Err(error) => {
                prop_assert!(error.decision() == decision && !decision.allowed);
                prop_assert_eq!(error.code(), "rate_limit_exceeded");
                let wait = format!("{}ms", decision.retry_after_ms);
                prop_assert!(error.to_string().contains(&wait), "{}", error);
            }
        }
    }
}

#[test]
fn stricter_axis_wins() {
    let rate = Decision { allowed: true, limit: 100, remaining: 42, reset_at_ms: 1_000, retry_after_ms: 0 };
    let cost = Decision { allowed: false, limit: 50, remaining: 0, reset_at_ms: 5_000, retry_after_ms: 250 };
    assert_eq!(rate.combine(cost), cost);
    assert_eq!(Decision::combine_all([rate, cost, Decision::ALLOW_FULL]), cost);
}

#[test]
fn nothing_at_all_admits_without_a_limit_to_show() {
    let none = Decision::combine_all([]);
    assert_eq!(none, Decision::ALLOW_FULL);
    assert_eq!((none.allowed, none.limit, none.remaining), (true, MAX_SAFE, MAX_SAFE));
    assert_eq!((none.reset_at_ms, none.retry_after_ms), (0, 0));
    assert!(!none.has_limit());
    assert!(Decision { limit: MAX_SAFE - 1, ..none }.has_limit());
}
