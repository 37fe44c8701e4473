//! Budgets for cost that is known only while the work runs, such as the tokens of an answer that streams.
//!
//! A request may produce up to `m` tokens, and nobody knows how many it will be. To reserve `m` for each never passes a
//! budget and wastes most of it; to count when a request is over uses all of it and passes it by as much as everything in
//! flight. A [`TokenBudget`] counts what is produced, before it goes out:
//!
//! ```
//! use throttlekit::ManualClock;
//! use throttlekit::budget::{Budget, TokenBudget};
//!
//! let budget = Budget::builder().budget(5.0).window_ms(60_000.0).build()?;
//! let budget = TokenBudget::builder(budget).clock(ManualClock::new(0.0)).build();
//! let mut sent = 0;
//! for _token in 0..10 {
//!     if !budget.debit("key-1", 1)?.allowed {
//!         break; // abort the request that produces them
//!     }
//!     sent += 1;
//! }
//! assert_eq!(sent, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The meter alone keeps the bound. The rest is about using a budget well:
//!
//! | to | use |
//! |---|---|
//! | count what is produced, per key, in process or for a fleet over a store | [`TokenBudget`] |
//! | count in a fleet without a round trip for each debit | [`Budget::leased`] |
//! | let work begin only while what it may cost still fits | [`Gate`] |
//! | choose how much that is: the most, what is learnt, what is predicted | [`ReservationPolicy`] |
//! | limit by a budget where a strategy is asked for, as in [`Unified`](crate::Unified) | [`Budget`] |

mod book;
mod builder;
mod dynamic;
mod gate;
mod ledger;
mod meter;
mod program;
mod reservation;
mod reserve;
mod rule;

pub use book::ReservationStats;
pub use builder::TokenBudgetBuilder;
pub use gate::{Gate, GateBuilder, GateRule, Reserved};
pub use ledger::{DEFAULT_MAX_KEYS, Ledger};
pub use meter::{InProcess, TokenBudget};
pub use program::{Usage, Verdict};
pub use reservation::Reservation;
pub use reserve::{
    LearnedReservation, PredictiveReservation, ReservationOptions, ReservationPolicy, Ticket, critical_fractile,
};
pub use rule::{Budget, BudgetBuilder, Served};
