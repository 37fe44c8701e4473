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
            // How many bytes are to come, if that was said.
            left: Option<u64>,
        },
        Own {
            #[pin]
            body: BoxBody,
        },
    }
}

impl<B: MessageBody> ResponseBody<B> {
    /// A body of the inner service, which carries what `ending` is. If there is nothing to send, the work is over.
    pub(crate) fn passed(body: B, ending: &mut Ending) -> Self {
        let left = match body.size() {
            BodySize::None => Some(0),
            BodySize::Sized(size) => Some(size),
            BodySize::Stream => None,
        };
        ending.frame(left == Some(0));
        Self { kind: Kind::Passed { body, ending: mem::take(ending), left } }
    }
}

impl<B> ResponseBody<B> {
    /// A body of the inner service that holds nothing.
    #[inline]
    pub(crate) fn free(body: B) -> Self {
        Self { kind: Kind::Free { body } }
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
            KindProjection::Passed { body, ending, left } => {
                let polled = body.poll_next(cx);
                match &polled {
                    Poll::Ready(None) => ending.complete(),
                    Poll::Ready(Some(Err(_))) => ending.fail(),
                    Poll::Ready(Some(Ok(bytes))) => ending.frame(is_last(bytes, left)),
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

/// Whether `bytes` are the last of those that were announced: nobody has to ask for more then.
fn is_last(bytes: &Bytes, left: &mut Option<u64>) -> bool {
    left.as_mut().is_some_and(|left| {
        *left = left.saturating_sub(bytes.len() as u64);
        *left == 0
    })
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
