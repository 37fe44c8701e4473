//! Who asks: keys that clients can neither choose nor read.

use std::sync::{Arc, Mutex};

use http::{HeaderValue, Request};
use throttlekit::ManualClock;
use throttlekit_tower::key::{
    AllKeys, ApiKey, ClaimKey, Claims, ClientIp, ConstantKey, CookieKey, Hashed, HeaderKey, Key, KeyExtractor,
    KeyHasher, PathParam, PeerIp, QueryKey,
};
use throttlekit_tower::{Plain, Rejection, RequestHead, ThrottleLayer, ThrottleLayerBuilder, Tower};

use crate::common::{Script, around, from_peer, gcra, send};

const SECRET: &str = "sixteen bytes or more";

fn key_of(extractor: &impl KeyExtractor<Tower<Plain>>, request: &Request<()>) -> Option<String> {
    extractor.key(&RequestHead::new(request)).map(|key| key.as_str().to_owned())
}

fn to(path: &str) -> Request<()> {
    Request::get(path).body(()).expect("a good path")
}

fn with(mut request: Request<()>, fields: &[(&'static str, &str)]) -> Request<()> {
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

fn hasher() -> KeyHasher {
    KeyHasher::new("k1", SECRET).expect("a good secret")
}

#[test]
fn a_client_behind_proxies_cannot_choose_his_key() {
    let listed = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).build().expect("a network");
    let key = |peer: &str, lines: &[&str]| {
        let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        key_of(&listed, &with(from_peer(peer), &fields))
    };
    for spoofed in ["6.6.6.6", "7.7.7.7, 10.0.0.9", "unknown", "\"", ""] {
        let line = format!("{spoofed}, 198.51.100.7");
        assert_eq!(key("10.0.0.1:80", &[&line]).as_deref(), Some("198.51.100.7"), "{spoofed}");
        assert_eq!(key("10.0.0.1:80", &[spoofed, "198.51.100.7", "10.0.0.5"]).as_deref(), Some("198.51.100.7"));
        // Past the proxies nobody is believed.
        assert_eq!(key("203.0.113.5:80", &[&line]).as_deref(), Some("203.0.113.5"), "{spoofed}");
    }
    // Clients of one proxy do not share a key.
    assert_ne!(key("10.0.0.1:80", &["198.51.100.7"]), key("10.0.0.1:80", &["198.51.100.8"]));
    assert_eq!(key_of(&listed, &with(Request::new(()), &[("x-forwarded-for", "")])), None);
}

#[tokio::test]
async fn a_peer_that_is_hidden_is_not_missed() {
    let script = Script::default();
    let client = ClientIp::builder().trust_hops(0).peer_hidden(true).build().expect("good options");
    let layer = ThrottleLayer::builder_for(script.clone(), ManualClock::default()).client_ip(client);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let layer = layer.build().expect("good options");
    let layer = layer.on_error(move |failure| log.lock().expect("no panic").push(failure.error.to_string()));
    for fields in [&[("x-forwarded-for", "6.6.6.6, 198.51.100.7")][..], &[]] {
        send(&around(&layer).0, with(Request::new(()), fields)).await;
    }
    assert_eq!(script.keys(), ["198.51.100.7", "anon"]);
    assert!(told.lock().expect("no panic").is_empty());
    let error = ClientIp::builder().peer_hidden(true).build().expect_err("there is no address at all");
    assert_eq!(error.option(), "clientIp.peerHidden");
}

#[test]
fn another_header_than_the_chosen_one_is_never_read() {
    let client = ClientIp::builder().trust_hops(1).header("cf-connecting-ip").build().expect("a header");
    let both = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("cf-connecting-ip", "198.51.100.7")];
    assert_eq!(key_of(&client, &with(from_peer("10.0.0.1:80"), &both)).as_deref(), Some("198.51.100.7"));
    assert_eq!(key_of(&client, &with(from_peer("10.0.0.1:80"), &both[..2])).as_deref(), Some("10.0.0.1"));
}

#[tokio::test]
async fn a_missing_key_counts_under_the_client_and_not_the_proxy() {
    let script = Script::default();
    let client = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).build().expect("a network");
    let header = HeaderKey::named("x-tenant").expect("a name");
    let builder = ThrottleLayer::builder_for(script.clone(), ManualClock::default());
    let layer = builder.key(header).client_ip(client).build().expect("good options");
    for forwarded in ["198.51.100.7", "198.51.100.8", "2001:db8::1"] {
        send(&around(&layer).0, with(from_peer("10.0.0.1:80"), &[("x-forwarded-for", forwarded)])).await;
    }
    assert_eq!(script.keys(), ["peer:198.51.100.7", "peer:198.51.100.8", "peer:2001:db8::"]);
}

