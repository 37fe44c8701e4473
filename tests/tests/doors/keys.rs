//! Whom requests count for, wherever a framework keeps what tells it.

use http::{HeaderMap, Method};
use throttlekit_http::key::Claims;

use crate::client::{Client, field, read};
use crate::servers::{Framework, Server};
use crate::setup::Setup;

/// Who asks, as each server has verified it before the limits are asked.
pub(crate) fn verified(headers: &HeaderMap) -> Option<Claims> {
    verified_user(headers.get("x-user")?.to_str().ok())
}

pub(crate) fn verified_user(user: Option<&str>) -> Option<Claims> {
    Some(Claims::new().with("sub", user?))
}

/// The status and what is left of two units.
async fn told(client: &mut Client, path: &str, own: Option<(&str, &str)>) -> (u16, String) {
    let response = client.send(Method::GET, path, own).await.expect("a response");
    (response.status().as_u16(), field(&response, "ratelimit-remaining").to_owned())
}

pub(crate) async fn each_source_of_a_key_is_found<F: Framework>() {
    type Asked<'a> = (&'a str, Option<(&'a str, &'a str)>);
    let cases: [[Asked<'_>; 3]; 6] = [
        [
            ("/claimed/hello", Some(("x-user", "ann"))),
            ("/claimed/other", Some(("x-user", "ann"))),
            ("/claimed/hello", Some(("x-user", "bob"))),
        ],
        [("/queried/hello?k=a%62c", None), ("/queried/hello?x=1&k=abc", None), ("/queried/hello?k=abd", None)],
        [
            ("/baked/hello", Some(("cookie", "k=abc; x=1"))),
            ("/baked/hello", Some(("cookie", "x=2; k=abc"))),
            ("/baked/hello", Some(("cookie", "k=abd"))),
        ],
        [("/parts/abc/hello", None), ("/parts/%61bc/hello", None), ("/parts/abd/hello", None)],
        [
            ("/hashed/hello", Some(("authorization", "Bearer sk-1"))),
            ("/hashed/hello", Some(("authorization", "bearer sk-1"))),
            ("/hashed/hello", Some(("authorization", "Bearer sk-2"))),
        ],
        [
            ("/pairs/hello?k=a", Some(("x-user", "ann"))),
            ("/pairs/hello?k=a", Some(("x-user", "ann"))),
            ("/pairs/hello?k=b", Some(("x-user", "ann"))),
        ],
    ];
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for [one, again, other] in cases {
        for ((path, own), left) in [(one, "1"), (again, "0"), (other, "1")] {
            assert_eq!(told(&mut client, path, own).await, (200, left.to_owned()), "{path} {own:?}");
        }
    }
    for path in ["/claimed/hello", "/queried/hello", "/baked/hello", "/hashed/hello", "/pairs/hello?k=a"] {
        assert_eq!(told(&mut client, path, None).await, (400, String::new()), "{path}");
    }
    let claim = Some(("sub", "ann"));
    assert_eq!(told(&mut client, "/claimed/hello", claim).await.0, 400, "what a client says is no claim");
}

pub(crate) async fn calls_of_grpc_are_refused_as_such<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let call = Some(("content-type", "application/grpc"));
    for _ in 0..2 {
        assert_eq!(told(&mut client, "/rate/hello", call).await.0, 200);
    }
    let refused = client.send(Method::POST, "/rate/hello", call).await.expect("a response");
    let fields = ["content-type", "grpc-status", "grpc-message", "retry-after", "ratelimit-limit"];
    assert_eq!(
        fields.map(|name| field(&refused, name)),
        ["application/grpc", "8", "rate limit exceeded; retry after 60000ms", "60", "2"]
    );
    assert!(!field(&refused, "grpc-status-details-bin").is_empty());
    assert_eq!((refused.status().as_u16(), read(refused).await.expect("no body").as_str()), (200, ""));
    assert_eq!(told(&mut client, "/rate/hello", call).await.0, 429, "calls are never a GET");
}
