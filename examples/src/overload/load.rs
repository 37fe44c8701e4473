//! The load: requests at their times, whatever becomes of those before.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::PATIENCE;

/// A stretch of time with one load.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) per_second: f64,
    pub(crate) length: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered in time.
    Good,
    /// Refused.
    Shed,
    /// Not answered in time.
    GaveUp,
    /// Neither.
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// When the request was sent, in seconds since the start.
    pub(crate) at: f64,
    pub(crate) outcome: Outcome,
    pub(crate) latency: Duration,
}

/// Connections that nobody uses.
struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Pool {
    fn take(&self) -> Option<SendRequest<Empty<Bytes>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// The status of the response, once its body is there. Dropped before, the connection is broken off.
    async fn get(&self) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
        let mut sender = match self.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let request = Request::builder().uri("/work").header("host", "localhost").body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Body::new(response.into_body()).collect().await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(status)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Box<dyn Error + Send + Sync>> {
        let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(self.address).await?)).await?;
        // It ends when the sender is dropped.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// Sends the load of all phases, and waits for what becomes of it.
pub(crate) async fn send(address: SocketAddr, phases: &[Phase], start: Instant) -> Vec<Answer> {
    let pool = Arc::new(Pool { address, idle: Mutex::default() });
    let mut requests = JoinSet::new();
    let mut begin = start;
    for phase in phases {
        let end = begin + phase.length;
        let mut at = begin;
        while at < end {
            sleep_until(at).await;
            let pool = Arc::clone(&pool);
            requests.spawn(async move {
                let sent = Instant::now();
                let outcome = match timeout(PATIENCE, pool.get()).await {
                    Ok(Ok(StatusCode::OK)) => Outcome::Good,
                    Ok(Ok(StatusCode::TOO_MANY_REQUESTS)) => Outcome::Shed,
                    Ok(_) => Outcome::Failed,
                    Err(_) => Outcome::GaveUp,
                };
                Answer { at: sent.duration_since(start).as_secs_f64(), outcome, latency: sent.elapsed() }
            });
            at += Duration::from_secs_f64(1.0 / phase.per_second);
        }
        begin = end;
    }
    requests.join_all().await
}
