//! A fleet at one moment, and what may happen next.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use throttlekit::lease::TwoTier;
use throttlekit::store::memory::Table;
use throttlekit::{BuildError, Clock, FixedWindow, Limiter, ManualClock, Program};

use super::store::{Held, Phase, Trip};

/// The length of a window in milliseconds.
const WINDOW_MS: f64 = 1_000.0;
/// When it begins.
const START_MS: f64 = 1_700_000_000_000.0;
/// What they share.
const KEY: &str = "key";

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many limiters.
    pub nodes: usize,
    /// Units of a window.
    pub limit: f64,
    /// Units of a lease.
    pub batch: f64,
    /// At how many units left more are fetched beforehand.
    pub low_water: f64,
    /// Whether units end with their window.
    pub coupled: bool,
    /// Units of a request.
    pub cost: f64,
    /// How far the wall clock of each limiter is from the one before, in milliseconds.
    pub skew_ms: f64,
    /// Requests on each limiter.
    pub checks: usize,
    /// Halves of a window that go by.
    pub halves: u32,
    /// Requests to the store that fail for their node, whether or not the store has done them.
    pub failures: u32,
    /// Callers that go away while they wait.
    pub cancellations: u32,
    /// How often limiters give back what nobody has asked for since time last went by.
    pub returns: u32,
}

impl Setting {
    /// `nodes` limiters that share `limit` units in leases of `batch`, coupled to their windows, with `checks` requests on
    /// each, over two windows.
    pub fn new(nodes: usize, limit: f64, batch: f64, checks: usize) -> Self {
        Self {
            nodes,
            limit,
            batch,
            low_water: 0.0,
            coupled: true,
            cost: 1.0,
            skew_ms: 0.0,
            checks,
            halves: 3,
            failures: 0,
            cancellations: 0,
            returns: 0,
        }
    }
}

/// Fleets that are explored, by name: those of a test, and with `long` those that take minutes.
pub fn settings(long: bool) -> Vec<(&'static str, Setting)> {
    let one = Setting { halves: 2, ..Setting::new(2, 2.0, 2.0, 1) };
    let two = Setting { checks: 2, ..one };
    let short = vec![
        ("2 limiters, a request each", Setting { halves: 3, ..one }),
        ("2 limiters, 2 requests each", two),
        ("2 limiters, a request to the store fails", Setting { failures: 1, ..one }),
        ("2 limiters, a caller goes away", Setting { cancellations: 1, ..one }),
        ("2 limiters, units fetched beforehand", Setting { low_water: 1.0, ..one }),
        ("2 limiters, requests that cost more than a lease", Setting { limit: 3.0, cost: 3.0, ..one }),
        ("2 limiters, units given back", Setting { halves: 1, returns: 1, ..two }),
        ("2 limiters, wrong wall clocks", Setting { skew_ms: 700.0, ..one }),
    ];
    let more = vec![
        ("2 limiters, 2 requests each, for longer", Setting { halves: 3, ..two }),
        ("2 limiters, 3 requests each", Setting { checks: 3, limit: 3.0, ..one }),
        ("2 limiters, 2 requests each, one fails", Setting { failures: 1, ..two }),
        ("2 limiters, 2 requests each, one goes away", Setting { cancellations: 1, ..two }),
        ("2 limiters, 2 requests each, fetched beforehand", Setting { low_water: 1.0, ..two }),
        ("2 limiters, 2 requests each, units given back later", Setting { returns: 1, ..two }),
        ("3 limiters, a request each", Setting { nodes: 3, ..one }),
        ("3 limiters, 2 requests each, half a window", Setting { nodes: 3, halves: 1, ..two }),
    ];
    short.into_iter().chain(more.into_iter().filter(|_| long)).collect()
}

/// What may happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A request arrives at a limiter.
    Check(usize),
    /// The store gets to a request.
    Apply(usize),
    /// The answer to a request lands.
    Answer(usize),
    /// A request fails for its node.
    Fail(usize),
    /// A caller that waits goes away.
    Cancel(usize),
    /// A limiter gives back what nobody has asked for since time last went by.
    Return(usize),
    /// Half a window goes by.
    Half,
}

