//! What a layer takes from the throughput of a server: requests a second over loopback, by `wrk` with 64 connections.
//!
//! The server has one core and the load another, where there are two. Machines change their speed within seconds, so each
//! stack is loaded next to a bare server, before it in one round and after it in the next; what counts is the median of the
//! rounds' shares of that. Two processes of the same server differ by several percent, by where they happen to be in memory,
//! so the bare server is in the process of the stack, and each round starts a new one.
//!
//! `wrk` has as much to do as the server, and reads what the server writes: where it is what holds both up, throughput says
//! more of it than of the layer. So the time that the server's threads were on a core is told too.

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer, web};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, ServiceExt};
use bench::args::Args;
use bench::cores::{on, pin};
use bench::measure::median;
use bench::report::{self, Claims, Table, two};
use bench::rival::{Floor, Limit, Rival as _, SHOWN_COST, gcra, shown};
use futures_util::future::{try_join, try_join_all};
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{DynLimiter, Guard, Limiter, SystemClock};
use throttlekit_actix::Throttle;
use throttlekit_axum::ThrottleLayer;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower::{Layer as _, Service};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

/// Each stack. The first of a framework is its bare server, which is compared with itself: what that differs from 1 is noise.
const STACKS: [&str; 17] = [
    AXUM,
    "axum, forwarding layer",
    "axum, floor of a check",
    "axum, three fields",
    "axum, ThrottleKit",
    "axum, ThrottleKit, headers",
    "axum, ThrottleKit, slots",
    AROUND,
    AROUND_SHOWN,
    "axum, tower_governor",
    "axum, tower_governor, headers",
    ACTIX,
    "actix, forwarding middleware",
    "actix, three fields",
    "actix, ThrottleKit",
    "actix, ThrottleKit, headers",
    "actix, ThrottleKit, slots",
];
const AXUM: &str = "axum";
const ACTIX: &str = "actix";
/// The layer around the router as a whole, and not by its method around each route.
const AROUND: &str = "axum, ThrottleKit around";
const AROUND_SHOWN: &str = "axum, ThrottleKit around, headers";

/// Fields that are there already: what no layer that shows three can go below.
const FIELDS: [(&str, &str); 3] =
    [("ratelimit-limit", "5000"), ("ratelimit-remaining", "4999"), ("ratelimit-reset", "1")];

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    if let Some(stack) = &args.part {
        return serve(stack);
    }
    // Even, so that as many go first as second.
    let rounds = if args.quick { 4 } else { 16 };
    pin(&std::process::id().to_string(), 1);
    let mut loads: Vec<Vec<Load>> = vec![Vec::new(); STACKS.len()];
    let mut shares: Vec<Vec<Load>> = loads.clone();
    for round in 0..rounds {
        for (stack, (loads, shares)) in STACKS.iter().zip(loads.iter_mut().zip(&mut shares)) {
            let server = Server::start(stack)?;
            let (bare, own) = if round % 2 == 0 {
                let bare = server.load(&server.bare)?;
                (bare, server.load(&server.own)?)
            } else {
                let own = server.load(&server.own)?;
                (server.load(&server.bare)?, own)
            };
            loads.push(own);
            shares.push(Load { rate: own.rate / bare.rate, busy_ns: own.busy_ns / bare.busy_ns });
        }
    }

    report::header("loopback");
    println!(
        "One server on one core, `wrk -t1 -c64` on another; {rounds} processes for each stack, a second for it in each and \
         one for a bare server in the same process.\n"
    );
    let mut table =
        Table::new(["stack", "requests a second", "of the bare server", "ns on a core", "of the bare server"]);
    let mut figures: Vec<Value> = Vec::new();
    let mut claims = Claims::default();
    for (stack, (loads, shares)) in STACKS.iter().zip(loads.iter().zip(&shares)) {
        let (rate, share) = (middle(loads, |load| load.rate), middle(shares, |load| load.rate));
        let (busy, more) = (middle(loads, |load| load.busy_ns), middle(shares, |load| load.busy_ns));
        table.row([(*stack).to_owned(), format!("{rate:.0}"), two(share), format!("{busy:.0}"), two(more)]);
        figures.push(json!({ "stack": stack, "perSecond": rate, "share": share, "busyNs": busy, "busy": more }));
        match *stack {
            "axum, ThrottleKit" | "actix, ThrottleKit" => {
                claims.at_least(format!("{stack}: share of the bare server"), share, 0.98);
            }
            "axum, ThrottleKit, headers" | "actix, ThrottleKit, headers" => {
                claims.at_least(format!("{stack}: share of the bare server"), share, 0.95);
            }
            _ => {}
        }
    }
    table.print();
    claims.print();
    report::save("loopback", json!({ "figures": figures, "claims": claims.json() }));
    Ok(())
}

