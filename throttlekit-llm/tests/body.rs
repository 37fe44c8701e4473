//! The body over `http_body`: what a server sees of it.

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use support::streams::{all, chat};
use support::{account, meter_of, policy, served};
use throttlekit_llm::{BytesPerToken, Dialect, Exhausted, Framing, MeterAccount, MeteredBody, Opaque, StreamPolicy};

/// Frames, and whether they were dropped.
struct Upstream {
    frames: std::collections::VecDeque<Result<Frame<Bytes>, &'static str>>,
    dropped: Arc<AtomicBool>,
    /// Says with the last frame that it is the last.
    says_end: bool,
}

impl Upstream {
    fn new(frames: impl IntoIterator<Item = Result<Frame<Bytes>, &'static str>>, says_end: bool) -> Self {
        Self { frames: frames.into_iter().collect(), dropped: Arc::default(), says_end }
    }

    fn of(bytes: &[u8], size: usize) -> Self {
        Self::new(bytes.chunks(size).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))), true)
    }
}

impl Body for Upstream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.says_end && self.frames.is_empty()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Result<Frame<Bytes>, B::Error>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("nothing waits"),
    }
}

fn bytewise(exhausted: Exhausted) -> StreamPolicy {
    policy().exhausted(exhausted).counter(|| BytesPerToken::new(1.0).expect("in range")).build().expect("good options")
}

fn response<B>(kind: &str, body: B) -> Response<B> {
    Response::builder().header("content-type", kind).header("content-length", "7").body(body).expect("good fields")
}

#[test]
fn a_server_that_stops_at_the_end_of_the_body_settles_it() {
    for says_end in [true, false] {
        let (meter, _) = meter_of(1_000);
        let mut upstream = Upstream::of(&chat(&["12345"], Some((1, 3))), 1_000_000);
        upstream.says_end = says_end;
        let mut body = MeteredBody::new(upstream, bytewise(Exhausted::Cut).start(Framing::Sse, account(&meter)));
        assert!(!body.is_end_stream());
        assert!(next(&mut body).is_some());
        assert_eq!(body.is_end_stream(), says_end, "what the inner one says is passed on");
        if !says_end {
            assert!(next(&mut body).is_none());
        }
        assert!(body.is_end_stream());
        assert_eq!(served(&meter), 3, "settled before it is dropped");
    }
}

#[test]
fn trailers_and_errors_pass() {
    let (meter, _) = meter_of(1_000);
    let text = |text: &str| Ok(Frame::data(Bytes::from(chat(&[text], None))));
    let trailers = HeaderMap::from_iter([("x-end".parse().expect("a name"), HeaderValue::from_static("1"))]);
    let frames = [text("12345"), Ok(Frame::trailers(trailers.clone()))];
    let body =
        MeteredBody::new(Upstream::new(frames, true), bytewise(Exhausted::Cut).start(Framing::Sse, account(&meter)));
    let collected = futures_util::FutureExt::now_or_never(body.collect()).expect("nothing waits").expect("no error");
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(served(&meter), 5);

    let frames = [text("12345"), Err("gone"), text("not to be asked for")];
    let mut body =
        MeteredBody::new(Upstream::new(frames, true), bytewise(Exhausted::Cut).start(Framing::Sse, account(&meter)));
    assert!(next(&mut body).expect("a frame").is_ok());
    assert_eq!(next(&mut body).expect("a frame").expect_err("the error"), "gone");
    assert_eq!(served(&meter), 10, "what went out is settled");
    assert!(body.is_end_stream());
    assert!(next(&mut body).is_none());
}

#[test]
fn trailers_pass_behind_a_length_that_is_known() {
    let trailers = HeaderMap::from_iter([("x-end".parse().expect("a name"), HeaderValue::from_static("1"))]);
    for (framing, exhausted) in
        [(Framing::Sse, Exhausted::Cut), (Framing::Sse, Exhausted::Finish), (Framing::Opaque, Exhausted::Cut)]
    {
        let (meter, _) = meter_of(10_000);
        let given = trailers.clone();
        let upstream = Full::new(Bytes::from(chat(&["12345"], Some((1, 3)))));
        let upstream = Box::pin(upstream.with_trailers(async { Some(Ok(given)) }));
        let policy = policy().exhausted(exhausted).opaque(Opaque::Reservation).build().expect("good options");
        let opened = MeterAccount::reserve(meter.clone(), "k", 3).now().expect("ready").expect("works");
        let mut body = MeteredBody::new(upstream, policy.start(framing, opened.account.expect("there is enough")));
        assert!(next(&mut body).expect("a frame").expect("no error").is_data());
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(0)));
        assert_eq!(served(&meter), 3, "settled though trailers follow");
        let last = next(&mut body).expect("a frame").expect("no error");
        assert_eq!(last.into_trailers().ok().as_ref(), Some(&trailers));
        assert!(body.is_end_stream() && next(&mut body).is_none());
    }
}

