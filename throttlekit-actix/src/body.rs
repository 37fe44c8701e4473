//! The response body: the inner one with what it holds, or one of ours.

use std::error::Error;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;
use throttlekit_http::Ending;

pin_project! {
    /// The body of a response that went through [`ThrottleMiddleware`](crate::ThrottleMiddleware).
    ///
    /// The body of an admitted request forwards everything and holds the request's permit until it ends or is dropped.
    /// The body of a rejected request is the one that the rejection was made with.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        // Nothing is held.
        Free {
            #[pin]
            body: B,
        },
        Passed {
            #[pin]
            body: B,
            ending: Ending,
        },
        Own {
            #[pin]
            body: BoxBody,
        },
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

    /// A body of ours.
    pub(crate) fn own(body: BoxBody) -> Self {
        Self { kind: Kind::Own { body } }
    }
}

impl<B: MessageBody> MessageBody for ResponseBody<B> {
    type Error = Box<dyn Error>;

    #[inline]
    fn size(&self) -> BodySize {
        match &self.kind {
            Kind::Free { body } | Kind::Passed { body, .. } => body.size(),
            Kind::Own { body } => body.size(),
        }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Free { body } => body.poll_next(cx).map_err(Into::into),
            KindProjection::Passed { body, ending } => {
                let polled = body.poll_next(cx);
                match &polled {
                    Poll::Ready(None) => ending.complete(),
                    Poll::Ready(Some(Err(_))) => ending.fail(),
                    Poll::Ready(Some(Ok(bytes))) => ending.frame(bytes.len(), false),
                    Poll::Pending => {}
                }
                polled.map_err(Into::into)
            }
            KindProjection::Own { body } => body.poll_next(cx),
        }
    }

    /// The whole body, if it is there and holds no permit: whoever takes the bytes may still be long in sending them, and
    /// the permit would not see that. Such a body is polled.
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.kind {
            Kind::Free { body } => body.try_into_bytes().map_err(Self::free),
            Kind::Passed { body, ending, .. } if !ending.is_held() => body.try_into_bytes().map_err(Self::free),
            Kind::Own { body } => body.try_into_bytes().map_err(Self::own),
            kind @ Kind::Passed { .. } => Err(Self { kind }),
        }
    }

    /// Boxes it, or what is in it if it holds no permit.
    fn boxed(self) -> BoxBody
    where
        B: 'static,
    {
        match self.kind {
            Kind::Free { body } => body.boxed(),
            Kind::Passed { body, ending, .. } if !ending.is_held() => body.boxed(),
            Kind::Own { body } => body,
            kind @ Kind::Passed { .. } => BoxBody::new(Self { kind }),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Free { .. } => f.debug_struct("Free").finish_non_exhaustive(),
            Kind::Passed { ending, .. } => f.debug_struct("Passed").field("ending", ending).finish_non_exhaustive(),
            Kind::Own { body } => f.debug_struct("Own").field("body", body).finish(),
        }
    }
}
