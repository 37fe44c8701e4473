//! What a layer takes from the throughput of a server: requests a second over loopback, by `wrk` with 64 connections.
//!
//! The server has one core and the load another, where there are two. Machines change their speed within seconds, so each
//! stack serves next to its bare server, before it in one round and after it in the next; what counts is the median of the
//! rounds' shares of that.
//!
//! `wrk` has as much to do as the server, and reads what the server writes: where it is what holds both up, throughput says
//! more of it than of the layer. So the time that the server's threads were on a core is told too.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer, web};
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use bench::args::Args;
use bench::cores::{on, pin};
use bench::measure::median;
use bench::report::{self, Claims, Table, two};
use bench::rival::{Limit, gcra, shown};
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use throttlekit::headers::{HeaderFamily, HeaderSet};
use throttlekit::{DynLimiter, Guard, Limiter, SystemClock};
use throttlekit_actix::Throttle;
use throttlekit_axum::ThrottleLayer;
use tower::util::MapResponseLayer;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

/// Each stack with the place of the bare server that it is compared with.
const STACKS: [(&str, usize); 12] = [
    (AXUM, 0),
    ("axum, three fields", 0),
    ("axum, ThrottleKit", 0),
    ("axum, ThrottleKit, headers", 0),
    ("axum, ThrottleKit, slots", 0),
    ("axum, tower_governor", 0),
    ("axum, tower_governor, headers", 0),
    (ACTIX, 7),
    ("actix, three fields", 7),
    ("actix, ThrottleKit", 7),
    ("actix, ThrottleKit, headers", 7),
    ("actix, ThrottleKit, slots", 7),
];
const AXUM: &str = "axum";
const ACTIX: &str = "actix";

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
    let mut servers = STACKS.iter().map(|(stack, _)| Server::start(stack)).collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        server.load()?;
    }
    let mut loads: Vec<Vec<Load>> = vec![Vec::new(); STACKS.len()];
    let mut shares: Vec<Vec<Load>> = loads.clone();
    for round in 0..rounds {
        for (index, (_, bare)) in STACKS.iter().enumerate().filter(|(index, (_, bare))| index != bare) {
            let (first, second) = if round % 2 == 0 { (index, *bare) } else { (*bare, index) };
            for turn in [first, second] {
                loads[turn].push(servers[turn].load()?);
            }
            let (own, bare) = (loads[index][loads[index].len() - 1], loads[*bare][loads[*bare].len() - 1]);
            shares[index].push(Load { rate: own.rate / bare.rate, busy_ns: own.busy_ns / bare.busy_ns });
        }
    }
    servers.clear();

    report::header("loopback");
    println!(
        "One server on one core, `wrk -t1 -c64` on another; {rounds} rounds of a second for each stack and \
         as many for its bare server next to it.\n"
    );
    let mut table =
        Table::new(["stack", "requests a second", "of the bare server", "ns on a core", "of the bare server"]);
    let mut figures: Vec<Value> = Vec::new();
    let mut claims = Claims::default();
    for ((stack, _), (loads, shares)) in STACKS.iter().zip(loads.iter().zip(&shares)) {
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

/// One stack in a process of its own, which ends with this.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(stack: &str) -> Result<Self, Box<dyn Error>> {
        let mut process = on(0, std::env::current_exe()?).args(["--part", stack]).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self { process, address: address.trim().to_owned() })
    }

    /// One second of load.
    fn load(&self) -> Result<Load, Box<dyn Error>> {
        let url = format!("http://{}/", self.address);
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

/// Serves one stack until the process is killed.
fn serve(stack: &str) -> Result<(), Box<dyn Error>> {
    if stack.starts_with(ACTIX) { serve_actix(stack) } else { serve_axum(stack) }
}

fn limiter() -> Result<impl DynLimiter, Box<dyn Error>> {
    Ok(Limiter::new(gcra(Limit::GENEROUS)?))
}

fn serve_actix(stack: &str) -> Result<(), Box<dyn Error>> {
    let throttle = match stack {
        ACTIX | "actix, three fields" => None,
        "actix, ThrottleKit" => Some(Throttle::builder(limiter()?).headers(HeaderSet::EMPTY).build()?),
        "actix, ThrottleKit, headers" => {
            Some(Throttle::builder(shown(SystemClock::new())?).headers(HeaderFamily::Draft).build()?)
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
    let server = match throttle {
        None if stack == ACTIX => HttpServer::new(app).workers(1).listen(socket)?.run(),
        None => {
            let fields = || FIELDS.into_iter().fold(DefaultHeaders::new(), DefaultHeaders::add);
            HttpServer::new(move || app().wrap(fields())).workers(1).listen(socket)?.run()
        }
        Some(throttle) => HttpServer::new(move || app().wrap(throttle.clone())).workers(1).listen(socket)?.run(),
    };
    Ok(actix_web::rt::System::new().block_on(server)?)
}

fn serve_axum(stack: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let app = Router::new().route("/", get(|| async { "hello" }));
    let app = match stack {
        AXUM => app,
        "axum, three fields" => app.layer(MapResponseLayer::new(|mut response: Response| {
            let fields = FIELDS.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            response.headers_mut().extend(fields);
            response
        })),
        "axum, ThrottleKit" => app.layer(ThrottleLayer::builder(limiter()?).headers(HeaderSet::EMPTY).build()?),
        "axum, ThrottleKit, headers" => {
            app.layer(ThrottleLayer::builder(shown(SystemClock::new())?).headers(HeaderFamily::Draft).build()?)
        }
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
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        Ok::<_, Box<dyn Error>>(axum::serve(listener, service).await?)
    })
}
