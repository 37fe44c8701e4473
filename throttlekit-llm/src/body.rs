//! The body of an answer, over `http_body`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::account::Account;
use crate::answer::Dialect;
use crate::meter::{Source, StreamMeter};
use crate::policy::StreamPolicy;
use crate::scan::Framing;

pin_project! {
    /// A body whose tokens are counted as it passes.
    ///
    /// See [`StreamMeter`] for what it promises. Trailers pass. A server that is done with it drops it, which settles.
    pub struct MeteredBody<B> {
        #[pin]
        body: Option<B>,
        // It has nothing more to give.
        ended: bool,
        meter: StreamMeter,
        trailers: Option<HeaderMap>,
    }
}

impl<B> MeteredBody<B> {
    /// Lets `body` pass through `meter`.
    ///
    /// Where the meter [may cut](StreamMeter::may_cut), a `Content-Length` that the upstream gave must not be passed on.
    pub fn new(body: B, meter: StreamMeter) -> Self {
        Self { body: Some(body), ended: false, meter, trailers: None }
    }

    /// Says by which API the answer is written, as [`StreamMeter::with_dialect`] does: the one of the request.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.meter = self.meter.with_dialect(dialect);
        self
    }

    /// What counts it.
    pub fn meter(&self) -> &StreamMeter {
        &self.meter
    }
}

impl StreamPolicy {
    /// Counts the answer in `response`: how it is to be read says its header.
    ///
    /// `input` is the estimate of the tokens of the request, where they are to be counted. An answer that is no success
    /// costs nothing, and what was taken for it is given back. `Content-Length` is removed where the answer may be cut. If it
    /// is cut before it says by which API it is written, nothing ends it but what
    /// [`with_dialect`](MeteredBody::with_dialect) says:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use throttlekit::budget::{Budget, TokenBudget};
    /// use throttlekit_llm::{Dialect, MeterAccount, StreamPolicy};
    ///
    /// let policy = StreamPolicy::builder().build()?;
    /// let budget = TokenBudget::new(Budget::builder().budget(100_000.0).window_ms(60_000.0).build()?);
    /// let account = MeterAccount::new(Arc::new(budget), "key-1");
    ///
    /// let answer = http::Response::builder().header("content-type", "text/event-stream");
    /// let answer = answer.header("content-length", "14").body("data: [DONE]\n\n".to_owned())?;
    /// let answer = policy.wrap(answer, account, Some(12)).map(|body| body.with_dialect(Dialect::Chat));
    /// assert!(!answer.headers().contains_key("content-length"), "it may be cut");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wrap<B>(
        &self,
        response: Response<B>,
        account: impl Account,
        input: Option<u64>,
    ) -> Response<MeteredBody<B>> {
        let (mut head, body) = response.into_parts();
        let field = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let mut codings =
            head.headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("unknown"));
        let coding = codings.find(|codings| !Framing::is_plain(codings));
        let framing = Framing::of(field(CONTENT_TYPE), coding);
        let meter = self.start(framing, account);
        let meter = match input {
            _ if !head.status.is_success() => meter.free(),
            Some(tokens) => meter.with_input(tokens),
            None => meter,
        };
        if meter.may_cut() {
            head.headers.remove(CONTENT_LENGTH);
        }
        Response::from_parts(head, MeteredBody::new(body, meter))
    }
}

impl<B: Body<Data = Bytes>> Body for MeteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let (body, ended, trailers) = (&mut this.body, &mut *this.ended, &mut *this.trailers);
        let polled = this.meter.poll_chunk(cx, |cx| {
            let Some(mut inner) = body.as_mut().as_pin_mut() else { return Poll::Ready(Source::End) };
            let frame = match ready!(inner.as_mut().poll_frame(cx)) {
                None => {
                    *ended = true;
                    return Poll::Ready(Source::End);
                }
                Some(Err(error)) => {
                    *ended = true;
                    return Poll::Ready(Source::Failed(error));
                }
                Some(Ok(frame)) => frame,
            };
            Poll::Ready(match frame.into_data() {
                // Servers stop at the declared length too, without asking for the end. Trailers may follow it.
                Ok(data) if inner.is_end_stream() || inner.size_hint().exact() == Some(0) => Source::Last(data),
                Ok(data) => Source::Chunk(data),
                Err(frame) => {
                    (*ended, *trailers) = (true, frame.into_trailers().ok());
                    Source::End
                }
            })
        });
        if this.meter.is_cut() {
            // The upstream may stop.
            this.body.set(None);
            *this.trailers = None;
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => match this.trailers.take() {
                Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                None => poll_trailers(this.body, this.ended, cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        let inner_ended = self.ended || self.body.as_ref().is_none_or(Body::is_end_stream);
        inner_ended && self.meter.is_over() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.meter.held();
        match &self.body {
            _ if self.meter.is_cut() || self.meter.is_over() => SizeHint::with_exact(held),
            Some(body) if !self.meter.may_cut() => {
                let inner = body.size_hint();
                let mut hint = SizeHint::new();
                if let Some(upper) = inner.upper() {
                    hint.set_upper(upper.saturating_add(held));
                }
                hint.set_lower(inner.lower().saturating_add(held));
                hint
            }
            _ => SizeHint::default(),
        }
    }
}

/// What a body has after its last data.
fn poll_trailers<B: Body<Data = Bytes>>(
    mut body: Pin<&mut Option<B>>,
    ended: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    while let (Some(inner), false) = (body.as_mut().as_pin_mut(), *ended) {
        let frame = if inner.is_end_stream() { None } else { ready!(inner.poll_frame(cx)) };
        // Data beyond the length that was declared is not counted, and does not go out.
        let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if !is_data {
            *ended = true;
            return Poll::Ready(frame);
        }
    }
    Poll::Ready(None)
}

impl<B> fmt::Debug for MeteredBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredBody").field("meter", &self.meter).finish_non_exhaustive()
    }
}
