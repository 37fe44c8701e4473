//! A relay between a client and a server that can go wrong in the ways that networks do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What becomes of what passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes.
    Pass,
    /// Requests reach the server; its answers go nowhere, and the connections stay open.
    Mute,
    /// Requests reach the server; when it answers, the connection is cut instead. Connections made later are spared.
    CutAnswers,
    /// Nothing passes in either direction, and the connections stay open.
    Hold,
    /// Connections are cut, new ones at once.
    Refuse,
}

/// The relay, on a port of its own. It ends with this value, its connections too.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<(Mode, u64)>,
    server: Arc<Mutex<SocketAddr>>,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts to relay to `server`, in the current runtime.
    ///
    /// # Errors
    ///
    /// If there is no port to listen on.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, watching) = watch::channel((Mode::Pass, 0));
        let (server, accepted) = (Arc::new(Mutex::new(server)), Arc::new(AtomicUsize::new(0)));
        let open = Arc::new(AtomicUsize::new(0));
        let (to, count, opened) = (Arc::clone(&server), Arc::clone(&accepted), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let server = *to.lock().unwrap_or_else(PoisonError::into_inner);
                let (open, relayed) = (Open::one_more(&opened), relay(client, server, watching.clone()));
                connections.spawn(async move {
                    relayed.await;
                    drop(open);
                });
            }
        });
        Ok(Self { address, mode, server, accepted, open, task: task.abort_handle() })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relays connections made from now on to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// From now on does this to all connections, also those that are open.
    pub fn set(&self, mode: Mode) {
        self.mode.send_modify(|(current, _)| *current = mode);
    }

    /// Cuts the connections that are open now.
    pub fn cut(&self) {
        self.mode.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now. One whose server has ended it is until the client has closed it too.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a connection while it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Relays one connection until one side ends it or it is cut. What ends it concerns nobody but the two sides.
async fn relay(mut client: TcpStream, server: SocketAddr, mut watching: watch::Receiver<(Mode, u64)>) {
    let (first, born) = *watching.borrow_and_update();
    let mut spared = first == Mode::CutAnswers;
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let (mut request, mut answer) = (vec![0; 16_384], vec![0; 16_384]);
    loop {
        let (mode, cuts) = *watching.borrow_and_update();
        if cuts != born || mode == Mode::Refuse {
            return;
        }
        spared &= mode == Mode::CutAnswers;
        tokio::select! {
            changed = watching.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = client.read(&mut request), if mode != Mode::Hold => match read {
                Ok(length) if length > 0 => {
                    if server.write_all(&request[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = server.read(&mut answer), if mode != Mode::Hold => match read {
                Ok(length) if length > 0 => match mode {
                    Mode::CutAnswers if !spared => return,
                    Mode::Mute => {}
                    _ => {
                        if client.write_all(&answer[..length]).await.is_err() {
                            return;
                        }
                    }
                },
                _ => return end(client, request).await,
            },
        }
    }
}

/// Ends a connection as its server did: the client learns of it, and what it still sends goes nowhere until it closes too.
async fn end(mut client: TcpStream, mut rest: Vec<u8>) {
    if client.shutdown().await.is_ok() {
        while matches!(client.read(&mut rest).await, Ok(length) if length > 0) {}
    }
}
