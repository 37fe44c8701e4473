//! The server: a few workers and, in front of them, a limit or none.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use throttlekit::policy::Policies;
use throttlekit_axum::ThrottleLayer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::{WORK, WORKERS};

/// All that it takes. The limit is learnt; it begins with far more than the server can do at once, so that nothing is refused
/// before it is known.
const LIMITS: &str = "
limiters:
  work: { concurrency: { initialLimit: 50 } }
http:
  rules:
    - { path: /work, policy: work, key: { constant: everybody } }
";

/// How often the server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The server at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// Requests that are worked on or wait for it, also those whose clients have gone.
    pub(crate) in_flight: u32,
    /// `None` without a limit.
    pub(crate) limit: Option<u32>,
}

pub(crate) struct Server {
    address: SocketAddr,
    looks: Arc<Mutex<Vec<Look>>>,
    /// The server and who looks at it; both end with this.
    _tasks: JoinSet<()>,
}

/// What does the work, such as a database.
struct Backend {
    workers: Semaphore,
    in_flight: AtomicU32,
}

impl Backend {
    async fn work(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Ok(_worker) = self.workers.acquire().await {
            // From 0.7 to 1.3 of the mean.
            tokio::time::sleep(WORK.mul_f64(0.7 + 0.6 * fastrand::f64())).await;
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the backend work. It does not learn that a client has gone, so the work is done all the same.
async fn handler(State(backend): State<Arc<Backend>>) -> &'static str {
    let work = tokio::spawn(async move { backend.work().await });
    if work.await.is_ok() { "done\n" } else { "failed\n" }
}

impl Server {
    pub(crate) async fn start(start: Instant, limited: bool) -> Result<Self, Box<dyn Error>> {
        let backend = Arc::new(Backend { workers: Semaphore::new(WORKERS), in_flight: AtomicU32::new(0) });
        let mut app = Router::new().route("/work", get(handler)).with_state(Arc::clone(&backend));
        let mut policies = None;
        if limited {
            let limits = Policies::from_yaml(LIMITS)?;
            app = app.layer(ThrottleLayer::from_config(&limits)?);
            policies = Some(limits);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let looks = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("overload: {error}");
            }
        });
        let seen = Arc::clone(&looks);
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval_at(start, LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                let at = ticks.tick().await.duration_since(start).as_secs_f64();
                let report = policies.as_ref().and_then(|policies| policies.get("work")?.guard_report());
                let in_flight = backend.in_flight.load(Ordering::Relaxed);
                let look = Look { at, in_flight, limit: report.map(|report| report.limit) };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(look);
            }
        });
        Ok(Self { address, looks, _tasks: tasks })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and says how it looked.
    pub(crate) fn stop(self) -> Vec<Look> {
        std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
