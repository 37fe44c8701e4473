//! Which key and cost each dimension of a request has.

use super::{MOST, Multi, Stored};
use crate::error::Error;
use crate::math::MAX;
use crate::strategy::validate_cost;

/// What a multi-dimensional check has to know of a request.
///
/// ```
/// use throttlekit::{DimensionKeys, Gcra, ManualClock, Multi};
///
/// struct Upload {
///     address: String,
///     user: String,
///     kilobytes: u32,
/// }
///
/// impl DimensionKeys for Upload {
///     fn key(&self, _index: usize, name: &str) -> Option<&str> {
///         match name {
///             "address" => Some(&self.address),
///             "user" => Some(&self.user),
///             _ => None,
///         }
///     }
///     fn weight(&self, _index: usize, name: &str) -> Option<f64> {
///         (name == "user").then(|| f64::from(self.kilobytes))
///     }
/// }
///
/// let limit = Multi::all()
///     .dimension("address", Gcra::per_minute(10)?, 1.0)
///     .dimension("user", Gcra::per_minute(500)?, 1.0)
///     .clock(ManualClock::new(0.0))
///     .build()?;
/// let upload = Upload { address: "10.0.0.1".into(), user: "u1".into(), kilobytes: 499 };
/// assert_eq!(limit.check_for(&upload, 1.0)?.remaining, 1);
/// assert!(!limit.check_for(&upload, 1.0)?.allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DimensionKeys {
    /// The raw key for the dimension that was declared at `index` as `name`; `None` if the request has none, which
    /// refuses it as an argument error.
    fn key(&self, index: usize, name: &str) -> Option<&str>;

    /// The weight for the dimension, in place of the one it was declared with. `None` leaves that.
    fn weight(&self, index: usize, name: &str) -> Option<f64> {
        let _ = (index, name);
        None
    }
}

/// One raw key for each dimension.
pub(super) struct Positional<'a>(pub(super) &'a [&'a str]);

impl DimensionKeys for Positional<'_> {
    fn key(&self, index: usize, _name: &str) -> Option<&str> {
        self.0.get(index).copied()
    }
}

/// The same raw key for every dimension.
pub(super) struct Same<'a>(pub(super) &'a str);

impl DimensionKeys for Same<'_> {
    fn key(&self, _index: usize, _name: &str) -> Option<&str> {
        Some(self.0)
    }
}

/// The key that all of `keys` are; empty if they differ.
pub(super) fn common<'a>(mut keys: impl Iterator<Item = &'a str>) -> &'a str {
    keys.next().filter(|first| keys.all(|key| key == *first)).unwrap_or_default()
}

/// Raw key and cost of each dimension; those beyond the last are not used.
pub(super) type Asks<'a> = [(&'a str, f64); MOST];

impl<W, C, O> Multi<W, C, O> {
    /// `keys`, if there is one for each dimension.
    pub(super) fn counted<'a>(&self, keys: &'a [&'a str]) -> Result<Positional<'a>, Error> {
        if keys.len() == self.names.len() {
            return Ok(Positional(keys));
        }
        let message = format!("{} keys for {} dimensions: must be one for each", keys.len(), self.names.len());
        Err(Error::invalid_argument(message))
    }

    /// Fills in the raw key and the legal cost of each dimension.
    pub(super) fn ask<'a, X: DimensionKeys + ?Sized>(
        &self,
        request: &'a X,
        cost: f64,
        asks: &mut Asks<'a>,
    ) -> Result<(), Error> {
        let cost = validate_cost(cost)?;
        for (index, (ask, named)) in asks.iter_mut().zip(&self.names).enumerate() {
            let key = request.key(index, &named.name).ok_or_else(|| no_key(&named.name))?;
            let weight = request.weight(index, &named.name).unwrap_or(named.weight);
            let units = named.units(weight, cost);
            *ask = (key, validate_cost(units).map_err(|_| bad_units(&named.name, weight, cost, units))?);
        }
        if self.may_meet { self.refuse_meeting(asks) } else { Ok(()) }
    }

    /// Refuses two dimensions that resolve to the same stored key, `scope:key`.
    fn refuse_meeting(&self, asks: &Asks<'_>) -> Result<(), Error> {
        let scoped = || {
            let named = self.names.iter().zip(asks);
            named.filter_map(|(named, (key, _))| Some((&named.name, named.scope.as_deref()?, *key)))
        };
        let joined = |scope, key| str::bytes(scope).chain([b':']).chain(str::bytes(key));
        for (index, (name, scope, key)) in scoped().enumerate() {
            for (other, other_scope, other_key) in scoped().skip(index + 1) {
                if joined(scope, key).eq(joined(other_scope, other_key)) {
                    return Err(meeting(name, other));
                }
            }
        }
        Ok(())
    }

    /// The stored key of each dimension, all different.
    pub(super) fn stored_keys(&self, dimensions: &[Box<dyn Stored>], asks: &Asks<'_>) -> Result<Vec<String>, Error> {
        let keys: Vec<_> = dimensions.iter().zip(asks).map(|(dimension, (key, _))| dimension.full_key(key)).collect();
        for (index, key) in keys.iter().enumerate() {
            if let Some(earlier) = keys[..index].iter().position(|earlier| earlier == key) {
                return Err(meeting(&self.names[earlier].name, &self.names[index].name));
            }
        }
        Ok(keys)
    }
}

#[cold]
fn no_key(name: &str) -> Error {
    Error::invalid_argument(format!("the request has no key for the dimension {name:?}"))
}

#[cold]
fn bad_units(name: &str, weight: f64, cost: f64, units: f64) -> Error {
    Error::invalid_argument(format!(
        "the weight {weight} of the dimension {name:?} and the cost {cost} ask for {units}: must be a finite number above 0 \
         and at most {MAX}"
    ))
}

#[cold]
fn meeting(one: &str, other: &str) -> Error {
    Error::invalid_argument(format!("the dimensions {one:?} and {other:?} resolve to the same key: must be distinct"))
}
