//! The deny list of a policy.

use std::sync::Arc;

use super::options::LoadOptions;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::config::DenyListSpec;
use crate::error::BuildError;
use crate::observe::Observer;
use crate::sketch::DenyListed;

/// All that a policy limits, behind its list. Rules look at the list, and ask the limits themselves.
pub(super) type Listed = DenyListed<Arc<dyn Admit>, Arc<dyn Clock>, Option<Arc<dyn Observer>>>;

/// The list of the policy `name` in front of `inner`; `kept` is one whose entries go on.
pub(super) fn open(
    spec: &DenyListSpec,
    name: &str,
    inner: Arc<dyn Admit>,
    options: &LoadOptions,
    kept: Option<&Listed>,
) -> Result<Arc<Listed>, BuildError> {
    let builder = spec.builder(inner).name(name).clock(options.clock_of_all()).observer(options.observer.clone());
    let builder = match kept {
        Some(kept) => builder.list(Arc::clone(kept.list())),
        None => builder,
    };
    builder.build().map(Arc::new)
}
