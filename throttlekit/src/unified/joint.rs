//! Rate and cost in one step: both are charged, or neither is.

use super::Wish;
use crate::decision::Decision;
use crate::error::{BuildError, Error};
use crate::limiter::DynLimiter;
use crate::multi::{Dimension, Local, Site, Stored};
use crate::run::BoxFuture;
use crate::store::{Call, Moment, Remote, Rule};

/// The decisions of rate and cost, as of one instant. One that allows and was not charged, since the other one refused,
/// shows what it has as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both {
    pub(super) rate: Decision,
    pub(super) cost: Decision,
}

/// Rate and cost where one atomic section holds both.
pub(super) struct Joint {
    site: Place,
    /// What becomes of one if the other refuses.
    rule: Rule,
}

enum Place {
    Local { rate: Box<dyn Local>, cost: Box<dyn Local> },
    Stored { rate: Box<dyn Stored>, cost: Box<dyn Stored>, store: Remote },
}

/// Where to report that the two cannot be joined.
const CONSUME: &str = "unified.consume";
const COST: &str = "unified.cost";

impl Joint {
    /// `None` if no section holds both.
    pub(super) fn new(rate: Dimension, cost: Dimension, rule: Rule) -> Result<Option<Self>, BuildError> {
        let site = match (rate.0, cost.0) {
            (Site::Local(rate), Site::Local(cost)) if rate.table_id() == cost.table_id() => {
                return Err(BuildError::new(
                    COST,
                    "the table of the rate",
                    "must have a table of its own, or states of the two would meet under one key",
                ));
            }
            (Site::Local(rate), Site::Local(cost)) => Place::Local { rate, cost },
            (Site::Stored(rate), Site::Stored(cost)) if rate.keys().same_store(cost.keys()) => {
                if rate.full_key("") == cost.full_key("") {
                    return Err(BuildError::new(
                        COST,
                        "the prefix of the rate",
                        "must have a prefix of its own, or states of the two would meet under one key",
                    ));
                }
                let store = rate.keys().clone();
                Place::Stored { rate, cost, store }
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { site, rule }))
    }

    /// The same for handles to both.
    pub(super) fn again(&self, rate: &dyn DynLimiter, cost: &dyn DynLimiter) -> Option<Self> {
        Self::new(rate.dimension().ok()?, cost.dimension().ok()?, self.rule).ok()?
    }

    /// In memory: at once. `None` if a store has to be asked.
    pub(super) fn charge(&self, key: &str, at: Moment<'_>, wish: Wish) -> Option<Result<Both, Error>> {
        let Place::Local { rate, cost } = &self.site else { return None };
        if self.rule == Rule::Each {
            return Some(one_by_one((&**rate, wish.rate), (&**cost, wish.cost), key, at));
        }
        // The order of the locks is that of every joint run of the process: ascending by table.
        Some(if rate.table_id() < cost.table_id() {
            nested((&**rate, wish.rate), (&**cost, wish.cost), key, at).map(|(rate, cost)| Both { rate, cost })
        } else {
            nested((&**cost, wish.cost), (&**rate, wish.rate), key, at).map(|(cost, rate)| Both { rate, cost })
        })
    }

    /// In a store: one call.
    pub(super) fn call(&self, key: &str, now_ms: f64, wish: Wish) -> Option<BoxFuture<Result<Both, Error>>> {
        let Place::Stored { rate, cost, store } = &self.site else { return None };
        let together = self.rule == Rule::All;
        let mut call = Call::new(now_ms, self.rule);
        rate.push_judge(&mut call, rate.full_key(key), wish.rate);
        cost.push_judge(&mut call, cost.full_key(key), wish.cost);
        let running = store.run_call(call);
        Some(Box::pin(async move {
            let replies: Vec<(Decision, Decision)> = running.await?.into_replies()?;
            let [(rate, rate_before), (cost, cost_before)] = replies[..] else {
                return Err(Error::state_invalid("the store answered another number of checks than it was asked"));
            };
            Ok(match (rate.allowed, cost.allowed) {
                (true, false) if together => Both { rate: rate.as_it_is(&rate_before), cost },
                (false, true) if together => Both { rate, cost: cost.as_it_is(&cost_before) },
                _ => Both { rate, cost },
            })
        }))
    }
}

#[cold]
pub(super) fn apart() -> BuildError {
    let allowed = "must be per-axis or all-or-nothing where rate and cost are neither both in memory nor in one store";
    BuildError::new(CONSUME, "per-axis-at-once", allowed)
}

#[cold]
pub(super) fn irrevocable() -> BuildError {
    let allowed = "must be per-axis where rate and cost are neither both in memory nor in one store, and neither takes \
                   units back";
    BuildError::new(CONSUME, "all-or-nothing", allowed)
}

/// Charges each by its own verdict.
fn one_by_one(
    (rate, rate_units): (&dyn Local, f64),
    (cost, cost_units): (&dyn Local, f64),
    key: &str,
    at: Moment<'_>,
) -> Result<Both, Error> {
    let alone = |limit: &dyn Local, units| limit.joint(key, &mut { at }, units, &mut Ok);
    Ok(Both { rate: alone(rate, rate_units)?, cost: alone(cost, cost_units)? })
}

/// Holds the key of `outer` while `inner` is judged and, if both want it, charged.
fn nested(
    (outer, outer_units): (&dyn Local, f64),
    (inner, inner_units): (&dyn Local, f64),
    key: &str,
    at: Moment<'_>,
) -> Result<(Decision, Decision), Error> {
    let mut seen = None;
    let first = outer.judge(key, &mut { at }, outer_units, &mut |outer_wants| {
        let mut both = false;
        let decision = inner.judge(key, &mut { at }, inner_units, &mut |inner_wants| {
            both = outer_wants && inner_wants;
            Ok(both)
        })?;
        seen = Some(decision);
        Ok(both)
    })?;
    let second = seen.ok_or_else(|| Error::state_invalid("a table did not judge a joint check"))?;
    Ok((first, second))
}
