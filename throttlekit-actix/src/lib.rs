#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

mod body;
mod door;
mod extract;
mod fields;
mod future;
mod metrics;
mod middleware;
mod refusal;
mod request;
mod throttle;

pub use body::ResponseBody;
pub use door::Actix;
pub use extract::{NotShared, Slot, Throttled};
pub use future::ResponseFuture;
pub use metrics::metrics_service;
pub use middleware::ThrottleMiddleware;
pub use refusal::Refusal;
pub use request::RequestHead;
pub use throttle::Throttle;
pub use throttlekit_http::{Admitted, Answer, KeyMeter, Lookup, Reject, Resolve, Terms, UpgradeSlot};

/// Who asks: from a request to the key that a limiter counts under.
///
/// ```
/// use actix_web::test::TestRequest;
/// use throttlekit_actix::key::{Key, KeyExtractor};
/// use throttlekit_actix::{Actix, RequestHead};
///
/// /// The first segment of the path is the tenant.
/// #[derive(Debug)]
/// struct Tenant;
///
/// impl KeyExtractor<Actix> for Tenant {
///     fn key<'a>(&'a self, request: &RequestHead<'a>) -> Option<Key<'a>> {
///         request.path().split('/').nth(1).filter(|tenant| !tenant.is_empty()).map(Key::from)
///     }
/// }
///
/// let request = TestRequest::with_uri("/acme/orders").to_http_request();
/// let key = Tenant.key(&RequestHead::new(&request));
/// assert_eq!(key.as_ref().map(Key::as_str), Some("acme"));
/// ```
pub mod key {
    pub use throttlekit_http::key::*;
}

/// Builds a [`Throttle`] with one rule for every request.
pub type ThrottleBuilder = throttlekit_http::Builder<Actix>;

/// A denial, as hooks and responses see it.
pub type Limited<'a> = throttlekit_http::Limited<'a, RequestHead<'a>>;

/// A request that could not be decided, as hooks and responses see it.
pub type Failure<'a> = throttlekit_http::Failure<'a, RequestHead<'a>>;

/// Why a request is answered here and not passed on.
pub type Rejection<'a> = throttlekit_http::Rejection<'a, RequestHead<'a>>;
