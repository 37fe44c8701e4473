//! How much of the limit each priority may use.

use super::learner::slots;
use crate::error::BuildError;
use crate::priority::Priority;

/// Thousandths in a whole: shares are counted in these, so that a share of a whole number is exact.
const WHOLE: u16 = 1_000;

/// A share of a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share(u16);

impl Share {
    pub(super) const ALL: Self = Self(WHOLE);

    /// The slots of `ceiling` that it comes to, rounded down, but at least one: a share is room for less, not for nothing.
    #[inline]
    pub(super) fn of(self, ceiling: u32) -> u32 {
        if self.0 == WHOLE {
            return ceiling;
        }
        let part = u64::from(ceiling) * u64::from(self.0) / u64::from(WHOLE);
        u32::try_from(part).unwrap_or(ceiling).max(1)
    }
}

/// The share of each priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares([Share; Priority::ALL.len()]);

impl Shares {
    #[inline]
    pub(super) fn of(self, priority: Priority) -> Share {
        self.0[priority.index()]
    }
}

/// What low priorities leave to the others unless told otherwise.
const DEFAULT_LOW: f64 = 0.8;

/// Shares as they were given.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenShares([Option<f64>; Priority::ALL.len()]);

impl GivenShares {
    pub(super) const NONE: Self = Self([None; Priority::ALL.len()]);

    pub(super) fn set(&mut self, priority: Priority, share: f64) {
        self.0[priority.index()] = Some(share);
    }

    /// A queue orders by priority: there is nothing to share out.
    pub(super) fn check(self, queued: bool) -> Result<Shares, BuildError> {
        if queued {
            let given = Priority::ALL.into_iter().zip(self.0).find_map(|(priority, share)| Some((priority, share?)));
            return match given {
                Some((priority, share)) => Err(BuildError::new(
                    option(priority),
                    share,
                    "must not be given with a queue, which orders by priority",
                )),
                None => Ok(Shares([Share::ALL; Priority::ALL.len()])),
            };
        }
        let mut shares = Shares([Share::ALL; Priority::ALL.len()]);
        let mut most = Share::ALL;
        for priority in Priority::ALL.into_iter().rev() {
            let given = self.0[priority.index()];
            if let Some(share) = given {
                if !(share >= 1.0 / f64::from(WHOLE) && share <= 1.0) {
                    return Err(BuildError::new(option(priority), share, "must be a number from 0.001 to 1"));
                }
            }
            let default = if priority == Priority::Low { DEFAULT_LOW } else { 1.0 };
            let share = thousandths(given.unwrap_or(default));
            if given.is_some_and(|_| share > most) {
                let allowed = "must not be above that of a higher priority";
                return Err(BuildError::new(option(priority), given.unwrap_or(default), allowed));
            }
            // What is not given follows the higher ones down.
            most = share.min(most);
            shares.0[priority.index()] = most;
        }
        Ok(shares)
    }
}

/// The nearest share.
fn thousandths(share: f64) -> Share {
    Share(u16::try_from(slots(share * f64::from(WHOLE) + 0.5)).unwrap_or(WHOLE).clamp(1, WHOLE))
}

/// The name that a refused share is reported under.
fn option(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "concurrency.priorities.low",
        Priority::Normal => "concurrency.priorities.normal",
        Priority::High => "concurrency.priorities.high",
        Priority::Critical => "concurrency.priorities.critical",
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{GivenShares, Priority, Share, thousandths};

    #[test]
    fn a_share_of_slots_is_exact_and_at_least_one() {
        assert_eq!(thousandths(0.29).of(100), 29);
        assert_eq!(thousandths(0.8).of(4), 3);
        assert_eq!(thousandths(0.001).of(5), 1);
        assert_eq!(Share::ALL.of(u32::MAX), u32::MAX);
    }

    #[test]
    fn what_is_not_given_leaves_all_but_the_lowest_the_whole() {
        let shares = GivenShares::NONE.check(false).unwrap();
        assert_eq!(Priority::ALL.map(|priority| shares.of(priority).of(10)), [8, 10, 10, 10]);
    }
}
