//! Whom the rules of a file count requests for.

use http::{HeaderValue, Request};
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_tower::key::Claims;
use throttlekit_tower::{PeerAddr, Throttle, ThrottleLayer};

use crate::common::{Hello, around, send};

/// A service with one rule over `/t/{tenant}`, which admits each key once.
fn service(rule: &str, defaults: &str) -> Throttle<Hello> {
    let text = format!(
        "limiters: {{ x: {{ strategy: gcra, limit: 1, period: 1h }} }}\n\
         http: {{ defaults: {{ {defaults} }}, rules: [{{ path: '/t/{{tenant}}', policy: x, {rule} }}] }}\n"
    );
    let env = |name: &str| (name == "SECRET").then(|| "sixteen bytes or more".to_owned());
    let options = LoadOptions::new().clock(ManualClock::new(0.0)).env(env);
    let policies = Policies::load(&text, options).expect("a good text");
    around(&ThrottleLayer::from_config(&policies).expect("rules")).0
}

/// A request of the proxy at 10.0.0.1.
fn request(uri: &str, fields: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::get(uri).body(()).expect("a good request");
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(PeerAddr(([10, 0, 0, 1], 41_000).into()));
    request
}

/// Which of the requests are admitted, one after another.
async fn admitted(service: &Throttle<Hello>, requests: impl IntoIterator<Item = Request<()>>) -> Vec<bool> {
    let mut admitted = Vec::new();
    for request in requests {
        admitted.push(send(service, request).await.status() == 201);
    }
    admitted
}

#[tokio::test]
async fn clients_of_one_proxy_have_limits_of_their_own_and_cannot_take_another() {
    let service = service("cost: 1", "clientIp: { trustProxy: [10.0.0.0/8] }");
    let from = |line| request("/t/a", &[("x-forwarded-for", line)]);
    let requests = [
        from("198.51.100.7"),
        from("6.6.6.6, 198.51.100.7"),
        from("198.51.100.8"),
        from("198.51.100.9, 198.51.100.8, 10.0.0.2"),
        from("2001:db8:1:2::3"),
        from("2001:db8:1:2::4"),
        from("2001:db8:1:3::4"),
    ];
    assert_eq!(admitted(&service, requests).await, [true, false, true, false, true, false, true]);
}

#[tokio::test]
async fn without_trust_a_header_makes_no_fresh_limit() {
    for rule in ["key: peer", "key: clientIp", "clientIp: { trustProxy: false }"] {
        let service = service(rule, "cost: 1");
        let requests = [request("/t/a", &[]), request("/t/a", &[("x-forwarded-for", "198.51.100.7")])];
        assert_eq!(admitted(&service, requests).await, [true, false], "{rule}");
    }
}

#[tokio::test]
async fn each_source_of_a_file_is_found() {
    let bearer = |token| request("/t/a", &[("authorization", token)]);
    let cookie = |cookie| request("/t/a", &[("cookie", cookie)]);
    let claim = |tenant: &str| {
        let mut request = request("/t/a", &[]);
        request.extensions_mut().insert(Claims::new().with("tenant", tenant));
        request
    };
    for (key, [one, again, other]) in [
        ("{ query: k }", [request("/t/a?k=1", &[]), request("/t/a?x=2&k=1", &[]), request("/t/a?k=2", &[])]),
        ("{ cookie: k }", [cookie("k=1"), cookie("x=2; k=1"), cookie("k=2")]),
        ("{ pathParam: tenant }", [request("/t/a", &[]), request("/t/%61", &[]), request("/t/b", &[])]),
        ("{ claim: tenant }", [claim("a"), claim("a"), claim("b")]),
        (
            "{ apiKey: { bearer: true, keyId: k, secret: '${SECRET}' } }",
            [bearer("Bearer sk-1"), bearer("bearer sk-1"), bearer("Bearer sk-2")],
        ),
        (
            "{ all: [{ pathParam: tenant }, { query: k }] }",
            [request("/t/a?k=1", &[]), request("/t/a?k=1", &[]), request("/t/b?k=1", &[])],
        ),
    ] {
        let service = service(&format!("key: {key}, missing: reject"), "cost: 1");
        assert_eq!(admitted(&service, [one, again, other]).await, [true, false, true], "{key}");
        // A path that matches the rule has its parameter.
        if key != "{ pathParam: tenant }" {
            assert_eq!(send(&service, request("/t/a", &[])).await.status(), 400, "{key}");
        }
    }
}

#[tokio::test]
async fn who_has_no_key_counts_under_his_address() {
    let service = service("key: { query: k }", "clientIp: { trustProxy: 1 }");
    let from = |line| request("/t/a", &[("x-forwarded-for", line)]);
    let requests = [from("198.51.100.7"), from("198.51.100.8"), from("198.51.100.7"), request("/t/a?k=1", &[])];
    assert_eq!(admitted(&service, requests).await, [true, true, false, true]);
}
