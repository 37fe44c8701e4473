//! Handlers that count more than the door did.

use throttlekit_http::{Admitted, Refusal};

use crate::client::field;
use crate::servers::{Framework, Server};
use crate::setup::Setup;

/// Takes one unit more of each limit of the request: 200 if they are there, else 402.
pub(crate) async fn debit(admitted: &Admitted) -> u16 {
    for meter in admitted.meters() {
        if !meter.debit(1.0).await.expect("a decision").allowed {
            return 402;
        }
    }
    200
}

pub(crate) async fn on_axum(throttled: throttlekit_axum::Throttled) -> http::StatusCode {
    http::StatusCode::from_u16(debit(&throttled).await).expect("a status")
}

pub(crate) async fn on_actix(throttled: throttlekit_actix::Throttled) -> actix_web::HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(debit(&throttled).await).expect("a status");
    actix_web::HttpResponse::new(status)
}

/// Takes two units more of each limit of the request, or refuses it.
pub(crate) async fn refuse(admitted: &Admitted) -> Result<(), Refusal> {
    for meter in admitted.meters() {
        meter.debit(2.0).await?.into_result()?;
    }
    Ok(())
}

pub(crate) async fn refuse_on_axum(throttled: throttlekit_axum::Throttled) -> Result<(), throttlekit_axum::Refusal> {
    refuse(&throttled).await.map_err(throttlekit_axum::Refusal)
}

pub(crate) async fn refuse_on_actix(
    throttled: throttlekit_actix::Throttled,
) -> Result<actix_web::HttpResponse, throttlekit_actix::Refusal> {
    let counted = refuse(&throttled).await.map_err(throttlekit_actix::Refusal);
    counted.map(|()| actix_web::HttpResponse::Ok().finish())
}

/// Gives back all but one of the tokens that the admission took, and shows what is left then.
pub(crate) async fn settle(admitted: &Admitted) {
    let meter = admitted.meter("tokens").expect("the policy decided");
    let mut taken = meter.taken().expect("it took some");
    taken.units -= 1.0;
    meter.show(meter.meter().give_back(meter.key(), taken).await.expect("an answer"));
}

pub(crate) async fn settle_on_axum(throttled: throttlekit_axum::Throttled) {
    settle(&throttled).await;
}

pub(crate) async fn settle_on_actix(throttled: throttlekit_actix::Throttled) -> actix_web::HttpResponse {
    settle(&throttled).await;
    actix_web::HttpResponse::Ok().finish()
}

pub(crate) async fn handlers_settle_what_the_admission_took<F: Framework>() {
    const TOKENS: &str = "x-ratelimit-remaining-tokens";
    let server = Server::<F>::start(Setup::sharing()).await;
    let mut client = server.client().await;
    for left in ["9", "8"] {
        let response = client.get("/chat/settle").await;
        assert_eq!((response.status().as_u16(), field(&response, TOKENS)), (200, left));
        assert_eq!(field(&response, "x-ratelimit-limit-requests"), "1000", "the others are shown as they were");
    }
    assert_eq!(field(&client.get("/talk/hello").await, TOKENS), "6");
}

/// The wait is that of the refusal; all other fields are those of the door's own decision.
pub(crate) async fn a_handler_that_refuses_says_when_to_come_back<F: Framework>() {
    let server = Server::<F>::start(Setup::sharing()).await;
    let mut client = server.client().await;
    for (path, limit, remaining) in [("/rate/refuse", "2", "1"), ("/silent/refuse", "", "")] {
        let response = client.get(path).await;
        let fields = ["ratelimit-limit", "ratelimit-remaining", "retry-after"].map(|name| field(&response, name));
        assert_eq!((response.status().as_u16(), fields), (429, [limit, remaining, "60"]), "{path}");
    }
    assert_eq!(server.setup.heard.all(), [""; 0], "the door denied nothing");
    assert_eq!(client.get("/wide/refuse").await.status(), 200);
}

pub(crate) async fn handlers_count_more_under_the_same_key<F: Framework>() {
    let server = Server::<F>::start(Setup::sharing()).await;
    let mut client = server.client().await;
    // The door took one and showed what was left then; the handler took the other one.
    let response = client.get("/rate/debit").await;
    assert_eq!((response.status().as_u16(), field(&response, "ratelimit-remaining")), (200, "1"));
    assert_eq!(client.get("/rate/hello").await.status(), 429);

    // Another peer: only the door gets its unit.
    let mut other = server.client_from([127, 0, 0, 2]).await;
    assert_eq!(other.get("/rate/hello").await.status(), 200);
    assert_eq!(other.get("/rate/debit").await.status(), 402);
    assert_eq!(other.get("/rate/hello").await.status(), 429);
}
