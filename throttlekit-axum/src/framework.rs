//! What axum knows of a request.

use std::net::SocketAddr;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, OriginalUri};
use throttlekit_tower::{Bodies, Framework, PeerAddr, RequestHead, ResponseBody};

/// axum: the peer is [`ConnectInfo<SocketAddr>`], the path that of the [`OriginalUri`], so that rules name whole paths
/// wherever in a nested router the layer is.
///
/// `ConnectInfo` is there if the server is made by `into_make_service_with_connect_info::<SocketAddr>()`; otherwise
/// [`PeerAddr`] is looked for. The body of a response is a [`Body`], and that of the handler itself if nothing is held until it
/// ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Axum;

impl Framework for Axum {
    type Bodies = Self;

    const PEER_REMEDY: &'static str = "serve the router by `into_make_service_with_connect_info::<SocketAddr>()`, or put a `PeerAddr` into the \
         extensions of each request";

    #[inline]
    fn peer(request: &RequestHead<'_, Self>) -> Option<SocketAddr> {
        let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        info.map(|info| info.0).or_else(|| request.extensions().get::<PeerAddr>().map(|peer| peer.0))
    }

    fn path<'a>(request: &RequestHead<'a, Self>) -> &'a str {
        request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0).path()
    }
}

impl<B> Bodies<B> for Axum
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = Body;

    /// axum would box any other body.
    #[inline]
    fn finish(body: ResponseBody<B>) -> Body {
        match body.try_into_inner() {
            Ok(inner) => Body::new(inner),
            Err(body) => Body::new(body),
        }
    }
}
