//! Which key a request counts under.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Request, StatusCode};
use throttlekit::{ManualClock, MissingKey};
use throttlekit_tower::key::{AllKeys, ClientIp, ConstantKey, Hashed, HeaderKey, KeyExtractor, KeyHasher, PeerIp};
use throttlekit_tower::{Framework, FrameworkLayer, Plain, RequestHead, ThrottleLayer, ThrottleLayerBuilder, Tower};
use tower::{Layer as _, ServiceExt as _};

use crate::common::{Hello, Script, around, from_peer, request, send};

fn layer(script: &Script) -> ThrottleLayerBuilder {
    ThrottleLayer::builder_for(script.clone(), ManualClock::default())
}

fn key_of(extractor: &impl KeyExtractor<Tower<Plain>>, request: &Request<()>) -> Option<String> {
    extractor.key(&RequestHead::new(request)).map(|key| key.as_str().to_owned())
}

#[test]
fn peers_are_addresses_without_ports() {
    for (peer, key) in [
        ("203.0.113.5:41000", "203.0.113.5"),
        ("0.0.0.0:1", "0.0.0.0"),
        ("255.99.100.9:1", "255.99.100.9"),
        ("[::ffff:203.0.113.5]:1", "203.0.113.5"),
        ("[2001:db8:abcd:1234::1]:1", "2001:db8:abcd:1234::"),
        ("[2001:db8:abcd:1234:ffff:ffff:ffff:ffff]:9", "2001:db8:abcd:1234::"),
        ("[::1]:1", "::"),
        ("[2001:0:0:1:2::]:1", "2001:0:0:1::"),
    ] {
        assert_eq!(key_of(&PeerIp::default(), &from_peer(peer)).as_deref(), Some(key), "{peer}");
    }
    assert_eq!(key_of(&PeerIp::default(), &Request::new(())), None);
}

#[test]
fn the_kept_bits_of_ipv6_can_be_chosen() {
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (bits, address, key) in [
        (128, full, full),
        (48, "2001:db8:abcd:9999::1", "2001:db8:abcd::"),
        (56, "2001:db8:abcd:12ff::1", "2001:db8:abcd:1200::"),
        (0, full, "::"),
        (64, "::102:304", "::"),
        (128, "::102:304", "::102:304"),
    ] {
        let extractor = PeerIp::with_ipv6_prefix(bits).expect("within range");
        assert_eq!(key_of(&extractor, &from_peer(&format!("[{address}]:1"))).as_deref(), Some(key), "{address}/{bits}");
    }
    let error = PeerIp::with_ipv6_prefix(129).expect_err("out of range");
    assert_eq!(error.to_string(), "peerIp.ipv6Prefix is 129: must be a whole number from 0 to 128");
}

#[tokio::test]
async fn what_proxies_say_is_not_the_key() {
    let script = Script::default();
    let (service, _) = around(&layer(&script).build().expect("good options"));
    for forwarded in ["198.51.100.1", "198.51.100.2"] {
        let mut request = request();
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        send(&service, request).await;
    }
    assert_eq!(script.keys(), ["203.0.113.5"; 2]);
}

#[test]
fn header_values_are_keys() {
    let extractor = HeaderKey::named("X-Api-Key").expect("a name");
    let with = |values: &[&[u8]]| {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append("x-api-key", HeaderValue::from_bytes(value).expect("a value"));
        }
        key_of(&extractor, &request)
    };
    assert_eq!(with(&[b"alice"]).as_deref(), Some("alice"));
    assert_eq!(with(&["z\u{fc}rich".as_bytes()]).as_deref(), Some("z\u{fc}rich"));
    assert_eq!(with(&[b""]).as_deref(), Some(""));
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[b"alice", b"alice"]), None);
    let longest = "a".repeat(256);
    assert_eq!(with(&[longest.as_bytes()]), Some(longest));
    assert_eq!(
        with(&["a".repeat(257).as_bytes()]).as_deref(),
        Some("sha256:e8d95cc2b4bc198c54b40bd214df958afb65f5e73d2c2eafe0593cf5c635c1f0")
    );
    for name in ["not a name", ""] {
        let error = HeaderKey::named(name).expect_err("bad").to_string();
        assert_eq!(error, format!("headerKey.name is {name:?}: must be a header field name"));
    }
}

#[test]
fn nobody_poses_as_a_key_of_another_kind() {
    let extractor = HeaderKey::named("x-api-key").expect("a name");
    for value in ["peer:203.0.113.5", "sha256:00", "peer:", "sha256:"] {
        let mut request = Request::new(());
        request.headers_mut().append("x-api-key", HeaderValue::from_static(value));
        let key = key_of(&extractor, &request).expect("a key");
        assert!(key.starts_with("sha256:") && key.len() == 71, "{key}");
    }
    let mut request = Request::new(());
    request.headers_mut().append("x-api-key", HeaderValue::from_bytes(b"\xff\xfe").expect("a value"));
    assert!(key_of(&extractor, &request).is_some_and(|key| key.starts_with("sha256:")));
}

