//! The simulation itself.

use throttlekit::testkit::Mulberry;

use super::events::{Event, Queue, Trip};
use super::{Arrivals, Cut, Debit, Expiry, Outcome, Setting};

/// A node.
#[derive(Clone, Copy, Debug)]
struct Node {
    credits: u64,
    /// The window that paid for the credits.
    payer: usize,
    /// When they are over, in real time.
    until_ms: f64,
    /// Requests that wait for a lease.
    waiting: u64,
    /// The number of the trip under way, if there is one.
    pending: Option<u64>,
    trips: u64,
    cut: bool,
    /// It asks no more before this moment, in real time.
    exhausted_ms: f64,
    /// How far its clock is ahead.
    ahead_ms: f64,
}

struct Fleet<'a> {
    setting: &'a Setting,
    events: Queue,
    random: Mulberry,
    nodes: Vec<Node>,
    window: usize,
    left: u64,
    outcome: Outcome,
}

/// Runs `setting` with these arrivals.
#[must_use]
pub fn run(setting: &Setting, arrivals: &Arrivals) -> Outcome {
    let mut random = Mulberry::new(setting.latency.seed);
    let node = |ahead_ms| Node {
        credits: 0,
        payer: 0,
        until_ms: f64::INFINITY,
        waiting: 0,
        pending: None,
        trips: 0,
        cut: false,
        exhausted_ms: f64::NEG_INFINITY,
        ahead_ms,
    };
    let skew =
        |random: &mut Mulberry| if setting.skew_ms > 0.0 { (2.0 * random.draw() - 1.0) * setting.skew_ms } else { 0.0 };
    let nodes: Vec<Node> = (0..setting.nodes).map(|_| node(skew(&mut random))).collect();
    let windows = usize::try_from(setting.windows).unwrap_or(usize::MAX);
    let outcome = Outcome {
        demand: arrivals.len() as u64,
        trips: 0,
        by_instant: vec![0; windows],
        by_payer: vec![0; windows],
        by_node: vec![0; setting.nodes],
        late: 0,
        limit: setting.limit,
    };
    let mut fleet = Fleet { setting, events: Queue::default(), random, nodes, window: 0, left: setting.limit, outcome };
    for (at_ms, node) in arrivals {
        fleet.events.push(*at_ms, Event::Arrival(*node));
    }
    for window in 1..=setting.windows {
        fleet.events.push(f64::from(window) * setting.window_ms, Event::Roll);
    }
    if let Some(Cut { from_ms, until_ms, .. }) = setting.cut {
        fleet.events.push(from_ms, Event::CutStart);
        fleet.events.push(until_ms, Event::CutEnd);
    }
    while let Some((now_ms, event)) = fleet.events.pop() {
        if fleet.window >= windows {
            break;
        }
        fleet.happen(now_ms, event);
    }
    fleet.outcome
}