/// What a second of load came to, or its share of another.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Requests a second.
    rate: f64,
    /// How long the server's threads were on a core for each of them.
    busy_ns: f64,
}

fn middle(loads: &[Load], of: impl Fn(&Load) -> f64) -> f64 {
    median(loads.iter().map(of).collect())
}

/// One stack and a bare server in a process of their own, which ends with this.
struct Server {
    process: Child,
    bare: String,
    own: String,
}

impl Server {
    fn start(stack: &str) -> Result<Self, Box<dyn Error>> {
        let mut process = on(0, std::env::current_exe()?).args(["--part", stack]).stdout(Stdio::piped()).spawn()?;
        let mut addresses = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let mut next = || addresses.next().transpose().map(Option::unwrap_or_default);
        Ok(Self { bare: next()?, own: next()?, process })
    }

    /// One second of load.
    fn load(&self, address: &str) -> Result<Load, Box<dyn Error>> {
        let url = format!("http://{address}/");
        let before = self.busy_ns()?;
        let output = Command::new("wrk").args(["-t1", "-c64", "-d1s", &url]).output()?;
        let busy = self.busy_ns()? - before;
        let text = String::from_utf8(output.stdout)?;
        if text.contains("Non-2xx") {
            return Err(format!("the server refused requests: {text}").into());
        }
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        let requests = text.lines().find_map(|line| line.split_once(" requests in "));
        match (rate, requests) {
            (Some(rate), Some((requests, _))) => {
                Ok(Load { rate: rate.trim().parse()?, busy_ns: busy / requests.trim().parse::<f64>()? })
            }
            _ => Err(format!("wrk says no rate: {text}").into()),
        }
    }

