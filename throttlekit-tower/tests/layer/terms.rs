//! The terms of single requests: plans, and who is asked for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, StatusCode};
use throttlekit::{Error, ManualClock};
use throttlekit_tower::{Lookup, Terms, Throttle, ThrottleLayer};
use tokio::sync::Semaphore;

use crate::common::{Hello, around, field, gcra, request, send};

fn tiered() -> throttlekit_tower::ThrottleLayerBuilder {
    ThrottleLayer::builder(gcra(1.0)).policy_name("free").plan("pro", gcra(3.0))
}

fn paying(request: &mut Request<()>) {
    request.headers_mut().insert("x-plan", "pro".parse().expect("a value"));
}

async fn limits_of(service: &Throttle<Hello>, change: fn(&mut Request<()>)) -> (String, StatusCode) {
    let mut request = request();
    change(&mut request);
    let response = send(service, request).await;
    (field(&response, "ratelimit-limit").to_owned(), response.status())
}

#[tokio::test]
async fn each_request_meets_the_limit_of_its_plan() {
    let terms = |request: &throttlekit_tower::RequestHead<'_>, _: &str| {
        if request.headers().contains_key("x-plan") { Terms::new().plan("pro").cost(2.0) } else { Terms::new() }
    };
    let (service, _) = around(&tiered().terms_fn(terms).build().expect("good options"));
    assert_eq!(limits_of(&service, |_| ()).await, ("1".to_owned(), StatusCode::CREATED));
    assert_eq!(limits_of(&service, |_| ()).await, ("1".to_owned(), StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(limits_of(&service, paying).await, ("3".to_owned(), StatusCode::CREATED));
    assert_eq!(limits_of(&service, paying).await, ("3".to_owned(), StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn an_unknown_plan_is_told_of_and_meets_the_limit_of_all() {
    let errors = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&errors);
    let layer =
        tiered().terms_fn(|_, _| Terms::new().plan("gold")).build().expect("good options").on_error(move |failure| {
            assert!(failure.error.to_string().contains("gold"));
            count.fetch_add(1, Ordering::Relaxed);
        });
    let (service, _) = around(&layer);
    assert_eq!(limits_of(&service, |_| ()).await, ("1".to_owned(), StatusCode::CREATED));
    assert_eq!(limits_of(&service, |_| ()).await, ("1".to_owned(), StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(errors.load(Ordering::Relaxed), 2);
}

#[test]
fn plans_that_cannot_be_told_are_refused() {
    let refused = |builder: throttlekit_tower::ThrottleLayerBuilder| builder.build().expect_err("refused").to_string();
    let terms = |builder: throttlekit_tower::ThrottleLayerBuilder| builder.terms_fn(|_, _| Terms::new());
    let error = refused(terms(tiered().plan("pro", gcra(1.0))));
    assert_eq!(error, "throttleLayer.plan is pro: must be a name of its own");
    let error = refused(tiered());
    assert_eq!(
        error,
        "throttleLayer.plan is pro: must be the plan of some requests: `terms` or `terms_fn` say of which"
    );
}

#[tokio::test]
async fn a_lookup_asks_once_and_remembers_for_a_while() {
    let (asked, clock) = (Arc::new(AtomicUsize::new(0)), ManualClock::new(0.0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |key: String| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            assert_eq!(key, "203.0.113.5");
            Ok(Terms::new().plan("pro"))
        }
    });
    let lookup = lookup.remember(10, Duration::from_secs(5)).expect("good options").clock(clock.clone());
    let (service, _) = around(&tiered().terms(lookup).build().expect("good options"));
    // Both wait for one answer.
    let both = tokio::join!(limits_of(&service, |_| ()), limits_of(&service, |_| ()));
    assert_eq!((both.0.0.as_str(), both.1.0.as_str(), asked.load(Ordering::SeqCst)), ("3", "3", 1));
    limits_of(&service, |_| ()).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    clock.advance(5_000.0);
    limits_of(&service, |_| ()).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_lookup_remembers_no_more_than_it_may() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Terms::new()) }
    });
    let lookup = lookup.remember(3, Duration::from_secs(3_600)).expect("good options").clock(ManualClock::new(0.0));
    let layer = tiered().key_fn(|request| Some(request.path().into())).terms(lookup).build().expect("good options");
    let (service, _) = around(&layer);
    let paths: Vec<String> = (0..50).map(|user| format!("/users/{user}")).collect();
    for asked_before in [0, 50 - 3] {
        for path in &paths {
            let mut request = request();
            *request.uri_mut() = path.parse().expect("a path");
            send(&service, request).await;
        }
        assert!(asked.load(Ordering::SeqCst) >= 50 + asked_before, "three answers of 50 are remembered");
    }
}

#[tokio::test]
async fn a_lookup_that_fails_is_subject_to_the_fail_mode_and_asks_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err(Error::store_unavailable("no database")) }
    });
    let layer = tiered().terms(lookup).fail_mode(throttlekit::FailMode::Closed).build().expect("good options");
    let (service, _) = around(&layer);
    for calls in 1..=2 {
        assert_eq!(limits_of(&service, |_| ()).await.1, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.load(Ordering::SeqCst), calls);
    }
    assert!(Lookup::new(|_| async { Ok(Terms::new()) }).remember(0, Duration::from_secs(1)).is_err());
    assert!(Lookup::new(|_| async { Ok(Terms::new()) }).remember(1, Duration::ZERO).is_err());
}

#[tokio::test]
async fn all_who_wait_for_a_lookup_hear_of_its_failure_at_once() {
    let (asked, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, wait) = (Arc::clone(&asked), Arc::clone(&fails));
    let lookup = Lookup::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let wait = Arc::clone(&wait);
        async move {
            // Each call fails when it is told to, and none is told twice.
            wait.acquire().await.expect("it stays open").forget();
            Err(Error::store_unavailable("no database"))
        }
    });
    let layer = tiered().terms(lookup).fail_mode(throttlekit::FailMode::Closed).build().expect("good options");
    let (service, inner) = around(&layer);
    let asking: Vec<_> = (0..20).map(|_| limits_of(&service, |_| ())).map(Box::pin).collect();
    let all = futures_util::future::join_all(asking);
    let told = async {
        tokio::task::yield_now().await;
        fails.add_permits(1);
    };
    let both = async { tokio::join!(all, told).0 };
    let answers = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for another call");
    assert!(answers.iter().all(|(_, status)| *status == StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!((asked.load(Ordering::SeqCst), inner.calls()), (1, 0));
    // It is not remembered.
    fails.add_permits(1);
    assert_eq!(limits_of(&service, |_| ()).await.1, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_lookup_that_panics_is_an_error_of_the_server_and_asks_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = Lookup::new(move |_| {
        let asked = count.fetch_add(1, Ordering::SeqCst);
        assert!(asked != 0, "before it waits");
        async move {
            tokio::task::yield_now().await;
            assert!(asked != 1, "while it waits");
            Ok(Terms::new().plan("pro"))
        }
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let layer = tiered().terms(lookup).build().expect("good options").on_error(move |failure| {
        log.lock().expect("no panic").push(failure.error.to_string());
    });
    let (service, inner) = around(&layer);
    for _ in 0..2 {
        assert_eq!(limits_of(&service, |_| ()).await.1, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(inner.calls(), 0);
    assert_eq!(*told.lock().expect("no panic"), ["the function for terms panicked"; 2]);
    assert_eq!(limits_of(&service, |_| ()).await, ("3".to_owned(), StatusCode::CREATED));
}
