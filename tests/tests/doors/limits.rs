//! Which requests pass, and what clients are told.

use http::Method;
use throttlekit::FailMode;

use crate::client::{field, read};
use crate::servers::{Framework, Server};
use crate::setup::Setup;

const DENIAL: &str = r#"{"error":"Too Many Requests","retryAfterMs":60000}"#;

pub(crate) async fn admitted_responses_keep_what_they_are<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let expected = [("created", 201, "made"), ("missing", 404, "missing")];
    for (remaining, (path, status, body)) in [1, 0].into_iter().zip(expected) {
        let response = client.get(&format!("/rate/{path}")).await;
        assert_eq!((response.status().as_u16(), field(&response, "x-custom")), (status, "yes"));
        assert_eq!(field(&response, "ratelimit-remaining"), remaining.to_string());
        assert_eq!(field(&response, "content-length"), body.len().to_string());
        assert_eq!(read(response).await.expect("a whole body"), body);
    }
    let response = client.get("/free").await;
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, ""));
}

pub(crate) async fn a_denial_says_when_to_come_back<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.get("/rate/hello").await;
    }
    let denied = client.get("/rate/hello").await;
    assert_eq!(denied.status(), 429);
    let fields =
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after", "content-type", "x-custom"];
    assert_eq!(fields.map(|name| field(&denied, name)), ["2", "0", "60", "60", "application/json", ""]);
    assert_eq!(field(&denied, "content-length"), DENIAL.len().to_string());
    assert_eq!(read(denied).await.expect("a whole body"), DENIAL);
    // The connection is as good as before.
    assert_eq!(client.get("/free").await.status(), 200);
    assert_eq!(server.setup.heard.all(), ["limited rate /rate/hello"]);
}

pub(crate) async fn a_denial_of_head_has_no_body<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for remaining in ["1", "0"] {
        let response = client.send(Method::HEAD, "/rate/hello", None).await.expect("a response");
        assert_eq!((response.status().as_u16(), field(&response, "ratelimit-remaining")), (200, remaining));
        assert_eq!(read(response).await.expect("no body"), "");
    }
    let denied = client.send(Method::HEAD, "/rate/hello", None).await.expect("a response");
    assert_eq!((denied.status().as_u16(), field(&denied, "retry-after")), (429, "60"));
    assert_eq!(read(denied).await.expect("no body"), "");
    assert_eq!(client.get("/free").await.status(), 200);
}

pub(crate) async fn header_families_are_those_of_the_rule<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let response = client.get("/all/hello").await;
    let names = ["ratelimit-limit", "ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-reset"];
    assert_eq!(names.map(|name| field(&response, name)), ["2", r#""rate";r=1;t=60"#, r#""rate";q=2;w=60"#, "2", "60"]);
    for (status, retry_after) in [(200, ""), (429, "")] {
        let response = client.get("/silent/hello").await;
        assert_eq!(response.status(), status);
        assert_eq!((field(&response, "ratelimit-limit"), field(&response, "retry-after")), ("", retry_after));
    }
}

pub(crate) async fn own_denials_keep_the_fields<F: Framework>() {
    let server = Server::<F>::start(Setup::own_denials()).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.get("/rate/hello").await;
    }
    let denied = client.get("/rate/hello").await;
    assert_eq!((denied.status().as_u16(), field(&denied, "retry-after")), (418, "60"));
    assert_eq!(read(denied).await.expect("a whole body"), DENIAL);
}

pub(crate) async fn several_policies_are_charged_together_or_not<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0")] {
        let response = client.get("/both/hello").await;
        assert_eq!((response.status().as_u16(), field(&response, "ratelimit-remaining")), (status, remaining));
    }
    assert_eq!(server.setup.heard.all(), ["limited rate /both/hello"]);
}

pub(crate) async fn requests_tokens_and_slots_are_charged_together_or_not<F: Framework>() {
    const LEFT: [&str; 2] = ["x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"];
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    // The budget refuses, and the requests and the slot are not taken.
    for (status, left) in
        [(200, ["999", "6"]), (200, ["998", "2"]), (200, ["997", "0"]), (429, ["", "0"]), (429, ["", "0"])]
    {
        let response = client.get("/chat/hello").await;
        assert_eq!((response.status().as_u16(), LEFT.map(|name| field(&response, name))), (status, left));
        read(response).await.expect("a whole body");
        server.settles_at(0, 0).await;
    }
    assert_eq!(field(&client.get("/wide/hello").await, "ratelimit-remaining"), "996");
    assert_eq!(server.setup.heard.all(), ["limited tokens /chat/hello"; 2]);

    // The rate refuses, and the tokens are not taken.
    let mut other = server.client_from([127, 0, 0, 2]).await;
    for (status, left) in [(200, ["1", "8"]), (200, ["0", "6"]), (429, ["0", "6"]), (429, ["0", "6"])] {
        let response = other.get("/talk/hello").await;
        assert_eq!((response.status().as_u16(), LEFT.map(|name| field(&response, name))), (status, left));
    }
    assert_eq!(field(&other.get("/chat/hello").await, LEFT[1]), "2");
}

pub(crate) async fn all_connections_of_a_peer_count_together<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut client = server.client().await;
        for _ in 0..2 {
            statuses.push(client.get("/rate/hello").await.status().as_u16());
        }
    }
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
    // Another peer has a limit of its own.
    assert_eq!(server.client_from([127, 0, 0, 2]).await.get("/rate/hello").await.status(), 200);
}

