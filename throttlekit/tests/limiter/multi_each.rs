//! An admission by several limits carries the decision of each, if they were told so.

use throttlekit::store::Remote;
use throttlekit::{
    Admit, Ask, DynLimiter, ExactGcra, FixedWindow, Gcra, Limiter, ManualClock, Multi, SlidingWindow, SlidingWindowLog,
    TokenBucket,
};

use crate::support::CasStore;

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
    assert_eq!(denied.each.as_deref().map(remaining), Some(vec![9, 0]), "nothing was taken from the first");
    assert!(!denied.decision.allowed);
}

/// One of two limits refuses the second request; the other one is of each kind in turn.
async fn a_denial_shows_what_the_others_have(store: impl Fn() -> Option<Remote>) {
    let clock = ManualClock::new(1_000.0);
    macro_rules! refused_beside {
        ($($strategy:expr,)*) => {$(
            let beside = Limiter::builder($strategy).clock(clock.clone()).prefix("beside");
            let narrow = Limiter::builder(FixedWindow::builder().limit(3.0).window_ms(60_000.0).build().unwrap())
                .clock(clock.clone())
                .prefix("narrow");
            let joint = Multi::all().clock(clock.clone()).keep_each(true);
            let (admit, beside): (Box<dyn Admit>, Box<dyn DynLimiter>) = match store() {
                None => {
                    let (beside, narrow) = (beside.build(), narrow.build());
                    let joint = joint.limiter("beside", &beside, 1.0).limiter("narrow", &narrow, 1.0);
                    (Box::new(joint.build().unwrap()), Box::new(beside))
                }
                Some(store) => {
                    let (beside, narrow) = (beside.keyspace(store.clone()).build(), narrow.keyspace(store.clone()).build());
                    let joint = joint.limiter("beside", &beside, 1.0).limiter("narrow", &narrow, 1.0);
                    (Box::new(joint.store(store).build().unwrap()), Box::new(beside))
                }
            };
            let name = beside.strategy_name();
            let ask = Ask::new(name).cost(2.0);
            assert!(admit.admit(&ask).await.unwrap().decision.allowed, "{name}");
            clock.advance(7.0);
            let denied = admit.admit(&ask).await.unwrap();
            let each = denied.each.as_deref().unwrap();
            assert_eq!((each[0].allowed, each[1].allowed, each[0].retry_after_ms), (true, false, 0), "{name}");
            let left = beside.peek(name).await.unwrap();
            assert_eq!((each[0].remaining, each[0].reset_at_ms), (left.remaining, left.reset_at_ms), "{name}");
            assert_eq!(left.remaining, 8, "{name}: the denied request took nothing");
            let denied = admit.admit(&Ask::new("first").cost(4.0)).await.unwrap();
            assert_eq!(denied.each.as_deref().unwrap()[0].remaining, 10, "{name}: of a key without a state");
        )*};
    }
    refused_beside! {
        Gcra::builder().limit(10.0).period_ms(60_000.0).build().unwrap(),
        ExactGcra::builder().limit(10).period_ms(60_000).build().unwrap(),
        TokenBucket::builder().capacity(10.0).refill_per_sec(0.1).build().unwrap(),
        FixedWindow::builder().limit(10.0).window_ms(60_000.0).build().unwrap(),
        SlidingWindow::builder().limit(10.0).window_ms(60_000.0).build().unwrap(),
        SlidingWindowLog::builder().limit(10.0).window_ms(60_000.0).build().unwrap(),
    }
}

#[tokio::test]
async fn a_denial_shows_what_the_others_have_in_memory() {
    a_denial_shows_what_the_others_have(|| None).await;
}

#[tokio::test]
async fn a_denial_shows_what_the_others_have_in_a_store() {
    a_denial_shows_what_the_others_have(|| Some(Remote::new(CasStore::default()))).await;
}
