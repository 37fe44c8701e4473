//! A body that may not be silent for long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::serve;

/// An answer of the upstream, which fails if nothing of it comes for a span. What counts is the time in which somebody
/// waits for it: a client that reads slowly is not its fault.
pub(crate) struct Idle<B> {
    body: B,
    span: Duration,
    timer: Pin<Box<Sleep>>,
    /// Somebody waits, and the timer runs.
    waits: bool,
}

impl<B> Idle<B> {
    pub(crate) fn new(body: B, span: Duration) -> Self {
        Self { body, span, timer: Box::pin(sleep(span)), waits: false }
    }
}

impl<B> HttpBody for Idle<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let span = self.span;
        if !std::mem::replace(&mut self.waits, true) {
            self.timer.set(sleep(span));
        }
        ready!(self.timer.as_mut().poll(cx));
        serve::warn(format_args!("upstream: nothing more of an answer for {span:?}"));
        Poll::Ready(Some(Err("the upstream fell silent".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use tokio::time::{Instant, advance, sleep};

    use super::Idle;

    const SPAN: Duration = Duration::from_secs(300);

    /// Frames, each after so many seconds.
    fn paced(seconds: Vec<u64>) -> Idle<Body> {
        let frames = stream::unfold(seconds.into_iter(), |mut seconds| async move {
            sleep(Duration::from_secs(seconds.next()?)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), seconds))
        });
        Idle::new(Body::from_stream(frames), SPAN)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_an_answer_and_length_does_not() {
        let whole = paced(vec![299; 20]).collect().await.expect("never silent for so long");
        assert_eq!(whole.to_bytes().len(), 20);

        let start = Instant::now();
        let mut silent = paced(vec![1, 301]);
        assert!(silent.frame().await.expect("a frame").is_ok());
        assert!(silent.frame().await.expect("an error").is_err());
        assert_eq!(start.elapsed(), Duration::from_secs(1) + SPAN);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_does_not_count() {
        let mut answer = paced(vec![1, 200, 200]);
        for _ in 0..3 {
            assert!(answer.frame().await.expect("a frame").is_ok());
            advance(SPAN * 2).await;
        }
        assert!(answer.frame().await.is_none());
    }
}
