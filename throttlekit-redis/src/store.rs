//! The store: calls wait for a place in the next runs, and their callers for the answers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use throttlekit::store::{Call, Rule, Store, prefixed};
use throttlekit::{BuildError, Error};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::guarded::unscripted;
use crate::link::{Link, ScriptRun};
use crate::options::RedisOptions;
use crate::plan::{Planner, Terms};
use crate::replay::{Found, Sent};
use crate::script::Scripts;

/// How many batches are under way at a time: while the server works on one, the answers of the other are given out.
const FLIGHTS: usize = 2;
/// The most calls of a batch.
const MOST_CALLS: usize = 512;

/// Limits in a Redis server, Sentinel set or cluster, shared by all that connect to it.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

/// What the store does, apart from how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    /// What all keys are below; empty for nothing.
    pub(crate) prefix: String,
    /// Whether the server's clock is the one that counts.
    pub(crate) server_time: bool,
    /// How often a program without a script tries again after a lost race.
    pub(crate) max_retries: u32,
    /// No state is to live shorter than this, in milliseconds.
    pub(crate) ttl_floor_ms: f64,
    /// How many calls may wait for a place in a batch.
    pub(crate) max_waiting: usize,
}

pub(crate) struct Inner {
    pub(crate) link: Link,
    pub(crate) scripts: Scripts,
    pub(crate) options: StoreOptions,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Tasks that take batches, at most [`FLIGHTS`].
    flights: usize,
    /// Batches under way: as many, but for tasks that have not begun.
    batches: usize,
    /// The calls of these.
    flying: usize,
    /// Whether answers were given out since the latest batch began.
    given: bool,
}

/// Where an answer is awaited.
type Answer = oneshot::Sender<Result<Call, Error>>;

/// A call whose turn comes with one of the next batches.
struct Waiting {
    call: Call,
    answer: Answer,
}

/// What takes batches until no call waits, in a task of its own: the futures of callers may stand still. A runtime that
/// ends drops the task, and with it what the queue counts.
struct Flight {
    inner: Arc<Inner>,
    /// How many calls are under way.
    calls: usize,
    /// Whether the queue knows that it has ended.
    landed: bool,
}

impl RedisStore {
    /// A store with the default options. Nothing is connected before the first call.
    ///
    /// ```
    /// use throttlekit::store::Remote;
    /// use throttlekit::{Gcra, Limiter};
    /// use throttlekit_redis::{RedisOptions, RedisStore};
    ///
    /// let store = RedisStore::new(&RedisOptions::single("redis://127.0.0.1")?)?;
    /// let limiter = Limiter::builder(Gcra::per_second(10)?).keyspace(Remote::new(store)).build();
    /// # async fn use_it(limiter: Limiter<Gcra, Remote>) -> Result<(), throttlekit::Error> {
    /// if limiter.check("user-1").await?.allowed {
    ///     // go on
    /// }
    /// # Ok(())
    /// # }
    /// # drop(use_it(limiter));
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the options contradict each other.
    pub fn new(servers: &RedisOptions) -> Result<Self, BuildError> {
        Self::builder(servers).build()
    }

    /// Starts with what [`new`](Self::new) gives.
    pub fn builder(servers: &RedisOptions) -> RedisStoreBuilder {
        RedisStoreBuilder::new(servers.clone())
    }

    /// Whether the server is there and answers.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if it is not.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn ready(&self) -> Result<(), Error> {
        self.inner.link.ready().await
    }
}

/// Builds a [`RedisStore`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RedisStoreBuilder {
    servers: RedisOptions,
    options: StoreOptions,
}

impl RedisStoreBuilder {
    fn new(servers: RedisOptions) -> Self {
        let options = StoreOptions {
            prefix: String::new(),
            server_time: true,
            max_retries: 5,
            ttl_floor_ms: 0.0,
            max_waiting: 65_536,
        };
        Self { servers, options }
    }

