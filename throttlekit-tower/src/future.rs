//! The response future.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::decide::{Pass, Shared, Verdict, Waiting};

pin_project! {
    /// The future of [`Throttle`](crate::Throttle).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the inner future and gives back what the admission holds. What a store has charged already
    /// stays charged.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Passed { #[pin] future: S::Future, pass: Option<Pass> },
        Rejected { response: Option<Box<Response<Bytes>>> },
        Waiting { call: Option<Box<WaitingCall<S, B>>> },
    }
}

/// A call that waits for a store: on the heap, since it is large and the wait dwarfs the allocation.
struct WaitingCall<S, B> {
    waiting: Box<Waiting>,
    /// The service that was polled ready.
    service: S,
    request: Request<B>,
    shared: Arc<Shared>,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>> + Clone,
{
    /// Decides `request`, and calls `service`, which was polled ready, if that is the answer.
    #[inline]
    pub(crate) fn start(shared: &Arc<Shared>, service: &mut S, mut request: Request<B>) -> Self {
        let state = match shared.decide(&request) {
            Verdict::Pass(mut pass) => {
                pass.begin(&shared.hooks, &mut request);
                State::Passed { future: service.call(request), pass: Some(pass) }
            }
            Verdict::Answer(response) => {
                // What the service reserved when it got ready must not be held by a request that never comes.
                drop(take(service));
                State::Rejected { response: Some(response) }
            }
            Verdict::Wait(waiting) => {
                let call = WaitingCall { waiting, service: take(service), request, shared: Arc::clone(shared) };
                State::Waiting { call: Some(Box::new(call)) }
            }
        };
        Self { state }
    }
}

/// Takes the service that was polled ready, and leaves a clone of it.
fn take<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

impl<S, B> WaitingCall<S, B>
where
    S: Service<Request<B>>,
{
    /// The state that follows the answer.
    fn proceed(mut self, verdict: Verdict) -> State<S, B> {
        match verdict {
            Verdict::Pass(mut pass) => {
                pass.begin(&self.shared.hooks, &mut self.request);
                State::Passed { future: self.service.call(self.request), pass: Some(pass) }
            }
            Verdict::Answer(response) => State::Rejected { response: Some(response) },
            Verdict::Wait(waiting) => {
                self.waiting = waiting;
                State::Waiting { call: Some(Box::new(self)) }
            }
        }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    /// # Panics
    ///
    /// If polled again after it gave its response.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Passed { future, pass } => {
                    let response = ready!(future.poll(cx));
                    let pass = pass.take();
                    return Poll::Ready(response.map(|response| finished(response, pass)));
                }
                StateProjection::Rejected { response } => {
                    let response = response.take().expect("`ResponseFuture` polled after its response was taken");
                    return Poll::Ready(Ok((*response).map(ResponseBody::own)));
                }
                StateProjection::Waiting { call } => {
                    let waiting = call.as_mut().expect("a waiting call is taken only to leave this state");
                    let answer = ready!(Pin::new(waiting.waiting.answer()).poll(cx));
                    let call = call.take().expect("it was there a line before");
                    let verdict = call.waiting.conclude(&call.shared, &call.request, answer);
                    call.proceed(verdict)
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

/// The response of the inner service with what we add.
#[inline]
fn finished<B: Body>(mut response: Response<B>, pass: Option<Pass>) -> Response<ResponseBody<B>> {
    let status = response.status();
    let (permit, bodiless) = pass.map(|pass| pass.finish(status, response.headers_mut())).unwrap_or_default();
    response.map(|body| ResponseBody::passed(body, permit, bodiless))
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Passed { .. } => "ResponseFuture(passed)",
            State::Rejected { .. } => "ResponseFuture(rejected)",
            State::Waiting { .. } => "ResponseFuture(waiting)",
        })
    }
}
