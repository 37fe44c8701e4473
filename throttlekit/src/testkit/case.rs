//! The list of cases, and what each of them has.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use super::harness::Harness;
use super::{agreement, basics, budget, concurrency, golden, joint, limits, stream, time};
use crate::clock::{Clock, ManualClock};
use crate::error::Error;
use crate::limiter::Limiter;
use crate::program::{Program, Strategy};
use crate::run::BoxFuture;
use crate::store::{Call, DynStore, Remote, Rule};

/// What a case answers: nothing, or what happened and what was expected.
pub(super) type Outcome = Result<(), String>;

/// Where the time starts that the kit makes up: in November 2023, where one step of `f64` is 2^-12 ms.
pub(super) const START_MS: f64 = 1_700_000_000_000.0;

/// One case.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Whether the store can be asked.
    pub(super) applies: fn(&Harness) -> bool,
    pub(super) run: for<'a> fn(&'a Context<'a>) -> Running<'a>,
}

/// A case that runs.
pub(super) type Running<'a> = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// `name => function if condition;` for each case.
macro_rules! cases {
    ($($name:literal => $run:path, if $applies:expr;)*) => {
        &[$(Case { name: $name, applies: $applies, run: |context| Box::pin($run(context)) }),*]
    };
}

/// Every case, the simplest first: what fails early explains what fails later.
pub(super) const CASES: &[Case] = cases! {
    "a write persists" => basics::a_write_persists, if |_| true;
    "keys do not meet" => basics::keys_do_not_meet, if |_| true;
    "a reset forgets" => basics::a_reset_forgets, if |_| true;
    "removing forgets" => basics::removing_forgets, if |_| true;
    "a refusal leaves no trace" => basics::a_refusal_leaves_no_trace, if |_| true;
    "numbers come back exactly" => basics::numbers_come_back_exactly, if |_| true;
    "texts come back whole" => basics::texts_come_back_whole, if |_| true;
    "a failure changes nothing and holds nothing" => basics::a_failure_changes_nothing, if |_| true;
    "an unreadable state is refused until it is reset" => basics::an_unreadable_state_is_refused, if |_| true;
    "a dropped call leaves its key usable" => basics::a_dropped_call_leaves_its_key_usable, if |_| true;
    "handles share the backend" => basics::handles_share_the_backend, if |_| true;
    "programs step at the time of the call" => time::steps_at_the_callers_time, if Harness::at_callers_time;
    "programs step at the store's time" => time::steps_at_the_stores_time, if |harness| !harness.at_callers_time();
    "an entry expires at its deadline" => time::expires_at_its_deadline, if Harness::expires_by_call;
    "an entry expires in time" => time::expires_in_time, if Harness::can_wait;
    "programs of a call run in order and see each other" => joint::programs_see_each_other, if |_| true;
    "each change counts on its own" => joint::each_on_its_own, if |_| true;
    "all changes count or none" => joint::all_or_none, if |_| true;
    "a failure in a joint call changes nothing" => joint::a_failure_undoes_all, if |_| true;
    "a joint call holds states of several types" => joint::states_of_several_types, if |_| true;
    "limits join other programs" => joint::limits_beside_other_programs, if |_| true;
    "reads see what is there and write nothing" => joint::reads, if |_| true;
    "a call without programs is answered" => joint::a_call_without_programs, if |_| true;
    "concurrent calls lose nothing" => concurrency::lose_nothing, if |_| true;
    "concurrent calls of two handles lose nothing" => concurrency::two_handles_lose_nothing, if |_| true;
    "concurrent joint calls are atomic" => concurrency::joint_calls_are_atomic, if |_| true;
    "concurrent checks admit the limit" => limits::checks_admit_the_limit, if |_| true;
    "concurrent joint checks admit the least limit" => limits::joint_checks_admit_the_least, if |_| true;
    "decisions, peeks and forecasts go together" => limits::answers_go_together, if |_| true;
    "a reset holds for what follows it in a call" => limits::a_reset_holds_for_what_follows, if |_| true;
    "decisions equal those in memory" => agreement::with_memory, if Harness::at_callers_time;
    "budgets equal those in memory" => budget::with_memory, if Harness::at_callers_time;
    "budgets count in full or not at all" => budget::count_in_full, if |_| true;
    "budgets charge and refund" => budget::charge_and_refund, if |_| true;
    "streams have their digests" => stream::have_their_digests, if Harness::at_callers_time;
    "golden vectors" => golden::replay, if |harness| harness.at_callers_time() && harness.vectors().is_some();
};