    /// What precedes every key, with a colon between. Empty by default, which adds nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.options.prefix = prefix.into();
        self
    }

    /// Whether the clock of the server is the one that counts; on by default. Without it the clocks of the limiters do,
    /// and all who share a key must agree: on this choice, and on the time.
    pub fn server_time(mut self, server_time: bool) -> Self {
        self.options.server_time = server_time;
        self
    }

    /// How often a program without a twin tries again after another process changed its key in between; 5 by default.
    /// All that ship with ThrottleKit have twins.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.options.max_retries = max_retries;
        self
    }

    /// The least time that a written state stays, for limiters whose clock may stand still while that of the server
    /// goes on; none by default. Decisions are the same.
    pub fn ttl_floor(mut self, floor: Duration) -> Self {
        self.options.ttl_floor_ms = (floor.as_secs_f64() * 1_000.0).floor();
        self
    }

    /// How many calls may wait for the server before further ones fail as `store_unavailable`: at least 1; 65,536 by
    /// default.
    pub fn max_waiting(mut self, max_waiting: usize) -> Self {
        self.options.max_waiting = max_waiting;
        self
    }

    /// The store. Nothing is connected before the first call.
    ///
    /// # Errors
    ///
    /// If options contradict each other or are out of range.
    pub fn build(self) -> Result<RedisStore, BuildError> {
        let Self { servers, options } = self;
        if options.max_waiting == 0 {
            return Err(BuildError::new("redis.maxWaiting", 0, "must be at least 1"));
        }
        let inner = Inner { link: servers.link()?, scripts: Scripts::default(), options, queue: Mutex::default() };
        Ok(RedisStore { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("link", &self.inner.link)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Store for RedisStore {
    /// Runs the call in one round trip, together with others that wait at the same time. A task drives it, so a future that
    /// nobody polls holds up no other.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if there is no answer in time, or too many calls wait; then the call may or may not have
    /// counted, and it is not repeated. `state_invalid` if a key holds something else. `invalid_argument` if a joint call
    /// does not fit into one slot of a cluster, and what a program fails with. `throttlekit_error` outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its turn has come, the call counts nowhere; afterwards it may count, and nothing else is affected.
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let taken = mem::replace(call, Call::new(0.0, Rule::Each));
        *call = self.inner.submit(taken).await?;
        Ok(())
    }
}

impl Inner {
    /// The name of a key in the server.
    pub(crate) fn name(&self, key: &str) -> String {
        prefixed(&self.options.prefix, key)
    }

    async fn submit(self: &Arc<Self>, call: Call) -> Result<Call, Error> {
        let answer = self.enter(call)?;
        // The sender is lost only with the runtime that its batch, or the one before it, was on.
        answer.await.unwrap_or_else(|_| Err(Error::store_unavailable("the runtime of the connection ended")))
    }

    /// Lets the call wait for its turn, and starts a flight if there is room for one.
    fn enter(self: &Arc<Self>, call: Call) -> Result<oneshot::Receiver<Result<Call, Error>>, Error> {
        let no_runtime = |_| Error::unsupported("the Redis store needs a tokio runtime");
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue();
        // The first of those who wait are taken at once by flights without a batch.
        let most = self.options.max_waiting.saturating_add(FLIGHTS - queue.batches);
        if queue.waiting.len() >= most {
            return Err(Error::store_unavailable("too many calls wait for the server"));
        }
        queue.waiting.push_back(Waiting { call, answer });
        if queue.flights < FLIGHTS {
            queue.flights += 1;
            drop(queue);
            let flight = Flight { inner: Arc::clone(self), calls: 0, landed: false };
            runtime.spawn(flight.run());
        }
        Ok(receiver)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock leaves it half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls of the next batch of a flight that is back with `done`, oldest first; without any, the flight ends.
    ///
    /// A batch is no more than its share of the calls that there are. If one took all, those would be asked again all at
    /// once, and the server and this process would wait for each other by turns.
    fn next_batch(&self, done: usize) -> Option<(Vec<Call>, Vec<Answer>)> {
        let mut queue = self.queue();
        queue.land(done);
        let share = (queue.waiting.len() + queue.flying).div_ceil(FLIGHTS);
        let most = if queue.flights > 1 { share.min(MOST_CALLS) } else { MOST_CALLS };
        let (mut calls, mut answers) = (Vec::new(), Vec::new());
        while calls.len() < most {
            let Some(Waiting { call, answer }) = queue.waiting.pop_front() else { break };
            // Nobody waits for it any more, so it is not to be counted.
            if !answer.is_closed() {
                calls.push(call);
                answers.push(answer);
            }
        }
        if calls.is_empty() {
            queue.flights -= 1;
            return None;
        }
        queue.given = false;
        queue.batches += 1;
        queue.flying += calls.len();
        Some((calls, answers))
    }

    /// Runs calls together; answers in their order.
    async fn fly(&self, mut calls: Vec<Call>) -> Vec<Result<Call, Error>> {
        let mut errors: Vec<Option<Error>> = calls.iter().map(|_| None).collect();
        // Calls at different instants of the callers' clocks have nothing to share.
        let mut instants: Vec<Option<f64>> = vec![None];
        if !self.options.server_time {
            instants = calls.iter().map(|call| Some(call.now_ms())).collect();
            instants.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            instants.dedup();
        }
        let (mut runs, mut sent, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for instant in instants {
            let terms = Terms { now_ms: instant.unwrap_or(0.0), ttl_floor_ms: self.options.ttl_floor_ms };
            let of_instant =
                (0..calls.len()).filter(|&index| instant.is_none_or(|instant| instant == calls[index].now_ms()));
            let (planned, members, unscripted) = self.plan(of_instant, &calls, &mut errors, terms);
            runs.extend(planned);
            sent.extend(members);
            if !unscripted.is_empty() {
                bare.push((unscripted, terms));
            }
        }
        if !runs.is_empty() {
            for (reply, sent) in self.link.send(runs).await.into_iter().zip(sent) {
                sent.replay(reply.and_then(|reply| Found::read(reply, sent.keys)), &mut calls, &mut errors);
            }
        }
        for (indices, terms) in bare {
            // In a box: every batch would carry the room for it, and few need it.
            Box::pin(self.fly_guarded(&indices, &mut calls, &mut errors, terms)).await;
        }
        let answer = |(call, error): (Call, Option<Error>)| error.map_or(Ok(call), Err);
        calls.into_iter().zip(errors).map(answer).collect()
    }

    /// The runs of those calls and programs that have scripts, and which calls have programs without one.
    fn plan(
        &self,
        indices: impl Iterator<Item = usize>,
        calls: &[Call],
        errors: &mut [Option<Error>],
        terms: Terms,
    ) -> (Vec<ScriptRun>, Vec<Sent>, Vec<usize>) {
        let mut planner = Planner::new(&self.link, &self.options.prefix, calls.len());
        let (nothing, mut tasks, mut bare) = (HashMap::new(), Vec::new(), Vec::new());
        for index in indices {
            let call = &calls[index];
            tasks.clear();
            tasks.extend(call.tasks());
            let unscripted = unscripted(&tasks);
            if !unscripted.is_empty() {
                bare.push(index);
            }
            if unscripted.is_empty() || call.rule() == Rule::Each {
                if let Err(error) = planner.add(index, call, &tasks, &nothing, |task| !unscripted.contains(&task)) {
                    errors[index] = Some(error);
                }
            }
        }
        let (runs, sent) = planner.finish(&self.scripts, terms);
        (runs, sent, bare)
    }

    async fn fly_guarded(&self, bare: &[usize], calls: &mut [Call], errors: &mut [Option<Error>], terms: Terms) {
        let mut each = Vec::new();
        for (index, call) in calls.iter_mut().enumerate().filter(|(index, _)| bare.contains(index)) {
            match call.rule() {
                Rule::Each => each.push((index, call)),
                Rule::All => {
                    if let Err(error) = self.all_guarded(call, terms).await {
                        errors[index] = Some(error);
                    }
                }
            }
        }
        if !each.is_empty() {
            self.each_guarded(&mut each, errors, terms).await;
        }
    }
}

impl Queue {
    /// A batch of so many calls is no longer under way; with none there was no batch.
    fn land(&mut self, calls: usize) {
        self.batches -= usize::from(calls > 0);
        self.flying -= calls;
    }
}

impl Flight {
    async fn run(mut self) {
        let inner = Arc::clone(&self.inner);
        while let Some((calls, answers)) = inner.next_batch(mem::take(&mut self.calls)) {
            self.calls = calls.len();
            let calls = inner.fly(calls).await;
            // The server answers at once what came to it at once. If all of that were given out now, all would be asked again
            // at once, and server and process would work by turns. So the callers of the other flight go first, once to ask
            // again and once to have it sent.
            for _ in 0..2 {
                if !inner.queue().given {
                    break;
                }
                step_back().await;
            }
            inner.queue().given = true;
            for (answer, call) in answers.into_iter().zip(calls) {
                // The caller may have gone.
                let _ = answer.send(call);
            }
        }
        self.landed = true;
    }
}

/// Lets the tasks run that are ready. Unlike tokio's own way to yield it does not ask the system for news before.
async fn step_back() {
    let mut back = false;
    poll_fn(|context| {
        if mem::replace(&mut back, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            let mut queue = self.inner.queue();
            queue.flights -= 1;
            queue.land(self.calls);
            if queue.flights == 0 {
                // No flight would come back for them. Their callers are told.
                queue.waiting.clear();
            }
        }
    }
}
