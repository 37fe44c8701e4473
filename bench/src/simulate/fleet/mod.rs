//! Fleets that lease over a network, event by event: trips take time, answers overtake each other and get lost, nodes are
//! cut off and their clocks are wrong.

mod events;
mod run;
pub mod settings;

pub use run::run;

/// When the store takes the units of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Debit {
    /// When the answer lands, and whoever still waits when the window rolls is refused. No real store can debit so; it is the
    /// model of the published figures.
    Landing,
    /// Halfway between asking and landing. Whoever waits gets an answer, whatever the window does.
    Halfway,
}

/// How a node knows that credits are over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// Never: they outlive their window.
    Never,
    /// It sees the window roll, but spends a grant that lands after the roll of the window that paid for it.
    Roll,
    /// By its own clock, which may be wrong, against the end that the store named.
    OwnClock,
    /// By the time since it asked, against how long the window went on at the store's debit. Nothing of this depends on the
    /// node's clock being right. An answer that lands later than that is not spent.
    SinceAsked,
}

/// How long answers take: the mean, give or take the jitter, drawn from the seed.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The mean in milliseconds, there and back.
    pub mean_ms: f64,
    /// The greatest deviation in milliseconds.
    pub jitter_ms: f64,
    /// The seed of the deviations, of what gets lost and of the clocks.
    pub seed: u32,
}

/// Nodes that reach nothing for a while.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Every second node below this one.
    pub below: usize,
    /// From this moment on, in milliseconds.
    pub from_ms: f64,
    /// Up to this one.
    pub until_ms: f64,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many nodes.
    pub nodes: usize,
    /// Units of a window.
    pub limit: u64,
    /// Units of a lease. The store gives what it has if that is less.
    pub batch: u64,
    /// The length of a window in milliseconds.
    pub window_ms: f64,
    /// How many windows.
    pub windows: u32,
    /// How long answers take.
    pub latency: Latency,
    /// When the store takes the units.
    pub debit: Debit,
    /// How a node knows that credits are over.
    pub expiry: Expiry,
    /// The part of the requests to the store, and of the answers, that gets lost. The node asks again after twice the longest
    /// time that an answer can take.
    pub loss: f64,
    /// How far a node's clock may be off, in milliseconds, in both directions.
    pub skew_ms: f64,
    /// Whether a node that was granted less than it asked for asks no more before the window is over.
    pub remember: bool,
    /// Nodes that are cut off.
    pub cut: Option<Cut>,
}

impl Setting {
    /// `nodes` nodes that share 1,000 units of windows of 100 ms, 20 windows, in leases of 20. Answers take 5 ms, give or take
    /// 3. The store takes the units as they land, and credits end with the window.
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes,
            limit: 1_000,
            batch: 20,
            window_ms: 100.0,
            windows: 20,
            latency: Latency { mean_ms: 5.0, jitter_ms: 3.0, seed: 1 },
            debit: Debit::Landing,
            expiry: Expiry::Roll,
            loss: 0.0,
            skew_ms: 0.0,
            remember: false,
            cut: None,
        }
    }

    /// How long it goes on, in milliseconds.
    pub fn horizon_ms(&self) -> f64 {
        self.window_ms * f64::from(self.windows)
    }

    /// The longest time that an answer can take, in milliseconds.
    fn longest_ms(&self) -> f64 {
        self.latency.mean_ms + self.latency.jitter_ms
    }
}

/// What became of the arrivals.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Requests that arrived.
    pub demand: u64,
    /// Requests to the store.
    pub trips: u64,
    /// Requests admitted, by the window in which they were.
    pub by_instant: Vec<u64>,
    /// Requests admitted, by the window of the grant that paid for them.
    pub by_payer: Vec<u64>,
    /// Requests admitted on each node.
    pub by_node: Vec<u64>,
    /// Grants that landed too late to be spent.
    pub late: u64,
    limit: u64,
}

impl Outcome {
    /// Requests admitted.
    pub fn admitted(&self) -> u64 {
        self.by_instant.iter().sum()
    }

    /// Requests admitted as a part of those that could have been.
    #[allow(clippy::cast_precision_loss)] // far fewer than 2^53 requests
    pub fn utilisation(&self) -> f64 {
        self.admitted() as f64 / self.demand.min(self.limit * self.by_instant.len() as u64) as f64
    }

    /// How far the worst window went beyond the limit, by the moments of admission.
    pub fn overshoot(&self) -> u64 {
        self.by_instant.iter().map(|admitted| admitted.saturating_sub(self.limit)).max().unwrap_or(0)
    }

    /// How far the worst window went beyond the limit, by the grants that paid.
    pub fn overspent(&self) -> u64 {
        self.by_payer.iter().map(|admitted| admitted.saturating_sub(self.limit)).max().unwrap_or(0)
    }
}

/// When requests arrive, and on which node; sorted.
pub type Arrivals = Vec<(f64, usize)>;
