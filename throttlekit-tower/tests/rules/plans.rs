//! Rules of a file under which clients with a plan meet other limits.

use std::sync::{Arc, Mutex};

use http::{HeaderValue, Request};
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_tower::key::Claims;
use throttlekit_tower::{PeerAddr, Throttle, ThrottleLayer};

use crate::common::{Hello, around, field, send};

/// The example that comes with the guide.
const EXAMPLE: &str = include_str!("../../../examples/plans.yaml");

fn load(text: &str) -> Policies {
    let env = |name: &str| (name == "API_KEY_SECRET").then(|| "an example of a secret".to_owned());
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).env(env);
    Policies::load(text, options).expect("a good text")
}

fn service(text: &str) -> (Throttle<Hello>, Hello) {
    around(&ThrottleLayer::from_config(&load(text)).expect("rules"))
}

fn request(path: &str, fields: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::get(path).body(()).expect("a good request");
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(PeerAddr(([10, 0, 0, 1], 41_000).into()));
    request
}

fn claiming(user: &str, plan: Option<&str>) -> Request<()> {
    let mut request = request("/app/x", &[]);
    let claims = Claims::new().with("sub", user);
    request.extensions_mut().insert(match plan {
        Some(plan) => claims.with("plan", plan),
        None => claims,
    });
    request
}

/// The status, the limit that counted and what is left of it.
async fn seen(service: &Throttle<Hello>, request: Request<()>) -> (u16, String, String) {
    let response = send(service, request).await;
    let text = |name| field(&response, name).to_owned();
    (response.status().as_u16(), text("ratelimit-limit"), text("ratelimit-remaining"))
}

fn told(status: u16, limit: u64, left: u64) -> (u16, String, String) {
    (status, limit.to_string(), left.to_string())
}

#[tokio::test]
async fn a_verified_claim_names_the_plan() {
    let (service, hello) = service(EXAMPLE);
    for left in (0..5).rev() {
        assert_eq!(seen(&service, claiming("ann", None)).await, told(201, 5, left));
    }
    assert_eq!(seen(&service, claiming("ann", None)).await, told(429, 5, 0));
    for left in (0..10).rev() {
        assert_eq!(seen(&service, claiming("ann", Some("pro"))).await, told(201, 10, left));
    }
    assert_eq!(seen(&service, claiming("ann", Some("pro"))).await, told(429, 10, 0));
    assert_eq!(seen(&service, claiming("bob", Some("pro"))).await, told(201, 10, 9));
    assert_eq!(seen(&service, claiming("ann", Some("enterprise"))).await.0, 201);
    assert_eq!(hello.calls(), 17);
}

#[tokio::test]
async fn the_policies_of_a_plan_count_together_and_hold_slots() {
    let policies = load(EXAMPLE);
    let (service, _) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    let in_flight = || policies.get("slots").and_then(|policy| policy.guard_report()).expect("a guard").in_flight;
    let response = send(&service, claiming("ann", Some("enterprise"))).await;
    assert_eq!((response.status().as_u16(), in_flight()), (201, 1));
    drop(response);
    assert_eq!(in_flight(), 0);
    // Eight in flight for each tenant; the ninth is refused for that, and counts nowhere.
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(send(&service, claiming("ann", Some("enterprise"))).await);
    }
    assert_eq!(send(&service, claiming("ann", Some("enterprise"))).await.status(), 429);
    assert_eq!(send(&service, claiming("ann", None)).await.status(), 201, "the rule itself holds no slots");
    for (policy, left) in [("enterprise", 11), ("month", 999_991)] {
        let limiter = policies.get(policy).and_then(|policy| policy.limiter().cloned()).expect("a limiter");
        let decision = limiter.peek("ann").now().ok().and_then(Result::ok).expect("memory does not wait");
        assert_eq!(decision.remaining, left, "{policy}");
    }
}

#[tokio::test]
async fn the_hash_of_an_api_key_has_a_plan() {
    let (service, _) = service(EXAMPLE);
    let with = |token| request("/v1/x", &[("authorization", token)]);
    assert_eq!(seen(&service, with("Bearer sk-acme")).await, told(201, 10, 9));
    assert_eq!(seen(&service, with("Bearer sk-globex")).await, told(201, 5, 4));
    assert_eq!(seen(&service, with("Bearer sk-acme")).await, told(201, 10, 8));
    // Without a key it is the peer's address that counts, and that has no plan.
    assert_eq!(seen(&service, request("/v1/x", &[])).await, told(201, 5, 4));
}