/// A handle to the store with keys of its own, for one case.
pub(super) struct Context<'a> {
    pub(super) harness: &'a Harness,
    store: Arc<dyn DynStore>,
    prefix: String,
    /// The time of calls.
    pub(super) clock: ManualClock,
}

impl<'a> Context<'a> {
    pub(super) fn new(harness: &'a Harness, number: usize) -> Self {
        let prefix = format!("{}:{number}", harness.key_prefix());
        Self { harness, store: harness.open(), prefix, clock: ManualClock::new(START_MS) }
    }

    /// The same keys through another handle.
    pub(super) fn another(&self) -> Self {
        Self {
            harness: self.harness,
            store: self.harness.open(),
            prefix: self.prefix.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The keys of the case.
    pub(super) fn keys(&self) -> Remote {
        Remote::from_dyn(Arc::clone(&self.store)).below(&self.prefix)
    }

    /// A limiter on the keys below `prefix` of the case.
    pub(super) fn limiter<S: Strategy>(&self, strategy: S, prefix: &str) -> Limiter<S, Remote, ManualClock> {
        Limiter::builder(strategy).keyspace(self.keys()).prefix(prefix).clock(self.clock.clone()).build()
    }

    /// A call on keys of the case, made of programs that answer the same type.
    pub(super) fn call<P: Program<Request = ()>>(
        &self,
        rule: Rule,
        programs: impl IntoIterator<Item = (&'static str, P)>,
    ) -> BoxFuture<Result<Vec<P::Reply>, Error>> {
        let keys = self.keys();
        let mut call = Call::new(self.clock.now_ms(), rule);
        for (key, program) in programs {
            call.push(keys.full_key(key), program, ());
        }
        let running = keys.run_call(call);
        Box::pin(async move { running.await?.into_replies() })
    }

    /// Runs one program.
    pub(super) fn run<P: Program<Request = ()>>(
        &self,
        key: &'static str,
        program: P,
    ) -> BoxFuture<Result<P::Reply, Error>> {
        let replies = self.call(Rule::Each, [(key, program)]);
        Box::pin(async move { replies.await?.pop().ok_or_else(|| Error::state_invalid("no answer")) })
    }

    /// Runs one program, which has to answer `expected`.
    pub(super) async fn expect<P>(&self, what: &str, key: &'static str, program: P, expected: P::Reply) -> Outcome
    where
        P: Program<Request = ()>,
        P::Reply: PartialEq + Debug,
    {
        same(what, &done(what, self.run(key, program).await)?, &expected)
    }
}

/// What must not have failed.
pub(super) fn done<T>(what: impl Display, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        format!("{what}: failed as {}: {error}{cause}", error.code())
    })
}

/// What must have failed with this code.
pub(super) fn fails<T: Debug>(what: impl Display, result: Result<T, Error>, code: &str) -> Outcome {
    match result {
        Err(error) if error.code() == code => Ok(()),
        Err(error) => Err(format!("{what}: failed as {}, expected {code}: {error}", error.code())),
        Ok(answer) => Err(format!("{what}: answered {answer:?}, expected {code}")),
    }
}

/// What must be the same.
pub(super) fn same<T: PartialEq + Debug + ?Sized>(what: impl Display, got: &T, expected: &T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}
