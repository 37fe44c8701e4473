//! What handlers know of the admission of a request, as arguments.

use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError};
use throttlekit_http::{Admitted, UpgradeSlot};

/// Lets handlers take `$argument`, which wraps what a middleware with `$option` puts into the extensions of a request.
macro_rules! argument {
    ($argument:ident, $option:literal) => {
        impl FromRequest for $argument {
            type Error = NotShared;
            type Future = Ready<Result<Self, NotShared>>;

            fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
                let found = request.extensions().get().cloned();
                ready(found.map(Self).ok_or(NotShared { option: $option }))
            }
        }
    };
}

/// How the request was admitted: its decision, and the limits under its key, to count more on them. The middleware has to
/// be told to [share it](crate::Throttle::share).
///
/// As `Option<Throttled>` it is `None` for a request that was not limited; as `Throttled` such a request is answered with
/// 500.
///
/// ```
/// use actix_web::{App, web};
/// use throttlekit::{Gcra, Limiter};
/// use throttlekit_actix::{Refusal, Throttle, Throttled};
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
/// let throttle = Throttle::builder(limiter).policy_name("uploads").build()?.share(true);
/// let app = App::new().wrap(throttle).route("/", web::post().to(store));
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
/// connection is done. The middleware has to be told to [hold upgrades](crate::Throttle::hold_upgrades).
///
/// As `Option<Slot>` it is `None` for a request that holds none; as `Slot` such a request is answered with 500.
///
/// ```
/// use actix_web::{App, HttpRequest, HttpResponse, rt, web};
/// use actix_ws::Message;
/// use throttlekit::{Guard, SystemClock};
/// use throttlekit_actix::{Slot, Throttle};
///
/// /// Is work in flight for as long as the socket is open.
/// async fn echo(request: HttpRequest, body: web::Payload, slot: Slot) -> actix_web::Result<HttpResponse> {
///     let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
///     rt::spawn(async move {
///         let _slot = slot;
///         while let Some(Ok(message)) = messages.recv().await {
///             let said = match message {
///                 Message::Text(text) => session.text(text).await,
///                 Message::Ping(bytes) => session.pong(&bytes).await,
///                 Message::Close(reason) => return drop(session.close(reason).await),
///                 _ => Ok(()),
///             };
///             if said.is_err() {
///                 break;
///             }
///         }
///     });
///     Ok(response)
/// }
///
/// let guard = Guard::builder().fixed(1_000).build()?;
/// let throttle = Throttle::builder_for(guard, SystemClock::new()).build()?.hold_upgrades(true);
/// let app = App::new().wrap(throttle).route("/echo", web::get().to(echo));
/// # let _ = app;
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slot(pub UpgradeSlot);

argument!(Slot, "hold_upgrades(true)");

/// The request carries nothing of its admission: nothing limited it, or the middleware was not told to share that.
/// Answered with 500, since the application is put together wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotShared {
    option: &'static str,
}

impl fmt::Display for NotShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request carries nothing of a rate limit: is there a middleware with `{}`?", self.option)
    }
}

impl std::error::Error for NotShared {}

impl ResponseError for NotShared {}
