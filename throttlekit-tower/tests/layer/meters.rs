//! What handlers give back and take of limits that decided together.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use throttlekit::store::memory::Table;
use throttlekit::{Admit, Decision, FixedWindow, Limiter, ManualClock, Multi, Program, Refund, Unified};
use throttlekit_tower::{Admitted, KeyMeter, ThrottleLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::request;

type Window = Limiter<FixedWindow, Table<<FixedWindow as Program>::State>, ManualClock>;

fn window(limit: f64) -> Window {
    let window = FixedWindow::builder().limit(limit).window(Duration::from_secs(60)).build().expect("good options");
    Limiter::builder(window).clock(ManualClock::default()).build()
}

/// Sends a request of `cost` to a layer of the limits `a` and `b`, which decide as `asked`, and gives the meters that its
/// handler found.
async fn meters(asked: impl Admit, (a, b): (&Window, &Window), cost: f64) -> Vec<KeyMeter> {
    let layer = ThrottleLayer::builder_for(asked, ManualClock::default()).cost(cost);
    let layer = layer.limit("a", a.clone()).limit("b", b.clone()).build().expect("good options").share(true);
    let found: Arc<Mutex<Vec<KeyMeter>>> = Arc::default();
    let service = layer.layer(service_fn(|request: Request<()>| {
        let admitted = request.extensions().get::<Admitted>().expect("it is shared");
        found.lock().expect("no panic").extend(admitted.meters());
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    }));
    service.oneshot(request()).await.expect("an answer");
    found.lock().expect("no panic").clone()
}

fn units(meters: &[KeyMeter]) -> Vec<Option<f64>> {
    meters.iter().map(|meter| meter.taken().map(|taken| taken.units)).collect()
}

fn give_back(meter: &KeyMeter) -> Decision {
    let taken: Refund = meter.taken().expect("it took some");
    meter.meter().give_back(meter.key(), taken).now().expect("memory does not wait").expect("a refund")
}

#[tokio::test]
async fn of_rate_and_cost_each_gets_back_what_it_gave() {
    let (requests, tokens) = (window(60.0), window(1_000.0));
    let both = Unified::builder().rate(requests.clone()).cost(tokens.clone()).clock(ManualClock::default());
    let both = both.build().expect("good options");
    let mut last = Vec::new();
    for _ in 0..3 {
        last = meters(both.clone(), (&requests, &tokens), 100.0).await;
    }
    assert_eq!(units(&last), [Some(1.0), Some(100.0)]);
    assert_eq!(last.iter().map(give_back).map(|back| back.remaining).collect::<Vec<_>>(), [58, 800]);
}

#[tokio::test]
async fn a_dimension_gets_back_its_weight() {
    let (a, b) = (window(60.0), window(60.0));
    let all = Multi::all().limiter("a", &a, 1.0).limiter("b", &b, 5.0).keep_each(true);
    let all = Arc::new(all.clock(ManualClock::default()).build().expect("good options"));
    for _ in 0..2 {
        meters(Arc::clone(&all), (&a, &b), 2.0).await;
    }
    let last = meters(all, (&a, &b), 2.0).await;
    assert_eq!(units(&last), [Some(2.0), Some(10.0)]);
    assert_eq!(last.iter().map(give_back).map(|back| back.remaining).collect::<Vec<_>>(), [56, 40]);
}

#[tokio::test]
async fn nothing_was_taken_of_a_dimension_that_denied() {
    let (a, b) = (window(1.0), window(60.0));
    let any = Multi::any().limiter("a", &a, 1.0).limiter("b", &b, 1.0).keep_each(true);
    let any = Arc::new(any.clock(ManualClock::default()).build().expect("good options"));
    assert_eq!(units(&meters(Arc::clone(&any), (&a, &b), 1.0).await), [Some(1.0), Some(1.0)]);
    assert_eq!(units(&meters(any, (&a, &b), 1.0).await), [None, Some(1.0)]);
}

#[tokio::test]
async fn what_is_not_told_is_not_given_back() {
    let (a, b) = (window(60.0), window(60.0));
    let all = Multi::all().limiter("a", &a, 1.0).limiter("b", &b, 5.0);
    let all = all.clock(ManualClock::default()).build().expect("good options");
    assert_eq!(units(&meters(all, (&a, &b), 2.0).await), [None, None]);
}

#[tokio::test]
async fn meters_count_under_the_key_that_was_asked() {
    let (requests, tokens) = (window(60.0), window(5.0));
    let both = Unified::builder().rate(requests.clone()).cost(tokens.clone()).clock(ManualClock::default());
    let both = both.hash_tag(true).build().expect("good options");
    let found = meters(both, (&requests, &tokens), 3.0).await;
    assert!(found.iter().all(|meter| meter.key() == "{203.0.113.5}"));
    let debit = |units| found[1].debit(units).now().expect("memory does not wait").expect("a decision");
    assert!(!debit(3.0).allowed, "3 of 5 are taken");
    assert!(debit(2.0).allowed);
    assert_eq!(give_back(&found[1]).remaining, 3);
}