#[tokio::test]
async fn behind_proxies_that_are_known_the_client_is_the_key() {
    let client = || ClientIp::builder().trust_proxies(["10.0.0.0/8"]).build().expect("a network");
    let builder = |script: &Script| ThrottleLayer::builder_for(script.clone(), ManualClock::default());
    let keys = async |change: fn(ThrottleLayerBuilder, ClientIp) -> ThrottleLayerBuilder| {
        let script = Script::default();
        let layer = change(builder(&script), client()).build().expect("good options");
        for forwarded in ["198.51.100.7", "2001:db8:1:2::3"] {
            send(&around(&layer).0, with(from_peer("10.0.0.1:80"), &[("x-forwarded-for", forwarded)])).await;
        }
        script.keys()
    };
    assert_eq!(keys(|builder, _| builder).await, ["10.0.0.1"; 2]);
    assert_eq!(keys(ThrottleLayerBuilder::client_ip).await, ["198.51.100.7", "2001:db8:1:2::"]);
    assert_eq!(keys(ThrottleLayerBuilder::key).await, ["198.51.100.7", "2001:db8:1:2::"]);
    let peer = keys(|builder, client| builder.client_ip(client).key(PeerIp::default())).await;
    assert_eq!(peer, ["10.0.0.1"; 2], "it was asked for");
}

#[test]
fn api_keys_are_hashed_wherever_they_are() {
    let hashed = hasher().hash("sk-1").as_str().to_owned();
    let header = ApiKey::header("X-API-Key", hasher()).expect("a name");
    let cookie = ApiKey::cookie("key", hasher()).expect("a name");
    let (bearer, query) = (ApiKey::bearer(hasher()), ApiKey::query("key", hasher()));
    let found = [
        key_of(&bearer, &with(to("/"), &[("authorization", "Bearer sk-1")])),
        key_of(&bearer, &with(to("/"), &[("authorization", "bEARER  sk-1 ")])),
        key_of(&header, &with(to("/"), &[("x-api-key", "sk-1")])),
        key_of(&query, &to("/?a=1&key=sk-1")),
        key_of(&query, &to("/?k%65y=s%6b-1")),
        key_of(&cookie, &with(to("/"), &[("cookie", "a=1; key=sk-1; b=2")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "a=1"), ("cookie", "key=\"sk-1\"")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "key=s%6b-1")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "k%65y=%22sk-1%22")])),
    ];
    assert!(found.iter().all(|key| key.as_ref() == Some(&hashed)), "{found:?}");
    assert!(hashed.starts_with("k1:") && hashed.len() == 67);
    let missing = [
        key_of(&bearer, &to("/")),
        key_of(&bearer, &with(to("/"), &[("authorization", "Basic sk-1")])),
        key_of(&bearer, &with(to("/"), &[("authorization", "Bearer")])),
        key_of(&bearer, &with(to("/"), &[("authorization", "Bearer ")])),
        key_of(&bearer, &with(to("/"), &[("authorization", "Bearer sk-1"), ("authorization", "Bearer sk-2")])),
        key_of(&header, &with(to("/"), &[("x-api-key", "")])),
        key_of(&query, &to("/?key=")),
        key_of(&query, &to("/?key=sk-1&key=sk-1")),
        key_of(&query, &to("/")),
        key_of(&cookie, &with(to("/"), &[("cookie", "key=sk-1; key=sk-2")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "key=sk-1; k%65y=sk-2")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "key=%22%22")])),
        key_of(&cookie, &with(to("/"), &[("cookie", "Key=sk-1; keys=sk-1; key")])),
    ];
    assert!(missing.iter().all(Option::is_none), "{missing:?}");
    assert!(ApiKey::header("a b", hasher()).is_err() && ApiKey::cookie("a=b", hasher()).is_err());
}

