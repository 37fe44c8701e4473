//! Meters, and what a client gets of an answer.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part; a failing unwrap is a failing test

pub(crate) mod streams;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use serde_json::Value;
use throttlekit::budget::{Budget, Ledger, Served, TokenBudget};
use throttlekit::{BoxFuture, Decision, Error, ManualClock, Meter, Refund, Run, Runtime, TaskHandle};
use throttlekit_llm::{Dialect, End, MeterAccount, Source, StreamMeter, StreamPolicy, StreamPolicyBuilder};

pub(crate) type Tokens = Arc<TokenBudget<Ledger<Served>, ManualClock>>;

/// A meter of `budget` tokens a minute for each key, and its clock.
pub(crate) fn meter_of(budget: u32) -> (Tokens, ManualClock) {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(f64::from(budget)).window_ms(60_000.0).build().unwrap();
    (Arc::new(TokenBudget::builder(budget).clock(clock.clone()).build()), clock)
}

pub(crate) fn served(meter: &Tokens) -> u64 {
    meter.usage("k").unwrap().served
}

pub(crate) fn account(meter: &Tokens) -> MeterAccount {
    MeterAccount::new(meter.clone(), "k")
}

pub(crate) fn policy() -> StreamPolicyBuilder {
    StreamPolicy::builder()
}

/// What came out of an answer.
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) end: End,
}

/// Reads an answer to its end; the store must not wait.
pub(crate) fn drive<'a>(mut meter: StreamMeter, chunks: impl Iterator<Item = &'a [u8]>) -> Got {
    let mut chunks = chunks.map(Bytes::copy_from_slice);
    let mut got = Vec::new();
    loop {
        match poll(&mut meter, &mut chunks) {
            Poll::Ready(Some(chunk)) => got.push(chunk),
            Poll::Ready(None) => break,
            Poll::Pending => panic!("memory does not wait"),
        }
    }
    assert!(meter.is_over());
    let end = if meter.is_cut() { End::Cut } else { End::Completed };
    Got { bytes: got.concat(), chunks: got, dialect: meter.scanner().dialect(), end }
}

/// Asks for one chunk.
pub(crate) fn poll(meter: &mut StreamMeter, chunks: &mut impl Iterator<Item = Bytes>) -> Poll<Option<Bytes>> {
    let mut context = Context::from_waker(Waker::noop());
    let source = |_: &mut Context<'_>| Poll::Ready(chunks.next().map_or(Source::End, Source::Chunk));
    meter.poll_chunk::<Error>(&mut context, source).map(|chunk| chunk.map(Result::unwrap))
}

/// The documents of a stream of events, by a plain reading of whole text.
pub(crate) fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap().replace("\r\n", "\n").replace('\r', "\n");
    let mut documents = Vec::new();
    for event in text.split("\n\n") {
        let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        let data = data.join("\n");
        if !data.is_empty() && data.trim() != "[DONE]" {
            documents.push(serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")));
        }
    }
    documents
}

/// A meter behind a store that answers when it is told to, in order.
#[derive(Clone)]
pub(crate) struct Slow {
    pub(crate) meter: Tokens,
    pub(crate) store: Arc<Store>,
}

#[derive(Default)]
pub(crate) struct Store {
    /// Answers that may be given.
    permits: AtomicU64,
    pub(crate) down: AtomicBool,
    pub(crate) calls: AtomicU64,
}

impl Slow {
    pub(crate) fn new(meter: &Tokens) -> Self {
        Self { meter: meter.clone(), store: Arc::default() }
    }

    /// Lets the store give so many answers more.
    pub(crate) fn allow(&self, answers: u64) {
        self.store.permits.fetch_add(answers, Ordering::Relaxed);
    }

    fn later(
        &self,
        act: impl FnOnce(&Tokens) -> Result<Decision, Error> + Send + 'static,
    ) -> Run<Result<Decision, Error>> {
        self.store.calls.fetch_add(1, Ordering::Relaxed);
        let (meter, store) = (self.meter.clone(), self.store.clone());
        Run::wait(async move {
            std::future::poll_fn(|_| {
                let taken =
                    store.permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if taken.is_ok() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            if store.down.load(Ordering::Relaxed) {
                return Err(Error::store_unavailable("connection refused"));
            }
            act(&meter)
        })
    }
}

impl Meter for Slow {
    fn debit(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        let key = key.to_owned();
        self.later(move |meter| Meter::debit(&**meter, &key, units).now().unwrap())
    }

    fn charge(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        let key = key.to_owned();
        self.later(move |meter| Meter::charge(&**meter, &key, units).now().unwrap())
    }

    fn refund(&self, key: &str, units: f64) -> Run<Result<Decision, Error>> {
        let key = key.to_owned();
        self.later(move |meter| Meter::refund(&**meter, &key, units).now().unwrap())
    }

    fn refund_of(&self, key: &str, refund: Refund) -> Run<Result<Decision, Error>> {
        let key = key.to_owned();
        self.later(move |meter| Meter::refund_of(&**meter, &key, refund).now().unwrap())
    }
}

/// Runs what it was given when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    queue: Arc<Mutex<VecDeque<BoxFuture<()>>>>,
}

impl Tasks {
    /// How many tasks there are that did not end.
    pub(crate) fn run(&self) -> usize {
        let mut queue = self.queue.lock().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        queue.retain_mut(|task| Pin::new(task).poll(&mut context).is_pending());
        queue.len()
    }
}

impl Runtime for Tasks {
    fn spawn(&self, task: BoxFuture<()>) -> TaskHandle {
        self.queue.lock().unwrap().push_back(task);
        TaskHandle::new(|| {})
    }

    fn sleep(&self, _span: std::time::Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}
