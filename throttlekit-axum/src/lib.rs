#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod extract;
mod framework;
mod layer;
mod metrics;
mod refusal;
mod router;

pub use extract::{NotShared, Slot, Throttled};
pub use framework::Axum;
pub use layer::{Failure, Limited, Rejection, RequestHead, ThrottleLayer, ThrottleLayerBuilder};
pub use metrics::metrics_router;
pub use refusal::Refusal;
pub use router::RouterExt;
pub use throttlekit_tower::{
    Admitted, Answer, KeyMeter, Lookup, PeerAddr, Reject, Resolve, Terms, Throttle, Tower, UpgradeSlot,
};

/// Who asks: from a request to the key that a limiter counts under.
///
/// ```
/// use throttlekit_axum::key::{Key, KeyExtractor};
/// use throttlekit_axum::{Axum, RequestHead, Tower};
///
/// /// The first segment of the path is the tenant.
/// #[derive(Debug)]
/// struct Tenant;
///
/// impl KeyExtractor<Tower<Axum>> for Tenant {
///     fn key<'a>(&'a self, request: &RequestHead<'a>) -> Option<Key<'a>> {
///         request.path().split('/').nth(1).filter(|tenant| !tenant.is_empty()).map(Key::from)
///     }
/// }
///
/// let request = http::Request::get("/acme/orders").body(())?;
/// let key = Tenant.key(&RequestHead::new(&request));
/// assert_eq!(key.as_ref().map(Key::as_str), Some("acme"));
/// # Ok::<(), http::Error>(())
/// ```
pub mod key {
    pub use throttlekit_tower::key::*;
}

/// Compiles the examples of the workspace's front page.
#[cfg(all(doctest, feature = "config"))]
#[doc = include_str!("../../README.md")]
struct FrontPage;
