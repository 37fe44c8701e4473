//! What both kinds of shares are built from.

use std::sync::Arc;

use crate::error::BuildError;
use crate::math::floor_f64;
use crate::strategy::options::{positive, window};

use super::DEFAULT_MAX_TENANTS;
use super::weights::Weights;

/// A limit and who shares it.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) limit: Option<f64>,
    pub(super) window_ms: Option<f64>,
    pub(super) max_tenants: usize,
    pub(super) weights: Weights,
}

/// The names of these options in errors.
pub(super) struct Names {
    pub(super) limit: &'static str,
    pub(super) window_ms: &'static str,
    pub(super) weights: &'static str,
    pub(super) max_tenants: &'static str,
}

impl Default for Terms {
    fn default() -> Self {
        Self { limit: None, window_ms: None, max_tenants: DEFAULT_MAX_TENANTS, weights: Weights::default() }
    }
}

impl Terms {
    pub(super) fn set_weights<N: Into<String>>(&mut self, weights: impl IntoIterator<Item = (N, f64)>) {
        self.weights = Weights::Listed(weights.into_iter().map(|(tenant, weight)| (tenant.into(), weight)).collect());
    }

    pub(super) fn set_weight_of(&mut self, weight_of: impl Fn(&str) -> f64 + Send + Sync + 'static) {
        self.weights = Weights::By(Arc::new(weight_of));
    }

    /// The limit in whole units, and the length of a window in milliseconds.
    pub(super) fn checked(&self, names: &Names) -> Result<(f64, f64), BuildError> {
        let limit = positive(names.limit, self.limit)?;
        if limit < 1.0 {
            return Err(BuildError::new(names.limit, limit, "must be at least 1"));
        }
        let window_ms = window(names.window_ms, self.window_ms)?;
        self.weights.check(names.weights)?;
        if self.max_tenants == 0 {
            return Err(BuildError::new(names.max_tenants, self.max_tenants, "must be at least 1"));
        }
        Ok((floor_f64(limit), window_ms))
    }
}

/// Writes the setters of the [`Terms`] in a builder's field `terms`.
macro_rules! terms_setters {
    () => {
        /// Units in each window, at least 1; a fraction is dropped. Required.
        pub fn limit(mut self, limit: f64) -> Self {
            self.terms.limit = Some(limit);
            self
        }

        $crate::strategy::options::window_setters!(terms.window_ms);

        /// The weights of some tenants, above 0; all others weigh 1.
        pub fn weights<N: Into<String>>(mut self, weights: impl IntoIterator<Item = (N, f64)>) -> Self {
            self.terms.set_weights(weights);
            self
        }

        /// Where weights come from. It is called for each check, and must give a finite number above 0.
        pub fn weight_of(mut self, weight_of: impl Fn(&str) -> f64 + Send + Sync + 'static) -> Self {
            self.terms.set_weight_of(weight_of);
            self
        }

        /// The most tenants that are told apart in one window, at least 1. Default: 100,000.
        pub fn max_tenants(mut self, max_tenants: usize) -> Self {
            self.terms.max_tenants = max_tenants;
            self
        }
    };
}

pub(super) use terms_setters;
