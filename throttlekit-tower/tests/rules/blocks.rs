//! Rules of a file whose limiters are of other kinds than plain ones.

use http::{HeaderValue, Request};
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_tower::{Throttle, ThrottleLayer};

use crate::common::{Hello, around, field, send};
use crate::support::{Mood, Opener};

const TEXT: &str = "
store: { redis: { url: redis://cache }, breaker: { failures: 3 } }
limiters:
  tiers: { strategy: fixedWindow, limit: 3, period: 1m, twoTier: { batch: 2, windowCoupled: true } }
  tokens: { tokenBudget: { budget: 10, windowMs: 60000 } }
  fleet: { fleetBudget: { budget: 10, windowMs: 60000 } }
  leased: { fleetBudget: { budget: 12, windowMs: 60000, leased: { batch: 8 } } }
  fair: { fairEscrow: { limit: 10, windowMs: 60000, weights: { gold: 4 } } }
http:
  defaults: { key: { header: x-tenant }, missing: reject }
  rules:
    - { path: /tiers, policy: tiers }
    - { path: /tokens, policy: tokens, cost: 4 }
    - { path: /fleet, policy: fleet, cost: 4 }
    - { path: /leased, policy: leased, cost: 4, failMode: closed }
    - { path: /fair, policy: fair }
    - { path: /local, policy: fleet, failMode: { local: { share: 0.5 } } }
";

struct Setup {
    clock: ManualClock,
    opener: Opener,
    service: Throttle<Hello>,
    hello: Hello,
}

fn setup() -> Setup {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone());
    let policies = Policies::load(TEXT, options).expect("a good text");
    let (service, hello) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    Setup { clock, opener, service, hello }
}

/// The status, and what the fields say of the limit, of what is left and of the wait.
#[derive(Debug, PartialEq)]
struct Seen(u16, String, String, String);

impl Setup {
    async fn get(&self, path: &str, tenant: &'static str) -> Seen {
        let mut request = Request::builder().uri(path).body(()).expect("a good request");
        request.headers_mut().insert("x-tenant", HeaderValue::from_static(tenant));
        let response = send(&self.service, request).await;
        let text = |name: &str| {
            if response.headers().contains_key(name) { field(&response, name).to_owned() } else { String::new() }
        };
        Seen(response.status().as_u16(), text("ratelimit-limit"), text("ratelimit-remaining"), text("retry-after"))
    }
}

fn passed(limit: &str, left: &str) -> Seen {
    Seen(201, limit.to_owned(), left.to_owned(), String::new())
}

fn denied(limit: &str, left: &str) -> Seen {
    Seen(429, limit.to_owned(), left.to_owned(), "60".to_owned())
}

#[tokio::test]
async fn two_tiers_lease_from_the_store() {
    let setup = setup();
    // Of a lease of 2; then of one of 1, as no more is left in the store.
    for left in ["1", "0", "0"] {
        assert_eq!(setup.get("/tiers", "a").await, passed("3", left));
    }
    assert_eq!(setup.get("/tiers", "a").await, denied("3", "0"));
    assert_eq!(setup.get("/tiers", "b").await, passed("3", "1"));
    assert_eq!(setup.hello.calls(), 4);
    let calls = setup.opener.store.calls();
    setup.get("/tiers", "a").await;
    setup.get("/tiers", "b").await;
    assert_eq!(setup.opener.store.calls(), calls, "both are known here");
    setup.clock.advance(60_000.0);
    assert_eq!(setup.get("/tiers", "a").await, passed("3", "1"));
}

#[tokio::test]
async fn budgets_are_debited_in_process_or_in_the_store() {
    for path in ["/tokens", "/fleet"] {
        let setup = setup();
        for left in ["6", "2", "0"] {
            assert_eq!(setup.get(path, "a").await, passed("10", left));
        }
        assert_eq!(setup.get(path, "a").await, denied("10", "0"));
        assert_eq!(setup.get(path, "b").await, passed("10", "6"));
        let calls = if path == "/fleet" { 5 } else { 0 };
        assert_eq!((setup.opener.store.calls(), setup.hello.calls()), (calls, 4), "{path}");
    }
}

#[tokio::test]
async fn budgets_are_leased() {
    let setup = setup();
    for left in ["4", "0", "0"] {
        assert_eq!(setup.get("/leased", "a").await, passed("12", left));
    }
    assert_eq!(setup.opener.store.calls(), 2);
    assert_eq!(setup.get("/leased", "a").await, denied("12", "0"));
}

#[tokio::test]
async fn tenants_share_by_weight() {
    let setup = setup();
    assert_eq!(setup.get("/fair", "gold").await, passed("10", "9"), "nobody else is there");
    for left in ["1", "0"] {
        assert_eq!(setup.get("/fair", "basic").await, passed("2", left));
    }
    assert_eq!(setup.get("/fair", "basic").await, denied("2", "0"));
    for left in (0..7).rev() {
        assert_eq!(setup.get("/fair", "gold").await, passed("8", &left.to_string()));
    }
    assert_eq!(setup.get("/fair", "gold").await, denied("8", "0"));
    assert_eq!(setup.opener.store.calls(), 0);
}

#[tokio::test]
async fn fail_modes_apply_to_what_needs_the_store() {
    let setup = setup();
    assert_eq!(setup.get("/leased", "a").await, passed("12", "4"));
    setup.opener.store.set(Mood::Down);
    assert_eq!(setup.get("/leased", "a").await, passed("12", "0"), "it is held here");
    assert_eq!(setup.get("/leased", "a").await.0, 503);
    assert_eq!(setup.get("/fleet", "a").await.0, 201, "open");
    for left in (0..5).rev() {
        assert_eq!(setup.get("/local", "a").await, passed("5", &left.to_string()));
    }
    assert_eq!(setup.get("/local", "a").await.0, 429);
    assert_eq!((setup.get("/tokens", "a").await, setup.get("/fair", "a").await.0), (passed("10", "6"), 201));
}

#[tokio::test]
async fn a_limiter_with_slots_shows_its_own_units_beside_those_of_others() {
    let text = "
limiters:
  both: { strategy: fixedWindow, limit: 9, period: 1m, concurrency: { limit: 5 } }
  other: { strategy: fixedWindow, limit: 2, period: 1m }
http: { rules: [{ path: /, policies: [both, other], key: { constant: all }, headers: structured }] }
";
    let policies = Policies::load(text, LoadOptions::new().clock(ManualClock::new(0.0))).expect("a good text");
    let (service, _) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    let get = || send(&service, Request::get("/").body(()).expect("a good request"));
    let response = get().await;
    assert_eq!(field(&response, "ratelimit"), "\"other\";r=1;t=60, \"both\";r=4;t=60");
    drop((response, get().await));
    assert_eq!(field(&get().await, "ratelimit"), "\"other\";r=0;t=60, \"both\";r=5;t=60");
}

const CHAT: &str = "
store: { redis: { url: redis://cache }, breaker: { failures: 100 } }
limiters:
  requests: { strategy: fixedWindow, limit: 3, period: 1m }
  tokens: { tokenBudget: { budget: 10, windowMs: 60000 } }
http:
  defaults: { key: { header: x-tenant }, headers: structured }
  rules:
    - { path: /chat, policies: [requests, tokens], costs: { tokens: 4 } }
    - { path: /closed, policies: [requests, tokens], failMode: closed }
    - { path: /trial, policies: [requests, tokens], costs: { tokens: 4 }, shadow: true }
";

#[tokio::test]
async fn a_budget_beside_a_rate_in_the_store_counts_also_while_that_is_out() {
    let opener = Opener::new(&ManualClock::new(600_000.0));
    let options = LoadOptions::new().clock(ManualClock::new(600_000.0)).connector(opener.clone());
    let policies = Policies::load(CHAT, options).expect("a good text");
    let (service, hello) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    let get = async |path: &str, tenant: &'static str| {
        let mut request = Request::builder().uri(path).body(()).expect("a good request");
        request.headers_mut().insert("x-tenant", HeaderValue::from_static(tenant));
        let response = send(&service, request).await;
        let shown = response.headers().get("ratelimit").and_then(|value| value.to_str().ok()).unwrap_or_default();
        (response.status().as_u16(), shown.to_owned())
    };
    let seen = |status: u16, shown: &str| (status, shown.to_owned());
    assert_eq!(get("/chat", "a").await, seen(201, "\"tokens\";r=6;t=60, \"requests\";r=2;t=60"));
    opener.store.set(Mood::Down);
    assert_eq!(get("/chat", "a").await, seen(201, "\"tokens\";r=2;t=60"), "the rate is open");
    assert_eq!(get("/closed", "a").await, seen(503, ""));
    assert_eq!(get("/chat", "a").await, seen(201, "\"tokens\";r=0;t=60"), "what was refused took nothing");
    assert_eq!(get("/chat", "a").await, seen(429, "\"tokens\";r=0;t=60"));
    opener.store.set(Mood::Up);
    assert_eq!(get("/chat", "a").await.0, 429);
    assert_eq!((get("/trial", "a").await.0, hello.calls()), (201, 4), "a rule that only tries its limits out");
}
