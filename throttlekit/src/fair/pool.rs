//! The limit that several processes share.

use crate::decision::Decision;
use crate::error::Error;
use crate::run::Run;
use crate::store::Keyspace;
use crate::strategy::fixed_window::{Count, FixedWindow};

/// Where units are leased from, all that are asked for or none.
pub(super) trait Pool: Send + Sync {
    fn lease(&self, now_ms: f64, units: f64) -> Run<Result<Decision, Error>>;

    /// Whether it answers at once, always.
    fn is_immediate(&self) -> bool;
}

/// A fixed window under one key.
pub(super) struct Window<K> {
    pub(super) keys: K,
    pub(super) rule: FixedWindow,
    pub(super) key: String,
}

impl<K: Keyspace<Count>> Pool for Window<K> {
    fn lease(&self, now_ms: f64, units: f64) -> Run<Result<Decision, Error>> {
        self.keys.run(&self.key, now_ms, &self.rule, &units)
    }

    fn is_immediate(&self) -> bool {
        K::IMMEDIATE
    }
}
