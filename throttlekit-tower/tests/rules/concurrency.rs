//! Rules of a file that limit the work in flight: slots are held until the response is over, in every fail mode.

use std::sync::{Arc, Mutex};

use http::{Request, StatusCode};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Axes, Guard, ManualClock, Priority};
use throttlekit_tower::PeerAddr;
use throttlekit_tower::{Throttle, ThrottleLayer};
use tokio_test::{assert_pending, assert_ready_ok};
use tower::Service as _;

use crate::common::{Hello, around, field, send, text};
use crate::support::{ManualRuntime, Mood, Opener};

const TEXT: &str = "
store: { redis: { url: redis://cache }, timeout: 100ms, breaker: { failures: 3 } }
limiters:
  slots: { concurrency: { limit: 2 } }
  both: { strategy: fixedWindow, limit: 9, period: 1m, concurrency: { limit: 2 } }
  rate: { strategy: fixedWindow, limit: 1, period: 1m }
http:
  rules:
    - { path: /slots, policy: slots }
    - { path: /open, policy: both }
    - { path: /closed, policy: both, failMode: closed }
    - { path: /local, policy: both, failMode: { local: { share: 0.5 } } }
    - { path: /joint, policies: [rate, slots] }
";

struct Setup {
    clock: ManualClock,
    opener: Opener,
    policies: Policies,
    service: Throttle<Hello>,
    hello: Hello,
    limited: Arc<Mutex<Vec<String>>>,
    axes: Arc<Mutex<Vec<Axes>>>,
}

fn setup() -> Setup {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    let policies = Policies::load(TEXT, options).expect("a good text");
    let limited: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&limited);
    let layer = ThrottleLayer::from_config(&policies).expect("rules");
    let axes: Arc<Mutex<Vec<Axes>>> = Arc::default();
    let seen = Arc::clone(&axes);
    let layer = layer.on_limited(move |limited| {
        told.lock().expect("no panic").push(limited.policy.to_owned());
        seen.lock().expect("no panic").push(limited.admission.axes);
    });
    let (service, hello) = around(&layer);
    Setup { clock, opener, policies, service, hello, limited, axes }
}

fn request(path: &str) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).expect("a good request");
    request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 41_000).into()));
    request
}

impl Setup {
    fn in_flight(&self, policy: &str) -> u32 {
        self.policies.get(policy).and_then(|policy| policy.guard_report()).expect("a guard").in_flight
    }

    fn dropped(&self, policy: &str) -> u64 {
        self.policies.get(policy).and_then(|policy| policy.guard_stats()).expect("a guard").dropped
    }
}

