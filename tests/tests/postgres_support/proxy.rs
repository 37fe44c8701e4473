//! A wire between store and server that counts what goes over it and can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes bytes on. It ends when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    wire: Arc<Wire>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Wire {
    /// How often the client began to speak after it had listened.
    exchanges: AtomicU32,
    client_speaks: AtomicBool,
    /// What comes from the client is kept back from this exchange on; 0 for never.
    mute_from: AtomicU32,
    /// The connection is cut when the server answers this exchange; 0 for never.
    cut_at: AtomicU32,
}

impl Proxy {
    /// In front of the server on `port`.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let wire = Arc::new(Wire::default());
        let shared = Arc::clone(&wire);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(Arc::clone(&shared).requests(from_client, to_server));
                tokio::spawn(Arc::clone(&shared).answers(from_server, to_client));
            }
        });
        Self { port: own, wire, task }
    }

    /// A connection string that leads through it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Exchanges so far.
    pub(crate) fn exchanges(&self) -> u32 {
        self.wire.exchanges.load(SeqCst)
    }

    /// Keeps back what clients say after `more` more exchanges.
    pub(crate) fn mute_after(&self, more: u32) {
        self.wire.mute_from.store(self.exchanges() + more + 1, SeqCst);
    }

    /// Cuts the connection, once, instead of passing the answer of the exchange after `more` more.
    pub(crate) fn cut_answer_after(&self, more: u32) {
        self.wire.cut_at.store(self.exchanges() + more + 1, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    async fn requests(self: Arc<Self>, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) {
        let mut bytes = vec![0; 65_536];
        while let Ok(length) = client.read(&mut bytes).await {
            if length == 0 {
                return;
            }
            if !self.client_speaks.swap(true, SeqCst) {
                self.exchanges.fetch_add(1, SeqCst);
            }
            let mute_from = self.mute_from.load(SeqCst);
            if mute_from > 0 && self.exchanges.load(SeqCst) >= mute_from {
                // The server never hears of it, nor that the client has gone.
                std::future::pending::<()>().await;
            }
            if server.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }

    async fn answers(self: Arc<Self>, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut bytes = vec![0; 65_536];
        while let Ok(length) = server.read(&mut bytes).await {
            let cut_at = self.cut_at.load(SeqCst);
            let due = cut_at > 0 && self.exchanges.load(SeqCst) >= cut_at;
            let cut = due && self.cut_at.compare_exchange(cut_at, 0, SeqCst, SeqCst).is_ok();
            self.client_speaks.store(false, SeqCst);
            if length == 0 || cut || client.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }
}