impl Fleet<'_> {
    fn happen(&mut self, now_ms: f64, event: Event) {
        match event {
            Event::Roll => self.roll(),
            Event::CutStart => self.cut(now_ms, true),
            Event::CutEnd => self.cut(now_ms, false),
            Event::Grant(trip) => {
                if self.arrives(trip) {
                    let trip = self.debit(now_ms, trip);
                    self.land(now_ms, trip);
                }
            }
            Event::Debit(trip) => {
                // A request that is lost, or sent while cut off, debits nothing.
                if !self.nodes[trip.node].cut && !self.lost() {
                    let trip = self.debit(now_ms, trip);
                    if !self.lost() {
                        self.events.push(trip.lands_ms, Event::Land(trip));
                    }
                }
            }
            Event::Land(trip) => {
                if self.arrives(trip) {
                    self.land(now_ms, trip);
                }
            }
            Event::GiveUp(node, number) => {
                if self.nodes[node].pending == Some(number) {
                    self.nodes[node].pending = None;
                    self.request_if_waiting(now_ms, node);
                }
            }
            Event::Arrival(node) => self.arrival(now_ms, node),
        }
    }

    /// The window is over for those who see it. Requests that wait have waited long enough.
    fn roll(&mut self) {
        self.window += 1;
        self.left = self.setting.limit;
        for node in &mut self.nodes {
            if self.setting.debit == Debit::Landing {
                node.waiting = 0;
            }
            if self.setting.expiry == Expiry::Roll {
                node.credits = 0;
            }
        }
    }

    fn cut(&mut self, now_ms: f64, cut: bool) {
        let below = self.setting.cut.map_or(0, |cut| cut.below).min(self.nodes.len());
        for node in (0..below).step_by(2) {
            self.nodes[node].cut = cut;
            if !cut {
                self.request_if_waiting(now_ms, node);
            }
        }
    }

    fn arrival(&mut self, now_ms: f64, node: usize) {
        self.expire(now_ms, node);
        if self.nodes[node].credits > 0 {
            self.nodes[node].credits -= 1;
            self.admit(node, 1);
        } else if !self.nodes[node].cut && now_ms >= self.nodes[node].exhausted_ms {
            self.nodes[node].waiting += 1;
            self.request_if_waiting(now_ms, node);
        }
    }

    fn admit(&mut self, node: usize, requests: u64) {
        self.outcome.by_instant[self.window] += requests;
        self.outcome.by_payer[self.nodes[node].payer] += requests;
        self.outcome.by_node[node] += requests;
    }

    fn expire(&mut self, now_ms: f64, node: usize) {
        if now_ms >= self.nodes[node].until_ms {
            self.nodes[node].credits = 0;
        }
    }

    fn request_if_waiting(&mut self, now_ms: f64, at: usize) {
        let node = &mut self.nodes[at];
        if node.waiting == 0 || node.pending.is_some() || node.cut {
            return;
        }
        node.trips += 1;
        node.pending = Some(node.trips);
        self.outcome.trips += 1;
        let latency = self.setting.latency;
        let deviation =
            if latency.jitter_ms > 0.0 { (2.0 * self.random.draw() - 1.0) * latency.jitter_ms } else { 0.0 };
        let takes_ms = (latency.mean_ms + deviation).max(0.0);
        let trip = Trip { node: at, asked_ms: now_ms, lands_ms: now_ms + takes_ms, ..Trip::default() };
        match self.setting.debit {
            Debit::Landing => self.events.push(trip.lands_ms, Event::Grant(trip)),
            Debit::Halfway => {
                self.events.push(now_ms + takes_ms / 2.0, Event::Debit(trip));
                let patience_ms = 2.0 * self.setting.longest_ms();
                self.events.push(now_ms + patience_ms, Event::GiveUp(at, self.nodes[at].trips));
            }
        }
    }

    /// Whether an answer reaches its node, which waits for it no longer in any case.
    fn arrives(&mut self, trip: Trip) -> bool {
        self.nodes[trip.node].pending = None;
        !self.nodes[trip.node].cut
    }

    fn lost(&mut self) -> bool {
        self.setting.loss > 0.0 && self.random.draw() < self.setting.loss
    }

    fn debit(&mut self, now_ms: f64, trip: Trip) -> Trip {
        let granted = self.setting.batch.min(self.left);
        self.left -= granted;
        let end_ms = self.end_ms();
        Trip { granted, window: self.window, left_ms: end_ms - now_ms, ..trip }
    }

    /// The end of the window that the store is in.
    #[allow(clippy::cast_precision_loss)] // far fewer than 2^53 windows
    fn end_ms(&self) -> f64 {
        (self.window + 1) as f64 * self.setting.window_ms
    }

    fn land(&mut self, now_ms: f64, trip: Trip) {
        let end_ms = self.paid_until_ms(trip);
        self.expire(now_ms, trip.node);
        let short = trip.granted < self.setting.batch;
        let roll_ms = self.end_ms();
        let node = &mut self.nodes[trip.node];
        if now_ms >= end_ms {
            self.outcome.late += u64::from(trip.granted > 0);
            self.request_if_waiting(now_ms, trip.node);
            return;
        }
        node.until_ms = end_ms;
        node.payer = trip.window;
        node.credits += trip.granted;
        if short && self.setting.remember {
            // Those that see the window roll need no end to wait for.
            node.exhausted_ms = end_ms.min(roll_ms);
        }
        let served = node.credits.min(node.waiting);
        node.credits -= served;
        node.waiting -= served;
        let exhausted = trip.granted == 0 || now_ms < node.exhausted_ms;
        if exhausted {
            node.waiting = 0;
        }
        self.admit(trip.node, served);
        self.request_if_waiting(now_ms, trip.node);
    }

    /// When the units of a grant are over, in real time, as far as the node knows.
    #[allow(clippy::cast_precision_loss)] // far fewer than 2^53 windows
    fn paid_until_ms(&self, trip: Trip) -> f64 {
        match self.setting.expiry {
            Expiry::Never | Expiry::Roll => f64::INFINITY,
            Expiry::OwnClock => (trip.window + 1) as f64 * self.setting.window_ms - self.nodes[trip.node].ahead_ms,
            Expiry::SinceAsked => trip.asked_ms + trip.left_ms,
        }
    }
}
