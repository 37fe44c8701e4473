//! The response future.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;
use pin_project_lite::pin_project;
use throttlekit_http as door;
use tower_service::Service;

use crate::body::{Bodies, ResponseBody};
use crate::door::Tower;
use crate::layer::Shared;
use crate::request::{Framework, Plain, RequestHead};

type Pass<F> = door::Pass<Tower<F>>;
type Stop<F> = door::Stop<Tower<F>>;
type Verdict<F> = door::Verdict<Tower<F>>;
type Waiting<F> = door::Waiting<Tower<F>>;

pin_project! {
    /// The future of [`Throttle`](crate::Throttle).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the inner future and gives back what the admission holds. What a store has charged already
    /// stays charged.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, F = Plain>
    where
        S: Service<Request<B>>,
        F: Framework,
    {
        #[pin]
        state: State<S, B, F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F>
    where
        S: Service<Request<B>>,
        F: Framework,
    {
        Passed { #[pin] future: S::Future },
        // With something to tell or to hold. A variant of its own, so that the other one moves no more than the future.
        Carrying { #[pin] future: S::Future, pass: Pass<F> },
        Rejected { response: Option<Box<Response<Bytes>>> },
        Waiting { call: Option<Box<WaitingCall<S, B, F>>> },
    }
}

/// A call that waits for a store: on the heap, since it is large and the wait dwarfs the allocation.
struct WaitingCall<S, B, F: Framework> {
    waiting: Waiting<F>,
    /// The service that was polled ready.
    service: S,
    request: Request<B>,
    shared: Shared<F>,
}

impl<S, B, F> ResponseFuture<S, B, F>
where
    S: Service<Request<B>> + Clone,
    F: Framework,
{
    /// Decides `request`, and calls `service`, which was polled ready, if that is the answer.
    #[inline]
    pub(crate) fn start(shared: &Shared<F>, service: &mut S, mut request: Request<B>) -> Self {
        let mut pass = Pass::default();
        if let Some(stop) = shared.decide(&RequestHead::new(&request), &mut pass) {
            return Self::stopped(shared, service, request, *stop);
        }
        if pass.is_empty() {
            // With nothing left to drop if the call panics, the future is made where it stays.
            #[allow(clippy::mem_forget)] // it is empty
            mem::forget(pass);
            return Self { state: State::Passed { future: service.call(request) } };
        }
        begin(&mut pass, &mut request);
        Self { state: State::Carrying { future: service.call(request), pass } }
    }

    #[cold]
    fn stopped(shared: &Shared<F>, service: &mut S, request: Request<B>, stop: Stop<F>) -> Self {
        // What the service reserved when it got ready must not be held by a request that never comes.
        let service = take(service);
        match stop {
            Stop::Answer(response) => Self { state: State::rejected(&request, response) },
            Stop::Wait(waiting) => {
                let call = WaitingCall { waiting, service, request, shared: shared.clone() };
                Self { state: State::Waiting { call: Some(Box::new(call)) } }
            }
        }
    }
}

/// The work starts.
#[inline]
fn begin<B, F: Framework>(pass: &mut Pass<F>, request: &mut Request<B>) {
    if let Some(admitted) = pass.shared() {
        request.extensions_mut().insert(admitted.clone());
    }
    if let Some(slot) = pass.upgrade_slot() {
        let outer = request.extensions_mut().remove();
        request.extensions_mut().insert(slot.around(outer));
    }
    if request.version() > Version::HTTP_11 {
        pass.end_by_body();
    }
    pass.begin();
}

impl<S, B, F> State<S, B, F>
where
    S: Service<Request<B>>,
    F: Framework,
{
    #[cold]
    fn rejected(request: &Request<B>, response: Response<Bytes>) -> Self {
        // Over HTTP/2 servers send what they are given, and a client takes a body for an error.
        let response = if request.method() == Method::HEAD { without_body(response) } else { response };
        Self::Rejected { response: Some(Box::new(response)) }
    }
}

/// The response to `HEAD`: it says how long the body would be.
fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    let (mut head, body) = response.into_parts();
    head.headers.entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    Response::from_parts(head, Bytes::new())
}

/// Takes the service that was polled ready, and leaves a clone of it.
fn take<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

impl<S, B, F> WaitingCall<S, B, F>
where
    S: Service<Request<B>>,
    F: Framework,
{
    /// The state that follows the answer.
    fn proceed(mut self, verdict: Verdict<F>, mut pass: Pass<F>) -> State<S, B, F> {
        match verdict.map(|stop| *stop) {
            None => {
                begin(&mut pass, &mut self.request);
                State::Carrying { future: self.service.call(self.request), pass }
            }
            Some(Stop::Answer(response)) => State::rejected(&self.request, response),
            Some(Stop::Wait(waiting)) => {
                self.waiting = waiting;
                State::Waiting { call: Some(Box::new(self)) }
            }
        }
    }
}

impl<S, B, F, ResBody> Future for ResponseFuture<S, B, F>
where
    F: Framework<Bodies: Bodies<ResBody>>,
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Response<<F::Bodies as Bodies<ResBody>>::Body>, S::Error>;

    /// # Panics
    ///
    /// If polled again after it gave its response.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Passed { future } => {
                    return match ready!(future.poll(cx)) {
                        Ok(response) => Poll::Ready(Ok(free::<_, F>(response))),
                        Err(error) => Poll::Ready(Err(error)),
                    };
                }
                StateProjection::Carrying { future, pass } => {
                    return Poll::Ready(match ready!(future.poll(cx)) {
                        Ok(response) => Ok(finished(response, pass)),
                        Err(error) => {
                            pass.fail();
                            Err(error)
                        }
                    });
                }
                StateProjection::Rejected { response } => {
                    let response = response.take().expect("`ResponseFuture` polled after its response was taken");
                    return Poll::Ready(Ok((*response).map(|body| F::Bodies::finish(ResponseBody::own(body)))));
                }
                StateProjection::Waiting { call } => {
                    let waiting = call.as_mut().expect("a waiting call is taken only to leave this state");
                    let answer = ready!(waiting.waiting.poll_answer(cx));
                    let call = call.take().expect("it was there a line before");
                    let mut pass = Pass::default();
                    let verdict =
                        call.waiting.conclude(&call.shared, &RequestHead::new(&call.request), answer, &mut pass);
                    call.proceed(verdict, pass)
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

/// The response of the inner service, which holds nothing.
#[inline]
fn free<B, F: Framework<Bodies: Bodies<B>>>(response: Response<B>) -> Response<<F::Bodies as Bodies<B>>::Body> {
    response.map(|body| F::Bodies::finish(ResponseBody::free(body)))
}

/// The response of the inner service with what we add.
#[inline]
fn finished<B, F>(mut response: Response<B>, pass: &mut Pass<F>) -> Response<<F::Bodies as Bodies<B>>::Body>
where
    B: Body,
    F: Framework<Bodies: Bodies<B>>,
{
    let status = response.status().as_u16();
    let Some(ending) = pass.finish(status, response.headers_mut()) else { return free::<_, F>(response) };
    let body = response.body();
    // Servers stop at what a header field says too, if the body itself does not know.
    ending.announce(body.size_hint().exact().or_else(|| content_length(response.headers())));
    ending.frame(0, body.is_end_stream());
    if !ending.is_held() {
        return free::<_, F>(response);
    }
    response.map(|body| F::Bodies::finish(ResponseBody::passed(body, ending)))
}

/// How long the body is, as the header fields say.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl<S, B, F> fmt::Debug for ResponseFuture<S, B, F>
where
    F: Framework,
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Passed { .. } | State::Carrying { .. } => "ResponseFuture(passed)",
            State::Rejected { .. } => "ResponseFuture(rejected)",
            State::Waiting { .. } => "ResponseFuture(waiting)",
        })
    }
}
