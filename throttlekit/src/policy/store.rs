//! The store that a configuration names, opened.

use std::fmt;
use std::sync::Arc;

use super::options::LoadOptions;
use crate::config::{ConfigErrors, StoreKind, StoreSpec};
use crate::store::Remote;

/// What the policies of a configuration share if they are not in memory.
pub(super) struct OpenStore {
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
        let store = connector.open(spec).map_err(|error| {
            let found = error.value().map_or_else(String::new, |value| format!(" (found {value})"));
            let message = format!("{}{found}", error.allowed());
            ConfigErrors::refused_store(kind, error.option().rsplit('.').next(), message)
        })?;
        Ok(Some(Arc::new(Self { keys: Remote::from_dyn(store) })))
    }

    /// All keys of the store.
    pub(super) fn keys(&self) -> &Remote {
        &self.keys
    }
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStore").field("keys", &self.keys).finish()
    }
}