#[tokio::test]
async fn a_missing_key_falls_back_as_told() {
    let header = || HeaderKey::named("x-api-key").expect("a name");
    let keys_with = async |missing: MissingKey, request: Request<()>| {
        let script = Script::default();
        let (service, hello) =
            around(&layer(&script).key(header()).missing_key(missing).build().expect("good options"));
        let status = send(&service, request).await.status();
        (script.keys(), status, hello.calls())
    };
    let created = StatusCode::CREATED;
    assert_eq!(keys_with(MissingKey::Peer, request()).await, (vec!["peer:203.0.113.5".to_owned()], created, 1));
    assert_eq!(keys_with(MissingKey::Peer, Request::new(())).await, (vec!["anon".to_owned()], created, 1));
    assert_eq!(keys_with(MissingKey::Shared, request()).await, (vec!["anon".to_owned()], created, 1));
    assert_eq!(keys_with(MissingKey::Skip, request()).await, (vec![], created, 1));
    assert_eq!(keys_with(MissingKey::Reject, request()).await, (vec![], StatusCode::BAD_REQUEST, 0));
}

#[tokio::test]
async fn an_unknown_peer_is_reported_once() {
    let script = Script::default();
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let layer = layer(&script).build().expect("good options").on_error(move |failure| {
        assert_eq!(failure.error.code(), "invalid_argument");
        let text = failure.error.to_string();
        assert!(text.contains("`PeerAddr`") && !text.contains("into_make_service"), "{text}");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (service, hello) = around(&layer);
    for _ in 0..3 {
        assert_eq!(send(&service, Request::new(())).await.status(), StatusCode::CREATED);
    }
    assert_eq!(script.keys(), ["anon"; 3]);
    assert_eq!((told.load(Ordering::SeqCst), hello.calls()), (1, 3));
}

#[tokio::test]
async fn an_unknown_peer_is_reported_whatever_becomes_of_the_request() {
    let header = || HeaderKey::named("x-tenant").expect("a name");
    let client = || ClientIp::builder().build().expect("good options");
    let told_of = async |builder: ThrottleLayerBuilder, missing: MissingKey| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let layer = builder.missing_key(missing).build().expect("good options");
        let layer = layer.on_error(move |failure| log.lock().expect("no panic").push(failure.error.to_string()));
        for _ in 0..2 {
            let mut request = Request::new(());
            request.headers_mut().insert("x-tenant", HeaderValue::from_static("acme"));
            send(&around(&layer).0, request).await;
        }
        told.lock().expect("no panic").clone()
    };
    let script = Script::default();
    for (missing, so) in [
        (MissingKey::Peer, "share the key `anon`"),
        (MissingKey::Shared, "share the key `anon`"),
        (MissingKey::Skip, "are not limited"),
        (MissingKey::Reject, "are refused"),
    ] {
        for builder in [
            layer(&script),
            layer(&script).key(client()),
            layer(&script).key(AllKeys::new(client()).and(header())),
            layer(&script)
                .key(Hashed::new(client(), KeyHasher::new("k1", "sixteen bytes or more").expect("a good secret"))),
        ] {
            let told = told_of(builder, missing).await;
            assert!(told.len() == 1 && told[0].contains(so), "{missing:?}: {told:?}");
        }
        // Who does not need the address hears nothing of it.
        assert!(told_of(layer(&script).key(header()), missing).await.is_empty());
    }
}

#[tokio::test]
async fn another_framework_says_what_to_do_about_an_unknown_peer() {
    #[derive(Debug)]
    struct Theirs;
    impl Framework for Theirs {
        type Bodies = Plain;

        const PEER_REMEDY: &'static str = "switch on `remote_address`";
    }
    let told = Arc::new(Mutex::new(String::new()));
    let text = Arc::clone(&told);
    let layer = FrameworkLayer::<Theirs>::builder_for(Script::default(), ManualClock::default())
        .build()
        .expect("good options")
        .on_error(move |failure| *text.lock().expect("no panic") = failure.error.to_string());
    layer.layer(Hello::default()).oneshot(Request::new(())).await.expect("a response");
    let told = told.lock().expect("no panic");
    assert!(told.ends_with("share the key `anon`: switch on `remote_address`"), "{told}");
}

#[tokio::test]
async fn constants_and_closures_are_keys() {
    let script = Script::default();
    let constant = layer(&script).key(ConstantKey::new("all")).build().expect("good options");
    send(&around(&constant).0, request()).await;
    let closure = layer(&script).key_fn(|request| Some(request.path().into())).build().expect("good options");
    let mut request = request();
    *request.uri_mut() = "/orders?x=1".parse().expect("a path");
    send(&around(&closure).0, request).await;
    assert_eq!(script.keys(), ["all", "/orders"]);
}
