//! The builder of a guard with tenants.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::floor::Floor;
use super::tenants::{Rules, WEIGHT_ONE};
use super::{KeyedGuard, Shared};
use crate::clock::{Clock, SystemClock};
use crate::concurrency::builder::{GuardBuilder, Parts, default};
use crate::concurrency::learner::slots;
use crate::concurrency::sync::Mutex;
use crate::concurrency::word::MOST;
use crate::decision::MAX_SAFE;
use crate::error::BuildError;
use crate::fingerprint::{ByFingerprint, HashKey};

const LEAST_WEIGHT: f64 = 0.001;
const MOST_WEIGHT: f64 = 1_000_000.0;

type WeightOf = Arc<dyn Fn(&str) -> f64 + Send + Sync>;

/// Builds a [`KeyedGuard`]; from [`KeyedGuard::builder`].
///
/// ```
/// use throttlekit::{Guard, KeyedGuard};
///
/// let guard = KeyedGuard::builder(Guard::builder().max_limit(200.0))
///     .max_keys(1_000)
///     .max_per_key(50)
///     .weight("batch", 0.5)
///     .active_ms(5_000.0)
///     .build()?;
/// assert_eq!((guard.name(), guard.tenants()), ("steady", 0));
///
/// let error = KeyedGuard::builder(Guard::builder()).weight("batch", 0.0).build().unwrap_err();
/// assert_eq!(error.to_string(), "concurrency.keyed.weights is 0: must be a number from 0.001 to 1000000");
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct KeyedGuardBuilder<C = SystemClock, O = ()> {
    guard: GuardBuilder<C, O>,
    max_keys: u32,
    max_per_key: Option<u32>,
    active_ms: f64,
    weights: Vec<(String, f64)>,
    weight_of: Option<WeightOf>,
}

impl<C, O> KeyedGuardBuilder<C, O> {
    pub(super) fn new(guard: GuardBuilder<C, O>) -> Self {
        Self {
            guard,
            max_keys: default::MAX_KEYS,
            max_per_key: None,
            active_ms: default::ACTIVE_MS,
            weights: Vec::new(),
            weight_of: None,
        }
    }

    /// The most tenants that are known at a time, from 1 to 16,777,215. Default: 10,000.
    ///
    /// Known are those that are active. If there are more, the one that has done nothing for longest makes room; if all
    /// hold slots or wait for one, a new one is refused.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// The most slots that one tenant may hold, from 1 to 16,777,215, whatever else is free. Default: no bound but the limit.
    pub fn max_per_key(mut self, max_per_key: u32) -> Self {
        self.max_per_key = Some(max_per_key);
        self
    }

    /// For how many milliseconds a tenant that holds nothing is active after it last did something: above 0, at most
    /// 2^53 - 1. Default: 1,000.
    ///
    /// An active tenant has a share. Longer, and one that comes now and then finds its share free; shorter, and others have
    /// the use of it sooner.
    pub fn active_ms(mut self, active_ms: f64) -> Self {
        self.active_ms = active_ms;
        self
    }

    /// The weight of one tenant, from 0.001 to 1,000,000, counted in thousandths. Default: 1.
    pub fn weight(mut self, key: impl Into<String>, weight: f64) -> Self {
        self.weights.push((key.into(), weight));
        self
    }

    /// The weights of some tenants, each as with [`weight`](Self::weight).
    pub fn weights<K: Into<String>>(mut self, weights: impl IntoIterator<Item = (K, f64)>) -> Self {
        self.weights.extend(weights.into_iter().map(|(key, weight)| (key.into(), weight)));
        self
    }