    /// How long the threads of the server were on a core until now.
    fn busy_ns(&self) -> Result<f64, Box<dyn Error>> {
        let mut busy = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let stat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            busy += stat.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(busy)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves a bare server and one stack, whose addresses it tells in this order, until the process is killed.
fn serve(stack: &str) -> Result<(), Box<dyn Error>> {
    if stack.starts_with(ACTIX) {
        let servers = [actix(ACTIX)?, actix(stack)?];
        Ok(actix_web::rt::System::new().block_on(try_join_all(servers)).map(drop)?)
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bare = serve_axum(axum(AXUM)?);
        match stack {
            AROUND | AROUND_SHOWN => {
                let layer = if stack == AROUND { unseen()? } else { seen()? };
                runtime.block_on(try_join(bare, serve_axum(layer.layer(axum(AXUM)?)))).map(drop)
            }
            _ => runtime.block_on(try_join(bare, serve_axum(axum(stack)?))).map(drop),
        }
    }
}

fn limiter() -> Result<impl DynLimiter, Box<dyn Error>> {
    Ok(Limiter::new(gcra(Limit::GENEROUS)?))
}

fn actix(stack: &str) -> Result<actix_web::dev::Server, Box<dyn Error>> {
    let throttle = match stack {
        ACTIX | "actix, forwarding middleware" | "actix, three fields" => None,
        "actix, ThrottleKit" => Some(Throttle::builder(limiter()?).headers(HeaderSet::EMPTY).build()?),
        "actix, ThrottleKit, headers" => {
            Some(Throttle::builder(shown(SystemClock::new())?).cost(SHOWN_COST).headers(HeaderFamily::Draft).build()?)
        }
        "actix, ThrottleKit, slots" => {
            let slots = Throttle::builder_for(Guard::fixed(10_000)?, SystemClock::new());
            Some(slots.headers(HeaderSet::EMPTY).build()?)
        }
        other => return Err(format!("there is no stack {other:?}").into()),
    };
    // Before it runs, so that the address can be told.
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("{}", socket.local_addr()?);
    let app = || App::new().route("/", web::get().to(async || "hello"));
    Ok(match throttle {
        None if stack == ACTIX => HttpServer::new(app).workers(1).listen(socket)?.run(),
        None if stack == "actix, forwarding middleware" => {
            HttpServer::new(move || app().wrap(DefaultHeaders::new())).workers(1).listen(socket)?.run()
        }
        None => {
            let fields = || FIELDS.into_iter().fold(DefaultHeaders::new(), DefaultHeaders::add);
            HttpServer::new(move || app().wrap(fields())).workers(1).listen(socket)?.run()
        }
        Some(throttle) => HttpServer::new(move || app().wrap(throttle.clone())).workers(1).listen(socket)?.run(),
    })
}

fn axum(stack: &str) -> Result<Router, Box<dyn Error>> {
    let app = Router::new().route("/", get(|| async { "hello" }));
    let app = match stack {
        AXUM => app,
        // What a layer costs there whatever it does.
        "axum, forwarding layer" => app.layer(MapResponseLayer::new(|response: Response| response)),
        // What no layer that limits can go below, with a key that needs no reading.
        "axum, floor of a check" => {
            let floor = Arc::new(Floor::new(1, Limit::GENEROUS, SystemClock::new()));
            app.layer(MapRequestLayer::new(move |request: Request| {
                black_box(floor.check(&mut (), black_box("127.0.0.1")));
                request
            }))
        }
        "axum, three fields" => app.layer(MapResponseLayer::new(|mut response: Response| {
            let fields = FIELDS.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            response.headers_mut().extend(fields);
            response
        })),
        "axum, ThrottleKit" => app.layer(unseen()?),
        "axum, ThrottleKit, headers" => app.layer(seen()?),
        "axum, ThrottleKit, slots" => {
            let slots = ThrottleLayer::builder_for(Guard::fixed(10_000)?, SystemClock::new());
            app.layer(slots.headers(HeaderSet::EMPTY).build()?)
        }
        "axum, tower_governor" => {
            let mut config = GovernorConfigBuilder::default();
            config.per_millisecond(1).burst_size(4_000_000_000);
            app.layer(GovernorLayer::new(config.finish().ok_or("the quota is refused")?))
        }
        "axum, tower_governor, headers" => {
            let mut config = GovernorConfigBuilder::default();
            config.per_nanosecond(10).burst_size(5_000);
            let mut config = config.use_headers();
            app.layer(GovernorLayer::new(config.finish().ok_or("the quota is refused")?))
        }
        other => return Err(format!("there is no stack {other:?}").into()),
    };
    // So that its handlers are put together once, and not for each request.
    Ok(app.with_state(()))
}

/// Limits without header fields.
fn unseen() -> Result<ThrottleLayer, Box<dyn Error>> {
    Ok(ThrottleLayer::builder(limiter()?).headers(HeaderSet::EMPTY).build()?)
}

/// Limits with them.
fn seen() -> Result<ThrottleLayer, Box<dyn Error>> {
    Ok(ThrottleLayer::builder(shown(SystemClock::new())?).cost(SHOWN_COST).headers(HeaderFamily::Draft).build()?)
}

async fn serve_axum<S>(app: S) -> Result<(), Box<dyn Error>>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
    Ok(axum::serve(listener, service).await?)
}