#[tokio::test]
async fn a_header_counts_only_where_the_file_trusts_it_and_once() {
    let (service, _) = service(EXAMPLE);
    let plan = ("x-plan", "partner");
    let tenant = ("x-tenant", "acme");
    // Half a unit each.
    assert_eq!(seen(&service, request("/internal/x", &[tenant, plan])).await, told(201, 5, 4));
    assert_eq!(seen(&service, request("/internal/x", &[tenant, plan])).await, told(201, 5, 4));
    assert_eq!(seen(&service, request("/internal/x", &[tenant])).await, told(201, 5, 3));
    // Twice it is not from the gateway alone.
    assert_eq!(seen(&service, request("/internal/x", &[tenant, plan, ("x-plan", "partner")])).await, told(201, 5, 2));
    // Elsewhere it is nothing but what a client says.
    assert_eq!(seen(&service, request("/v1/x", &[("x-plan", "pro")])).await, told(201, 5, 4));
}

#[tokio::test]
async fn an_unknown_plan_counts_on_the_rule_and_is_an_error() {
    let told_of: Arc<Mutex<Vec<String>>> = Arc::default();
    let errors = Arc::clone(&told_of);
    let layer = ThrottleLayer::from_config(&load(EXAMPLE)).expect("rules").on_error(move |failure| {
        errors.lock().expect("no panic").push(failure.error.to_string());
    });
    let (service, _) = around(&layer);
    let long = "x".repeat(200);
    assert_eq!(seen(&service, claiming("ann", Some("gold"))).await, told(201, 5, 4));
    assert_eq!(seen(&service, claiming("ann", Some(&long))).await, told(201, 5, 3));
    assert_eq!(seen(&service, claiming("ann", Some(""))).await, told(201, 5, 2), "no plan at all");
    let errors = told_of.lock().expect("no panic").clone();
    let [gold, long] = &*errors else { panic!("{errors:?}") };
    assert!(gold.ends_with("no plan is called \"gold\": the rule's own limit counts"), "{gold}");
    assert!(long.contains(&format!("{}...", "x".repeat(64))) && !long.contains(&"x".repeat(65)), "{long}");
}

#[tokio::test]
async fn a_reload_changes_who_has_a_plan_and_keeps_what_was_counted() {
    let policies = load(EXAMPLE);
    let (service, _) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    let with = |token| request("/v1/x", &[("authorization", token)]);
    assert_eq!(seen(&service, with("Bearer sk-acme")).await, told(201, 10, 9));
    assert_eq!(seen(&service, with("Bearer sk-globex")).await, told(201, 5, 4));
    let acme = "b06aca3568a52106d7be11b1c43bead1ecec2eedc4adcc6deff443b708466efc";
    let globex = "227ad89d2ebfc82bf55429f993d5cb4d3210c8157094fc18b8f9f47c23a65f89";
    policies.reload(&EXAMPLE.replace(acme, globex)).expect("a good text");
    assert_eq!(seen(&service, with("Bearer sk-globex")).await, told(201, 10, 9));
    assert_eq!(seen(&service, with("Bearer sk-acme")).await, told(201, 5, 4));
    policies.reload(EXAMPLE).expect("a good text");
    assert_eq!(seen(&service, with("Bearer sk-acme")).await, told(201, 10, 8));
    assert_eq!(seen(&service, with("Bearer sk-globex")).await, told(201, 5, 3));
}

#[tokio::test]
async fn each_policy_advertises_its_own_quota() {
    let (service, _) = service(
        "
limiters:
  minute: { strategy: gcra, limit: 100, period: 1m, burst: 20, advertise: { quota: 100 } }
  day: { strategy: fixedWindow, limit: 500, period: 24h }
  pro: { strategy: gcra, limit: 900, period: 1m, burst: 30 }
  gold: { strategy: tokenBucket, capacity: 50, refillPerSec: 10, advertise: { quota: 600, windowSeconds: 60 } }
http:
  defaults: { headers: structured }
  rules:
    - path: '/{*rest}'
      policies: [minute, day]
      key: { claim: sub }
      plans: { from: { claim: plan }, table: { pro: { policy: pro }, gold: { policies: [gold, day] } } }
",
    );
    for (plan, state, quotas) in [
        (None, r#""minute";r=19;t=1, "day";r=499;t=86400"#, r#""minute";q=100;w=60, "day";q=500;w=86400"#),
        (Some("pro"), r#""pro";r=29;t=1"#, r#""pro";q=30;w=60"#),
        (Some("gold"), r#""gold";r=49;t=1, "day";r=498;t=86400"#, r#""gold";q=600;w=60, "day";q=500;w=86400"#),
    ] {
        let response = send(&service, claiming("ann", plan)).await;
        assert_eq!((field(&response, "ratelimit"), field(&response, "ratelimit-policy")), (state, quotas), "{plan:?}");
    }
}