/// One byte, after which it says that there are no more; then whatever it has.
struct Declared(Upstream);

impl Body for Declared {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

#[test]
fn nothing_but_trailers_and_errors_passes_behind_a_length_that_is_known() {
    let data = || Ok(Frame::data(Bytes::from_static(b"x")));
    let body = |frames: Vec<Result<Frame<Bytes>, &'static str>>| {
        let (meter, _) = meter_of(1_000);
        let meter = bytewise(Exhausted::Finish).start(Framing::Opaque, account(&meter));
        let mut body = MeteredBody::new(Declared(Upstream::new(frames, false)), meter);
        assert!(next(&mut body).expect("a frame").expect("no error").is_data());
        body
    };
    let mut more = body(vec![data(), data(), data()]);
    assert!(next(&mut more).is_none() && more.is_end_stream() && next(&mut more).is_none());
    let mut broken = body(vec![data(), Err("gone"), data()]);
    assert_eq!(next(&mut broken).expect("a frame").expect_err("the error"), "gone");
    assert!(next(&mut broken).is_none() && broken.is_end_stream());
}

#[test]
fn an_answer_that_is_cut_lets_go_of_the_upstream() {
    let (meter, _) = meter_of(5);
    let stream = chat(&["12345", "67890", "abcde"], None);
    let upstream = Upstream::of(&stream, 200);
    let dropped = upstream.dropped.clone();
    let mut body = MeteredBody::new(upstream, bytewise(Exhausted::Cut).start(Framing::Sse, account(&meter)));
    let mut last = None;
    while !body.is_end_stream() {
        assert_eq!(dropped.load(Ordering::Relaxed), body.meter().is_cut());
        last = next(&mut body);
    }
    assert!(dropped.load(Ordering::Relaxed));
    let last = last.expect("a frame").expect("no error").into_data().expect("data");
    assert!(last.ends_with(b"data: [DONE]\n\n"));
    assert!(next(&mut body).is_none());
}

#[test]
fn the_length_is_passed_on_where_it_holds() {
    let exact = |body: &MeteredBody<Full<Bytes>>| body.size_hint().exact();
    let (meter, _) = meter_of(1_000);
    let full = || Full::new(Bytes::from(chat(&["12345"], None)));
    let length = full().size_hint().exact();
    for (kind, exhausted, kept) in [
        ("text/event-stream", Exhausted::Cut, false),
        ("text/event-stream", Exhausted::Finish, true),
        ("application/json", Exhausted::Cut, true),
    ] {
        let answer = bytewise(exhausted).wrap(response(kind, full()), account(&meter), None);
        assert_eq!(answer.headers().contains_key("content-length"), kept);
        let mut body = answer.into_body();
        assert_eq!(exact(&body), length.filter(|_| kept));
        assert!(next(&mut body).is_some());
        assert_eq!((exact(&body), body.is_end_stream()), (Some(0), true));
    }
}

/// Says how many bytes there are, and waits.
struct Sized10;

impl Body for Sized10 {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(10)
    }
}

#[test]
fn a_body_that_waits_waits() {
    let (meter, _) = meter_of(1_000);
    let mut body = MeteredBody::new(Sized10, bytewise(Exhausted::Finish).start(Framing::Sse, account(&meter)));
    assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(body.size_hint().exact(), Some(10));
}

#[test]
fn an_empty_answer_costs_nothing() {
    let (meter, _) = meter_of(1_000);
    let opened = MeterAccount::reserve(meter.clone(), "k", 50).now().expect("ready").expect("works");
    let answer = response("text/event-stream", Empty::<Bytes>::new());
    let mut body = bytewise(Exhausted::Cut).wrap(answer, opened.account.expect("there is enough"), None).into_body();
    assert_eq!(served(&meter), 50);
    assert!(next(&mut body).is_none());
    assert_eq!(served(&meter), 0);
}

#[test]
fn an_answer_that_is_no_success_costs_nothing() {
    for kind in ["application/json", "text/html", "text/event-stream"] {
        let (meter, _) = meter_of(60);
        let opened = MeterAccount::reserve(meter.clone(), "k", 50).now().expect("ready").expect("works");
        let mut answer = response(kind, Full::new(Bytes::from(chat(&["not what was asked for"; 9], Some((99, 99))))));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let answer = bytewise(Exhausted::Cut).wrap(answer, opened.account.expect("there is enough"), Some(40));
        assert!(answer.headers().contains_key("content-length"));
        let mut body = answer.into_body();
        while next(&mut body).is_some() {}
        assert!(!body.meter().is_cut());
        assert_eq!(served(&meter), 0, "{kind}");
    }
}

