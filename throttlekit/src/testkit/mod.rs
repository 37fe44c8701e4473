//! A test for stores: whether one is as good as another.
//!
//! Whoever writes a [`Store`](crate::store::Store) describes it by a [`Harness`] and awaits [`conformance`]. The kit then
//! acts as many limiters on that store and reports every promise that did not hold. It needs no async runtime of its own,
//! no test framework, and it does not panic.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//! use throttlekit::Error;
//! use throttlekit::store::{Call, Store};
//! use throttlekit::testkit::{Harness, Time, conformance};
//!
//! #[derive(Clone, Default)]
//! struct Texts(Arc<Mutex<HashMap<String, (String, f64)>>>);
//!
//! impl Store for Texts {
//!     async fn run(&self, call: &mut Call) -> Result<(), Error> {
//!         let now_ms = call.now_ms();
//!         let mut texts = self.0.lock().map_err(|_| Error::store_unavailable("poisoned"))?;
//!         let live = |key| texts.get(key).filter(|(_, until): &&(String, f64)| *until > now_ms);
//!         let states: Vec<_> = call.keys().iter().map(|key| live(key).map(|(text, _)| text.clone())).collect();
//!         for write in call.step(&states, now_ms)? {
//!             let key = call.keys()[write.key].clone();
//!             match write.state {
//!                 Some((text, ttl_ms)) => texts.insert(key, (text, now_ms + ttl_ms.ceil().max(1.0))),
//!                 None => texts.remove(&key),
//!             };
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn block_on<T>(future: impl Future<Output = T>) -> T {
//! #     let mut future = std::pin::pin!(future);
//! #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! #     loop {
//! #         if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
//! #             return value;
//! #         }
//! #     }
//! # }
//! # block_on(async {
//! let backend = Texts::default();
//! let harness = Harness::new(move || Arc::new(backend.clone()), Time::Caller { expires: true }).stream_steps(50);
//! conformance(&harness).await?;
//! # Ok::<(), throttlekit::testkit::Report>(())
//! # }).unwrap();
//! ```
//!
//! # What is tested
//!
//! | | with [`Time::Caller`] | with [`Time::Store`] |
//! |---|---|---|
//! | writes persist, keys do not meet, resets forget, refusals leave no trace, states come back exactly | yes | yes |
//! | failures and unreadable states change nothing and hold nothing; nor do futures that are dropped | yes | yes |
//! | joint calls are made wholly or not at all; programs of a call see each other | yes | yes |
//! | 200 calls at a time lose nothing, also from two handles; a limit of 50 admits 50 of them, by every strategy | yes | yes |
//! | entries live for as long as they were told, to the millisecond | if they expire by that time | to [what can be waited for](Harness::wait_with) |
//! | every decision and every lease equals that in memory; the streams of the family have their digests; golden vectors, [if given](Harness::golden) | yes | no |
//! | the caller's time decides nothing | no | yes |
//!
//! A store that can work both ways is tested in both.

mod agreement;
mod basics;
mod budget;
mod case;
mod concurrency;
mod golden;
mod harness;
mod join;
mod joint;
mod limit;
mod limits;
mod probe;
mod random;
mod report;
mod stream;
mod time;

pub use harness::{Harness, Time};
pub use random::Mulberry;
pub use report::{Failure, Report};

use case::{CASES, Context};

/// Tests the store that `harness` describes, one case after the other, and goes on after a failure.
///
/// # Errors
///
/// A [`Report`] of the cases that failed.
///
/// # Cancel safety
///
/// Dropped early it leaves some keys behind, as it does at its end; they expire within a minute where the store lets
/// entries expire, but for those of the largest limits.
pub async fn conformance(harness: &Harness) -> Result<(), Report> {
    let mut report = Report::default();
    for (number, case) in CASES.iter().enumerate() {
        if !(case.applies)(harness) {
            continue;
        }
        let context = Context::new(harness, number);
        let outcome = match harness.within_limit((case.run)(&context)).await {
            Some(outcome) => outcome,
            None => Err("did not end in time".to_owned()),
        };
        report.add(case.name, outcome);
    }
    report.into_result()
}
