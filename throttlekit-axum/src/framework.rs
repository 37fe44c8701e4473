//! What axum knows of a request.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, OriginalUri};
use throttlekit_tower::{Framework, PeerAddr, RequestHead};

/// axum: the peer is [`ConnectInfo<SocketAddr>`], the path that of the [`OriginalUri`], so that rules name whole paths
/// wherever in a nested router the layer is.
///
/// `ConnectInfo` is there if the server is made by `into_make_service_with_connect_info::<SocketAddr>()`; otherwise
/// [`PeerAddr`] is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Axum;

impl Framework for Axum {
    const PEER_REMEDY: &'static str = "serve the router by `into_make_service_with_connect_info::<SocketAddr>()`, or put a `PeerAddr` into the \
         extensions of each request";

    fn peer(request: &RequestHead<'_, Self>) -> Option<SocketAddr> {
        let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        info.map(|info| info.0).or_else(|| request.extensions().get::<PeerAddr>().map(|peer| peer.0))
    }

    fn path<'a>(request: &RequestHead<'a, Self>) -> &'a str {
        request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0).path()
    }
}
