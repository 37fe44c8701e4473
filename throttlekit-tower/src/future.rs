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
use crate::decide::{Pass, Shared, Stop, Verdict, Waiting};

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
        Passed { #[pin] future: S::Future },
        // With something to tell or to hold. A variant of its own, so that the other one moves no more than the future.
        Carrying { #[pin] future: S::Future, pass: Option<Pass> },
        Rejected { response: Option<Box<Response<Bytes>>> },
        Waiting { call: Option<Box<WaitingCall<S, B>>> },
    }
}

/// A call that waits for a store: on the heap, since it is large and the wait dwarfs the allocation.
struct WaitingCall<S, B> {
    waiting: Waiting,
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
        let mut pass = None;
        if let Some(stop) = shared.decide(&request, &mut pass) {
            return Self::stopped(shared, service, request, *stop);
        }
        if let Some(mut pass) = pass {
            pass.begin(&shared.hooks, &mut request);
            return Self { state: State::Carrying { future: service.call(request), pass: Some(pass) } };
        }
        Self { state: State::Passed { future: service.call(request) } }
    }

    #[cold]
    fn stopped(shared: &Arc<Shared>, service: &mut S, request: Request<B>, stop: Stop) -> Self {
        // What the service reserved when it got ready must not be held by a request that never comes.
        let service = take(service);
        match stop {
            Stop::Answer(response) => Self { state: State::Rejected { response: Some(Box::new(response)) } },
            Stop::Wait(waiting) => {
                let call = WaitingCall { waiting, service, request, shared: Arc::clone(shared) };
                Self { state: State::Waiting { call: Some(Box::new(call)) } }
            }
        }
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
    fn proceed(mut self, verdict: Verdict, pass: Option<Pass>) -> State<S, B> {
        match verdict.map(|stop| *stop) {
            None => match pass {
                None => State::Passed { future: self.service.call(self.request) },
                Some(mut pass) => {
                    pass.begin(&self.shared.hooks, &mut self.request);
                    State::Carrying { future: self.service.call(self.request), pass: Some(pass) }
                }
            },
            Some(Stop::Answer(response)) => State::Rejected { response: Some(Box::new(response)) },
            Some(Stop::Wait(waiting)) => {
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
                StateProjection::Passed { future } => {
                    return match ready!(future.poll(cx)) {
                        Ok(response) => Poll::Ready(Ok(response.map(ResponseBody::free))),
                        Err(error) => Poll::Ready(Err(error)),
                    };
                }
                StateProjection::Carrying { future, pass } => {
                    let response = ready!(future.poll(cx));
                    // Taken in either case: an error ends the work too.
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
                    let mut pass = None;
                    let verdict = call.waiting.conclude(&call.shared, &call.request, answer, &mut pass);
                    call.proceed(verdict, pass)
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
            State::Passed { .. } | State::Carrying { .. } => "ResponseFuture(passed)",
            State::Rejected { .. } => "ResponseFuture(rejected)",
            State::Waiting { .. } => "ResponseFuture(waiting)",
        })
    }
}
