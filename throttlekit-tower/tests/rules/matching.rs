//! Rules from a configuration.

use std::sync::{Arc, Mutex};

use http::{Request, StatusCode};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Event, ManualClock, Observer};
use throttlekit_tower::PeerAddr;
use throttlekit_tower::{Throttle, ThrottleLayer};

use crate::common::{Hello, around, field, send};

fn policies(text: &str) -> Policies {
    Policies::load(text, LoadOptions::new().clock(ManualClock::new(0.0))).expect("a good text")
}

fn service(policies: &Policies) -> (Throttle<Hello>, Hello) {
    around(&ThrottleLayer::from_config(policies).expect("rules"))
}

fn request(method: &str, path: &str) -> Request<()> {
    let mut request = Request::builder().method(method).uri(path).body(()).expect("a good request");
    request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 41_000).into()));
    request
}

async fn status(service: &Throttle<Hello>, method: &str, path: &str) -> u16 {
    send(service, request(method, path)).await.status().as_u16()
}

const TWO: &str = "
limiters:
  hello: { strategy: gcra, limit: 2, period: 1s }
  other: { strategy: fixedWindow, limit: 1, period: 1m }
http:
  rules:
    - { path: /api/hello, methods: [GET], policy: hello }
    - { path: '/api/{*rest}', policy: other, key: { constant: all }, headers: [structured, legacy] }
";

#[tokio::test]
async fn the_most_specific_rule_counts() {
    let (service, hello) = service(&policies(TWO));
    let response = send(&service, request("GET", "/api/hello")).await;
    assert_eq!((field(&response, "ratelimit-limit"), field(&response, "ratelimit-remaining")), ("2", "1"));
    assert_eq!(status(&service, "HEAD", "/api/hello").await, 201);
    assert_eq!(status(&service, "GET", "/api/hello").await, 429);

    let response = send(&service, request("POST", "/api/hello")).await;
    assert_eq!(field(&response, "ratelimit-policy"), r#""other";q=1;w=60"#);
    assert_eq!(field(&response, "x-ratelimit-reset"), "60");
    assert_eq!(status(&service, "PUT", "/api/else").await, 429);
    assert_eq!(status(&service, "OPTIONS", "/api/else").await, 201);

    for _ in 0..5 {
        let response = send(&service, request("GET", "/")).await;
        assert_eq!((response.status(), response.headers().len()), (StatusCode::CREATED, 1));
    }
    assert_eq!(hello.calls(), 9);
}

const TOGETHER: &str = "
limiters:
  wide: { strategy: fixedWindow, limit: 10, period: 1m }
  narrow: { strategy: gcra, limit: 2, period: 1s }
http:
  rules:
    - { path: /both, policies: [wide, narrow], headers: structured }
    - { path: /wide, policy: wide }
";

#[tokio::test]
async fn several_policies_are_charged_all_or_none() {
    let (service, _) = service(&policies(TOGETHER));
    for (narrow, wide) in [(1, 9), (0, 8)] {
        let response = send(&service, request("GET", "/both")).await;
        let shown = format!(r#""narrow";r={narrow};t=1, "wide";r={wide};t=60"#);
        assert_eq!(field(&response, "ratelimit"), shown);
    }
    for _ in 0..4 {
        let response = send(&service, request("GET", "/both")).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(field(&response, "ratelimit-policy"), r#""narrow";q=2;w=1, "wide";q=10;w=60"#);
    }
    let response = send(&service, request("GET", "/wide")).await;
    assert_eq!(field(&response, "ratelimit-remaining"), "7");
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, bool)>>>);

impl Observer for Seen {
    fn observe(&self, event: &Event<'_>) {
        let allowed = event.result.is_ok_and(|decision| decision.allowed);
        self.0.lock().expect("no test panics here").push((event.policy.to_owned(), allowed));
    }
}

#[tokio::test]
async fn an_observer_sees_each_decision_once() {
    let seen = Seen::default();
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).observer(seen.clone());
    let (service, _) = service(&Policies::load(TOGETHER, options).unwrap());
    for path in ["/both", "/wide", "/both", "/both"] {
        send(&service, request("GET", path)).await;
    }
    let expected = [("wide+narrow", true), ("wide", true), ("wide+narrow", true), ("wide+narrow", false)];
    assert_eq!(*seen.0.lock().unwrap(), expected.map(|(policy, allowed)| (policy.to_owned(), allowed)));
}

#[tokio::test]
async fn keys_costs_and_missing_keys_are_as_configured() {
    let (service, hello) = service(&policies(
        "
limiters:
  api: { strategy: fixedWindow, limit: 10, period: 1m }
http:
  rules:
    - { path: /reject, policy: api, key: { header: x-api-key }, missing: reject, cost: 5 }
    - { path: /skip, policy: api, key: { header: x-api-key }, missing: skip, headers: none }
",
    ));
    assert_eq!(status(&service, "GET", "/reject").await, 400);
    assert_eq!(status(&service, "GET", "/skip").await, 201);
    let keyed = |path| {
        let mut request = request("GET", path);
        request.headers_mut().insert("x-api-key", http::HeaderValue::from_static("alice"));
        request
    };
    let response = send(&service, keyed("/reject")).await;
    assert_eq!(field(&response, "ratelimit-remaining"), "5");
    assert_eq!(send(&service, keyed("/skip")).await.headers().len(), 1);
    assert_eq!(send(&service, keyed("/reject")).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(hello.calls(), 3);
}

#[tokio::test]
async fn a_reload_takes_effect_at_once_and_keeps_state() {
    let policies = policies(TWO);
    let (service, _) = service(&policies);
    assert_eq!(status(&service, "GET", "/api/hello").await, 201);
    policies.reload(&TWO.replace("limit: 2,", "limit: 4,")).expect("a good text");
    let response = send(&service, request("GET", "/api/hello")).await;
    assert_eq!(field(&response, "ratelimit-limit"), "4");

    assert!(policies.reload("limiters: nonsense").is_err());
    let response = send(&service, request("GET", "/api/hello")).await;
    assert_eq!(field(&response, "ratelimit-limit"), "4");

    // A block that was left out, left blank or made of a template without items would lift every limit.
    let (limiters, _) = TWO.split_once("http:").expect("it has rules");
    for rules in ["", "http:\n", "http: {}\n", "http: { rules: [] }\n"] {
        let errors = policies.reload(&format!("{limiters}{rules}")).expect_err(rules).to_string();
        assert!(errors.starts_with("config.http.rules: at least one rule is required"), "{errors}");
        let response = send(&service, request("GET", "/api/hello")).await;
        assert_eq!(field(&response, "ratelimit-limit"), "4", "{rules:?}");
    }

    policies.reload(&TWO.replace("/api/hello", "/api/moved")).expect("a good text");
    assert_eq!(status(&service, "GET", "/api/hello").await, 201);
    let response = send(&service, request("GET", "/api/moved")).await;
    assert_eq!(field(&response, "ratelimit-limit"), "2");
}

#[test]
fn a_configuration_without_rules_is_refused() {
    let policies = policies("limiters: { api: { strategy: gcra, limit: 1, period: 1s } }");
    assert_eq!(ThrottleLayer::from_config(&policies).expect_err("no rules").to_string(), "http.rules: required");
}
