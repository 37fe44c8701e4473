//! A reverse proxy over loopback, bare and with counted answers, in turns.

use std::cell::Cell;
use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll};

use bench::cores::pin;
use bench::measure::median;
use bench::rival::{Floor, Limit, Rival as _};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quanta::Instant;
use throttlekit::SystemClock;
use throttlekit_llm::{Exhausted, MeteredBody};
use tokio::net::{TcpListener, TcpStream};

use crate::BARE;
use crate::answers::{Answer, CHUNK, Counting, Debits, Lines};

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
        // Even, so that as many go first as second.
        if quick {
            Self { rounds: 8, answers: 64, chunks: 200 }
        } else {
            // Others on the machine come and go within seconds: what is compared is next to each other, and many times.
            Self { rounds: 100, answers: 64, chunks: 500 }
        }
    }

    pub(crate) fn megabytes(self) -> usize {
        self.bytes() / 1_000_000
    }

    fn bytes(self) -> usize {
        self.answers * self.chunks * CHUNK
    }
}

/// What one proxy did.
#[derive(Clone, Debug)]
pub(crate) struct Throughput {
    pub(crate) name: &'static str,
    /// Medians over the rounds.
    pub(crate) load: Load,
    /// Medians of the shares of the bare proxy's next to it.
    pub(crate) of_bare: Load,
}

/// What one round came to, or its share of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) megabytes_a_second: f64,
    /// How long the proxy's thread was on a core for each chunk.
    pub(crate) busy_ns: f64,
}

/// Two loads next to each other.
#[derive(Clone, Copy, Debug)]
struct Pair {
    own: Load,
    bare: Load,
    /// How long the host had the cores for others meanwhile.
    stolen: u64,
}

/// Those pairs in which no more was stolen than in half of them.
fn quiet(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_by_key(|pair| pair.stolen);
    let most = pairs.get(pairs.len() / 2).map_or(0, |pair| pair.stolen);
    pairs.retain(|pair| pair.stolen <= most);
    pairs
}

fn middle(pairs: &[Pair], of: fn(&Pair) -> Load) -> Load {
    let loads: Vec<Load> = pairs.iter().map(of).collect();
    let of = |of: fn(&Load) -> f64| median(loads.iter().map(of).collect());
    Load { megabytes_a_second: of(|load| load.megabytes_a_second), busy_ns: of(|load| load.busy_ns) }
}

/// How long the host has had the cores of this machine for others, in ticks; 0 where it does not say.
fn stolen() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().and_then(|all| all.split_whitespace().nth(8)?.parse().ok());
    all.unwrap_or(0)
}

/// What the proxy does with an answer, the path that says so, and that of the bare proxy with the same chunks.
const KINDS: [(&str, &str, &str); 8] = [
    // Compared with itself: what this differs from 1 is noise.
    (BARE, WHOLE, WHOLE),
    // What nothing that counts and debits can go below.
    ("all bytes touched, and the floor of a check", "/whole/floor", WHOLE),
    ("counted, whole lines", "/whole/1", WHOLE),
    ("counted, whole lines, 64 tokens at a time", "/whole/64", WHOLE),
    ("counted, whole lines, tokens taken at admission", "/whole/before", WHOLE),
    ("counted, cut lines", "/cut/1", CUT),
    ("counted, cut lines, 64 tokens at a time", "/cut/64", CUT),
    ("counted, cut lines, tokens taken at admission", "/cut/before", CUT),
];
const WHOLE: &str = "/whole/bare";
const CUT: &str = "/cut/bare";

/// The proxy has one core, and what loads it another, where there are two.
pub(crate) fn run(plan: Plan) -> Result<Vec<Throughput>, Box<dyn Error>> {
    let upstream =
        serve(1, move || move |request| async move { Ok::<_, Failure>(Response::new(answer(&request, plan))) })?;
    let counting = |debits| Counting::new(Exhausted::Cut, debits);
    let (exact, ahead, before) = (counting(Debits::Of(1))?, counting(Debits::Of(64))?, counting(Debits::Before)?);
    let upstream = upstream.address;
    let proxy = serve(0, move || {
        let (exact, ahead, before) = (exact.clone(), ahead.clone(), before.clone());
        let floor = Rc::new(Floor::new(1, Limit::GENEROUS, SystemClock::new()));
        let behind = Rc::new(Cell::new(None));
        move |request: Request<Incoming>| {
            let kind = match request.uri().path().rsplit('/').next() {
                Some("1") => Kind::Counted(exact.clone()),
                Some("64") => Kind::Counted(ahead.clone()),
                Some("before") => Kind::Counted(before.clone()),
                Some("floor") => Kind::Floor(floor.clone()),
                _ => Kind::Bare,
            };
            pass(request, upstream, behind.clone(), kind)
        }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    pin(&std::process::id().to_string(), 1);
    let connections = (0..plan.answers).map(|_| connect(proxy.address));
    let connections = futures_util::future::try_join_all(connections);
    let mut connections = runtime.block_on(connections).map_err(|error| error.to_string())?;
    let mut load =
        |path| runtime.block_on(fetch(&proxy, &mut connections, path, plan)).map_err(|error| error.to_string());
    let mut all: Vec<Vec<Pair>> = vec![Vec::new(); KINDS.len()];
    load(WHOLE)?;
    load(CUT)?;
    for round in 0..plan.rounds {
        for ((_, path, bare_path), pairs) in KINDS.iter().zip(&mut all) {
            let before = stolen();
            let (own, bare) = if round % 2 == 0 {
                let own = load(path)?;
                (own, load(bare_path)?)
            } else {
                let bare = load(bare_path)?;
                (load(path)?, bare)
            };
            pairs.push(Pair { own, bare, stolen: stolen().saturating_sub(before) });
        }
    }
    let compared = KINDS.iter().zip(all).map(|((name, ..), pairs)| {
        let pairs = quiet(pairs);
        let share = |pair: &Pair| Load {
            megabytes_a_second: pair.own.megabytes_a_second / pair.bare.megabytes_a_second,
            busy_ns: pair.own.busy_ns / pair.bare.busy_ns,
        };
        Throughput { name, load: middle(&pairs, |pair| pair.own), of_bare: middle(&pairs, share) }
    });
    Ok(compared.collect())
}

fn answer(request: &Request<Incoming>, plan: Plan) -> Answer {
    let lines = if request.uri().path().starts_with("/whole") { Lines::Whole } else { Lines::Cut };
    Answer::endless(lines).of(plan.chunks)
}

/// Who serves, on a thread of its own until the program ends.
struct Server {
    address: SocketAddr,
    /// The number of the thread.
    thread: String,
}

impl Server {
    /// How long its thread was on a core until now.
    fn busy_ns(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread))?;
        Ok(stat.split(' ').next().unwrap_or_default().parse()?)
    }
}

