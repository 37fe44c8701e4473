//! What a service does at its start and at its end, whatever it serves.

use std::error::Error;
use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use throttlekit::config::ConfigErrors;
use throttlekit::policy::{LoadOptions, Policies, ReloadReport};
use throttlekit::{Clock, Error as LimitError, ReportGate, SystemClock, TokioRuntime};
use tokio::net::TcpListener;

/// The limits of a file. A store that is not there is a warning, unless the file says that it is required.
pub(crate) async fn load(file: &Path, options: LoadOptions) -> Result<Policies, Box<dyn Error>> {
    let policies = Policies::load_file_with(file, stores(options.runtime(TokioRuntime)))?;
    ready(&policies).await?;
    Ok(policies)
}

/// Listens on `address`; port 0 takes a free one.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
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
        warn(format_args!("warning: {error}; until it is back the fail modes apply"));
    }
    Ok(())
}

/// Writes a line to standard output. That nobody reads it any more is no reason to stop serving.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The same on standard error.
pub(crate) fn warn(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Errors on standard error, at a bounded rate: during an outage there is one with every request.
pub(crate) struct ErrorLog {
    clock: SystemClock,
    /// One gate for outages and one for what should not be.
    gates: [ReportGate; 2],
}

impl ErrorLog {
    const INTERVAL: Duration = Duration::from_secs(10);

    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), gates: [(); 2].map(|()| ReportGate::new(Self::INTERVAL)) }
    }

    pub(crate) fn write(&self, policy: &str, error: &LimitError) {
        let gate = &self.gates[usize::from(error.is_store_unavailable())];
        match gate.pass(self.clock.now_ms()) {
            Some(0) => warn(format_args!("{policy}: {error}")),
            Some(others) => {
                warn(format_args!("{policy}: {error} (and {others} more errors since the last line)"));
            }
            None => {}
        }
    }
}

/// Serves `app` until a signal says to stop, and then until open requests are finished or a second signal cuts them off.
pub(crate) async fn run(listener: TcpListener, app: Router, policies: Policies) -> Result<(), Box<dyn Error>> {
    let (stop, abort) = signals(policies)?;
    // With connect info, so that the limits know who asks.
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = axum::serve(listener, service).with_graceful_shutdown(stop) => served?,
        () = abort => return Err("interrupted before all requests were finished".into()),
    }
    say("stopped");
    Ok(())
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
        say("stopping: open requests are finished, a second Ctrl-C cuts them off");
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

/// Reads the file again.
#[cfg(unix)]
async fn reload(policies: &Policies) {
    let result = policies.reload_file();
    let reloaded = result.is_ok();
    tell_reload(result);
    if reloaded {
        if let Err(error) = ready(policies).await {
            warn(format_args!("warning: {error}; until it is back the fail modes apply"));
        }
    }
}

/// What came of reading the file again. With a wrong one the limits stay as they are.
pub(crate) fn tell_reload(result: Result<ReloadReport, ConfigErrors>) {
    match result {
        Ok(report) => say(format_args!("reloaded: {report}")),
        Err(errors) => warn(format_args!("not reloaded, the limits stay as they are:\n{errors}")),
    }
}
