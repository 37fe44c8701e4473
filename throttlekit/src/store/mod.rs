//! Where programs run: typed in process ([`Keyspace`], [`memory::Table`]), erased behind a network ([`Store`],
//! [`Remote`]).

mod breaker;
mod call;
mod distinct;
mod few;
mod keys;
pub mod memory;
mod moment;
mod remote;
pub mod script;

#[doc(hidden)]
pub use crate::fingerprint::Mark;
pub use crate::observe::TableReport;
pub use breaker::{BreakerState, BreakerStats, CircuitBreaker, CircuitBreakerBuilder};
pub use call::{Call, Effect, Rule, Write};
pub(crate) use keys::Keys;
#[doc(hidden)]
pub use moment::Moment;
pub use remote::{DynStore, Remote, Store};

use crate::error::Error;
use crate::program::{Program, State};
use crate::run::Run;

/// Runs programs over states of one type, atomically on each key.
///
/// [`memory::Table`] is one for its state type, [`Remote`] for every state type. A clone is a handle to the same keys.
pub trait Keyspace<S: State>: Clone + Send + Sync + 'static {
    /// Whether [`run`](Self::run) answers at once, always: it then may be called anywhere, without a caller who waits.
    const IMMEDIATE: bool = false;

    /// A handle to the keys below `prefix`, which do not meet those of another prefix or of none. An empty prefix
    /// changes nothing.
    #[must_use]
    fn scoped(&self, prefix: &str) -> Self;

    /// Runs `program` on `key`.
    ///
    /// # Errors
    ///
    /// What [`Step::Fail`](crate::Step::Fail) carries; `store_unavailable` and `state_invalid` from a remote store.
    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>>;

    /// What the store knows `key` by, for [`run_at`](Self::run_at).
    #[doc(hidden)]
    #[inline(always)]
    fn mark(&self, key: &str) -> Mark {
        let _ = key;
        Mark::default()
    }

    /// As [`run`](Self::run), with the [mark](Self::mark) of `key` or none. A keyspace in process may read the
    /// clock again: `at` is then the moment of the step.
    #[doc(hidden)]
    #[inline(always)]
    fn run_at<P: Program<State = S>>(
        &self,
        key: &str,
        mark: Mark,
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        let _ = mark;
        self.run(key, at.now_ms, program, request)
    }

    /// Runs `program` on each key, in order where the store is in process, so that a repeated key sees what came before
    /// it. The replies are in the order of `keys`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); one failure fails the batch.
    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>>;

    /// As [`run_many`](Self::run_many); `at` is then the moment of the last step.
    #[doc(hidden)]
    fn run_many_at<P: Program<State = S>>(
        &self,
        keys: &[&str],
        at: &mut Moment<'_>,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        self.run_many(keys, at.now_ms, program, request)
    }

    /// How full the table is that the keys are in; `None` where they are not in this process.
    fn table_state(&self) -> Option<TableReport> {
        None
    }
}

/// `prefix:key`, or `key` alone without a prefix. The same join in every member of the family.
///
/// ```
/// use throttlekit::store::prefixed;
///
/// assert_eq!(prefixed("api", "user-1"), "api:user-1");
/// assert_eq!(prefixed("", "user-1"), "user-1");
/// ```
pub fn prefixed(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        return key.to_owned();
    }
    let mut name = String::with_capacity(prefix.len() + 1 + key.len());
    name.push_str(prefix);
    name.push(':');
    name.push_str(key);
    name
}
