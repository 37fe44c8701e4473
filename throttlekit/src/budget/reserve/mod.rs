//! How much to reserve for work whose cost is not known yet.
//!
//! A reservation `r` for work that then costs `c` loses `h * (r - c)` if it was too large and `p * (c - r)` if it was too
//! small: `h` is what a token costs that is held and not used, `p` what one costs that was not reserved. That is the
//! newsvendor's loss. For costs from one distribution it is least at their quantile `p / (h + p)`.
//!
//! None of this can make a budget be passed. That is up to the meter; reservations only say when to let work begin.

mod learned;
mod policy;
mod predictive;

pub use learned::{LearnedReservation, ReservationOptions, critical_fractile};
pub use policy::{ReservationPolicy, Ticket};
pub use predictive::PredictiveReservation;
