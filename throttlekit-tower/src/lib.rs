#![doc = include_str!("../README.md")]
//!
#![doc = include_str!("../docs/benchmarks.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod body;
mod door;
mod fields;
mod future;
mod layer;
mod request;
mod service;

pub use body::{Bodies, ResponseBody};
pub use door::Tower;
pub use future::ResponseFuture;
pub use layer::{FrameworkLayer, ThrottleLayer};
pub use request::{Framework, PeerAddr, Plain, RequestHead};
pub use service::Throttle;
pub use throttlekit_http::{Admitted, Answer, KeyMeter, Lookup, Refusal, Reject, Resolve, Terms, UpgradeSlot};

/// Who asks: from a request to the key that a limiter counts under.
///
/// ```
/// use throttlekit_tower::key::{Key, KeyExtractor};
/// use throttlekit_tower::{Plain, RequestHead, Tower};
///
/// /// The first segment of the path is the tenant.
/// #[derive(Debug)]
/// struct Tenant;
///
/// impl KeyExtractor<Tower<Plain>> for Tenant {
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
    pub use throttlekit_http::key::*;
}

/// Builds a [`ThrottleLayer`] with one rule for every request.
pub type ThrottleLayerBuilder<F = Plain> = throttlekit_http::Builder<Tower<F>>;

/// A denial, as hooks and responses see it.
pub type Limited<'a, F = Plain> = throttlekit_http::Limited<'a, RequestHead<'a, F>>;

/// A request that could not be decided, as hooks and responses see it.
pub type Failure<'a, F = Plain> = throttlekit_http::Failure<'a, RequestHead<'a, F>>;

/// Why a request is answered here and not passed on.
pub type Rejection<'a, F = Plain> = throttlekit_http::Rejection<'a, RequestHead<'a, F>>;