/// The clock of a limiter: its wall clock is wrong, and its monotonic clock began at some other time.
#[derive(Clone, Debug)]
struct NodeClock {
    time: ManualClock,
    ahead_ms: f64,
}

impl Clock for NodeClock {
    fn now_ms(&self) -> f64 {
        self.time.now_ms() + self.ahead_ms
    }

    fn monotonic_ns(&self) -> u64 {
        self.time.monotonic_ns()
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A caller who waits, or the work of giving back.
struct Caller {
    node: usize,
    /// Whether it was admitted.
    run: Pin<Box<dyn Future<Output = bool> + Send>>,
    woken: Arc<Flag>,
}

type State = <FixedWindow as Program>::State;
type Limited = TwoTier<FixedWindow, Held<State>, NodeClock>;

/// What happened to one limiter and for it.
#[derive(Default)]
struct Node {
    /// Of all that it saw, and when.
    history: DefaultHasher,
    checks: usize,
    /// When it was asked last.
    used: u32,
    /// When the last of what it was granted is over, as far as it knows.
    ends_ms: f64,
    /// Units admitted and granted, by the window in which that was.
    admitted: HashMap<u32, f64>,
    granted: HashMap<u32, f64>,
}

/// Limiters, a store, and all that is on its way between them.
pub struct Fleet {
    setting: Setting,
    time: ManualClock,
    halves: u32,
    failures: u32,
    cancellations: u32,
    returns: u32,
    store: Limiter<FixedWindow, Table<State>, ManualClock>,
    trips: Arc<Mutex<Vec<Trip>>>,
    limiters: Vec<Limited>,
    nodes: Vec<Node>,
    /// None once answered or gone.
    callers: Vec<Option<Caller>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("setting", &self.setting).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Before anything happened.
    ///
    /// # Errors
    ///
    /// If the setting is refused.
    #[allow(clippy::cast_precision_loss)] // a handful of nodes
    pub fn new(setting: Setting) -> Result<Self, BuildError> {
        let window = FixedWindow::builder().limit(setting.limit).window_ms(WINDOW_MS).build()?;
        let time = ManualClock::new(START_MS);
        let table = Table::builder().max_keys(1).shards(1).build()?;
        let trips = Arc::new(Mutex::new(Vec::new()));
        let limiter = |node| {
            let clock = NodeClock { time: time.clone(), ahead_ms: node as f64 * setting.skew_ms };
            TwoTier::builder(window)
                .keyspace(Held::new(node, table.clone(), Arc::clone(&trips), time.clone()))
                .clock(clock)
                .max_keys(1)
                .batch(setting.batch)
                .low_water(setting.low_water)
                .window_coupled(setting.coupled)
                .build()
        };
        let limiters: Vec<Limited> = (0..setting.nodes).map(limiter).collect::<Result<_, _>>()?;
        let nodes = (0..setting.nodes).map(|_| Node::default()).collect();
        let store = Limiter::builder(window).clock(time.clone()).keyspace(table).build();
        let (halves, failures, cancellations, returns) = (0, 0, 0, 0);
        let callers = Vec::new();
        Ok(Self { setting, time, halves, failures, cancellations, returns, store, trips, limiters, nodes, callers })
    }

    /// What may happen next. Answers land in the order of their requests on one limiter only if they happen to.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (node, seen) in self.nodes.iter().enumerate() {
            if seen.checks < self.setting.checks {
                steps.push(Step::Check(node));
            }
        }
        for (at, trip) in self.trips().iter().enumerate() {
            match trip.phase {
                Phase::Sent => steps.push(Step::Apply(at)),
                Phase::Done { .. } => steps.push(Step::Answer(at)),
                Phase::Answered => continue,
            }
            if self.failures < self.setting.failures {
                steps.push(Step::Fail(at));
            }
        }
        if self.cancellations < self.setting.cancellations {
            let waiting = self.callers.iter().enumerate().filter(|(_, caller)| caller.is_some());
            steps.extend(waiting.map(|(at, _)| Step::Cancel(at)));
        }
        if self.returns < self.setting.returns {
            steps.extend((0..self.setting.nodes).map(Step::Return));
        }
        if self.halves < self.setting.halves {
            steps.push(Step::Half);
        }
        steps
    }

