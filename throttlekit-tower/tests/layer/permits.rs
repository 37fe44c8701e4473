//! What an admission holds is given back exactly once, when the response is over.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full};
use throttlekit::{Admission, Axes, Error, Outcome, Permit, Run, Settle, Slot};
use throttlekit_tower::ResponseBody;
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer as _, Service as _, service_fn};

use crate::common::{self, ALLOWED, DENIED, Script, request, scripted, send};

/// Writes down how each slot was given back.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Vec<Outcome>>);

impl Settle for Ledger {
    fn settle(&self, _slot: Slot, outcome: Outcome) {
        self.0.lock().expect("no panic").push(outcome);
    }
}

impl Ledger {
    pub(crate) fn admission(self: &Arc<Self>) -> Admission {
        let permit = Permit::new(self.clone(), Slot { taken_at: 0, detail: 0 });
        Admission::from_axes(Axes::rate(ALLOWED), permit)
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Frames, then a failure or the end; says nothing about its length.
pub(crate) struct Frames {
    pub(crate) left: usize,
    pub(crate) fails: bool,
    pub(crate) knows_its_end: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(self.fails.then_some(Err("broken")));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The body of a response through the layer, with a permit on it.
async fn respond<B>(method: Method, status: StatusCode, body: B) -> (ResponseBody<B>, Arc<Ledger>)
where
    B: Body<Data = Bytes>,
{
    let ledger = Arc::new(Ledger::default());
    let layer = scripted(&Script::new([Run::ready(Ok(ledger.admission()))]));
    let body = Arc::new(Mutex::new(Some(body)));
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let mut response = Response::new(body.lock().expect("no panic").take().expect("called once"));
        *response.status_mut() = status;
        async { Ok::<_, Infallible>(response) }
    }));
    let mut request = request();
    *request.method_mut() = method;
    (send(&service, request).await.into_body(), ledger)
}

fn frames(left: usize, fails: bool, knows_its_end: bool) -> Frames {
    Frames { left, fails, knows_its_end }
}

#[tokio::test]
async fn the_end_of_the_body_completes() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, frames(2, false, false)).await;
    for _ in 0..2 {
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert!(ledger.outcomes().is_empty());
    }
    assert!(body.frame().await.is_none());
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

#[tokio::test]
async fn a_body_read_to_its_known_end_completes_without_being_asked_again() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, frames(1, false, true)).await;
    assert!(ledger.outcomes().is_empty());
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);

    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, Full::new(Bytes::from_static(b"hello"))).await;
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

#[tokio::test]
async fn failed_and_abandoned_bodies_are_dropped_work() {
    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, frames(1, true, false)).await;
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);

    let (mut body, ledger) = respond(Method::GET, StatusCode::OK, frames(2, false, true)).await;
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);
}

#[tokio::test]
async fn responses_without_a_body_complete_at_once() {
    for (method, status) in
        [(Method::HEAD, StatusCode::OK), (Method::GET, StatusCode::NO_CONTENT), (Method::GET, StatusCode::NOT_MODIFIED)]
    {
        let (_body, ledger) = respond(method, status, frames(1, false, false)).await;
        assert_eq!(ledger.outcomes(), [Outcome::Completed], "{status}");
    }
    let (_body, ledger) = respond(Method::GET, StatusCode::OK, Empty::new()).await;
    assert_eq!(ledger.outcomes(), [Outcome::Completed]);
}

#[tokio::test]
async fn the_body_is_forwarded_as_it_is() {
    let (body, _) = respond(Method::GET, StatusCode::OK, Full::new(Bytes::from_static(b"hello"))).await;
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    let (body, _) = respond(Method::GET, StatusCode::OK, frames(1, false, true)).await;
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    let (body, _) = respond(Method::GET, StatusCode::OK, Empty::new()).await;
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_denial_holds_nothing() {
    let script = Script::new([Run::ready(Ok(Admission::rate(DENIED)))]);
    let (service, _) = common::around(&scripted(&script));
    let response = send(&service, request()).await;
    let (length, ended) = (response.body().size_hint().exact(), response.body().is_end_stream());
    assert_eq!((length, ended), (Some(49), false));
    assert_eq!(common::text(response).await.len(), 49);
}

#[test]
fn an_inner_service_that_fails_or_never_answers_is_dropped_work() {
    let ledger = Arc::new(Ledger::default());
    let answers = [Run::ready(Ok(ledger.admission())), Run::ready(Ok(ledger.admission()))];
    let layer = scripted(&Script::new(answers));
    let failing = layer.layer(service_fn(|_: Request<()>| async { Err::<Response<Full<Bytes>>, _>("broken") }));
    let mut call = task::spawn(failing.clone().call(request()));
    assert_eq!(assert_ready!(call.poll()).err(), Some("broken"));
    drop(call);
    assert_eq!(ledger.outcomes(), [Outcome::Dropped]);

    let stuck = layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, ()>>()));
    let mut call = task::spawn(stuck.clone().call(request()));
    assert_pending!(call.poll());
    assert_eq!(ledger.outcomes().len(), 1);
    drop(call);
    assert_eq!(ledger.outcomes(), [Outcome::Dropped; 2]);
}

#[test]
fn an_admission_that_comes_after_the_call_was_dropped_is_ignored() {
    let ledger = Arc::new(Ledger::default());
    let (sender, receiver) = oneshot::channel::<Admission>();
    let answer = Run::wait(async { receiver.await.map_err(|_| Error::store_unavailable("gone")) });
    let layer = scripted(&Script::new([answer]));
    let (mut service, hello) = common::around(&layer);
    let mut call = task::spawn(service.call(request()));
    assert_pending!(call.poll());
    sender.send(ledger.admission()).expect("a receiver");
    drop(call);
    assert_eq!((ledger.outcomes(), hello.calls()), (vec![Outcome::Ignored], 0));
}

#[test]
fn dropping_the_call_at_any_poll_gives_the_slot_back_once() {
    for polls in 0..6 {
        let ledger = Arc::new(Ledger::default());
        let admission = ledger.admission();
        let answer = Run::wait(async move {
            tokio::task::yield_now().await;
            Ok(admission)
        });
        let inner = service_fn(|_: Request<()>| async {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        });
        let mut service = scripted(&Script::new([answer])).layer(inner);
        let mut call = task::spawn(service.call(request()));
        let mut response = None;
        for _ in 0..polls {
            if response.is_none() {
                if let Poll::Ready(answer) = call.poll() {
                    response = Some(answer);
                }
            }
        }
        assert_eq!(response.is_some(), polls >= 3, "{polls}");
        drop((call, response));
        let expected = if polls < 2 { Outcome::Ignored } else { Outcome::Dropped };
        assert_eq!(ledger.outcomes(), [expected], "{polls}");
    }
}