#[test]
fn what_cannot_be_read_passes_untouched_and_is_estimated() {
    // No gzip, but nothing here tells.
    let bytes: Vec<u8> = (0..=255).cycle().take(4_000).collect();
    let compressed = |coding: &'static str| {
        let mut answer = response("text/event-stream", Upstream::of(&bytes, 100));
        answer.headers_mut().insert("content-encoding", HeaderValue::from_static(coding));
        answer
    };
    for coding in ["gzip", "br", "zstd", "gzip, br"] {
        for (opaque, cost) in [
            (Opaque::default(), 1_000),
            (Opaque::Bytes(BytesPerToken::new(8.0).expect("in range")), 500),
            (Opaque::Reservation, 300),
        ] {
            // It passes whatever is left.
            for budget in [2_000, 310] {
                let (meter, _) = meter_of(budget);
                let opened = MeterAccount::reserve(meter.clone(), "k", 300).now().expect("ready").expect("works");
                let policy = policy().opaque(opaque).build().expect("good options");
                let answer = policy.wrap(compressed(coding), opened.account.expect("there is enough"), None);
                assert!(answer.headers().contains_key("content-length"));
                let body = answer.into_body();
                let got =
                    futures_util::FutureExt::now_or_never(body.collect()).expect("nothing waits").expect("no error");
                assert_eq!(got.to_bytes(), bytes);
                assert_eq!(served(&meter), cost, "{coding} {opaque:?}");
            }
        }
    }
    // What is in it is read only if nothing has coded it, which may be said in several lines.
    let stream = chat(&["12345"], None);
    for (codings, cost) in [
        (&["Identity"][..], 5),
        (&["identity, identity"], 5),
        (&["identity", "gzip"], stream.len().div_ceil(4)),
        (&["gzip", "identity"], stream.len().div_ceil(4)),
        (&["identity, br"], stream.len().div_ceil(4)),
    ] {
        let mut answer = response("text/event-stream", Full::new(Bytes::from(stream.clone())));
        for coding in codings {
            answer.headers_mut().append("content-encoding", HeaderValue::from_static(coding));
        }
        let (meter, _) = meter_of(1_000);
        let body = bytewise(Exhausted::Cut).wrap(answer, account(&meter), None).into_body();
        futures_util::FutureExt::now_or_never(body.collect()).expect("nothing waits").expect("no error");
        assert_eq!(served(&meter), cost as u64, "{codings:?}");
    }
}

#[test]
fn every_answer_passes_as_it_came() {
    for stream in all() {
        for exhausted in [Exhausted::Cut, Exhausted::Finish, Exhausted::NextOnly] {
            let (meter, _) = meter_of(100_000);
            let upstream = Upstream::of(&stream.bytes, 37);
            let body = MeteredBody::new(upstream, bytewise(exhausted).start(stream.framing, account(&meter)));
            let got = futures_util::FutureExt::now_or_never(body.collect()).expect("nothing waits").expect("no error");
            assert_eq!(got.to_bytes(), stream.bytes);
            assert_eq!(served(&meter), support::streams::USAGE.1);
        }
    }
}

#[test]
fn where_nothing_is_cut_each_chunk_is_the_one_that_came() {
    for exhausted in [Exhausted::Finish, Exhausted::NextOnly] {
        for stream in all() {
            let (meter, _) = meter_of(100_000);
            let meter = bytewise(exhausted).start(stream.framing, account(&meter));
            let got = support::drive(meter, stream.bytes.chunks(37));
            assert!(got.chunks.iter().eq(stream.bytes.chunks(37)));
        }
    }
}

#[test]
fn bodies_go_to_other_threads() {
    fn sent<T: Send + 'static>() {}
    sent::<MeteredBody<Full<Bytes>>>();
}

#[test]
fn an_answer_that_is_cut_before_its_api_is_clear_ends_as_that_of_the_request() {
    for (dialect, event, last) in [
        (Dialect::Responses, "event: response.created\n", "response.incomplete"),
        (Dialect::Messages, "event: message_start\n", "message_stop"),
        (Dialect::Chat, ": ok\n\n", "[DONE]"),
        (Dialect::Completions, "data: {\"choices\":[]}\n\n", "text_completion"),
        // What shows comes before what was said.
        (Dialect::Completions, "data: {\"choices\":[{\"delta\":{}}]}\n\n", "chat.completion.chunk"),
    ] {
        let (meter, _) = meter_of(5);
        meter.debit("k", 5).expect("works");
        let body = Upstream::of(event.as_bytes(), 1_000);
        let answer = bytewise(Exhausted::Cut).wrap(response("text/event-stream", body), account(&meter), Some(100));
        let body = answer.into_body().with_dialect(dialect);
        let whole = futures_util::FutureExt::now_or_never(body.collect()).expect("nothing waits").expect("no error");
        let text = String::from_utf8(whole.to_bytes().to_vec()).expect("text");
        assert!(text.contains(last), "{text:?} after {event:?}");
    }
}
