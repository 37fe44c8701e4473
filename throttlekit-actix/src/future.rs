//! The response future.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::Version;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::{Error, HttpMessage as _};
use pin_project_lite::pin_project;
use throttlekit_http as door;
use throttlekit_http::Limits;

use crate::body::ResponseBody;
use crate::door::Actix;
use crate::request::RequestHead;

type Pass = door::Pass<Actix>;
type Stop = door::Stop<Actix>;
type Verdict = door::Verdict<Actix>;
type Waiting = door::Waiting<Actix>;

pin_project! {
    /// The future of [`ThrottleMiddleware`](crate::ThrottleMiddleware).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the inner future and gives back what the admission holds. What a store has charged already
    /// stays charged.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<ServiceRequest>,
    {
        Passed { #[pin] future: S::Future },
        // With something to tell or to hold. A variant of its own, so that the other one moves no more than the future.
        Carrying { #[pin] future: S::Future, pass: Pass },
        Rejected { response: Option<Box<ServiceResponse>> },
        Waiting { call: Option<Box<WaitingCall<S>>> },
    }
}

/// A call that waits for a store: on the heap, since it is large and the wait dwarfs the allocation.
struct WaitingCall<S> {
    waiting: Waiting,
    service: Rc<S>,
    request: ServiceRequest,
    shared: Limits<Actix>,
}

impl<S: Service<ServiceRequest>> ResponseFuture<S> {
    /// Decides `request`, and calls `service` if that is the answer.
    #[inline]
    pub(crate) fn start(shared: &Limits<Actix>, service: &Rc<S>, request: ServiceRequest) -> Self {
        let mut pass = Pass::default();
        if let Some(stop) = shared.decide(&RequestHead::new(request.request()), &mut pass) {
            return Self { state: State::stopped(shared, service, request, *stop) };
        }
        if pass.is_empty() {
            // With nothing left to drop if the call panics, the future is made where it stays.
            #[allow(clippy::mem_forget)] // it is empty
            mem::forget(pass);
            return Self { state: State::Passed { future: service.call(request) } };
        }
        Self { state: State::carrying(service, request, pass) }
    }
}

impl<S: Service<ServiceRequest>> State<S> {
    /// The work starts.
    #[inline]
    fn carrying(service: &S, request: ServiceRequest, mut pass: Pass) -> Self {
        if let Some(admitted) = pass.shared() {
            request.extensions_mut().insert(admitted.clone());
        }
        if let Some(slot) = pass.upgrade_slot() {
            let outer = request.extensions_mut().remove();
            request.extensions_mut().insert(slot.around(outer));
        }
        pass.begin();
        Self::Carrying { future: service.call(request), pass }
    }

    #[cold]
    fn stopped(shared: &Limits<Actix>, service: &Rc<S>, request: ServiceRequest, stop: Stop) -> Self {
        match stop {
            Stop::Answer(response) => Self::Rejected { response: Some(Box::new(request.into_response(response))) },
            Stop::Wait(waiting) => {
                let call = WaitingCall { waiting, service: Rc::clone(service), request, shared: shared.clone() };
                Self::Waiting { call: Some(Box::new(call)) }
            }
        }
    }
}

impl<S: Service<ServiceRequest>> WaitingCall<S> {
    /// The state that follows the answer.
    fn conclude(self, answer: door::Answered) -> State<S> {
        let Self { waiting, service, request, shared } = self;
        let mut pass = Pass::default();
        let verdict: Verdict = waiting.conclude(&shared, &RequestHead::new(request.request()), answer, &mut pass);
        match verdict {
            None => State::carrying(&service, request, pass),
            Some(stop) => State::stopped(&shared, &service, request, *stop),
        }
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<ResponseBody<B>>, Error>;

    /// # Panics
    ///
    /// If polled again after it gave its response.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Passed { future } => {
                    let response = ready!(future.poll(cx));
                    return Poll::Ready(response.map(|response| response.map_body(|_, body| ResponseBody::free(body))));
                }
                StateProjection::Carrying { future, pass } => {
                    return Poll::Ready(match ready!(future.poll(cx)) {
                        Ok(response) => Ok(finished(response, pass)),
                        Err(error) => Err(failed(error, pass)),
                    });
                }
                StateProjection::Rejected { response } => {
                    let response = response.take().expect("`ResponseFuture` polled after its response was taken");
                    return Poll::Ready(Ok((*response).map_body(|_, body| ResponseBody::own(body))));
                }
                StateProjection::Waiting { call } => {
                    let waiting = call.as_mut().expect("a waiting call is taken only to leave this state");
                    let answer = ready!(waiting.waiting.poll_answer(cx));
                    let call = call.take().expect("it was there a line before");
                    call.conclude(answer)
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

/// The response of the inner service with what we add.
#[inline]
fn finished<B: MessageBody>(mut response: ServiceResponse<B>, pass: &mut Pass) -> ServiceResponse<ResponseBody<B>> {
    let status = response.status().as_u16();
    let Some(ending) = pass.finish(status, response.headers_mut()) else {
        return response.map_body(|_, body| ResponseBody::free(body));
    };
    ending.announce(match response.response().body().size() {
        BodySize::None => Some(0),
        BodySize::Sized(size) => Some(size),
        BodySize::Stream => content_length(&response),
    });
    if !ending.is_held() {
        return response.map_body(|_, body| ResponseBody::free(body));
    }
    response.map_body(|_, body| ResponseBody::passed(body, ending))
}

/// How long the body is, as the header fields say. Over HTTP/1 the server leaves that field out where it sends chunks.
fn content_length<B>(response: &ServiceResponse<B>) -> Option<u64> {
    if response.response().head().chunked() && response.request().version() < Version::HTTP_2 {
        return None;
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An error of the inner service: actix-web makes the response of it, which is complete then.
#[cold]
fn failed(error: Error, pass: &mut Pass) -> Error {
    let status = error.as_response_error().status_code().as_u16();
    // The response is made elsewhere, so there is no header field of ours on it.
    if let Some(ending) = pass.finish(status, &mut HeaderMap::new()) {
        ending.complete();
    }
    error
}

impl<S: Service<ServiceRequest>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Passed { .. } | State::Carrying { .. } => "ResponseFuture(passed)",
            State::Rejected { .. } => "ResponseFuture(rejected)",
            State::Waiting { .. } => "ResponseFuture(waiting)",
        })
    }
}
