//! What the tests of the Redis store share: a limiter that counts, load, and tallies of what came of it.
#![allow(dead_code, clippy::unwrap_used)] // each file of tests uses some of it; a failing unwrap is a failing test

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tests::redis::Redis;
use throttlekit::store::Remote;
use throttlekit::{Error, ErrorKind, FixedWindow, Limiter};
use throttlekit_redis::{RedisOptions, RedisStore};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A limiter over a store. It counts in the field `c` of the key.
pub(crate) type Counting = Limiter<FixedWindow, Remote>;

/// A window that does not turn during a test: the next one begins in the year 2033.
pub(crate) fn counting(store: RedisStore, limit: f64) -> Counting {
    let strategy = FixedWindow::builder().limit(limit).window_ms(1e12).build().unwrap();
    Limiter::builder(strategy).keyspace(Remote::new(store)).build()
}

/// A store on one server with the default options.
pub(crate) fn store(server: &Redis) -> RedisStore {
    RedisStore::new(&RedisOptions::single(server.url()).unwrap()).unwrap()
}

/// The same, with time for a busy machine: where no check may be lost, none is to be because of the load of other tests.
pub(crate) fn patient(options: RedisOptions) -> RedisOptions {
    let long = Duration::from_secs(20);
    options.connect_timeout(long).unwrap().response_timeout(long).unwrap()
}

/// How many units a key has used, as a server has it.
pub(crate) fn used(answer: &str) -> u64 {
    if answer.is_empty() { 0 } else { answer.parse().unwrap() }
}

/// What came of many checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) admitted: u64,
    pub(crate) denied: u64,
    /// Checks without an answer: it is unknown whether they counted.
    pub(crate) lost: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.denied += other.denied;
        self.lost += other.lost;
    }

    /// Every admitted check is in the server's count, once, and nothing else but checks that nobody got an answer to.
    #[track_caller]
    pub(crate) fn assert_counted_once(self, used: u64) {
        let (least, most) = (self.admitted, self.admitted + self.lost);
        assert!((least..=most).contains(&used), "the server counted {used}, the clients {self:?}");
    }
}

/// Enters the outcome of one check. The only error there may be is that the store was not there.
fn enter(outcome: Result<throttlekit::Decision, Error>, tally: &mut Tally) {
    match outcome {
        Ok(decision) if decision.allowed => tally.admitted += 1,
        Ok(_) => tally.denied += 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
            tally.lost += 1;
        }
    }
}

/// As many checks at once.
pub(crate) async fn at_once(limiter: &Arc<Counting>, key: &str, checks: usize) -> Tally {
    let mut tasks = JoinSet::new();
    for _ in 0..checks {
        let (limiter, key) = (Arc::clone(limiter), key.to_owned());
        tasks.spawn(async move {
            let mut tally = Tally::default();
            enter(limiter.check(&key).await, &mut tally);
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        all.add(tally.unwrap());
    }
    all
}

/// Callers that check one key after another until they are stopped.
pub(crate) struct Load {
    tasks: JoinSet<Tally>,
    stop: Arc<AtomicBool>,
    admitted: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl Load {
    pub(crate) fn start(limiter: &Arc<Counting>, key: &str, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (admitted, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (limiter, key) = (Arc::clone(limiter), key.to_owned());
            let (stop, admitted, lost) = (Arc::clone(&stop), Arc::clone(&admitted), Arc::clone(&lost));
            tasks.spawn(async move {
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let before = tally;
                    enter(limiter.check(&key).await, &mut tally);
                    admitted.fetch_add(tally.admitted - before.admitted, Ordering::Relaxed);
                    if tally.lost > before.lost {
                        lost.fetch_add(1, Ordering::Relaxed);
                        // Where the store is known to be away the answer is at once.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                tally
            });
        }
        Self { tasks, stop, admitted, lost }
    }

    /// Waits until as many more checks were admitted.
    pub(crate) async fn admits(&self, more: u64) {
        let goal = self.admitted.load(Ordering::Relaxed) + more;
        let met = || self.admitted.load(Ordering::Relaxed) >= goal;
        assert!(until(met).await, "the load comes to a stop");
    }

    /// Waits until as many more checks got no answer.
    pub(crate) async fn loses(&self, more: u64) {
        let goal = self.lost.load(Ordering::Relaxed) + more;
        assert!(until(|| self.lost.load(Ordering::Relaxed) >= goal).await, "nothing is lost");
    }

    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = self.tasks.join_next().await {
            all.add(tally.unwrap());
        }
        all
    }
}

/// Looks at a condition every millisecond; whether it held within a minute.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > Duration::from_secs(60) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

/// Checks until there is an answer, and returns how long that took.
pub(crate) async fn recovers(limiter: &Counting, key: &str) -> Duration {
    let start = Instant::now();
    while let Err(error) = limiter.check(key).await {
        assert!(error.is_store_unavailable(), "{error}");
        assert!(start.elapsed() < Duration::from_secs(60), "no recovery: {error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

/// Asks, each time giving up after `patience`, until there is an answer; how long that took.
pub(crate) async fn until_answered<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Duration
where
    F: Future<Output = Result<T, Error>>,
{
    let start = Instant::now();
    loop {
        if let Ok(Ok(_)) = tokio::time::timeout(patience, ask()).await {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no recovery");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What is promised: once the server is back, so are the limits.
pub(crate) const RECOVERY: Duration = Duration::from_secs(1);