#[tokio::test]
async fn a_slot_is_held_until_the_body_is_read() {
    let setup = setup();
    let first = send(&setup.service, request("/slots")).await;
    assert_eq!((field(&first, "ratelimit-limit"), field(&first, "ratelimit-remaining")), ("2", "1"));
    let second = send(&setup.service, request("/slots")).await;
    assert_eq!(setup.in_flight("slots"), 2);

    let denied = send(&setup.service, request("/slots")).await;
    assert_eq!((denied.status(), field(&denied, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!((field(&denied, "ratelimit-limit"), field(&denied, "ratelimit-remaining")), ("2", "0"));
    assert_eq!(text(denied).await, r#"{"error":"Too Many Requests","retryAfterMs":1}"#);
    assert_eq!(setup.in_flight("slots"), 2);

    assert_eq!(text(first).await, "hello");
    assert_eq!((setup.in_flight("slots"), setup.dropped("slots")), (1, 0));
    drop(second);
    assert_eq!((setup.in_flight("slots"), setup.dropped("slots")), (0, 1));
    assert_eq!(setup.hello.calls(), 2);
}

#[tokio::test]
async fn slots_and_units_are_one_decision() {
    let setup = setup();
    let response = send(&setup.service, request("/open")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("2", "1"));
    assert_eq!(field(&response, "ratelimit-reset"), "60", "the later of the two");
    drop(response);

    // Of a joint rule, the policy that denied is named.
    let held = send(&setup.service, request("/joint")).await;
    assert_eq!(held.status(), StatusCode::CREATED);
    assert_eq!(send(&setup.service, request("/joint")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(setup.in_flight("slots"), 1, "a denial by the rate holds no slot");
    let other = send(&setup.service, request("/slots")).await;
    assert_eq!(send(&setup.service, request("/joint")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(*setup.limited.lock().expect("no panic"), ["rate", "slots"]);
    // The rate, of which nothing was left, was not asked once the slots had denied.
    let allowed = |axes: &Axes| [axes.rate, axes.concurrency].map(|axis| axis.map(|decision| decision.allowed));
    let axes: Vec<_> = setup.axes.lock().expect("no panic").iter().map(allowed).collect();
    assert_eq!(axes, [[Some(false), Some(true)], [None, Some(false)]]);
    drop((held, other));
    assert_eq!(setup.in_flight("slots"), 0);
}

/// The server would be without protection just when its store is out.
#[tokio::test]
async fn a_request_that_a_fail_mode_lets_pass_holds_its_slot() {
    for path in ["/open", "/local"] {
        let setup = setup();
        setup.opener.store.set(Mood::Down);
        let held = [send(&setup.service, request(path)).await, send(&setup.service, request(path)).await];
        assert!(held.iter().all(|response| response.status() == StatusCode::CREATED), "{path}");
        assert_eq!(setup.in_flight("both"), 2, "{path}");
        let denied = send(&setup.service, request(path)).await;
        assert_eq!((denied.status(), field(&denied, "ratelimit-limit")), (StatusCode::TOO_MANY_REQUESTS, "2"));
        for response in held {
            assert_eq!(text(response).await, "hello");
        }
        assert_eq!((setup.in_flight("both"), setup.dropped("both")), (0, 0), "{path}");
    }
}

#[tokio::test]
async fn a_request_that_fails_gives_its_slot_back() {
    let setup = setup();
    setup.opener.store.set(Mood::Down);
    assert_eq!(send(&setup.service, request("/closed")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    setup.opener.store.set(Mood::Broken);
    for path in ["/open", "/closed", "/local"] {
        assert_eq!(send(&setup.service, request(path)).await.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    // What stands in refuses: four of nine units.
    setup.opener.store.set(Mood::Down);
    for _ in 0..4 {
        assert_eq!(text(send(&setup.service, request("/local")).await).await, "hello");
    }
    assert_eq!(send(&setup.service, request("/local")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((setup.in_flight("both"), setup.dropped("both")), (0, 0));
}

#[test]
fn a_slot_is_held_while_a_store_is_waited_for() {
    for (path, status) in [("/open", 201), ("/closed", 503), ("/local", 201)] {
        let mut setup = setup();
        setup.opener.store.set(Mood::Hung);
        let mut response = tokio_test::task::spawn(setup.service.call(request(path)));
        assert_pending!(response.poll());
        assert_eq!(setup.in_flight("both"), 1, "{path}");
        setup.clock.advance(100.0);
        let answered = assert_ready_ok!(response.poll());
        assert_eq!(answered.status(), status, "{path}");
        assert_eq!(setup.in_flight("both"), u32::from(status == 201), "{path}");
        drop(answered);

        let mut dropped = tokio_test::task::spawn(setup.service.call(request(path)));
        assert_pending!(dropped.poll());
        assert_eq!(setup.in_flight("both"), 1, "{path}");
        drop(dropped);
        // The work had not begun, so that nothing was learnt.
        assert_eq!((setup.in_flight("both"), setup.dropped("both")), (0, u64::from(status == 201)), "{path}");
    }
}

const QUEUED: &str = "
limiters:
  queued: { strategy: fixedWindow, limit: 9, period: 1m, concurrency: { limit: 1, queue: { max: 1, timeoutMs: 100 } } }
  shares: { concurrency: { limit: 4, priorities: { low: 0.25 } } }
http:
  rules:
    - { path: /queued, policy: queued }
    - { path: /tried, policy: queued, shadow: true }
    - { path: /low, policy: shares, priority: low }
    - { path: /normal, policy: shares }
";

fn queued() -> (ManualClock, Policies, Throttle<Hello>, Hello) {
    let clock = ManualClock::new(600_000.0);
    let options = LoadOptions::new().clock(clock.clone()).runtime(ManualRuntime::new(&clock));
    let policies = Policies::load(QUEUED, options).expect("a good text");
    let (service, hello) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    (clock, policies, service, hello)
}

#[test]
fn a_request_may_wait_for_a_slot() {
    let (clock, policies, mut service, hello) = queued();
    let in_flight = || policies.get("queued").and_then(|policy| policy.guard_report()).expect("a guard").in_flight;
    let mut first = tokio_test::task::spawn(service.call(request("/queued")));
    let held = assert_ready_ok!(first.poll());

    let mut waiting = tokio_test::task::spawn(service.call(request("/queued")));
    assert_pending!(waiting.poll());
    // The queue is full.
    let mut third = tokio_test::task::spawn(service.call(request("/queued")));
    assert_eq!(assert_ready_ok!(third.poll()).status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(hello.calls(), 1);
    drop(held);
    assert!(waiting.is_woken());
    let second = assert_ready_ok!(waiting.poll());
    assert_eq!((second.status(), field(&second, "ratelimit-limit"), in_flight()), (StatusCode::CREATED, "1", 1));

    let mut late = tokio_test::task::spawn(service.call(request("/queued")));
    assert_pending!(late.poll());
    clock.advance(100.0);
    assert_eq!(assert_ready_ok!(late.poll()).status(), StatusCode::TOO_MANY_REQUESTS);
    let mut dropped = tokio_test::task::spawn(service.call(request("/queued")));
    assert_pending!(dropped.poll());
    drop(dropped);
    drop(second);
    assert_eq!((hello.calls(), in_flight()), (2, 0));
}

#[tokio::test]
async fn nobody_waits_for_a_rule_that_is_tried_out() {
    let (_, _, service, hello) = queued();
    let held = send(&service, request("/queued")).await;
    let mut tried = tokio_test::task::spawn(service.clone().call(request("/tried")));
    assert_eq!(assert_ready_ok!(tried.poll()).status(), StatusCode::CREATED);
    drop(held);
    assert_eq!(hello.calls(), 2);
}

#[tokio::test]
async fn a_rule_says_how_much_its_requests_matter() {
    let (_, _, service, _) = queued();
    let low = send(&service, request("/low")).await;
    assert_eq!(send(&service, request("/low")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&service, request("/normal")).await.status(), StatusCode::CREATED);
    drop(low);
}

#[tokio::test]
async fn a_layer_without_a_file_takes_priorities_from_requests() {
    let guard = Guard::builder().fixed(4).priority_share(Priority::Low, 0.25).build().expect("good options");
    let layer = ThrottleLayer::builder_for(guard.clone(), ManualClock::default());
    let layer = layer.priority_fn(|request| match request.path() {
        "/low" => Priority::Low,
        "/panics" => panic!("a function that panics"),
        _ => Priority::Normal,
    });
    let (service, _) = around(&layer.build().expect("good options"));
    let held = send(&service, request("/low")).await;
    assert_eq!(send(&service, request("/low")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&service, request("/")).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, request("/panics")).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(guard.in_flight(), 1);
    drop(held);

    let layer = ThrottleLayer::builder_for(guard.clone(), ManualClock::default()).priority(Priority::Low);
    let (service, _) = around(&layer.build().expect("good options"));
    let held = send(&service, request("/")).await;
    assert_eq!(send(&service, request("/")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(held);
}
