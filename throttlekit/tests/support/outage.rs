//! A store that can go out, and a runtime whose time is moved by hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use throttlekit::store::{Call, Store};
use throttlekit::{BoxFuture, Clock, Error, ManualClock, Runtime, TaskHandle};

/// Sleeps by a [`ManualClock`]. Who waits has to be polled again after the clock was moved.
#[derive(Clone, Default)]
pub(crate) struct ManualRuntime {
    pub(crate) clock: ManualClock,
    sleeps: Arc<AtomicU64>,
}

impl ManualRuntime {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { clock: clock.clone(), sleeps: Arc::default() }
    }

    /// How many sleeps were begun.
    pub(crate) fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::SeqCst)
    }
}

impl Runtime for ManualRuntime {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        panic!("nothing here is spawned")
    }

    fn sleep(&self, span: Duration) -> BoxFuture<()> {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        let clock = self.clock.clone();
        let until = clock.now_ms() + span.as_secs_f64() * 1_000.0;
        let over = move || if clock.now_ms() >= until { Poll::Ready(()) } else { Poll::Pending };
        Box::pin(std::future::poll_fn(move |_| over()))
    }
}

/// What a [`Flaky`] store does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    /// Answers at once.
    Up,
    /// Refuses at once.
    Down,
    /// Accepts, and answers when it is up again.
    Hung,
    /// Finds states that do not parse.
    Broken,
    /// Refuses keys, as stores do that ask no server about a key that they cannot hold.
    Refusing,
}

/// A store in memory that does what it is told to. Clones are handles to the same one.
#[derive(Clone, Default)]
pub(crate) struct Flaky {
    mood: Arc<AtomicU8>,
    rows: Arc<Mutex<HashMap<String, (String, f64)>>>,
    calls: Arc<AtomicU64>,
}

impl Flaky {
    pub(crate) fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }

    /// How many calls were begun.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The keys that it holds, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.rows.lock().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }
}

impl Store for Flaky {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        std::future::poll_fn(|_| if self.is(Mood::Hung) { Poll::Pending } else { Poll::Ready(()) }).await;
        if self.is(Mood::Down) {
            return Err(Error::store_unavailable("connection refused"));
        }
        if self.is(Mood::Broken) {
            return Err(Error::state_invalid("the stored text does not parse"));
        }
        if self.is(Mood::Refusing) {
            return Err(Error::invalid_argument("key has a NUL character"));
        }
        let now_ms = call.now_ms();
        let mut rows = self.rows.lock().unwrap();
        let live = |key: &String| rows.get(key).filter(|(_, until)| *until > now_ms).map(|(text, _)| text.clone());
        let states: Vec<_> = call.keys().iter().map(live).collect();
        for write in call.step(&states, now_ms)? {
            let key = call.keys()[write.key].clone();
            match write.state {
                Some((text, ttl_ms)) => rows.insert(key, (text, now_ms + ttl_ms.ceil().max(1.0))),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

/// Opens one [`Flaky`] store for every block that asks for Redis, and counts how often.
#[cfg(feature = "config")]
#[derive(Clone, Default)]
pub(crate) struct Opener {
    pub(crate) store: Flaky,
    pub(crate) runtime: ManualRuntime,
    opened: Arc<AtomicU64>,
}

#[cfg(feature = "config")]
impl Opener {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { runtime: ManualRuntime::new(clock), ..Self::default() }
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }
}

#[cfg(feature = "config")]
impl throttlekit::policy::Connect for Opener {
    fn kind(&self) -> throttlekit::config::StoreKind {
        throttlekit::config::StoreKind::Redis
    }

    fn open(
        &self,
        spec: &throttlekit::config::StoreSpec,
    ) -> Result<Arc<dyn throttlekit::store::DynStore>, throttlekit::BuildError> {
        let throttlekit::config::StoreBackend::Redis(redis) = &spec.backend else {
            return Err(throttlekit::BuildError::missing("redis.url"));
        };
        if !redis.urls[0].expose().starts_with("redis://") {
            return Err(throttlekit::BuildError::new("redis.url", "another scheme", "must start with redis://"));
        }
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(self.store.clone()))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }
}