#[test]
fn any_key_can_be_hashed() {
    let peer = Hashed::new(PeerIp::default(), hasher());
    let key = key_of(&peer, &from_peer("[2001:db8:1:2::3]:80")).expect("a peer");
    assert_eq!(key, hasher().hash("2001:db8:1:2::").as_str());
    assert_eq!(key_of(&peer, &Request::new(())), None);
}

#[test]
fn values_are_keys_and_long_ones_are_hashed() {
    let query = QueryKey::named("tenant");
    let cookie = CookieKey::named("tenant").expect("a name");
    assert_eq!(key_of(&query, &to("/?tenant=acme+inc&x=%ff")).as_deref(), Some("acme inc"));
    assert_eq!(key_of(&cookie, &with(to("/"), &[("cookie", "x=1;tenant= acme ;y")])).as_deref(), Some("acme"));
    let long = "x".repeat(257);
    let posing = ["peer:203.0.113.5", "peer%3A203.0.113.5", "sha256:00", &long];
    for value in posing {
        let key = key_of(&query, &to(&format!("/?tenant={value}"))).expect("a key");
        assert!(key.starts_with("sha256:") && key.len() == 71, "{value}: {key}");
    }
    let key = key_of(&cookie, &with(to("/"), &[("cookie", "tenant=peer:1")])).expect("a key");
    assert!(key.starts_with("sha256:"));
    assert!(CookieKey::named("").is_err());
}

#[test]
fn values_that_are_no_utf_8_are_different_keys() {
    let query = QueryKey::named("k");
    let keys = ["%FF", "%FE", "%EF%BF%BD", "a+%62"].map(|value| key_of(&query, &to(&format!("/?k={value}"))));
    let [one, other, replacement, plain] = keys.map(|key| key.expect("a key"));
    assert!(one.starts_with("sha256:") && other.starts_with("sha256:") && one != other);
    assert_eq!((&*replacement, &*plain), ("\u{fffd}", "a b"));
    assert_eq!(key_of(&query, &to("/?%6B=a%20b")).as_deref(), Some("a b"));
    assert_eq!(key_of(&query, &to("/?k=%2B")).as_deref(), Some("+"));
}

