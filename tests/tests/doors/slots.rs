//! How long a request holds its slot, and what its end counts as.

use bytes::Bytes;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc::UnboundedSender;

use crate::client::{Client, field, read};
use crate::servers::{Framework, PATIENCE, Server};
use crate::setup::Setup;
use crate::site::{LARGE, Part, Site};

impl<F: Framework> Server<F> {
    /// Both slots are there, no more and no fewer.
    async fn has_all_its_slots(&self, dropped: u64) {
        self.settles_at(0, dropped).await;
        let (one, other) = (self.site.stream(), self.site.stream());
        let (mut first, mut second) = (self.client().await, self.client().await);
        let (first, second) = (first.get("/slots/stream").await, second.get("/slots/stream").await);
        assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
        let denied = self.client().await.get("/slots/hello").await;
        assert_eq!((denied.status().as_u16(), field(&denied, "ratelimit-limit")), (429, "2"));
        assert!(!field(&denied, "retry-after").is_empty());
        drop((one, other));
        assert_eq!(read(first).await.expect("the end"), "");
        assert_eq!(read(second).await.expect("the end"), "");
        self.settles_at(0, dropped).await;
    }
}

fn say(sender: &UnboundedSender<Part>, part: Part) {
    sender.send(part).expect("the body is there");
}

/// A response that has begun, to a client that waits for the parts of its body.
struct Exchange<F> {
    server: Server<F>,
    client: Client,
    response: Response<Incoming>,
    /// Where the handler gets them; `None` once the body has ended.
    parts: Option<UnboundedSender<Part>>,
}

impl<F: Framework> Exchange<F> {
    /// Begins one with the body of the site that `body` queues.
    async fn begin(body: impl FnOnce(&Site) -> UnboundedSender<Part>) -> Self {
        let server = Server::<F>::start(Setup::rules()).await;
        let parts = body(&server.site);
        let mut client = server.client().await;
        let response = client.get("/slots/stream").await;
        Self { server, client, response, parts: Some(parts) }
    }

    fn say(&self, part: Part) {
        say(self.parts.as_ref().expect("it has not ended"), part);
    }

    /// Says that there are no more parts.
    fn end(&mut self) {
        self.parts = None;
    }

    /// The next frame that the client gets.
    async fn frame(&mut self) -> Frame<Bytes> {
        self.response.body_mut().frame().await.expect("a frame").expect("no error")
    }

    /// Says some data, which the client gets.
    async fn pass(&mut self, text: &'static str) {
        self.say(Part::Data(text));
        assert_eq!(self.frame().await.into_data().expect("data"), text);
    }

    fn in_flight(&self) -> u32 {
        self.server.setup.work().in_flight
    }
}

impl<F: Framework> Server<F> {
    /// Sends on until nobody listens, as it takes for some servers to learn that.
    async fn learns_that_nobody_listens(&self, sender: &UnboundedSender<Part>) {
        if F::LISTENS {
            return;
        }
        let mut other = self.client().await;
        let told = async {
            while sender.send(Part::Data("more")).is_ok() {
                // As often as it serves others meanwhile.
                other.get("/free").await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("it learns that nobody listens");
    }
}

pub(crate) async fn every_complete_response_counts_as_completed<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    for (path, status) in [
        ("/slots/hello", 200),
        ("/slots/created", 201),
        ("/slots/missing", 404),
        ("/slots/broken", 500),
        ("/slots/empty", 200),
        ("/slots/none", 204),
        ("/slots/same", 304),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let response = client.send(method, path, None).await.expect("a response");
            assert_eq!(response.status(), status, "{path}");
            read(response).await.expect("a whole body");
            server.settles_at(0, 0).await;
        }
    }
    server.has_all_its_slots(0).await;
}

pub(crate) async fn a_stream_holds_its_slot_until_it_ends<F: Framework>() {
    let mut exchange = Exchange::<F>::begin(Site::stream).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        exchange.pass(event).await;
        assert_eq!(exchange.in_flight(), 1);
    }
    exchange.end();
    assert_eq!(read(exchange.response).await.expect("the end"), "");
    exchange.server.settles_at(0, 0).await;
    exchange.server.has_all_its_slots(0).await;
}

pub(crate) async fn a_declared_length_ends_the_response<F: Framework>() {
    ends_at_four_bytes(Exchange::<F>::begin(|site| site.sized(4)).await).await;
}