    /// The weight of every tenant that has none by [`weight`](Self::weight). Asked when a tenant becomes active, and not
    /// again as long as it is. Below the range it counts as the least weight, above it as the greatest; what is no number
    /// counts as 1.
    ///
    /// ```
    /// use throttlekit::{Guard, KeyedGuard};
    ///
    /// let guard = KeyedGuard::builder(Guard::builder().fixed(8))
    ///     .weight_of(|key| if key.starts_with("paid:") { 3.0 } else { 1.0 })
    ///     .build()?;
    /// let held = [guard.acquire("paid:1"), guard.acquire("free:1")];
    /// assert_eq!((guard.guaranteed("paid:1"), guard.guaranteed("free:1")), (6, 2));
    /// # drop(held);
    /// # Ok::<(), throttlekit::BuildError>(())
    /// ```
    pub fn weight_of(mut self, weight_of: impl Fn(&str) -> f64 + Send + Sync + 'static) -> Self {
        self.weight_of = Some(Arc::new(weight_of));
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// As [`GuardBuilder::build`]; then `concurrency.keyed.maxKeys`, `maxPerKey`, `activeMs`, `weights`, if they are out of
    /// their range.
    pub fn build(self) -> Result<KeyedGuard<C, O>, BuildError>
    where
        C: Clock,
    {
        let Self { guard, max_keys, max_per_key, active_ms, weights, weight_of } = self;
        let Parts { ceiling, patience, names, observer, shadow } = guard.parts()?;
        let max_keys = count("concurrency.keyed.maxKeys", max_keys)?;
        let max_per_key = max_per_key.map_or(Ok(MOST), |most| count("concurrency.keyed.maxPerKey", most))?;
        let active_ns = active_ns(active_ms)?;
        let secret = HashKey::random();
        let given = weights.iter().map(|(key, weight)| Ok((secret.fingerprint(key), checked_weight(*weight)?)));
        let weights = Weights { given: given.collect::<Result<_, BuildError>>()?, otherwise: weight_of };
        let max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
        let rules = Rules { max_keys, max_per_key, active_ns };
        let floor = Floor::new(rules, patience.as_ref().map(|patience| patience.max));
        let shared = Shared { ceiling, floor: Mutex::new(floor), secret, weights, patience, max_per_key };
        Ok(KeyedGuard::new(shared, names, observer, shadow))
    }
}

fn count(option: &'static str, value: u32) -> Result<u32, BuildError> {
    if (1..=MOST).contains(&value) {
        Ok(value)
    } else {
        Err(BuildError::new(option, value, format!("must be a whole number from 1 to {MOST}")))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // checked, and saturates
fn active_ns(active_ms: f64) -> Result<u64, BuildError> {
    if active_ms > 0.0 && active_ms <= MAX_SAFE as f64 {
        Ok((active_ms * 1e6) as u64)
    } else {
        let allowed = format!("must be a number above 0, at most {MAX_SAFE}");
        Err(BuildError::new("concurrency.keyed.activeMs", active_ms, allowed))
    }
}

fn checked_weight(weight: f64) -> Result<u64, BuildError> {
    if (LEAST_WEIGHT..=MOST_WEIGHT).contains(&weight) {
        Ok(thousandths(weight))
    } else {
        let allowed = format!("must be a number from {LEAST_WEIGHT} to {MOST_WEIGHT}");
        Err(BuildError::new("concurrency.keyed.weights", weight, allowed))
    }
}

/// For a weight within its range.
fn thousandths(weight: f64) -> u64 {
    u64::from(slots(weight * 1_000.0 + 0.5)).max(1)
}

/// What each tenant weighs.
pub(super) struct Weights {
    given: HashMap<u64, u64, ByFingerprint>,
    otherwise: Option<WeightOf>,
}

impl Weights {
    /// In thousandths. Runs foreign code.
    pub(super) fn of(&self, fingerprint: u64, key: &str) -> u64 {
        if let Some(weight) = self.given.get(&fingerprint) {
            return *weight;
        }
        match &self.otherwise {
            Some(weight_of) => {
                let weight = weight_of(key);
                if weight.is_nan() { WEIGHT_ONE } else { thousandths(weight.clamp(LEAST_WEIGHT, MOST_WEIGHT)) }
            }
            None => WEIGHT_ONE,
        }
    }
}

impl<C, O> fmt::Debug for KeyedGuardBuilder<C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedGuardBuilder")
            .field("guard", &self.guard)
            .field("max_keys", &self.max_keys)
            .field("max_per_key", &self.max_per_key)
            .field("active_ms", &self.active_ms)
            .field("weights", &self.weights.len())
            .finish_non_exhaustive()
    }
}
