//! Named limits from a configuration, replaceable while they are in use.
//!
//! ```
//! use throttlekit::policy::{Fate, Policies};
//! use throttlekit::{Admit, Ask};
//!
//! let policies = Policies::from_yaml("limiters: { api: { strategy: fixedWindow, limit: 2, period: 1h } }")?;
//! let admit = || policies.get("api").expect("the text has it").admit().admit(&Ask::new("a")).now().expect("in memory");
//! assert!(admit()?.decision.allowed);
//!
//! let report = policies.reload("limiters: { api: { strategy: fixedWindow, limit: 3, period: 1h } }")?;
//! assert_eq!(report.fate("api"), Some(Fate::Kept));
//! assert_eq!(admit()?.decision.remaining, 1);
//!
//! assert!(policies.reload("limiters: { api: { strategy: fixedWindow, limit: 0 } }").is_err());
//! assert_eq!(admit()?.decision.remaining, 0); // a configuration that is wrong changes nothing
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a reload does to the state of keys
//!
//! | change | state |
//! |---|---|
//! | none | goes on: the policy is the same object |
//! | `gcra`: limit, period, burst | goes on: the instant at which a key is paid off stays |
//! | `gcra` with `exact`: period, burst | goes on; the limit is its unit of time, so another one starts afresh |
//! | `tokenBucket`: capacity, refill | goes on: a key has the tokens that its last admission left, and those that came since at the new rate, at most the new capacity |
//! | `fixedWindow`, `slidingWindow`, `quota`: limit | goes on: what was counted stays counted |
//! | `slidingWindowLog`: limit, window | goes on: admissions stay where they were in time; those that left the window before stay forgotten |
//! | anything but the `concurrency` block | work in flight stays counted |
//! | the `concurrency` block | keys as above; slots are counted anew, and what is in flight stays with the guard before |
//! | `twoTier` | what was counted stays counted; units that were leased and not used are lost until their window ends |
//! | budgets: all but the window and `maxKeys` | goes on: what was counted stays counted |
//! | `fairEscrow`: what is said for a monitor | goes on |
//! | `screen`, `sketch`: anything, also of the strategy behind a screen | starts afresh |
//! | `denyList` | keys as above; who is on the list stays there, unless `places` changes |
//! | another strategy, kind, window, period, number of buckets, prefix or `maxKeys`, or other shares | starts afresh |
//!
//! Over a store the keys stay where they are: a change of the last row, but for the prefix, is [`Fate::Stored`]. Only `exact`
//! moves them, to keys of its own. A change is `Stored` too after which a bucket takes longer to fill, or the window of a log or a
//! debt that is carried lasts longer: the states there expire when the policy as it was said, and the key is then a fresh one; in
//! memory they live as long as they count. A `store` block that stays the same keeps its connections. Another way to the same
//! store leaves what it holds; a block that may name another place is [`Fate::OtherStore`].
//!
//! A configuration without any rules does not take the place of one that has some.
//!
//! A key that was drained under generous options waits until it has paid off what it took, also under strict ones. Work that began
//! before, such as a stream that is metered, goes on by the options that it began with, and what it writes lives as they say.

mod bind;
mod connect;
mod guarded;
mod listed;
mod options;
mod partly;
#[allow(clippy::module_inception)] // one type per file
mod policy;
mod registry;
mod reload;
mod rule;
mod set;
mod slots;
mod store;
mod together;
mod watch;
mod whole;

pub use connect::Connect;
pub use guarded::{Entry, Guarded};
pub use options::LoadOptions;
pub use policy::Policy;
pub use registry::Policies;
pub use reload::{Fate, ReloadReport};
pub use rule::{Rule, RuleLimit};
pub use set::PolicySet;
