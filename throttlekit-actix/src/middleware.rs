//! The service.

use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use throttlekit_http::Limits;

use crate::body::ResponseBody;
use crate::door::Actix;
use crate::future::ResponseFuture;

/// Limits the requests of an inner service. Made by [`Throttle`](crate::Throttle), one for each worker; all that come of
/// one `Throttle` and its clones count together.
///
/// It is ready when the inner service is. A denial is a response, not an error, and the inner service's errors are passed
/// on unchanged.
#[derive(Debug)]
pub struct ThrottleMiddleware<S> {
    inner: Rc<S>,
    shared: Limits<Actix>,
}

impl<S> ThrottleMiddleware<S> {
    pub(crate) fn new(inner: S, shared: Limits<Actix>) -> Self {
        Self { inner: Rc::new(inner), shared }
    }
}

impl<S, B> Service<ServiceRequest> for ThrottleMiddleware<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<ResponseBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<S>;

    #[inline]
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&self, request: ServiceRequest) -> ResponseFuture<S> {
        ResponseFuture::start(&self.shared, &self.inner, request)
    }
}
