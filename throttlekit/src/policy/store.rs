//! The store that a configuration names, opened.

use std::sync::Arc;

use super::options::LoadOptions;
use crate::config::{ConfigErrors, StoreKind, StoreSpec};
use crate::error::{BuildError, Error};
use crate::outage::Outage;
use crate::store::{CircuitBreaker, Remote};

/// What the policies of a configuration share if they are not in memory.
#[derive(Debug)]
pub(super) struct OpenStore {
    breaker: Arc<CircuitBreaker>,
    keys: Remote,
}

impl OpenStore {
    /// Opens what `spec` describes; `None` for memory.
    pub(super) fn open(spec: &StoreSpec, options: &LoadOptions) -> Result<Option<Arc<Self>>, ConfigErrors> {
        let kind = spec.kind();
        if kind == StoreKind::Memory {
            return Ok(None);
        }
        let Some(connector) = options.connector_of(kind) else {
            let name = kind.as_str();
            let message = format!(
                "this program cannot reach {name}: it needs the crate throttlekit-{name} with the feature \"config\", and \
                 its connector in the options that the file is loaded with"
            );
            return Err(ConfigErrors::refused_store(kind, None, message));
        };
        let refused = |error: BuildError| {
            let found = error.value().map_or_else(String::new, |value| format!(" (found {value})"));
            let message = format!("{}{found}", error.allowed());
            ConfigErrors::refused_store(kind, error.option().rsplit('.').next(), message)
        };
        let breaker = connector.open(spec).and_then(|store| {
            CircuitBreaker::builder_for(store, connector.runtime())
                .timeout(spec.timeout)
                .failures(spec.failures)
                .probe_interval(spec.probe_interval)
                .clock(options.clock_of_all())
                .build()
        });
        let breaker = Arc::new(breaker.map_err(refused)?);
        let keys = Remote::from_dyn(breaker.clone());
        Ok(Some(Arc::new(Self { breaker, keys })))
    }

    /// All keys of the store.
    pub(super) fn keys(&self) -> &Remote {
        &self.keys
    }

    pub(super) fn breaker(&self) -> &Arc<CircuitBreaker> {
        &self.breaker
    }

    pub(super) fn outage(&self) -> &Outage {
        self.breaker.outage()
    }

    /// Whether the store answers. Connecting may take its time for that.
    pub(super) async fn ready(&self, spec: &StoreSpec) -> Result<(), Error> {
        self.breaker.ready(spec.connect_timeout() + spec.timeout).await
    }
}
