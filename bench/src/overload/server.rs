//! The server: how long a request takes, given what else is in flight.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use super::Phase;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// All share the capacity: a request that is the n-th in flight takes `base * max(1, n / capacity)`, times a
    /// log-normal factor of mean 1 whose logarithm has the standard deviation `noise`.
    Shared {
        /// The standard deviation.
        noise: f64,
    },
    /// M/M/K: `capacity` workers, each of which takes an exponential time of mean `base`; the rest waits in line.
    Queue,
}

/// A request in flight, ordered by when it is done.
struct Job {
    done_ms: f64,
    start_ms: f64,
    slot: u64,
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.done_ms.total_cmp(&other.done_ms).then(self.slot.cmp(&other.slot))
    }
}

/// A request that is done.
pub(super) struct Done {
    pub(super) latency_ms: f64,
    pub(super) slot: u64,
}

/// The server.
pub(super) struct Server {
    model: Model,
    capacity: usize,
    base_ms: f64,
    running: BinaryHeap<Reverse<Job>>,
    /// When it came, and its slot.
    waiting: VecDeque<(f64, u64)>,
}

impl Server {
    pub(super) fn new(model: Model) -> Self {
        Self { model, capacity: 1, base_ms: 1.0, running: BinaryHeap::new(), waiting: VecDeque::new() }
    }

    pub(super) fn change(&mut self, phase: &Phase) {
        self.capacity = phase.capacity as usize;
        self.base_ms = phase.base_ms;
    }

    /// How many requests are in flight.
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    /// When the next request is done; infinite if none is running.
    pub(super) fn next_ms(&self) -> f64 {
        self.running.peek().map_or(f64::INFINITY, |Reverse(job)| job.done_ms)
    }

    pub(super) fn start(&mut self, now_ms: f64, slot: u64, rng: &mut Rng) {
        match self.model {
            Model::Shared { noise } => {
                let in_flight = f64::from(u32::try_from(self.len() + 1).unwrap_or(u32::MAX));
                let capacity = f64::from(u32::try_from(self.capacity).unwrap_or(u32::MAX));
                let took = self.base_ms * (in_flight / capacity).max(1.0) * rng.log_normal(noise);
                self.running.push(Reverse(Job { done_ms: now_ms + took, start_ms: now_ms, slot }));
            }
            Model::Queue => {
                self.waiting.push_back((now_ms, slot));
                self.work(now_ms, rng);
            }
        }
    }

    pub(super) fn finish(&mut self, rng: &mut Rng) -> Option<Done> {
        let Reverse(job) = self.running.pop()?;
        self.work(job.done_ms, rng);
        Some(Done { latency_ms: job.done_ms - job.start_ms, slot: job.slot })
    }

    /// Gives waiting requests to idle workers.
    fn work(&mut self, now_ms: f64, rng: &mut Rng) {
        while self.running.len() < self.capacity {
            let Some((start_ms, slot)) = self.waiting.pop_front() else { return };
            let done_ms = now_ms + self.base_ms * rng.exponential();
            self.running.push(Reverse(Job { done_ms, start_ms, slot }));
        }
    }
}

/// Seeded draws.
pub(super) struct Rng(fastrand::Rng);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Exponential, of mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.0.f64()).ln()
    }

    /// Log-normal, of mean 1.
    fn log_normal(&mut self, deviation: f64) -> f64 {
        if deviation == 0.0 {
            return 1.0;
        }
        // Box and Muller's transform.
        let radius = (2.0 * self.exponential()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.0.f64()).cos();
        (deviation * normal - deviation * deviation / 2.0).exp()
    }
}