/// Otherwise a client had a fresh limit for each way to write a path.
#[test]
fn a_path_parameter_is_one_key_however_it_is_written() {
    let user = PathParam::of("/users/{id}/orders", "id").expect("a parameter");
    for path in ["/users/alice/orders", "/users/%61lice/orders", "/users/%61%6C%69%63%65/orders?x=1"] {
        assert_eq!(key_of(&user, &to(path)).as_deref(), Some("alice"), "{path}");
    }
    assert_eq!(key_of(&user, &to("/users//orders")), None);
    assert_eq!(key_of(&user, &to("/users")), None);
    let rest = PathParam::of("/files/{*rest}", "rest").expect("a parameter");
    assert_eq!(key_of(&rest, &to("/files/a/b%2Fc")).as_deref(), Some("a/b/c"));
    let dated = PathParam::of("/{{v1}}/log-{day}.txt", "day").expect("a parameter");
    for path in ["/x/log-monday.txt", "/x/%6cog-mond%61y%2etxt"] {
        assert_eq!(key_of(&dated, &to(path)).as_deref(), Some("monday"), "{path}");
    }
    assert_eq!(key_of(&dated, &to("/x/monday")), None);
    let error = PathParam::of("/users/{id}", "user").expect_err("another name");
    assert_eq!(error.to_string(), r#"pathParam.name is "user": must be a parameter of the path "/users/{id}""#);
    assert!(PathParam::of("/{{v1}}", "v1").is_err());
}

#[test]
fn claims_are_what_the_program_says() {
    let tenant = ClaimKey::named("tenant");
    let mut request = with(to("/?tenant=evil"), &[("tenant", "evil"), ("cookie", "tenant=evil")]);
    assert_eq!(key_of(&tenant, &request), None);
    request.extensions_mut().insert(Claims::new().with("tenant", "old").with("tenant", "acme").with("sub", ""));
    assert_eq!(key_of(&tenant, &request).as_deref(), Some("acme"));
    assert_eq!(key_of(&ClaimKey::named("sub"), &request), None);
}

#[test]
fn combinations_never_meet() {
    let header = |name| HeaderKey::named(name).expect("a name");
    let both = AllKeys::new(header("a")).and(header("b"));
    let key = |a, b| key_of(&both, &with(to("/"), &[("a", a), ("b", b)])).expect("a key");
    assert_eq!(key("acme", "x"), "4:acme,1:x,");
    let pairs = [("a", "b"), ("b", "a"), ("a,1:b", ""), ("", "a,1:b"), ("a,", "b"), ("a", ",b")];
    let keys: std::collections::HashSet<_> = pairs.iter().map(|(a, b)| key(a, b)).collect();
    assert_eq!(keys.len(), pairs.len());
    assert_eq!(key_of(&both, &with(to("/"), &[("a", "x")])), None);
}

/// Whatever makes a key, no store gets more than 512 bytes of it.
#[tokio::test]
async fn keys_of_closures_are_bounded() {
    let script = Script::default();
    let builder = || ThrottleLayer::builder_for(script.clone(), ManualClock::default());
    for length in [512, 513, 100_000] {
        let layer = builder().key_fn(move |_| Some(Key::from("x".repeat(length)))).build().expect("good options");
        send(&around(&layer).0, to("/")).await;
    }
    let keys = script.keys();
    let lengths: Vec<_> = keys.iter().map(String::len).collect();
    assert_eq!(lengths, [512, 71, 71]);
    assert!(keys[1] != keys[2] && keys[1].starts_with("sha256:"));
}

/// A hook that logs what it is told logs no key.
#[tokio::test]
async fn a_logged_denial_shows_no_key() {
    let shown = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&shown);
    let builder = ThrottleLayer::builder(gcra(1.0));
    let layer = builder.key(HeaderKey::named("x-api-key").expect("a name")).build().expect("good options");
    let layer = layer.on_limited(move |limited| {
        assert_eq!(limited.key, "MARKED-4711");
        *log.lock().expect("no panic") = format!("{limited:?} {limited:#?} {:?}", Rejection::Limited(*limited));
    });
    let service = around(&layer).0;
    for status in [201, 429] {
        let response = send(&service, with(to("/"), &[("x-api-key", "MARKED-4711")])).await;
        assert_eq!(response.status(), status);
    }
    let shown = shown.lock().expect("no panic");
    assert!(shown.contains("Limited") && !shown.contains("MARKED"), "{shown}");
}

/// What may be logged shows neither keys nor secrets.
#[test]
fn debug_output_shows_no_key_and_no_secret() {
    const MARKED: &str = "MARKED-4711";
    let marked = KeyHasher::new("k1", "MARKED-4711 MARKED-4711").expect("a good secret");
    let path = format!("/{MARKED}");
    let mut request = with(from_peer("198.51.100.77:80"), &[("x-api-key", MARKED), ("cookie", "s=MARKED-4711")]);
    request.extensions_mut().insert(Claims::new().with("sub", MARKED));
    *request.uri_mut() = path.parse().expect("a path");
    let head: RequestHead<'_> = RequestHead::new(&request);
    let header = HeaderKey::named("x-api-key").expect("a name");
    let api_key = ApiKey::header("x-api-key", marked.clone()).expect("a name");
    let peer = PeerIp::default();
    let keys: Vec<Key<'_>> = [
        KeyExtractor::<Tower<Plain>>::key(&header, &head),
        KeyExtractor::<Tower<Plain>>::key(&api_key, &head),
        KeyExtractor::<Tower<Plain>>::key(&peer, &head),
        Some(Key::from(path.clone())),
    ]
    .into_iter()
    .map(|key| key.expect("a key"))
    .collect();
    let layer = ThrottleLayer::builder_for(Script::default(), ManualClock::default());
    let layer = layer.key(api_key.clone()).build().expect("good options");
    let all: AllKeys<Tower<Plain>> = AllKeys::new(ConstantKey::new("all")).and(api_key.clone());
    let service = around(&layer).0;
    let shown = [
        format!("{keys:?} {keys:#?}"),
        format!("{head:?} {head:#?}"),
        format!("{api_key:?} {marked:?} {all:?} {:?}", marked.hash(MARKED)),
        format!("{:?}", Claims::new().with("sub", MARKED)),
        format!("{layer:?} {layer:#?} {service:?}"),
    ];
    let digest = marked.hash(MARKED).as_str()[3..].to_owned();
    for text in shown {
        for secret in [MARKED, "198.51.100.77", &digest] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