pub(crate) async fn a_length_that_only_a_field_says_ends_the_response<F: Framework>() {
    ends_at_four_bytes(Exchange::<F>::begin(|site| site.told(4)).await).await;
}

async fn ends_at_four_bytes<F: Framework>(mut exchange: Exchange<F>) {
    assert_eq!(field(&exchange.response, "content-length"), "4");
    exchange.pass("ab").await;
    assert_eq!(exchange.in_flight(), 1);
    exchange.pass("cd").await;
    // The body itself has not said that it ended. Where trailers may follow, it has to.
    if F::HAS_TRAILERS {
        assert_eq!(exchange.in_flight(), 1);
    } else {
        exchange.server.settles_at(0, 0).await;
    }
    exchange.end();
    exchange.server.has_all_its_slots(0).await;
}

pub(crate) async fn trailers_behind_a_known_length_belong_to_the_response<F: Framework>() {
    for body in [Site::sized, Site::told] {
        let mut exchange = Exchange::<F>::begin(|site| body(site, 2)).await;
        exchange.pass("ab").await;
        assert_eq!(exchange.in_flight(), 1);
        exchange.say(Part::Trailers("x-checksum", "7"));
        let frame = exchange.frame().await;
        assert_eq!(frame.into_trailers().expect("trailers")["x-checksum"], "7");
        exchange.server.settles_at(0, 0).await;
        exchange.end();
        exchange.server.has_all_its_slots(0).await;
    }
}

pub(crate) async fn a_slow_client_holds_its_slot<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let mut response = client.get("/slots/large").await;
    let first = response.body_mut().frame().await.expect("a part").expect("no error");
    // More is to come than fits between the two.
    assert_eq!(server.setup.work().in_flight, 1);
    let mut length = first.into_data().map_or(0, |data| data.len() as u64);
    while let Some(frame) = response.body_mut().frame().await {
        length += frame.expect("no error").into_data().map_or(0, |data| data.len() as u64);
    }
    assert_eq!(length, LARGE);
    server.settles_at(0, 0).await;
    server.has_all_its_slots(0).await;
}

pub(crate) async fn a_slow_client_that_goes_away_is_dropped_work<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let response = client.get("/slots/large").await;
    client.vanish().await;
    drop(response);
    server.has_all_its_slots(1).await;
}

pub(crate) async fn a_client_that_goes_away_before_the_head_is_dropped_work<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    {
        let mut request = std::pin::pin!(client.send(Method::GET, "/slots/stuck", None));
        tokio::select! {
            _ = request.as_mut() => panic!("it never answers"),
            () = server.settles_at(1, 0) => {}
        }
    }
    client.vanish().await;
    server.has_all_its_slots(1).await;
}

pub(crate) async fn a_client_that_goes_away_in_a_stream_is_dropped_work<F: Framework>() {
    let mut exchange = Exchange::<F>::begin(Site::stream).await;
    exchange.pass("data: 1\n\n").await;
    exchange.client.vanish().await;
    drop(exchange.response);
    let parts = exchange.parts.expect("it has not ended");
    // Nothing more is sent where the server sees it by itself.
    exchange.server.learns_that_nobody_listens(&parts).await;
    exchange.server.has_all_its_slots(1).await;
    assert!(parts.is_closed(), "the handler's stream was dropped");
}

pub(crate) async fn a_body_that_breaks_off_is_dropped_work<F: Framework>() {
    is_dropped_work_after::<F>(Part::Broken).await;
}

pub(crate) async fn a_body_that_panics_is_dropped_work<F: Framework>() {
    is_dropped_work_after::<F>(Part::Panic).await;
}

async fn is_dropped_work_after<F: Framework>(part: Part) {
    let mut exchange = Exchange::<F>::begin(Site::stream).await;
    exchange.pass("ab").await;
    exchange.say(part);
    assert!(read(exchange.response).await.is_err(), "the client sees that it is not whole");
    exchange.server.has_all_its_slots(1).await;
}

pub(crate) async fn a_handler_that_panics_is_dropped_work<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    assert!(client.send(Method::GET, "/slots/panic", None).await.is_err(), "the connection or stream breaks off");
    server.has_all_its_slots(1).await;
}