pub(crate) async fn a_connection_carries_many_requests<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for path in ["/slots/hello", "/slots/empty", "/slots/none", "/slots/same", "/slots/broken"].repeat(20) {
        let response = client.get(path).await;
        assert_ne!(response.status(), 429);
        read(response).await.expect("a whole body");
        server.settles_at(0, 0).await;
    }
}

pub(crate) async fn options_pass_unless_they_are_to_count<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for (path, remaining) in [("/rate/hello", ""), ("/options/hello", "1")] {
        let response = client.send(Method::OPTIONS, path, None).await.expect("a response");
        assert_eq!((response.status().as_u16(), field(&response, "ratelimit-remaining")), (200, remaining));
    }
}

pub(crate) async fn skipped_requests_are_left_alone<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for _ in 0..3 {
        let response = client.get("/rate/skipped").await;
        assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, ""));
    }
    assert_eq!(field(&client.get("/rate/hello").await, "ratelimit-remaining"), "1");
}

/// Some frameworks decode a path before they look for its handler.
pub(crate) async fn rules_hold_however_a_path_is_spelt<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for (path, status) in [("/rate/hello", 200), ("/r%61te/hello", 200), ("/%72%61%74%65/h%65llo", 429)] {
        assert_eq!(client.get(path).await.status(), status, "{path}");
    }
}

pub(crate) async fn keys_come_from_a_header_field<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let mut remaining = async |path: &str, key: Option<&str>| {
        let field_of_key = key.map(|key| ("x-api-key", key));
        let response = client.send(Method::GET, path, field_of_key).await.expect("a response");
        (response.status().as_u16(), field(&response, "ratelimit-remaining").to_owned())
    };
    let told = |status, remaining: &str| (status, remaining.to_owned());
    assert_eq!(remaining("/keyed/hello", Some("ann")).await, told(200, "1"));
    assert_eq!(remaining("/keyed/hello", Some("bob")).await, told(200, "1"));
    assert_eq!(remaining("/keyed/hello", Some("ann")).await, told(200, "0"));
    assert_eq!(remaining("/keyed/hello", Some("ann")).await, told(429, "0"));
    // Without a key: by the peer, together, not at all, or without a limit.
    assert_eq!(remaining("/keyed/hello", None).await, told(200, "1"));
    assert_eq!(remaining("/shared/hello", None).await, told(200, "1"));
    assert_eq!(remaining("/strict/hello", None).await, told(400, ""));
    assert_eq!(remaining("/lenient/hello", None).await, told(200, ""));
}

pub(crate) async fn the_fail_mode_decides_when_the_store_is_out<F: Framework>() {
    let server = Server::<F>::start(Setup::out(FailMode::Open)).await;
    let response = server.client().await.get("/hello").await;
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, ""));
    assert_eq!(read(response).await.expect("a whole body"), "hello");

    let server = Server::<F>::start(Setup::out(FailMode::Closed)).await;
    let response = server.client().await.get("/hello").await;
    assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (503, ""));
    assert_eq!(read(response).await.expect("a whole body"), r#"{"error":"rate limiter unavailable"}"#);
}

pub(crate) async fn clients_of_one_ipv6_network_count_together<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut proxy = server.client().await;
    for (client, status, remaining) in [
        ("2001:db8:1:2::1", 200, "1"),
        ("2001:db8:1:2::2", 200, "0"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", 429, "0"),
        ("2001:db8:1:3::1", 200, "1"),
    ] {
        let forwarded = Some(("x-forwarded-for", client));
        let response = proxy.send(Method::GET, "/proxied/hello", forwarded).await.expect("a response");
        assert_eq!(
            (response.status().as_u16(), field(&response, "ratelimit-remaining")),
            (status, remaining),
            "{client}"
        );
    }
}

pub(crate) async fn clients_cannot_choose_their_address<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    // It is no proxy that is trusted.
    let mut client = server.client_from([127, 0, 0, 2]).await;
    for (claimed, status) in [("198.51.100.1", 200), ("198.51.100.2", 200), ("198.51.100.3", 429)] {
        let forwarded = Some(("x-forwarded-for", claimed));
        let response = client.send(Method::GET, "/proxied/hello", forwarded).await.expect("a response");
        assert_eq!(response.status(), status, "{claimed}");
    }
}

pub(crate) async fn shadows_refuse_nobody<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for _ in 0..3 {
        let response = client.get("/shadow/hello").await;
        assert_eq!(response.status(), 200);
        assert_eq!(read(response).await.expect("a whole body"), "hello");
    }
}

pub(crate) async fn denials_can_be_problem_details<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.get("/problem/hello").await;
    }
    let denied = client.get("/problem/hello").await;
    assert_eq!((denied.status().as_u16(), field(&denied, "content-type")), (429, "application/problem+json"));
    assert_eq!(field(&denied, "retry-after"), "60");
    let problem: serde_json::Value =
        serde_json::from_str(&read(denied).await.expect("a whole body")).expect("it is JSON");
    assert_eq!(problem["status"], 429);
}

pub(crate) async fn who_only_knocks_is_refused_for_a_while<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    // The limit denies for a minute; after two denials the list refuses for an hour.
    for (status, limit, wait) in [(200, "1", ""), (429, "1", "60"), (429, "1", "60"), (429, "0", "3600")] {
        let response = client.get("/login/hello").await;
        let fields = ["ratelimit-limit", "retry-after"].map(|name| field(&response, name));
        assert_eq!((response.status().as_u16(), fields), (status, [limit, wait]));
    }
    assert_eq!(server.setup.heard.all(), ["limited login /login/hello"; 3]);
    assert_eq!(server.client_from([127, 0, 0, 2]).await.get("/login/hello").await.status(), 200);
}