    /// Lets it happen, and lets every caller that is woken by it go on.
    pub fn happen(&mut self, step: Step) {
        match step {
            Step::Check(node) => {
                self.nodes[node].checks += 1;
                self.nodes[node].used = self.halves;
                let run = self.limiters[node].run_check(KEY, self.setting.cost);
                self.call(node, async move { run.await.is_ok_and(|decision| decision.allowed) });
                self.see(node, &"check");
            }
            Step::Return(node) => {
                self.returns += 1;
                let limiter = self.limiters[node].clone();
                self.call(node, async move {
                    limiter.return_idle(Duration::ZERO).await;
                    false
                });
                self.see(node, &"return");
            }
            Step::Apply(at) => {
                let now_ms = self.time.now_ms();
                let (node, granted) = {
                    let mut trips = self.trips();
                    (trips[at].node, trips[at].apply(now_ms))
                };
                let window = self.window();
                *self.nodes[node].granted.entry(window).or_default() += granted;
            }
            Step::Answer(at) | Step::Fail(at) => self.answer(at, step == Step::Fail(at)),
            Step::Cancel(at) => {
                self.cancellations += 1;
                if let Some(caller) = self.callers[at].take() {
                    let number = self.callers[..at].iter().flatten().filter(|other| other.node == caller.node).count();
                    let node = caller.node;
                    drop(caller);
                    self.poll();
                    self.see(node, &("cancel", number));
                }
            }
            Step::Half => {
                self.time.advance(WINDOW_MS / 2.0);
                self.halves += 1;
                self.forget();
            }
        }
    }

    fn call(&mut self, node: usize, run: impl Future<Output = bool> + Send + 'static) {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        self.callers.push(Some(Caller { node, run: Box::pin(run), woken }));
        self.poll();
    }

    fn answer(&mut self, at: usize, fails: bool) {
        let (node, number, phase, asked_ms) = {
            let trips = self.trips();
            let Trip { node, phase, asked_ms, .. } = trips[at];
            let before = trips[..at].iter().filter(|trip| trip.node == node && trip.phase != Phase::Answered);
            (node, before.count(), phase, asked_ms)
        };
        let told = if fails { None } else { told(asked_ms, phase) };
        if fails {
            self.failures += 1;
            self.trips()[at].fail();
        } else {
            self.trips()[at].answer();
        }
        if let Some((ends_ms, _)) = told {
            self.nodes[node].ends_ms = self.nodes[node].ends_ms.max(ends_ms);
        }
        self.poll();
        let told = told.map(|(ends_ms, granted)| (ends_ms.to_bits(), granted.to_bits()));
        self.see(node, &("answer", number, told));
    }

    /// Forgets what happened to limiters for which no unit, no request and no caller is left of it.
    fn forget(&mut self) {
        for node in (0..self.setting.nodes).filter(|_| self.setting.coupled) {
            let over = self.nodes[node].ends_ms <= self.time.now_ms();
            if over && self.under_way(node) == 0 && self.waiting(node) == 0 {
                self.nodes[node].history = DefaultHasher::new();
            }
        }
    }

    fn waiting(&self, node: usize) -> usize {
        self.callers.iter().flatten().filter(|caller| caller.node == node).count()
    }

    fn under_way(&self, node: usize) -> usize {
        self.trips().iter().filter(|trip| trip.node == node && trip.phase != Phase::Answered).count()
    }

