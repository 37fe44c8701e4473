//! A reverse proxy over loopback, bare and with counted answers, in turns.

use quanta::Instant;
use std::error::Error;
use std::net::SocketAddr;

use bench::measure::median;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use throttlekit_llm::{Exhausted, MeteredBody};
use tokio::net::{TcpListener, TcpStream};

use crate::answers::{Answer, CHUNK, Counting, Lines};

type Failure = Box<dyn Error + Send + Sync>;

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) answers: usize,
    chunks: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 3, answers: 64, chunks: 200 }
        } else {
            Self { rounds: 15, answers: 64, chunks: 2_000 }
        }
    }

    pub(crate) fn megabytes(self) -> usize {
        self.answers * self.chunks * CHUNK / 1_000_000
    }
}

/// What one proxy did.
#[derive(Clone, Debug)]
pub(crate) struct Throughput {
    pub(crate) name: &'static str,
    pub(crate) megabytes_a_second: f64,
    /// The median over the rounds, each beside the bare proxy's of the same round.
    pub(crate) of_bare: f64,
}

/// What the proxy does with an answer; the path says so.
const KINDS: [(&str, &str); 6] = [
    ("bare", "/whole/bare"),
    ("counted, whole lines", "/whole/1"),
    ("counted, whole lines, 64 tokens at a time", "/whole/64"),
    ("bare, cut lines", "/cut/bare"),
    ("counted, cut lines", "/cut/1"),
    ("counted, cut lines, 64 tokens at a time", "/cut/64"),
];

pub(crate) fn run(plan: Plan) -> Result<Vec<Throughput>, Box<dyn Error>> {
    let upstream = serve(move |request| async move { Ok::<_, Failure>(Response::new(answer(&request, plan))) })?;
    let (exact, ahead) = (Counting::new(Exhausted::Cut, 1)?, Counting::new(Exhausted::Cut, 64)?);
    let proxy = serve(move |request| {
        let counting = match request.uri().path().rsplit('/').next() {
            Some("1") => Some(exact.clone()),
            Some("64") => Some(ahead.clone()),
            _ => None,
        };
        pass(request, upstream, counting)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); KINDS.len()];
    for round in 0..=plan.rounds {
        for turn in 0..KINDS.len() {
            let kind = (turn + round) % KINDS.len();
            let rate = runtime.block_on(fetch(proxy, KINDS[kind].1, plan)).map_err(|error| error.to_string())?;
            if round > 0 {
                rates[kind].push(rate);
            }
        }
    }
    let found = KINDS.iter().zip(&rates).enumerate().filter(|(_, ((name, _), _))| *name != "bare, cut lines");
    Ok(found
        .map(|(index, ((name, _), own))| {
            // The bare proxy of the same chunks comes before.
            let bare = &rates[index - index % 3];
            let of_bare = median(own.iter().zip(bare).map(|(own, bare)| own / bare).collect());
            Throughput { name, megabytes_a_second: median(own.clone()), of_bare }
        })
        .collect())
}

fn answer(request: &Request<Incoming>, plan: Plan) -> Answer {
    let lines = if request.uri().path().starts_with("/whole") { Lines::Whole } else { Lines::Cut };
    Answer::endless(lines).of(plan.chunks)
}

/// Serves on a thread of its own, until the program ends.
fn serve<B, F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Result<SocketAddr, Box<dyn Error>>
where
    B: Body<Data = Bytes, Error: Into<Failure>> + 'static,
    F: Future<Output = Result<Response<B>, Failure>> + 'static,
{
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let service = service_fn(answer.clone());
                tokio::task::spawn_local(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    Ok(address)
}

/// The proxy: asks the upstream, and passes its answer.
async fn pass(
    request: Request<Incoming>,
    upstream: SocketAddr,
    counting: Option<Counting>,
) -> Result<Response<Passed>, Failure> {
    let mut connection = connect(upstream).await?;
    let request = Request::builder().uri(request.uri().path()).header("host", "upstream").body(Empty::<Bytes>::new())?;
    let answer = connection.send_request(request).await?;
    Ok(match counting {
        Some(counting) => answer.map(|body| Passed::Right(MeteredBody::new(body, counting.start()))),
        None => answer.map(Passed::Left),
    })
}

type Passed = http_body_util::Either<Incoming, MeteredBody<Incoming>>;

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn(connection);
    Ok(sender)
}

/// Reads all answers at once; megabytes a second.
#[allow(clippy::cast_precision_loss)] // a count of bytes
async fn fetch(proxy: SocketAddr, path: &str, plan: Plan) -> Result<f64, Failure> {
    let start = Instant::now();
    let answers = (0..plan.answers).map(|_| read(proxy, path, plan));
    futures_util::future::try_join_all(answers).await?;
    Ok((plan.answers * plan.chunks * CHUNK) as f64 / 1e6 / start.elapsed().as_secs_f64())
}

async fn read(proxy: SocketAddr, path: &str, plan: Plan) -> Result<(), Failure> {
    let mut connection = connect(proxy).await?;
    let request = Request::builder().uri(path).header("host", "proxy").body(Empty::<Bytes>::new())?;
    let mut body = connection.send_request(request).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    // The first line of an answer whose chunks are shifted begins in its middle; nothing of it is lost.
    if bytes == plan.chunks * CHUNK { Ok(()) } else { Err(format!("{path} gave {bytes} bytes").into()) }
}
