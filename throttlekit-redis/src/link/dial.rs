//! How a server is reached: its address, who logs in, within what time.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::Failure;
use crate::link::batch::Batch;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A host, by name or number, and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Address {
    /// The address that a URL named.
    pub(crate) fn of(address: &ConnectionAddr) -> Self {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Self::Tcp(host.clone(), *port)
            }
            ConnectionAddr::Unix(path) => Self::Unix(path.clone()),
            // The enum may grow; what it grows by is no URL that is accepted here.
            _ => Self::Unix(PathBuf::new()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// For a connection, from the name's resolution to the end of the log-in.
    pub(crate) connect: Duration,
    /// For the answers to one pipeline.
    pub(crate) response: Duration,
}

/// How servers of one kind are reached. Its `Debug` shows no secret.
#[derive(Clone)]
pub(crate) struct Dial {
    pub(crate) login: RedisConnectionInfo,
    pub(crate) timing: Timing,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsConnector>,
}

impl Dial {
    /// Connects and logs in.
    pub(crate) async fn open(&self, address: &Address) -> Result<Wire, Failure> {
        match tokio::time::timeout(self.timing.connect, self.connect(address)).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(failure)) => Err(Failure::new(format!("{address}: {failure}"))),
            Err(_) => Err(Failure::new(format!(
                "{address}: no connection within {} ms",
                self.timing.connect.as_secs_f64() * 1_000.0
            ))),
        }
    }

    async fn connect(&self, address: &Address) -> Result<Wire, Failure> {
        let io = |error: std::io::Error| Failure::new(error.kind().to_string());
        match address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(io)?;
                // Otherwise the kernel holds back a small pipeline until the one before it is acknowledged.
                stream.set_nodelay(true).map_err(io)?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.tls {
                    return self.log_in(crate::tls::wrap(tls, host, stream).await?).await;
                }
                self.log_in(stream).await
            }
            #[cfg(unix)]
            Address::Unix(path) => self.log_in(UnixStream::connect(path).await.map_err(io)?).await,
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Failure::new("this system has no unix sockets")),
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Wire, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.timing.response));
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config)
            .await
            .map_err(|error| Failure::of_login(&error))?;
        Ok(Wire::new(connection, driver))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// One open connection, shared by everything that goes over it. It closes with its last owner.
pub(crate) struct Wire {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    opened: Instant,
    /// Since when something waits and nothing was answered, in milliseconds after `opened`, and one; 0 for not at all.
    waiting_since: AtomicU64,
    useful: AtomicBool,
}

impl Wire {
    fn new(connection: MultiplexedConnection, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            connection,
            driver: tokio::spawn(driver),
            opened: Instant::now(),
            waiting_since: AtomicU64::new(0),
            useful: AtomicBool::new(false),
        }
    }

    /// When it was opened.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// Notes that it served its purpose.
    pub(crate) fn set_useful(&self) {
        self.useful.store(true, Ordering::Relaxed);
    }

    /// Whether it ever served its purpose.
    pub(crate) fn is_useful(&self) -> bool {
        self.useful.load(Ordering::Relaxed)
    }

    /// Whether the other side is known to be gone. Nothing sent from now on can arrive.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Whether something was sent longer than `patience` ago and nothing was answered since. It shows that a server
    /// hangs though every caller gives up before the response timeout does.
    pub(crate) fn is_silent(&self, patience: Duration) -> bool {
        let since = self.waiting_since.load(Ordering::Relaxed);
        since > 0 && self.age_ms().saturating_sub(since) > u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    async fn answered<T>(&self, exchange: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let since = self.age_ms();
        // Only the first of those that wait counts. Relaxed: nothing else is published with it.
        let first = self.waiting_since.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let mut waits = Waits { wire: self, since: if first { since } else { 0 } };
        let answer = exchange.await;
        // What may be noted from here on is another one's.
        waits.since = 0;
        if answer.is_ok() {
            self.waiting_since.store(0, Ordering::Relaxed);
        }
        answer
    }

    /// Sends one command.
    pub(crate) async fn command(&self, command: &redis::Cmd) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        self.answered(connection.send_packed_command(command)).await
    }

    /// Sends a batch; the answers of its runs, errors of the server among them, in order.
    pub(crate) async fn batch(&self, batch: &Batch) -> RedisResult<Vec<Value>> {
        let pipeline = batch.pipeline();
        let mut commands = pipeline.cmd_iter();
        // One command is cheaper without the bookkeeping of a pipeline.
        if let (Some(command), None) = (commands.next(), commands.next()) {
            return Ok(vec![self.command(command).await?]);
        }
        let mut connection = self.connection.clone();
        let mut answers = self.answered(connection.send_packed_commands(pipeline, 0, pipeline.len())).await?;
        if batch.skipped() > 0 {
            let mut index = 0;
            answers.retain(|_| {
                index += 1;
                index % (1 + batch.skipped()) == 0
            });
        }
        Ok(answers)
    }
}

/// An exchange that may have noted since when it waits. Dropped before its answer it waits no longer, and the note goes.
struct Waits<'a> {
    wire: &'a Wire,
    /// What it noted; 0 if it noted nothing.
    since: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.since > 0 {
            let noted = &self.wire.waiting_since;
            let _ = noted.compare_exchange(self.since, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
