//! Rules of a file whose limiters are over sketches or behind deny lists.

use http::Request;
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_tower::{PeerAddr, Throttle, ThrottleLayer};

use crate::common::{Hello, around, field, send};

/// The example that comes with the guide.
const EXAMPLE: &str = include_str!("../../../examples/screens.yaml");

struct Setup {
    clock: ManualClock,
    policies: Policies,
    service: Throttle<Hello>,
    hello: Hello,
}

fn setup() -> Setup {
    let clock = ManualClock::new(600_000.0);
    let policies = Policies::load(EXAMPLE, LoadOptions::new().clock(clock.clone())).expect("a good text");
    let (service, hello) = around(&ThrottleLayer::from_config(&policies).expect("rules"));
    Setup { clock, policies, service, hello }
}

/// The status, and what the fields say of the limit, of what is left and of the wait.
#[derive(Debug, PartialEq)]
struct Seen(u16, String, String, String);

fn seen(status: u16, limit: &str, left: &str, wait: &str) -> Seen {
    Seen(status, limit.to_owned(), left.to_owned(), wait.to_owned())
}

impl Setup {
    /// From the `host`th address of a network.
    async fn get(&self, path: &str, host: u32) -> Seen {
        let mut request = Request::get(path).body(()).expect("a good request");
        let [_, b, c, d] = host.to_be_bytes();
        request.extensions_mut().insert(PeerAddr(([10, b, c, d], 41_000).into()));
        let response = send(&self.service, request).await;
        let text = |name: &str| {
            if response.headers().contains_key(name) { field(&response, name).to_owned() } else { String::new() }
        };
        Seen(response.status().as_u16(), text("ratelimit-limit"), text("ratelimit-remaining"), text("retry-after"))
    }
}

#[tokio::test]
async fn a_flood_of_addresses_passes_and_each_of_them_is_limited() {
    let setup = setup();
    for host in 0..2_000 {
        assert_eq!(setup.get("/pages/x", host).await.0, 201, "{host}");
    }
    let mut passed = 0;
    while setup.get("/pages/x", 5_000).await.0 == 201 {
        passed += 1;
    }
    assert_eq!(passed, 60, "it has a state of its own by now");
    assert_eq!(setup.get("/pages/x", 5_001).await, seen(201, "60", "59", ""));
}

#[tokio::test]
async fn who_only_knocks_is_refused_for_a_while() {
    let setup = setup();
    for left in (0..5).rev() {
        assert_eq!(setup.get("/login", 1).await, seen(201, "5", &left.to_string(), ""));
    }
    for _ in 0..100 {
        assert_eq!(setup.get("/login", 1).await, seen(429, "5", "0", "300"));
    }
    assert_eq!(setup.get("/login", 1).await, seen(429, "0", "0", "3600"), "he is on the list");
    assert_eq!(setup.get("/login", 2).await, seen(201, "5", "4", ""), "nobody else is");
    setup.clock.advance(300_000.0);
    assert_eq!(setup.get("/login", 1).await, seen(429, "0", "0", "3300"));
    let list = setup.policies.get("login").and_then(|login| login.deny_list().cloned()).expect("a list");
    assert!(list.pardon("10.0.0.1"));
    assert_eq!(setup.get("/login", 1).await, seen(201, "5", "4", ""));
    assert_eq!(setup.hello.calls(), 7);
}

#[tokio::test]
async fn the_list_of_one_policy_of_several_refuses_for_all() {
    let setup = setup();
    // The limit of the search denies from the 11th on, and its list after twenty denials.
    for index in 0..30 {
        let expected = if index < 10 { 201 } else { 429 };
        assert_eq!(setup.get("/search", 3).await.0, expected, "{index}");
    }
    assert_eq!(setup.get("/search", 3).await, seen(429, "0", "0", "60"));
    assert_eq!(setup.get("/search", 4).await.0, 201);
    let all = setup.policies.get("all").and_then(|policy| policy.limiter().cloned()).expect("a limiter");
    let decision = all.peek("10.0.0.3").now().ok().and_then(Result::ok).expect("memory does not wait");
    assert_eq!(decision.remaining, 90, "what was refused was not charged");
}

#[tokio::test]
async fn a_sketch_limits_each_address_by_window() {
    let setup = setup();
    for left in (0..3).rev() {
        assert_eq!(setup.get("/feed", 1).await, seen(201, "3", &left.to_string(), ""));
    }
    assert_eq!(setup.get("/feed", 1).await.0, 429);
    assert_eq!(setup.get("/feed", 2).await.0, 201);
    setup.clock.advance(1_000.0);
    assert_eq!(setup.get("/feed", 1).await.0, 429, "a unit counts for up to one and a half windows");
    setup.clock.advance(500.0);
    assert_eq!(setup.get("/feed", 1).await, seen(201, "3", "2", ""));
}
