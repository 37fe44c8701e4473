//! Connections that outlive their handshake: whether the slot of the request does too.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, field};
use crate::servers::{Framework, Server};
use crate::setup::Setup;

/// Says what it hears, and keeps its slot for as long, if it is given one.
pub(crate) async fn on_axum(
    upgrade: WebSocketUpgrade,
    slot: Option<throttlekit_axum::Slot>,
) -> axum::response::Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let _slot = slot;
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

/// The same.
pub(crate) async fn on_actix(
    request: actix_web::HttpRequest,
    body: actix_web::web::Payload,
    slot: Option<throttlekit_actix::Slot>,
) -> actix_web::Result<actix_web::HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        let _slot = slot;
        while let Some(Ok(message)) = messages.recv().await {
            let said = match message {
                actix_ws::Message::Text(text) => session.text(text).await,
                actix_ws::Message::Close(reason) => return drop(session.close(reason).await),
                _ => Ok(()),
            };
            if said.is_err() {
                break;
            }
        }
    });
    Ok(response)
}

impl<F: Framework> Server<F> {
    /// Shakes hands.
    async fn socket(&self) -> Result<WebSocketStream<TcpStream>, Error> {
        let stream = TcpStream::connect(self.address()).await.expect("a connection");
        tokio_tungstenite::client_async("ws://localhost/slots/socket", stream).await.map(|(socket, _)| socket)
    }
}

/// A stream of a connection of HTTP/2.
type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// Shakes hands on a stream of its own; the status if that is refused.
async fn stream(client: &mut Client) -> Result<Stream, u16> {
    let response = client.socket("/slots/socket").await;
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    let io = TokioIo::new(hyper::upgrade::on(response).await.expect("the stream"));
    Ok(WebSocketStream::from_raw_socket(io, Role::Client, None).await)
}

/// Sends a word and waits until it comes back.
async fn talk<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<T>) {
    socket.send(Message::text("hello")).await.expect("it is open");
    let heard = socket.next().await.expect("it is open").expect("a message");
    assert_eq!(heard, Message::text("hello"));
}

pub(crate) async fn a_websocket_frees_its_slot_with_the_handshake<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    // More than there are slots.
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = server.socket().await.expect("a handshake");
        talk(&mut socket).await;
        sockets.push(socket);
        server.settles_at(0, 0).await;
    }
    talk(&mut sockets[0]).await;
    drop(sockets);
    server.settles_at(0, 0).await;
}

pub(crate) async fn a_websocket_that_keeps_its_slot_frees_it_when_it_closes<F: Framework>() {
    let server = Server::<F>::start(Setup::holding_upgrades()).await;
    let mut one = server.socket().await.expect("a handshake");
    let mut other = server.socket().await.expect("a handshake");
    talk(&mut one).await;
    talk(&mut other).await;
    assert_eq!(server.setup.work().in_flight, 2);
    match server.socket().await {
        Err(Error::Http(denied)) => assert_eq!(denied.status(), 429),
        result => panic!("a third one should be refused, but {result:?}"),
    }
    let denied = server.client().await.get("/slots/hello").await;
    assert_eq!((denied.status().as_u16(), field(&denied, "ratelimit-remaining")), (429, "0"));

    // One says goodbye, the other one is gone.
    one.close(None).await.expect("it is open");
    while one.next().await.is_some_and(|message| message.is_ok()) {}
    server.settles_at(1, 0).await;
    talk(&mut other).await;
    drop(other);
    server.settles_at(0, 0).await;

    // A response that is no handshake gives its slot back as it always does.
    assert_eq!(server.client().await.get("/slots/hello").await.status(), 200);
    server.settles_at(0, 0).await;
}

/// A connection whose server has said that it knows `CONNECT` for a protocol: with its settings, before its first response.
async fn connection<F: Framework>(server: &Server<F>) -> Client {
    let mut client = server.client().await;
    assert_eq!(client.get("/slots/hello").await.status(), 200);
    server.settles_at(0, 0).await;
    client
}

pub(crate) async fn a_websocket_on_a_stream_frees_its_slot_with_the_handshake<F: Framework>() {
    let server = Server::<F>::start(Setup::rules()).await;
    let mut client = connection(&server).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = stream(&mut client).await.expect("a handshake");
        talk(&mut socket).await;
        sockets.push(socket);
        server.settles_at(0, 0).await;
    }
}

pub(crate) async fn a_websocket_on_a_stream_that_keeps_its_slot_frees_it_when_it_closes<F: Framework>() {
    let server = Server::<F>::start(Setup::holding_upgrades()).await;
    let mut client = connection(&server).await;
    let mut one = stream(&mut client).await.expect("a handshake");
    let mut other = stream(&mut client).await.expect("a handshake");
    talk(&mut one).await;
    talk(&mut other).await;
    assert_eq!(server.setup.work().in_flight, 2);
    assert_eq!(stream(&mut client).await.err(), Some(429), "a third one");

    // One says goodbye, the other one is gone, and their connection goes on. The server ends the stream as soon as it hears
    // that, which the one who says it may see as an error.
    drop(one.close(None).await);
    while one.next().await.is_some_and(|message| message.is_ok()) {}
    server.settles_at(1, 0).await;
    talk(&mut other).await;
    drop(other);
    server.settles_at(0, 0).await;
    assert_eq!(client.get("/slots/hello").await.status(), 200);
}
