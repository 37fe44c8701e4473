//! What a tenant weighs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{BuildError, Error};

/// A weight that is one.
pub(super) fn validate(weight: f64) -> Result<f64, Error> {
    if weight.is_finite() && weight > 0.0 {
        Ok(weight)
    } else {
        Err(Error::invalid_argument(format!("weight is {weight}: must be a finite number above 0")))
    }
}

/// Where weights come from.
#[derive(Clone)]
pub(super) enum Weights {
    /// Those that are listed; 1 for all others.
    Listed(HashMap<String, f64>),
    By(Arc<dyn Fn(&str) -> f64 + Send + Sync>),
}

impl Weights {
    pub(super) fn of(&self, tenant: &str) -> Result<f64, Error> {
        match self {
            Self::Listed(weights) => Ok(weights.get(tenant).copied().unwrap_or(1.0)),
            Self::By(weight_of) => validate(weight_of(tenant)),
        }
    }

    /// Whether every listed weight is one.
    pub(super) fn check(&self, option: &'static str) -> Result<(), BuildError> {
        let Self::Listed(weights) = self else { return Ok(()) };
        let mut bad: Vec<_> = weights.iter().filter(|(_, weight)| validate(**weight).is_err()).collect();
        bad.sort_unstable_by_key(|(tenant, _)| tenant.as_str());
        match bad.first() {
            None => Ok(()),
            Some((tenant, weight)) => {
                let allowed = format!("must be a finite number above 0 for the tenant `{tenant}`");
                Err(BuildError::new(option, weight, allowed))
            }
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::Listed(HashMap::new())
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(weights) => write!(f, "{} listed", weights.len()),
            Self::By(_) => f.write_str("by a function"),
        }
    }
}
