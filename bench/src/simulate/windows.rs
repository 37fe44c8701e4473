//! Fleets that lease, window by window: all demand of a window is there at its start, and trips to the store take no time.

use throttlekit::lease::Sizer;

/// Leases of one size.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub f64);

impl Sizer for Fixed {
    fn size(&mut self) -> f64 {
        self.0
    }

    fn observe(&mut self, _demand: f64) {}
}

/// When a node stops asking in a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remember {
    /// It asks for each request that it cannot pay.
    Never,
    /// After a grant of nothing.
    Empty,
    /// After a grant of less than it asked for.
    Short,
}

/// How a fleet shares a limit.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Units of a window.
    pub limit: u64,
    /// Whether credits are dropped when a window ends.
    pub coupled: bool,
    /// Whether nodes ask the store at all. If not, each has an equal part of the limit.
    pub leases: bool,
    /// When a node stops asking in a window.
    pub remember: Remember,
}

impl Rules {
    /// Leases that end with their window.
    pub const fn coupled(limit: u64) -> Self {
        Self { limit, coupled: true, leases: true, remember: Remember::Never }
    }

    /// Leases that outlive their window.
    pub const fn carried(limit: u64) -> Self {
        Self { coupled: false, ..Self::coupled(limit) }
    }
}

/// What became of the demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Units asked for.
    pub demand: u64,
    /// Requests to the store.
    pub trips: u64,
    /// Units admitted in each window.
    pub admitted: Vec<u64>,
    /// The mean over the windows of what was admitted, as a part of what could have been.
    pub utilisation: f64,
    limit: u64,
}

impl Outcome {
    /// How far each window went beyond the limit.
    pub fn overshoots(&self) -> impl Iterator<Item = u64> {
        self.admitted.iter().map(|admitted| admitted.saturating_sub(self.limit))
    }

    /// How far the worst window went beyond the limit.
    pub fn overshoot(&self) -> u64 {
        self.overshoots().max().unwrap_or(0)
    }
}

/// A node in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    credits: u64,
    wanted: u64,
    size: u64,
    exhausted: bool,
}

/// Serves `demand`, which has a row of windows for each node, with a sizer for each node. The nodes take turns, a unit each.
#[allow(clippy::cast_precision_loss)] // far fewer than 2^53 units
pub fn serve<S: Sizer>(rules: Rules, demand: &[Vec<f64>], sizers: &mut [S]) -> Outcome {
    let windows = demand.first().map_or(0, Vec::len);
    let mut nodes = vec![Node::default(); demand.len()];
    let part = rules.limit / demand.len().max(1) as u64;
    let (mut asked, mut trips, mut utilised) = (0, 0, 0.0);
    let mut admitted = Vec::with_capacity(windows);
    for window in 0..windows {
        for ((node, demand), sizer) in nodes.iter_mut().zip(demand).zip(sizers.iter_mut()) {
            node.wanted = whole(demand[window]);
            node.size = whole(sizer.size());
            node.exhausted = false;
            if rules.coupled {
                node.credits = 0;
            }
            if !rules.leases {
                node.credits = part;
            }
        }
        let wanted = nodes.iter().map(|node| node.wanted).sum::<u64>();
        let (served, asks) = serve_window(rules, &mut nodes);
        asked += wanted;
        trips += asks;
        admitted.push(served);
        let possible = wanted.min(rules.limit);
        utilised += if possible == 0 { 1.0 } else { served as f64 / possible as f64 };
        for (sizer, demand) in sizers.iter_mut().zip(demand) {
            sizer.observe(demand[window]);
        }
    }
    Outcome { demand: asked, trips, admitted, utilisation: utilised / windows as f64, limit: rules.limit }
}

/// Units admitted in one window, and requests to the store.
fn serve_window(rules: Rules, nodes: &mut [Node]) -> (u64, u64) {
    let mut left = if rules.leases { rules.limit } else { 0 };
    let (mut admitted, mut trips) = (0, 0);
    loop {
        if left == 0 && nodes.iter().all(|node| node.credits == 0) {
            // Nothing is admitted any more: each request asks in vain, or each node once if it remembers.
            let waiting = nodes.iter().filter(|node| rules.leases && !node.exhausted);
            let asks = |node: &Node| if rules.remember == Remember::Never { node.wanted } else { node.wanted.min(1) };
            return (admitted, trips + waiting.map(asks).sum::<u64>());
        }
        let mut idle = true;
        for node in nodes.iter_mut().filter(|node| node.wanted > 0) {
            idle = false;
            node.wanted -= 1;
            if node.credits == 0 {
                if !rules.leases || node.exhausted {
                    continue;
                }
                trips += 1;
                node.credits = node.size.min(left);
                left -= node.credits;
                node.exhausted = match rules.remember {
                    Remember::Never => false,
                    Remember::Empty => node.credits == 0,
                    Remember::Short => node.credits < node.size,
                };
            }
            if node.credits > 0 {
                node.credits -= 1;
                admitted += 1;
            }
        }
        if idle {
            return (admitted, trips);
        }
    }
}

/// A whole number from what a generator or a sizer gives.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and both give no negative numbers
fn whole(x: f64) -> u64 {
    x as u64
}
