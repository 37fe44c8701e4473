//! Handlers that count more than the door did.

use throttlekit_http::Admitted;

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
