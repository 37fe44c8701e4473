//! What every server of this suite answers, whatever its framework.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// A body's next part.
#[derive(Debug)]
pub(crate) enum Part {
    Data(&'static str),
    Trailers(&'static str, &'static str),
    Broken,
    Panic,
}

/// Bodies of responses to come, in the order of their requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site(Arc<Mutex<VecDeque<Parts>>>);

/// What a handler is to do.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Answers with this status and body.
    Answer(u16, Parts),
    /// Never answers.
    Stuck,
    /// Answers once there is a part of this.
    Late(Parts),
    Panic,
    /// Fails, in the framework's way.
    Fail,
}

impl Reply {
    /// The status and the body of the answer, once it is there.
    pub(crate) async fn outcome(self) -> Result<(u16, Parts), Broken> {
        match self {
            Self::Answer(status, body) => Ok((status, body)),
            Self::Stuck => std::future::pending().await,
            Self::Late(mut parts) => {
                poll_fn(|cx| parts.poll_part(cx)).await;
                Ok((200, Parts::text("late")))
            }
            Self::Panic => panic!("a handler that panics"),
            Self::Fail => Err(Broken),
        }
    }
}

impl Site {
    /// Lets the next request for a stream, or for a late answer, get what is sent here. The body ends when the sender is dropped.
    pub(crate) fn stream(&self) -> mpsc::UnboundedSender<Part> {
        self.queue(None, None)
    }

    /// The same with a declared length.
    pub(crate) fn sized(&self, length: u64) -> mpsc::UnboundedSender<Part> {
        self.queue(Some(length), None)
    }

    /// The same with a length that a header field says, and the body does not, as of a file or of an answer that is passed on.
    pub(crate) fn told(&self, length: u64) -> mpsc::UnboundedSender<Part> {
        self.queue(None, Some(length))
    }

    fn queue(&self, left: Option<u64>, told: Option<u64>) -> mpsc::UnboundedSender<Part> {
        let (sender, parts) = mpsc::unbounded_channel();
        let body = Parts { source: Source::Channel(parts), left, told };
        self.0.lock().expect("no panic").push_back(body);
        sender
    }

    /// What becomes of a request for `path`, by its last segment.
    pub(crate) fn reply(&self, path: &str) -> Reply {
        let answer = |status, text| Reply::Answer(status, Parts::text(text));
        let queued = || self.0.lock().expect("no panic").pop_front().expect("a body for each request for one");
        match path.rsplit('/').next().unwrap_or_default() {
            "stream" => Reply::Answer(200, queued()),
            "late" => Reply::Late(queued()),
            "large" => Reply::Answer(200, Parts { source: Source::Zeros, left: Some(LARGE), told: None }),
            "stuck" => Reply::Stuck,
            "panic" => Reply::Panic,
            "fail" => Reply::Fail,
            "created" => answer(201, "made"),
            "none" => answer(204, ""),
            "same" => answer(304, ""),
            "missing" => answer(404, "missing"),
            "broken" => answer(500, "broken"),
            "empty" => answer(200, ""),
            _ => answer(200, "hello"),
        }
    }
}

/// More bytes than all buffers between a server and a client that does not read.
pub(crate) const LARGE: u64 = 64 << 20;

/// A body.
#[derive(Debug)]
pub(crate) struct Parts {
    source: Source,
    /// How many bytes are to come, if that is declared.
    left: Option<u64>,
    /// What the field `content-length` is to say, if the body itself does not.
    pub(crate) told: Option<u64>,
}

#[derive(Debug)]
enum Source {
    Text(Option<&'static str>),
    Channel(mpsc::UnboundedReceiver<Part>),
    Zeros,
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Parts {
    /// An empty body.
    pub(crate) fn none() -> Self {
        Self::text("")
    }

    fn text(text: &'static str) -> Self {
        let source = Source::Text(Some(text).filter(|text| !text.is_empty()));
        Self { source, left: Some(text.len() as u64), told: None }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let bytes = match &mut self.source {
            Source::Text(text) => text.take().map(str::as_bytes),
            Source::Zeros => Some(&ZEROS[..]).filter(|_| self.left != Some(0)),
            Source::Channel(parts) => match ready!(parts.poll_recv(cx)) {
                None => None,
                Some(Part::Data(text)) => Some(text.as_bytes()),
                Some(Part::Panic) => panic!("a body that panics"),
                Some(Part::Broken) => return Poll::Ready(Some(Err(Broken))),
                Some(Part::Trailers(name, value)) => {
                    let trailers = [(name, value)].map(|(name, value)| (name.parse().ok(), value.parse().ok()));
                    let map: HeaderMap =
                        trailers.into_iter().filter_map(|(name, value)| Some((name?, value?))).collect();
                    return Poll::Ready(Some(Ok(Frame::trailers(map))));
                }
            },
        };
        let Some(bytes) = bytes else { return Poll::Ready(None) };
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64).expect("no more than was declared");
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes)))))
    }
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.get_mut().poll_part(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl MessageBody for Parts {
    type Error = Broken;

    fn size(&self) -> BodySize {
        self.left.map_or(BodySize::Stream, BodySize::Sized)
    }

    /// actix-web has no trailers.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let frame = ready!(self.get_mut().poll_part(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }
}

/// A body or a handler that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl actix_web::ResponseError for Broken {}
