//! A store that does something only when it is told.

use std::any::Any;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use throttlekit::lease::Granted;
use throttlekit::store::Keyspace;
use throttlekit::store::memory::Table;
use throttlekit::{Clock, Error, ManualClock, Program, Run, State};

/// The keys as one node sees them: its requests lie with the others until something is done about them.
#[derive(Debug)]
pub(super) struct Held<S: State> {
    node: usize,
    table: Table<S>,
    trips: Arc<Mutex<Vec<Trip>>>,
    time: ManualClock,
}

/// A request to the store.
pub(super) struct Trip {
    pub(super) node: usize,
    /// When the node asked.
    pub(super) asked_ms: f64,
    pub(super) phase: Phase,
    act: Box<dyn Act>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// The store has not seen it.
    Sent,
    /// The store has done it, at this time, and granted this many units.
    Done { at_ms: f64, granted: f64 },
    /// The node knows.
    Answered,
}

/// What can be done about a request whose types are forgotten.
trait Act: Send {
    /// Lets the store do it. Returns the units that it granted.
    fn apply(&mut self, now_ms: f64) -> f64;
    /// Lets the answer land.
    fn answer(&mut self);
    /// Lets the request fail for the node.
    fn fail(&mut self);
}

struct Request<S: State, P: Program<State = S>> {
    table: Table<S>,
    key: String,
    program: P,
    asked: P::Request,
    done: Option<Result<P::Reply, Error>>,
    mailbox: Arc<Mutex<Mailbox<P::Reply>>>,
}

struct Mailbox<R> {
    reply: Option<Result<R, Error>>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: State> Held<S> {
    pub(super) fn new(node: usize, table: Table<S>, trips: Arc<Mutex<Vec<Trip>>>, time: ManualClock) -> Self {
        Self { node, table, trips, time }
    }
}

impl<S: State> Clone for Held<S> {
    fn clone(&self) -> Self {
        Self::new(self.node, self.table.clone(), Arc::clone(&self.trips), self.time.clone())
    }
}

impl std::fmt::Debug for Trip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trip").field("node", &self.node).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Trip {
    /// Lets the store do it. Returns the units that it granted.
    pub(super) fn apply(&mut self, now_ms: f64) -> f64 {
        let granted = self.act.apply(now_ms);
        self.phase = Phase::Done { at_ms: now_ms, granted };
        granted
    }

    pub(super) fn answer(&mut self) {
        self.phase = Phase::Answered;
        self.act.answer();
    }

    pub(super) fn fail(&mut self) {
        self.phase = Phase::Answered;
        self.act.fail();
    }
}

impl<S: State, P: Program<State = S>> Act for Request<S, P> {
    fn apply(&mut self, now_ms: f64) -> f64 {
        let run = self.table.run(&self.key, now_ms, &self.program, &self.asked);
        let reply = run.now().unwrap_or_else(|_| Err(Error::state_invalid("memory does not wait")));
        let granted = reply.as_ref().ok().and_then(|reply| (reply as &dyn Any).downcast_ref::<Granted>());
        let units = granted.map_or(0.0, |granted| granted.units);
        self.done = Some(reply);
        units
    }

    fn answer(&mut self) {
        let done = self.done.take();
        self.deliver(done.unwrap_or_else(|| Err(Error::store_unavailable("nothing was done"))));
    }

    fn fail(&mut self) {
        self.deliver(Err(Error::store_unavailable("the connection is gone")));
    }
}

impl<S: State, P: Program<State = S>> Request<S, P> {
    fn deliver(&self, reply: Result<P::Reply, Error>) {
        let mut mailbox = lock(&self.mailbox);
        mailbox.reply = Some(reply);
        let waker = mailbox.waker.take();
        drop(mailbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<S: State> Keyspace<S> for Held<S> {
    fn scoped(&self, prefix: &str) -> Self {
        Self { table: self.table.scoped(prefix), ..self.clone() }
    }

    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        _now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        let mailbox = Arc::new(Mutex::new(Mailbox { reply: None, waker: None }));
        let act = Box::new(Request {
            table: self.table.clone(),
            key: key.to_owned(),
            program: program.clone(),
            asked: request.clone(),
            done: None,
            mailbox: Arc::clone(&mailbox),
        });
        let asked_ms = self.time.now_ms();
        lock(&self.trips).push(Trip { node: self.node, asked_ms, phase: Phase::Sent, act });
        Run::wait(poll_fn(move |context| {
            let mut mailbox = lock(&mailbox);
            if let Some(reply) = mailbox.reply.take() {
                return Poll::Ready(reply);
            }
            mailbox.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }

    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        let runs: Vec<_> = keys.iter().map(|key| self.run(key, now_ms, program, request)).collect();
        Run::wait(async move {
            let mut replies = Vec::with_capacity(runs.len());
            for run in runs {
                replies.push(run.await?);
            }
            Ok(replies)
        })
    }
}
