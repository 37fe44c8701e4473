//! A shared store whose answers a test holds back, loses or refuses.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use throttlekit::store::Keyspace;
use throttlekit::store::memory::Table;
use throttlekit::{Clock, Error, ManualClock, Program, Run, State};

/// A table behind a line that a test controls. Clones are handles to the same one.
pub(crate) struct Held<S: State> {
    table: Table<S>,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    calls: AtomicU64,
    state: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    holds: bool,
    down: bool,
    /// Whether the next answer panics.
    panics: bool,
    /// The store's own clock; without one it steps at the time of the caller.
    clock: Option<ManualClock>,
    next: u64,
    held: BTreeMap<u64, Wait>,
}

#[derive(Default)]
struct Wait {
    released: bool,
    waker: Option<Waker>,
}

impl<S: State> Held<S> {
    /// A store that answers at once.
    pub(crate) fn new() -> Self {
        Self { table: Table::new(), line: Arc::default() }
    }

    /// A store with a clock of its own.
    pub(crate) fn with_clock(clock: &ManualClock) -> Self {
        let held = Self::new();
        held.line.state.lock().unwrap().clock = Some(clock.clone());
        held
    }

    /// From now on what is asked is done at once, and the answers are held back.
    pub(crate) fn hold(&self) {
        self.line.state.lock().unwrap().holds = true;
    }

    /// From now on answers come at once again; those that are held stay held.
    pub(crate) fn flow(&self) {
        self.line.state.lock().unwrap().holds = false;
    }

    /// Whether it refuses what is asked from now on.
    pub(crate) fn down(&self, down: bool) {
        self.line.state.lock().unwrap().down = down;
    }

    /// The next answer panics instead. What it was asked is done.
    pub(crate) fn panic_once(&self) {
        self.line.state.lock().unwrap().panics = true;
    }

    /// Lets the oldest answer that is held go; which one it was.
    pub(crate) fn release_oldest(&self) -> u64 {
        let oldest = self.held()[0];
        self.release(oldest);
        oldest
    }

    /// Lets one answer go.
    pub(crate) fn release(&self, call: u64) {
        let waker = {
            let mut lines = self.line.state.lock().unwrap();
            let wait = lines.held.get_mut(&call).expect("this answer is held");
            wait.released = true;
            wait.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The answers that are held, oldest first.
    pub(crate) fn held(&self) -> Vec<u64> {
        let lines = self.line.state.lock().unwrap();
        lines.held.iter().filter(|(_, wait)| !wait.released).map(|(call, _)| *call).collect()
    }

    /// How often it was asked.
    pub(crate) fn calls(&self) -> u64 {
        self.line.calls.load(Ordering::SeqCst)
    }

    fn answer<T: Send + 'static>(&self, result: Result<T, Error>) -> Run<Result<T, Error>> {
        let mut lines = self.line.state.lock().unwrap();
        let panics = std::mem::take(&mut lines.panics);
        let answer = move || if panics { panic!("this store panics") } else { result };
        if !lines.holds {
            drop(lines);
            return Run::wait(async { answer() });
        }
        let call = lines.next;
        lines.next += 1;
        lines.held.insert(call, Wait::default());
        drop(lines);
        let (line, mut answer) = (Arc::clone(&self.line), Some(answer));
        Run::wait(poll_fn(move |cx| {
            let mut lines = line.state.lock().unwrap();
            let wait = lines.held.get_mut(&call).expect("an answer is taken once");
            if !wait.released {
                wait.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            lines.held.remove(&call);
            drop(lines);
            Poll::Ready(answer.take().expect("an answer is taken once")())
        }))
    }

    fn time(&self, now_ms: f64) -> Result<f64, Error> {
        self.line.calls.fetch_add(1, Ordering::SeqCst);
        let lines = self.line.state.lock().unwrap();
        if lines.down {
            return Err(Error::store_unavailable("down"));
        }
        Ok(lines.clock.as_ref().map_or(now_ms, Clock::now_ms))
    }
}

impl<S: State> Clone for Held<S> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), line: Arc::clone(&self.line) }
    }
}

impl<S: State> Keyspace<S> for Held<S> {
    fn scoped(&self, prefix: &str) -> Self {
        Self { table: self.table.scoped(prefix), line: Arc::clone(&self.line) }
    }

    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        let result = self.time(now_ms).and_then(|now_ms| self.table.apply(key, now_ms, program, request));
        self.answer(result)
    }

    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        let result = self.time(now_ms).and_then(|now_ms| self.table.apply_many(keys, now_ms, program, request));
        self.answer(result)
    }
}

/// A future that a test polls by hand.
pub(crate) struct Task<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Task<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// One that has been polled once, and waits.
    pub(crate) fn started(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = Self::new(future);
        assert!(task.poll().is_none(), "this was to wait");
        task
    }

    /// The answer, if it is there.
    pub(crate) fn poll(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// The answer, which must be there.
    #[track_caller]
    pub(crate) fn answer(mut self) -> T {
        self.poll().expect("there is an answer")
    }
}

/// What a future answers that must not have to wait.
#[track_caller]
pub(crate) fn done<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("this was not to wait"),
    }
}
