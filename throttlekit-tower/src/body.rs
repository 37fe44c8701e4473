//! The response body: the inner one with what it holds, or one of ours.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use throttlekit_http::Ending;

use crate::request::Plain;

pin_project! {
    /// The body of a response that went through [`Throttle`](crate::Throttle).
    ///
    /// The body of an admitted request forwards everything and holds the request's permit until it ends or is dropped.
    /// The body of a rejected request is short and complete.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        // Nothing is held.
        Free { #[pin] body: B },
        Passed { #[pin] body: B, ending: Ending },
        Own { data: Option<Bytes> },
    }
}

/// Makes the bodies of responses out of what a [`ResponseBody`] is, in a type that the framework around the service has a
/// use for.
///
/// `B` is the body of the inner service. [`Plain`] leaves it a `ResponseBody`, which needs no allocation.
pub trait Bodies<B> {
    /// The body of the responses.
    type Body;

    /// `body` as such a body. It may be [taken apart](ResponseBody::try_into_inner) if it holds nothing.
    fn finish(body: ResponseBody<B>) -> Self::Body;
}

impl<B> Bodies<B> for Plain {
    type Body = ResponseBody<B>;

    #[inline]
    fn finish(body: ResponseBody<B>) -> ResponseBody<B> {
        body
    }
}

impl<B> ResponseBody<B> {
    /// A body of the inner service that holds nothing.
    #[inline]
    pub(crate) fn free(body: B) -> Self {
        Self { kind: Kind::Free { body } }
    }

    /// A body of the inner service, which carries what `ending` is.
    #[inline]
    pub(crate) fn passed(body: B, ending: &mut Ending) -> Self {
        Self { kind: Kind::Passed { body, ending: mem::take(ending) } }
    }

    /// The body of the inner service.
    ///
    /// # Errors
    ///
    /// `self` if it holds a permit, which has to go with the body, or if it answers a request that was rejected.
    #[inline]
    pub fn try_into_inner(self) -> Result<B, Self> {
        match self.kind {
            Kind::Free { body } => Ok(body),
            kind => Err(Self { kind }),
        }
    }

    /// A body of ours.
    pub(crate) fn own(data: Bytes) -> Self {
        Self { kind: Kind::Own { data: Some(data).filter(|data| !data.is_empty()) } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Free { body } => body.poll_frame(cx),
            KindProjection::Passed { mut body, ending } => {
                let polled = body.as_mut().poll_frame(cx);
                match &polled {
                    Poll::Ready(None) => ending.complete(),
                    Poll::Ready(Some(Err(_))) => ending.fail(),
                    // Nothing follows trailers, and servers do not ask whether something does.
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.data_ref().map_or(0, Buf::remaining);
                        ending.frame(bytes, frame.is_trailers() || body.is_end_stream());
                    }
                    Poll::Pending => {}
                }
                polled
            }
            KindProjection::Own { data } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Free { body } | Kind::Passed { body, .. } => body.is_end_stream(),
            Kind::Own { data } => data.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Free { body } | Kind::Passed { body, .. } => body.size_hint(),
            Kind::Own { data } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
        }
    }
}

impl<B> Default for ResponseBody<B> {
    /// An empty body. Layers that make responses of their own, such as a timeout, ask for it.
    fn default() -> Self {
        Self::own(Bytes::new())
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Free { .. } => f.debug_struct("Free").finish_non_exhaustive(),
            Kind::Passed { ending, .. } => f.debug_struct("Passed").field("ending", ending).finish_non_exhaustive(),
            Kind::Own { data } => f.debug_struct("Own").field("data", data).finish(),
        }
    }
}