    /// Polls who was woken, until nobody is.
    fn poll(&mut self) {
        let window = self.window();
        while let Some(at) = self
            .callers
            .iter()
            .position(|caller| caller.as_ref().is_some_and(|caller| caller.woken.0.swap(false, Ordering::SeqCst)))
        {
            let Some(mut caller) = self.callers[at].take() else { continue };
            let waker = Waker::from(Arc::clone(&caller.woken));
            match caller.run.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => self.callers[at] = Some(caller),
                Poll::Ready(true) => {
                    *self.nodes[caller.node].admitted.entry(window).or_default() += self.setting.cost;
                }
                Poll::Ready(false) => {}
            }
        }
    }

    /// What is wrong, if anything is. `most` is the most that may be admitted in a window.
    pub fn wrong(&self, most: f64) -> Option<String> {
        let window = self.window();
        let of_window = |counts: &HashMap<u32, f64>| counts.get(&window).copied().unwrap_or(0.0);
        let admitted = self.admitted();
        if admitted > most {
            return Some(format!("{admitted} units were admitted in a window, {most} may be"));
        }
        for (at, node) in self.nodes.iter().enumerate().filter(|_| self.setting.coupled) {
            let (admitted, granted) = (of_window(&node.admitted), of_window(&node.granted));
            if admitted > granted {
                return Some(format!("limiter {at} admitted {admitted} units in a window that granted it {granted}"));
            }
        }
        let waits = self.callers.iter().any(Option::is_some);
        let under_way = self.trips().iter().any(|trip| trip.phase != Phase::Answered);
        (waits && !under_way).then(|| "a caller waits, and nothing is on its way that could wake it".to_owned())
    }

    /// Units admitted in this window so far.
    pub fn admitted(&self) -> f64 {
        let window = self.window();
        self.nodes.iter().filter_map(|node| node.admitted.get(&window)).sum()
    }

    /// What its future depends on. Limiters whose clocks agree are alike, so it does not matter which one is which.
    pub fn digest(&self) -> u64 {
        let mut nodes: Vec<u64> = (0..self.setting.nodes).map(|node| self.digest_of(node)).collect();
        if self.setting.skew_ms == 0.0 {
            nodes.sort_unstable();
        }
        let left = self.store.peek(KEY).map(|decision| decision.remaining);
        digest(&(nodes, left.ok(), self.halves, self.failures, self.cancellations, self.returns))
    }

    /// The events that the limiter saw and what it did, but not when: the only times that it keeps are when it asked, when it
    /// takes what it holds to end, and, where units are given back, when it was last asked.
    fn digest_of(&self, at: usize) -> u64 {
        let node = &self.nodes[at];
        let window = self.window();
        let counts = [&node.admitted, &node.granted].map(|counts| counts.get(&window).map(|units| units.to_bits()));
        let trips = self.trips();
        let under_way = trips.iter().filter(|trip| trip.node == at && trip.phase != Phase::Answered);
        let described = |trip: &Trip| {
            let told = told(trip.asked_ms, trip.phase).map(|(ends_ms, granted)| (ends_ms.to_bits(), granted.to_bits()));
            (trip.asked_ms.to_bits(), told)
        };
        let used = (self.setting.returns > 0).then_some(node.used);
        digest(&(node.history.finish(), node.checks, used, counts, under_way.map(described).collect::<Vec<_>>()))
    }

    /// Notes what happened to a limiter and what came of it.
    fn see(&mut self, node: usize, event: &impl Hash) {
        let admitted = self.nodes[node].admitted.values().sum::<f64>().to_bits();
        let outcome = (self.waiting(node), self.under_way(node), admitted);
        (event, outcome).hash(&mut self.nodes[node].history);
    }

    fn window(&self) -> u32 {
        self.halves / 2
    }

    fn trips(&self) -> MutexGuard<'_, Vec<Trip>> {
        self.trips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a node takes the units of an answer to end, and how many they are. None before the store has answered.
fn told(asked_ms: f64, phase: Phase) -> Option<(f64, f64)> {
    let Phase::Done { at_ms, granted } = phase else { return None };
    let end_ms = (at_ms / WINDOW_MS).floor() * WINDOW_MS + WINDOW_MS;
    Some((asked_ms + end_ms - at_ms, granted))
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