/// Each connection is answered by what `connected` gives.
fn serve<B, F, A>(core: usize, connected: impl Fn() -> A + Send + 'static) -> Result<Server, Box<dyn Error>>
where
    B: Body<Data = Bytes, Error: Into<Failure>> + 'static,
    F: Future<Output = Result<Response<B>, Failure>> + 'static,
    A: Fn(Request<Incoming>) -> F + 'static,
{
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        let thread = thread.file_name().unwrap_or_default().to_string_lossy().into_owned();
        pin(&thread, core);
        let _ = tell.send(thread);
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let service = service_fn(connected());
                tokio::task::spawn_local(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    Ok(Server { address, thread: told.recv()? })
}

/// The proxy: asks the upstream, over the connection that is behind that of the client, and passes its answer.
async fn pass(
    request: Request<Incoming>,
    upstream: SocketAddr,
    behind: Rc<Cell<Option<Connection>>>,
    kind: Kind,
) -> Result<Response<Passed>, Failure> {
    let mut connection = match behind.take() {
        Some(connection) => connection,
        None => connect(upstream).await?,
    };
    connection.ready().await?;
    let request = Request::builder().uri(request.uri().path()).header("host", "upstream").body(Empty::<Bytes>::new())?;
    let answer = connection.send_request(request).await?;
    behind.set(Some(connection));
    Ok(match kind {
        Kind::Bare => answer.map(Passed::Left),
        Kind::Counted(counting) => {
            answer.map(|body| Passed::Right(Either::Left(MeteredBody::new(body, counting.start()))))
        }
        Kind::Floor(floor) => answer.map(|body| Passed::Right(Either::Right(Touched { body, floor }))),
    })
}

type Passed = Either<Incoming, Either<MeteredBody<Incoming>, Touched>>;

/// What becomes of an answer.
enum Kind {
    Bare,
    Counted(Counting),
    Floor(Rc<Floor<SystemClock>>),
}

/// Looks at each byte, and checks a key once a chunk.
struct Touched {
    body: Incoming,
    floor: Rc<Floor<SystemClock>>,
}

impl Body for Touched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            // The compiler makes vectors of this.
            black_box(frame.data_ref().map(|data| data.iter().fold(0, |all, byte| all ^ byte)));
            black_box(self.floor.check(&mut (), black_box("key-1")));
        }
        polled
    }
}

type Connection = SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn(connection);
    Ok(sender)
}

/// Reads all answers at once.
#[allow(clippy::cast_precision_loss)] // counts of bytes and chunks
async fn fetch(proxy: &Server, connections: &mut [Connection], path: &str, plan: Plan) -> Result<Load, Failure> {
    let (start, busy) = (Instant::now(), proxy.busy_ns()?);
    let answers = connections.iter_mut().map(|connection| read(connection, path, plan));
    futures_util::future::try_join_all(answers).await?;
    Ok(Load {
        megabytes_a_second: plan.bytes() as f64 / 1e6 / start.elapsed().as_secs_f64(),
        busy_ns: (proxy.busy_ns()? - busy) / (plan.answers * plan.chunks) as f64,
    })
}

async fn read(connection: &mut Connection, path: &str, plan: Plan) -> Result<(), Failure> {
    connection.ready().await?;
    let request = Request::builder().uri(path).header("host", "proxy").body(Empty::<Bytes>::new())?;
    let mut body = connection.send_request(request).await?.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    // The first line of an answer whose chunks are shifted begins in its middle; nothing of it is lost.
    if bytes == plan.chunks * CHUNK { Ok(()) } else { Err(format!("{path} gave {bytes} bytes").into()) }
}
