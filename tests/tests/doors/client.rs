//! A client that can go away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

/// Which HTTP is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: Sender,
    connection: JoinHandle<()>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(crate) async fn connect(server: SocketAddr, version: Version) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, server, version).await
    }

    /// Connects from one of the addresses of the loopback network.
    pub(crate) async fn connect_from(own: Ipv4Addr, server: SocketAddr, version: Version) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(IpAddr::V4(own), 0)).expect("a loopback address");
        let io = TokioIo::new(socket.connect(server).await.expect("a connection"));
        match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await.expect("a handshake");
                // One that is broken off ends with an error.
                let connection = tokio::spawn(async move { drop(connection.await) });
                Self { sender: Sender::Http1(sender), connection }
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
                let connection = tokio::spawn(async move { drop(connection.await) });
                Self { sender: Sender::Http2(sender), connection }
            }
        }
    }

    /// Sends a request with a header field or without; an error if the connection or the stream breaks off before the
    /// head of the response is there.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        field: Option<(&str, &str)>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let (uri, host) = match self.sender {
            Sender::Http1(_) => (path.to_owned(), Some(("host", "localhost"))),
            Sender::Http2(_) => (format!("http://localhost{path}"), None),
        };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in host.into_iter().chain(field) {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).expect("a request");
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(Method::GET, path, None).await.expect("a response")
    }

    /// Asks for a WebSocket on a stream of its own, as HTTP/2 has it: by `CONNECT` with the protocol's name.
    pub(crate) async fn socket(&mut self, path: &str) -> Response<Incoming> {
        let Sender::Http2(sender) = &mut self.sender else { panic!("HTTP/1 has upgrades instead") };
        let request = Request::connect(format!("http://localhost{path}")).header("sec-websocket-version", "13");
        let request = request.extension(Protocol::from_static("websocket")).body(Empty::new()).expect("a request");
        sender.ready().await.expect("an open connection");
        sender.send_request(request).await.expect("a response")
    }

    /// Goes away, whatever is on its way.
    pub(crate) async fn vanish(self) {
        self.connection.abort();
        // The socket is closed once the task is gone.
        drop(self.connection.await);
    }
}

/// The header field as text; empty if it is not there.
pub(crate) fn field<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// The whole body; an error if it breaks off.
pub(crate) async fn read(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).expect("text"))
}
