//! Names of instruments, labels and span attributes.
//!
//! Those in [`metric::FROZEN`] and [`attribute::ALL`] are a contract that other editions of the family share: renaming or
//! removing one breaks dashboards, and comes only with a major version. Those in [`metric::ADDED`] are of this crate.

/// Instruments.
pub mod metric {
    /// Counter: completed checks, by [`STRATEGY`](super::label::STRATEGY) and [`ALLOWED`](super::label::ALLOWED).
    pub const CHECKS: &str = "throttlekit.checks";
    /// Histogram: units that a check left, by [`STRATEGY`](super::label::STRATEGY).
    pub const REMAINING: &str = "throttlekit.remaining";
    /// Histogram, milliseconds: time spent in the limiter, by [`STRATEGY`](super::label::STRATEGY). A check of a batch has
    /// an equal share of the time of all.
    pub const STORE_LATENCY: &str = "throttlekit.store.latency";
    /// Observable gauge: the limit of a guard, as it is now.
    pub const CONCURRENCY_LIMIT: &str = "throttlekit.concurrency.limit";
    /// Observable gauge: slots of a guard that are taken.
    pub const CONCURRENCY_INFLIGHT: &str = "throttlekit.concurrency.inflight";
    /// Observable gauge, milliseconds: the latency without load, as a guard has learnt it.
    pub const CONCURRENCY_RTT_NOLOAD: &str = "throttlekit.concurrency.rtt_noload";
    /// Counter: denied requests of several axes, by [`LANE`](super::label::LANE).
    pub const DENIES_BY_AXIS: &str = "throttlekit.denies_by_axis";

    /// Counter: checks that failed, by [`STRATEGY`](super::label::STRATEGY) and [`KIND`](super::label::KIND).
    pub const CHECK_ERRORS: &str = "throttlekit.check.errors";
    /// Observable counter: slots of a guard that came back from work that was cut off.
    pub const CONCURRENCY_DROPPED: &str = "throttlekit.concurrency.dropped";
    /// Observable gauge: 1 while a guard is fenced off by its coordinator, else 0. A guard that is shown by itself and has none
    /// does not have it.
    pub const CONCURRENCY_FENCED: &str = "throttlekit.concurrency.fenced";
    /// Histogram, milliseconds: waits for a slot, by [`OUTCOME`](super::label::OUTCOME).
    pub const CONCURRENCY_QUEUE_WAIT: &str = "throttlekit.concurrency.queue_wait";
    /// Counter: requests that a guard with the observer refused, by [`PRIORITY`](super::label::PRIORITY).
    pub const CONCURRENCY_SHED: &str = "throttlekit.concurrency.shed";
    /// Counter: callers that went away before their request was done, by [`STAGE`](super::label::STAGE).
    pub const CLIENT_DISCONNECTS: &str = "throttlekit.client.disconnects";
    /// Counter: answers to leases, by [`STRATEGY`](super::label::STRATEGY) and [`OUTCOME`](super::label::OUTCOME).
    pub const LEASES: &str = "throttlekit.leases";
    /// Histogram, milliseconds: time until a lease was answered, by [`STRATEGY`](super::label::STRATEGY).
    pub const LEASE_LATENCY: &str = "throttlekit.lease.latency";
    /// Observable gauge: keys that a table in memory holds, by [`POLICY`](super::label::POLICY).
    pub const TABLE_KEYS: &str = "throttlekit.table.keys";
    /// Observable gauge: the most keys that it holds, by [`POLICY`](super::label::POLICY).
    pub const TABLE_MAX_KEYS: &str = "throttlekit.table.max_keys";
    /// Observable counter: keys that gave way to others before they expired, by [`POLICY`](super::label::POLICY).
    pub const TABLE_EVICTIONS: &str = "throttlekit.table.evictions";
    /// Observable counter: panics of observers that were contained, of the one that records this and of those beside it.
    pub const OBSERVER_PANICS: &str = "throttlekit.observer.panics";

    /// The instruments that do not change.
    pub const FROZEN: [&str; 7] = [
        CHECKS,
        REMAINING,
        STORE_LATENCY,
        CONCURRENCY_LIMIT,
        CONCURRENCY_INFLIGHT,
        CONCURRENCY_RTT_NOLOAD,
        DENIES_BY_AXIS,
    ];

    /// The instruments that are added to those.
    pub const ADDED: [&str; 12] = [
        CHECK_ERRORS,
        CONCURRENCY_DROPPED,
        CONCURRENCY_FENCED,
        CONCURRENCY_QUEUE_WAIT,
        CONCURRENCY_SHED,
        CLIENT_DISCONNECTS,
        LEASES,
        LEASE_LATENCY,
        TABLE_KEYS,
        TABLE_MAX_KEYS,
        TABLE_EVICTIONS,
        OBSERVER_PANICS,
    ];
}

/// Attributes of metrics. Each has a bounded set of values; none is ever taken from a key.
pub mod label {
    /// The stable name of the strategy, such as `gcra`; `other` from the 33rd on.
    pub const STRATEGY: &str = "strategy";
    /// `"true"` or `"false"`: a text, where the span attribute is a boolean.
    pub const ALLOWED: &str = "allowed";
    /// What denied a request of several axes: `rate`, `concurrency`, `cost` or `policy`.
    pub const LANE: &str = "lane";
    /// Why a check failed: `store_unavailable`, `invalid_argument` or `other`.
    pub const KIND: &str = "kind";
    /// How a wait ended: `admitted`, `timed_out`, `displaced` or `cancelled`. What became of a lease: `granted`, `refused`,
    /// `late` or `failed`.
    pub const OUTCOME: &str = "outcome";
    /// The name of a policy, on the gauges of the guards and tables of policies.
    pub const POLICY: &str = "policy";
    /// `low`, `normal`, `high` or `critical`.
    pub const PRIORITY: &str = "priority";
    /// How far a request was when its caller went away: `deciding`, `working` or `answering`.
    pub const STAGE: &str = "stage";
}

/// Attributes of spans, and fields of `tracing` spans and events.
pub mod attribute {
    /// Text: the stable name of the strategy. Not set for requests of several axes.
    pub const STRATEGY: &str = "throttlekit.strategy";
    /// Boolean: whether the request was admitted.
    pub const ALLOWED: &str = "throttlekit.allowed";
    /// Number: the ceiling.
    pub const LIMIT: &str = "throttlekit.limit";
    /// Number: units left after the decision.
    pub const REMAINING: &str = "throttlekit.remaining";
    /// Number: milliseconds until a retry may succeed; 0 if it was admitted.
    pub const RETRY_AFTER_MS: &str = "throttlekit.retry_after_ms";
    /// Text: the axis that denied, `concurrency`, `rate` or `cost`. Only for requests of several axes that one denied.
    pub const BINDING_AXIS: &str = "throttlekit.binding_axis";

    /// All of them. They do not change.
    pub const ALL: [&str; 6] = [STRATEGY, ALLOWED, LIMIT, REMAINING, RETRY_AFTER_MS, BINDING_AXIS];
}
