//! An axum service whose limits come from a file.
//!
//! ```text
//! cargo run --release --bin quickstart [-- --listen ADDRESS] [--config FILE]
//! ```
//!
//! Ctrl-C and SIGTERM let open requests finish; SIGHUP reads the file again. The file also says where the limits are counted;
//! the features `redis`, `postgres` and `dynamodb` of this package choose which stores it may name.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use lexopt::prelude::{Long, Short, ValueExt as _};
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::{Clock, Error as LimitError, ReportGate, SystemClock, TokioRuntime};
use throttlekit_axum::ThrottleLayer;
use tokio::net::TcpListener;

const USAGE: &str = "\
An axum service whose limits come from a file.

Usage: quickstart [--listen ADDRESS] [--config FILE]

  --listen ADDRESS  where to listen [default: 127.0.0.1:3000]; port 0 takes a free one
  --config FILE     limits and rules as YAML, JSON or TOML [default: the project's examples/throttle.yaml]
  -h, --help        print this";

struct Options {
    listen: SocketAddr,
    config: PathBuf,
}

/// `None` if only help is wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
        config: concat!(env!("CARGO_MANIFEST_DIR"), "/throttle.yaml").into(),
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => options.listen = arguments.value()?.parse()?,
            Long("config") => options.config = arguments.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("quickstart: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let policies = Policies::load_file_with(&options.config, stores(LoadOptions::new().runtime(TokioRuntime)))?;
    ready(&policies).await?;
    let errors = ErrorLog::new();
    let limits =
        ThrottleLayer::from_config(&policies)?.on_error(move |failure| errors.write(failure.policy, failure.error));
    let app = Router::new()
        .route("/api/hello", get(|| async { "hello\n" }))
        .route("/api/upload", post(|body: Bytes| async move { format!("stored {} bytes\n", body.len()) }))
        .layer(limits);

    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    let store = policies.current().config().store.kind().as_str();
    println!("listening on http://{address}, limits from {}, counted in {store}", options.config.display());
    println!("\nallowed, with the state of the limit in the header fields:");
    println!("  curl -i http://{address}/api/hello");
    println!("  curl -i -H 'x-api-key: alice' -d 'some data' http://{address}/api/upload");
    println!("denied from the sixth on:");
    println!(
        "  for i in 1 2 3 4 5 6 7; do curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'x-api-key: bob' -d x \
         http://{address}/api/upload; done\n"
    );

    let (stop, abort) = signals(policies)?;
    // With connect info, so that the limits know who asks.
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = axum::serve(listener, service).with_graceful_shutdown(stop) => served?,
        () = abort => return Err("interrupted before all requests were finished".into()),
    }
    println!("stopped");
    Ok(())
}

/// The stores that the file may name.
fn stores(options: LoadOptions) -> LoadOptions {
    #[cfg(feature = "redis")]
    let options = options.connector(throttlekit_redis::RedisConnector);
    #[cfg(feature = "postgres")]
    let options = options.connector(throttlekit_postgres::PostgresConnector::new());
    #[cfg(feature = "dynamodb")]
    let options = options.connector(throttlekit_dynamodb::DynamoDbConnector::new());
    options
}

/// Warns if the store is not there; fails if the file says that it is required.
async fn ready(policies: &Policies) -> Result<(), LimitError> {
    if let Some(error) = policies.ready().await? {
        eprintln!("warning: {error}; until it is back the fail modes apply");
    }
    Ok(())
}

/// Errors on standard error, at a bounded rate: during an outage there is one with every request.
struct ErrorLog {
    clock: SystemClock,
    /// One gate for outages and one for what should not be.
    gates: [ReportGate; 2],
}

impl ErrorLog {
    const INTERVAL: Duration = Duration::from_secs(10);

    fn new() -> Self {
        Self { clock: SystemClock::new(), gates: [(); 2].map(|()| ReportGate::new(Self::INTERVAL)) }
    }

    fn write(&self, policy: &str, error: &LimitError) {
        let gate = &self.gates[usize::from(error.is_store_unavailable())];
        match gate.pass(self.clock.now_ms()) {
            Some(0) => eprintln!("{policy}: {error}"),
            Some(others) => eprintln!("{policy}: {error} (and {others} more errors since the last line)"),
            None => {}
        }
    }
}

/// A future that reloads for each SIGHUP and ends with Ctrl-C or SIGTERM, and one that ends with the second Ctrl-C.
#[cfg(unix)]
fn signals(
    policies: Policies,
) -> std::io::Result<(impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static)> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut again = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => reload(&policies).await,
            }
        }
        println!("stopping: open requests are finished, a second Ctrl-C cuts them off");
    };
    let abort = async move {
        again.recv().await;
        again.recv().await;
    };
    Ok((stop, abort))
}

/// A future that ends with Ctrl-C, and one that never does.
#[cfg(not(unix))]
fn signals(
    _policies: Policies,
) -> std::io::Result<(impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static)> {
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Ok((stop, std::future::pending()))
}

/// Reads the file again. A wrong one is reported, and the limits stay as they are.
#[cfg(unix)]
async fn reload(policies: &Policies) {
    match policies.reload_file() {
        Ok(report) => {
            println!("reloaded: {report}");
            if let Err(error) = ready(policies).await {
                eprintln!("warning: {error}; until it is back the fail modes apply");
            }
        }
        Err(errors) => eprintln!("not reloaded, the limits stay as they are:\n{errors}"),
    }
}
