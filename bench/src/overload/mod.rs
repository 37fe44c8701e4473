//! An overloaded server on a virtual clock, behind any limit of the work in flight.
//!
//! Nothing here reads the time or sleeps: a run of ten minutes takes well under a second, and is the same every time.

mod limit;
mod server;

pub use limit::{Fixed, Guarded, Limit};
pub use server::Model;

use std::collections::VecDeque;

use server::{Done, Rng, Server};

/// One stretch of time in which the server and its load stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// How long it lasts, in milliseconds.
    pub length_ms: f64,
    /// How many requests the server works on without slowing down.
    pub capacity: u32,
    /// The latency without load, in milliseconds.
    pub base_ms: f64,
    /// Requests that come, as a multiple of what the server can answer.
    pub load: f64,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How the server behaves.
    pub model: Model,
    /// What happens, in order.
    pub phases: Vec<Phase>,
    /// The seed of arrivals and latencies.
    pub seed: u64,
}

/// The scenarios that are measured and tested: the capacity doubles, quarters and doubles again, a minute apart.
pub fn scenarios(seed: u64) -> Vec<(&'static str, Scenario)> {
    let scenario = |model, capacity: u32, base_ms, load| {
        let phase = |capacity| Phase { length_ms: 60_000.0, capacity, base_ms, load };
        Scenario { model, phases: [capacity, 2 * capacity, capacity / 2, capacity].map(phase).to_vec(), seed }
    };
    vec![
        ("shared, no noise, K 50, 20 ms", scenario(Model::Shared { noise: 0.0 }, 50, 20.0, 1.5)),
        ("shared, noise 0.3, K 50, 20 ms", scenario(Model::Shared { noise: 0.3 }, 50, 20.0, 1.5)),
        ("shared, noise 0.3, K 50, 20 ms, load 1.1", scenario(Model::Shared { noise: 0.3 }, 50, 20.0, 1.1)),
        ("shared, noise 0.3, K 20, 100 ms, load 3", scenario(Model::Shared { noise: 0.3 }, 20, 100.0, 3.0)),
        ("M/M/K, K 50, 20 ms", scenario(Model::Queue, 50, 20.0, 1.5)),
        ("M/M/K, K 100, 5 ms", scenario(Model::Queue, 100, 5.0, 1.5)),
    ]
}

/// After this long a phase counts as settled.
pub const SETTLING_MS: f64 = 30_000.0;

/// How often the limit is looked at.
const LOOK_EVERY_MS: f64 = 100.0;

/// What a phase was like from [`SETTLING_MS`] on.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The phase.
    pub phase: Phase,
    /// The least limit, over the capacity.
    pub least: f64,
    /// The mean limit, over the capacity.
    pub mean: f64,
    /// The greatest limit, over the capacity.
    pub most: f64,
    /// When the limit came between 1 and 1.3 times the capacity to stay, in milliseconds from the start of the phase;
    /// infinite if it never did.
    pub settled_ms: f64,
    /// Completed requests per second.
    pub goodput: f64,
    /// The 99th percentile of their latency, in milliseconds.
    pub p99_ms: f64,
}

/// The limit, the requests in flight and the latency at one moment, for plots.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When, in milliseconds.
    pub at_ms: f64,
    /// The capacity of the server.
    pub capacity: u32,
    /// The limit.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests completed since the look before.
    pub completed: u32,
    /// Their mean latency in milliseconds; the one before if there are none.
    pub latency_ms: f64,
}

/// Runs `scenario` behind `limit`.
pub fn run(scenario: &Scenario, limit: &mut impl Limit) -> (Vec<Settled>, Vec<Look>) {
    let mut rng = Rng::new(scenario.seed);
    let mut server = Server::new(scenario.model);
    let mut looks: Vec<Look> = Vec::new();
    let mut settled = Vec::new();
    let mut start_ms = 0.0;
    let mut arrival_ms = 0.0;
    for phase in &scenario.phases {
        let end_ms = start_ms + phase.length_ms;
        limit.phase(phase);
        server.change(phase);
        let per_ms = phase.load * f64::from(phase.capacity) / phase.base_ms;
        arrival_ms = f64::max(arrival_ms, start_ms);
        let mut seen = Seen::default();
        let mut look_ms = start_ms + LOOK_EVERY_MS;
        let mut latencies: VecDeque<f64> = VecDeque::new();
        loop {
            let next = arrival_ms.min(server.next_ms()).min(look_ms);
            if next >= end_ms {
                break;
            }
            limit.advance(next);
            if next == look_ms {
                let completed = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
                let latency_ms = if completed == 0 {
                    looks.last().map_or(0.0, |look| look.latency_ms)
                } else {
                    latencies.drain(..).sum::<f64>() / f64::from(completed)
                };
                let (at_ms, capacity) = (next, phase.capacity);
                let look =
                    Look { at_ms, capacity, limit: limit.limit(), in_flight: server.len(), completed, latency_ms };
                seen.look(&look, next - start_ms);
                looks.push(look);
                look_ms += LOOK_EVERY_MS;
            } else if next == arrival_ms {
                arrival_ms += rng.exponential() / per_ms;
                if let Some(slot) = limit.take(server.len()) {
                    server.start(next, slot, &mut rng);
                }
            } else if let Some(Done { latency_ms, slot }) = server.finish(&mut rng) {
                limit.give(slot, latency_ms, server.len() + 1);
                latencies.push_back(latency_ms);
                seen.done(latency_ms, next - start_ms);
            }
        }
        settled.push(seen.settled(*phase));
        start_ms = end_ms;
    }
    (settled, looks)
}

/// Counts what is settled.
struct Seen {
    least: f64,
    most: f64,
    sum: f64,
    looks: f64,
    out_of_range_ms: f64,
    latencies: Vec<f64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { least: f64::INFINITY, most: 0.0, sum: 0.0, looks: 0.0, out_of_range_ms: 0.0, latencies: Vec::new() }
    }
}

impl Seen {
    fn look(&mut self, look: &Look, since_ms: f64) {
        let share = f64::from(look.limit) / f64::from(look.capacity);
        if !(1.0..=1.3).contains(&share) {
            self.out_of_range_ms = since_ms;
        }
        if since_ms >= SETTLING_MS {
            self.least = self.least.min(share);
            self.most = self.most.max(share);
            self.sum += share;
            self.looks += 1.0;
        }
    }

    fn done(&mut self, latency_ms: f64, since_ms: f64) {
        if since_ms >= SETTLING_MS {
            self.latencies.push(latency_ms);
        }
    }

    #[allow(clippy::cast_precision_loss)] // far fewer than 2^53 requests
    fn settled(mut self, phase: Phase) -> Settled {
        self.latencies.sort_by(f64::total_cmp);
        let at = self.latencies.len() * 99 / 100;
        let last_look_ms = phase.length_ms - 2.0 * LOOK_EVERY_MS;
        Settled {
            phase,
            least: self.least,
            mean: self.sum / self.looks,
            most: self.most,
            settled_ms: if self.out_of_range_ms >= last_look_ms {
                f64::INFINITY
            } else {
                self.out_of_range_ms + LOOK_EVERY_MS
            },
            goodput: self.latencies.len() as f64 * 1_000.0 / (phase.length_ms - SETTLING_MS),
            p99_ms: self.latencies.get(at).copied().unwrap_or(0.0),
        }
    }
}
