//! The service.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::Bodies;
use crate::future::ResponseFuture;
use crate::layer::Shared;
use crate::request::{Framework, Plain};

/// Limits the requests of an inner service. Made by [`ThrottleLayer`](crate::ThrottleLayer); all clones, and all services
/// of one layer, count together.
///
/// It is ready when the inner service is. A denial is a response, so the error type stays that of the inner service.
/// A request is decided when it is called; the inner service that was polled ready is the one that is called, also after
/// waiting for a store, and if it is not called it is dropped, so that nothing it reserved stays reserved.
#[derive(Debug)]
pub struct Throttle<S, F: Framework = Plain> {
    inner: S,
    shared: Shared<F>,
}

impl<S, F: Framework> Throttle<S, F> {
    pub(crate) fn new(inner: S, shared: Shared<F>) -> Self {
        Self { inner, shared }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, F: Framework> Clone for Throttle<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S, F, ReqBody, ResBody> Service<Request<ReqBody>> for Throttle<S, F>
where
    F: Framework<Bodies: Bodies<ResBody>>,
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<<F::Bodies as Bodies<ResBody>>::Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, F>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture::start(&self.shared, &mut self.inner, request)
    }
}
