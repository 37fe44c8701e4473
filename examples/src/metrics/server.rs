//! The server: work that is limited, and metrics of it.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit::prometheus::Metrics;
use throttlekit_axum::{ThrottleLayer, metrics_router};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const LIMITS: &str = "
limiters:
  work: { strategy: gcra, limit: 120, period: 1s, burst: 30, concurrency: { limit: 8 } }
http:
  rules:
    - { path: /work, policy: work, key: { constant: everybody } }
";

pub(crate) struct Server {
    /// Where the work is done.
    pub(crate) work: SocketAddr,
    /// Where the metrics are.
    pub(crate) metrics: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(listen: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let metrics = Metrics::new();
        let policies = Policies::load(LIMITS, LoadOptions::new().observer(metrics.clone()))?;
        let work = Router::new().route("/work", get(handler)).layer(ThrottleLayer::from_config(&policies)?);
        let mut tasks = JoinSet::new();
        let work = serve(&mut tasks, SocketAddr::from(([127, 0, 0, 1], 0)), work).await?;
        let metrics = serve(&mut tasks, listen, metrics_router(metrics)).await?;
        Ok(Self { work, metrics, _tasks: tasks })
    }
}

/// Between 20 and 100 ms of work.
async fn handler() -> &'static str {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(20..100))).await;
    "done\n"
}

async fn serve(tasks: &mut JoinSet<()>, address: SocketAddr, app: Router) -> Result<SocketAddr, String> {
    let fails = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(fails)?;
    let address = listener.local_addr().map_err(fails)?;
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            eprintln!("metrics: {error}");
        }
    });
    Ok(address)
}
