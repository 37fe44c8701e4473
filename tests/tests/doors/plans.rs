//! Clients with a plan meet other limits.

use http::Method;

use crate::client::{Client, field, read};
use crate::servers::{Framework, Server};
use crate::setup::Setup;
use crate::site::Part;

/// The status, the limit that counted and what is left of it.
async fn told(client: &mut Client, path: &str, own: Option<(&str, &str)>) -> (u16, String, String) {
    let response = client.send(Method::GET, path, own).await.expect("a response");
    let [limit, left] = ["ratelimit-limit", "ratelimit-remaining"].map(|name| field(&response, name).to_owned());
    (response.status().as_u16(), limit, left)
}

fn expected(status: u16, limit: &str, left: &str) -> (u16, String, String) {
    (status, limit.to_owned(), left.to_owned())
}

pub(crate) async fn a_header_names_the_plan<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let pro = Some(("x-plan", "pro"));
    // The limit of the plan at its cost, and that of the rule at the rule's.
    assert_eq!(told(&mut client, "/planned/hello", pro).await, expected(200, "4", "2"));
    assert_eq!(told(&mut client, "/planned/hello", None).await, expected(200, "2", "1"));
    assert_eq!(told(&mut client, "/planned/hello", pro).await, expected(200, "4", "0"));
    assert_eq!(told(&mut client, "/planned/hello", pro).await, expected(429, "4", "0"));
    assert_eq!(told(&mut client, "/planned/hello", None).await, expected(200, "2", "0"));
    assert_eq!(told(&mut client, "/planned/hello", None).await, expected(429, "2", "0"));
    // Where no rule trusts the field it is nothing but what a client says.
    assert_eq!(told(&mut client, "/rate/hello", pro).await, expected(429, "2", "0"));
    assert_eq!(
        server.setup.heard.all(),
        ["limited pro /planned/hello", "limited rate /planned/hello", "limited rate /rate/hello"]
    );
}

pub(crate) async fn a_key_has_a_plan<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for (key, limit, left) in [("acme", "4", "3"), ("globex", "2", "1"), ("acme", "4", "2"), ("globex", "2", "0")] {
        let own = Some(("x-api-key", key));
        assert_eq!(told(&mut client, "/customer/hello", own).await, expected(200, limit, left), "{key}");
    }
    // Without a key it is the peer's address that counts, and that has no plan.
    assert_eq!(told(&mut client, "/customer/hello", None).await, expected(200, "2", "1"));
}

pub(crate) async fn a_plan_may_hold_slots<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let body = server.site.stream();
    let response = client.send(Method::GET, "/planned/stream", Some(("x-plan", "slots"))).await.expect("a response");
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-limit")), (200, "2"), "the slots bind");
    server.settles_at(1, 0).await;
    body.send(Part::Data("hello")).expect("somebody reads");
    drop(body);
    assert_eq!(read(response).await.expect("a whole body"), "hello");
    server.settles_at(0, 0).await;
}

pub(crate) async fn an_unknown_plan_is_an_error_and_counts_on_the_rule<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let gold = Some(("x-plan", "gold"));
    assert_eq!(told(&mut client, "/planned/hello", gold).await, expected(200, "2", "1"));
    let heard = server.setup.heard.all();
    assert!(matches!(&*heard, [one] if one.starts_with("failed ")), "{heard:?}");
}
