//! What handlers know of the admission of a request, as arguments.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use throttlekit_tower::{Admitted, UpgradeSlot};

/// Lets handlers take `$argument`, which wraps what a layer with `$option` puts into the extensions of a request.
macro_rules! argument {
    ($argument:ident, $option:literal) => {
        impl<S: Send + Sync> FromRequestParts<S> for $argument {
            type Rejection = NotShared;

            async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotShared> {
                parts.extensions.get().cloned().map(Self).ok_or(NotShared { option: $option })
            }
        }

        impl<S: Send + Sync> OptionalFromRequestParts<S> for $argument {
            type Rejection = Infallible;

            async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
                Ok(parts.extensions.get().cloned().map(Self))
            }
        }
    };
}

/// How the request was admitted: its decision, and the limits under its key, to count more on them. The layer has to be
/// told to [share it](throttlekit_tower::FrameworkLayer::share).
///
/// As `Option<Throttled>` it is `None` for a request that was not limited; as `Throttled` such a request is answered with
/// 500.
///
/// ```
/// use axum::Router;
/// use axum::routing::post;
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_axum::{Refusal, ThrottleLayer, Throttled};
///
/// /// Costs one unit at the door, and one more for each 1,000 bytes.
/// async fn store(throttled: Throttled, body: String) -> Result<String, Refusal> {
///     let units = (body.len() / 1_000) as f64;
///     if let Some(meter) = throttled.meter("uploads").filter(|_| units > 0.0) {
///         meter.debit(units).await?.into_result()?;
///     }
///     Ok(format!("{} were left before", throttled.decision().remaining))
/// }
///
/// let limiter = Limiter::new(Gcra::per_second(50)?);
/// let layer = ThrottleLayer::builder(limiter).policy_name("uploads").build()?.share(true);
/// let app: Router = Router::new().route("/", post(store)).layer(layer);
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Throttled(pub Admitted);

impl Deref for Throttled {
    type Target = Admitted;

    fn deref(&self) -> &Admitted {
        &self.0
    }
}

argument!(Throttled, "share(true)");

/// The slot that the request holds, which may outlive its response: whoever works on a WebSocket keeps it until the
/// connection is done. The layer has to be told to [hold upgrades](throttlekit_tower::FrameworkLayer::hold_upgrades).
///
/// As `Option<Slot>` it is `None` for a request that holds none; as `Slot` such a request is answered with 500.
///
/// ```
/// use axum::Router;
/// use axum::extract::ws::{WebSocket, WebSocketUpgrade};
/// use axum::response::Response;
/// use axum::routing::any;
/// use throttlekit::{Guard, SystemClock};
/// use throttlekit_axum::{Slot, ThrottleLayer};
///
/// /// Is work in flight for as long as the socket is open.
/// async fn echo(upgrade: WebSocketUpgrade, slot: Slot) -> Response {
///     upgrade.on_upgrade(async move |mut socket: WebSocket| {
///         let _slot = slot;
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
///
/// let guard = Guard::builder().fixed(1_000).build()?;
/// let layer = ThrottleLayer::builder_for(guard, SystemClock::new()).build()?.hold_upgrades(true);
/// let app: Router = Router::new().route("/echo", any(echo)).layer(layer);
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slot(pub UpgradeSlot);

argument!(Slot, "hold_upgrades(true)");

/// The request carries nothing of its admission: no layer limited it, or the layer was not told to share that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotShared {
    option: &'static str,
}

impl NotShared {
    /// 500: the application is put together wrongly.
    pub fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// The text of the response.
    pub fn body_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for NotShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request carries nothing of a rate limit: is there a layer with `{}`?", self.option)
    }
}

impl std::error::Error for NotShared {}

impl IntoResponse for NotShared {
    fn into_response(self) -> Response {
        (self.status(), self.body_text()).into_response()
    }
}
