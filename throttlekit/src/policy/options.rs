//! What a configuration cannot say: the clock, and who watches.

use std::fmt;
use std::sync::Arc;

use super::connect::Connect;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigErrors, Format, StoreKind};
use crate::observe::Observer;
use crate::runtime::Runtime;

/// How policies are loaded.
///
/// ```
/// use throttlekit::{Admit, Ask, ManualClock};
/// use throttlekit::config::Format;
/// use throttlekit::policy::{LoadOptions, Policies};
///
/// let clock = ManualClock::new(0.0);
/// let options = LoadOptions::new().format(Format::Yaml).clock(clock.clone());
/// let policies = Policies::load("limiters: { api: { strategy: gcra, limit: 1, period: 1s } }", options)?;
/// let api = policies.get("api").expect("the text has it");
/// let allowed = || api.admit().admit(&Ask::new("a")).now().is_ok_and(|answer| answer.is_ok_and(|a| a.decision.allowed));
/// assert!(allowed() && !allowed());
/// clock.advance(1_000.0);
/// assert!(allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing until something is loaded with them"]
pub struct LoadOptions {
    pub(super) format: Option<Format>,
    /// One guard against steps of the clock for all policies.
    pub(super) system: SystemClock,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// Who sleeps until the deadline of a request that waits for a slot, and works for leases.
    pub(super) runtime: Option<Arc<dyn Runtime>>,
    /// At most one of each kind.
    connectors: Vec<Arc<dyn Connect>>,
    /// Looks up a variable of the environment; `None` for that of the process.
    env: Option<Arc<Env>>,
}

type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

impl LoadOptions {
    /// The system's clock, no observer, the format as it can be told from the name or the text.
    pub fn new() -> Self {
        Self::default()
    }

    /// The format of the text, whatever its name or its first character say.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Where all policies read the time.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Who sees the decisions of all policies, whoever asks them, and [gets](Observer::attach) their guards and tables to read.
    /// A middleware may also be given an observer of its own, where there is none here.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Who sleeps until the deadlines of requests that wait for a slot, and who works for leases while no caller waits. A
    /// configuration with a `queue` or with `returnIdleAfterMs` is refused without.
    ///
    /// # Panics
    ///
    /// Where leases are configured with `returnIdleAfterMs` or a `lowWater`, loading and reloading spawn a task; a runtime may
    /// panic then, as that of tokio does outside of itself.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Lets configurations name stores of the connector's kind. Of several connectors of one kind the last one counts.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connectors.retain(|known| known.kind() != connector.kind());
        self.connectors.push(Arc::new(connector));
        self
    }

    /// Looks up what `${NAME}` stands for in the `store` block and in each `apiKey`; by default a variable of the process's
    /// environment.
    pub fn env(mut self, env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.env = Some(Arc::new(env));
        self
    }

    /// Reads `text` with these options.
    pub(super) fn parse(&self, text: &str, format: Format) -> Result<Config, ConfigErrors> {
        match &self.env {
            Some(env) => Config::parse_with(text, format, &**env),
            None => Config::parse(text, format),
        }
    }

    /// The clock of all policies.
    pub(super) fn clock_of_all(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(self.system.clone()))
    }

    /// The connector for stores of this kind.
    pub(super) fn connector_of(&self, kind: StoreKind) -> Option<&dyn Connect> {
        self.connectors.iter().find(|connector| connector.kind() == kind).map(|connector| &**connector)
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions").field("format", &self.format).finish_non_exhaustive()
    }
}
