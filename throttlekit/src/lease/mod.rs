//! Leases: units fetched from a shared store in batches, and spent where they are needed.
//!
//! [`TwoTier`] is the limiter. It is made of [`Grant`], a program that every store can run, and of refunds of what was not
//! spent; of sizes that are fixed or learnt by a [`Sizer`]; and of what is held in process for each key. [`LeaseSpender`] is
//! what a client holds that leases over a wire.
//!
//! ```
//! use throttlekit::FixedWindow;
//! use throttlekit::lease::TwoTier;
//! use throttlekit::store::{Call, Remote, Store};
//!
//! # struct Shared;
//! # impl Store for Shared {
//! #     async fn run(&self, call: &mut Call) -> Result<(), throttlekit::Error> {
//! #         call.step(&vec![None; call.keys().len()], 0.0).map(drop)
//! #     }
//! # }
//! # async fn example(store: Shared) -> Result<(), Box<dyn std::error::Error>> {
//! let window = FixedWindow::builder().limit(10_000.0).window_ms(60_000.0).build()?;
//! let limiter = TwoTier::builder(window).keyspace(Remote::new(store)).batch(100.0).window_coupled(true).build()?;
//!
//! assert_eq!(limiter.check("user-1").await?.remaining, 99);
//! // From here on no trip is needed, 99 times.
//! assert_eq!(limiter.try_check("user-1", 1.0)?.map(|decision| decision.remaining), Some(98));
//! # Ok(())
//! # }
//! # let run = std::pin::pin!(example(Shared));
//! # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! # assert!(matches!(run.poll(&mut context), std::task::Poll::Ready(Ok(()))));
//! ```
//!
//! # What it promises
//!
//! With `L` the limit of a window, `N` holders of a key, and `B` the greatest lease or cost:
//!
//! - **Coupled to windows**, at most `L` units are admitted in each, counted by the window of the grant that paid for them:
//!   for every `N`, any sizes, any delay of answers, whatever the wall clocks of the holders show.
//! - **Carried over**, at most `L + N * (B - 1)`; with refills at a low-water mark `w`, `L + N * (B + w)`; and `B` more for
//!   each answer that is under way when the window turns, or that comes for a request that was given up.
//! - **Nothing is spent twice.** Units whose holder crashed, whose answer was lost or came late, or which did not arrive on
//!   their way back, are lost to all until their window ends.
//! - **Cancellation**: who goes away takes nothing with them. The lease goes on, and its units are held for others.
//! - **Store loss**: units that are held are spent; what needs the store fails with `store_unavailable`.
//! - **Memory**: a bounded number of keys. A key with a lease under way is never dropped.
//!
//! The store must step at one clock that does not go back over the boundary of a window. Where it steps at the callers'
//! clocks and these disagree, partial leases take from the latest window that any of them has reached.

mod background;
mod book;
mod builder;
mod cached;
mod dynamic;
pub(crate) mod flight;
mod grant;
mod holding;
mod leases;
#[cfg(all(test, loom))]
mod loom_tests;
mod refund;
mod sizing;
mod spender;
mod sync;
mod two_tier;
mod waiting;

pub use builder::{Mode, TwoTierBuilder};
pub use grant::{Grant, GrantForm, Granted, Wanted};
pub use leases::LeaseStats;
pub use sizing::{EoqOptions, EoqSizer, Guided, PredictiveSizer, Sizer, eoq};
pub use spender::{LeaseSpender, MAX_ROUNDS, Reserve};
pub use two_tier::TwoTier;