pub(crate) async fn a_handler_that_fails_counts_as_what_the_client_sees<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let response = client.send(Method::GET, "/slots/fail", None).await;
    let dropped = if F::FAILURES_ARE_SILENT {
        assert!(response.is_err());
        1
    } else {
        assert_eq!(response.expect("a response").status(), 500);
        0
    };
    server.has_all_its_slots(dropped).await;
}

pub(crate) async fn trailers_belong_to_the_response<F: Framework>() {
    let mut exchange = Exchange::<F>::begin(Site::stream).await;
    exchange.pass("ab").await;
    assert_eq!(exchange.in_flight(), 1);
    exchange.say(Part::Trailers("x-checksum", "7"));
    exchange.end();
    let frame = exchange.frame().await;
    assert_eq!(frame.into_trailers().expect("trailers")["x-checksum"], "7");
    exchange.server.has_all_its_slots(0).await;
}

pub(crate) async fn denied_requests_hold_nothing<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let (one, other) = (server.site.stream(), server.site.stream());
    let (mut first, mut second) = (server.client().await, server.client().await);
    let (first, second) = (first.get("/slots/stream").await, second.get("/slots/stream").await);
    let mut client = server.client().await;
    for _ in 0..5 {
        let denied = client.get("/slots/hello").await;
        assert_eq!(denied.status(), 429);
        read(denied).await.expect("a whole body");
        assert_eq!(server.setup.work().in_flight, 2);
    }
    assert_eq!(server.setup.heard.all(), ["limited work /slots/hello"; 5]);
    drop((one, other));
    drop((read(first).await.expect("the end"), read(second).await.expect("the end")));
    server.has_all_its_slots(0).await;
}

pub(crate) async fn a_failing_server_counts_if_it_is_to<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = server.client().await;
    let response = client.get("/failing/missing").await;
    assert_eq!((response.status().as_u16(), read(response).await.expect("a whole body").len()), (404, 7));
    server.settles_at(0, 0).await;
    let response = client.get("/failing/broken").await;
    assert_eq!((response.status().as_u16(), read(response).await.expect("a whole body").len()), (500, 6));
    server.has_all_its_slots(1).await;
}

pub(crate) async fn a_client_that_goes_away_counts_for_nothing_if_it_is_to<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let events = server.site.stream();
    let mut client = server.client().await;
    let response = client.get("/patient/stream").await;
    assert_eq!(server.setup.work().in_flight, 1);
    client.vanish().await;
    drop(response);
    server.learns_that_nobody_listens(&events).await;
    server.has_all_its_slots(0).await;
    assert!(events.is_closed(), "the handler's stream was dropped");
}

pub(crate) async fn a_stream_that_the_client_resets_is_dropped_work<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    for path in ["/slots/stream", "/patient/stream"] {
        let events = server.site.stream();
        let mut client = server.client().await;
        let mut response = client.get(path).await;
        say(&events, Part::Data("data: 1\n\n"));
        assert!(response.body_mut().frame().await.is_some_and(|frame| frame.is_ok()));
        drop(response);
        // The connection goes on. What comes on it afterwards is answered once the reset is known.
        assert_eq!(client.get("/free").await.status(), 200);
        server.learns_that_nobody_listens(&events).await;
        // The second one counts for nothing, as its rule says.
        server.settles_at(0, 1).await;
        assert!(events.is_closed(), "the handler's stream was dropped");
    }
    server.has_all_its_slots(1).await;
}

pub(crate) async fn a_request_that_the_client_resets_is_dropped_work<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    for path in ["/slots/late", "/patient/late"] {
        let answer = server.site.stream();
        let mut client = server.client().await;
        {
            let mut request = std::pin::pin!(client.send(Method::GET, path, None));
            let dropped = server.setup.work().dropped;
            tokio::select! {
                _ = request.as_mut() => panic!("it does not answer yet"),
                () = server.settles_at(1, dropped) => {}
            }
        }
        assert_eq!(client.get("/free").await.status(), 200);
        if !F::LISTENS {
            // Only when the handler answers, and the reset is there: it may have left behind the first request.
            assert_eq!(client.get("/free").await.status(), 200);
            assert_eq!(server.setup.work().in_flight, 1);
            say(&answer, Part::Data("now"));
        }
        server.settles_at(0, 1).await;
        assert_eq!(client.get("/free").await.status(), 200);
    }
    server.has_all_its_slots(1).await;
}
