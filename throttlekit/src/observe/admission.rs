//! A whole request, as observers see it.

use std::fmt;

use crate::admit::{Admission, Ask, Axes, Axis};
use crate::decision::Decision;
use crate::priority::Priority;

/// What denied a request: an axis, or the prices over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// The rate axis.
    Rate,
    /// The concurrency axis.
    Concurrency,
    /// The cost axis.
    Cost,
    /// No axis: the prices.
    Policy,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Rate, Self::Concurrency, Self::Cost, Self::Policy];

    /// The stable name: `rate`, `concurrency`, `cost` or `policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Cost => "cost",
            Self::Policy => "policy",
        }
    }
}

/// A request that was decided as a whole, over all axes. Its [`Debug`] shows no key.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct AdmissionEvent<'a> {
    /// The name of what decided.
    pub policy: &'a str,
    /// The units that were asked for.
    pub cost: f64,
    /// What the request was said to be worth.
    pub value: f64,
    /// How much the request matters.
    pub priority: Priority,
    /// The joint decision.
    pub decision: Decision,
    /// The decisions that were obtained, per axis.
    pub axes: Axes,
    /// The axis that denied.
    pub binding: Option<Axis>,
    /// How long the decision took, in milliseconds; 0 if nobody measured it.
    pub duration_ms: f64,
    /// Whether those of its parts that tell the same observer [say](crate::Event::part) that they are parts.
    pub(crate) parts_marked: bool,
    key: &'a str,
}

impl<'a> AdmissionEvent<'a> {
    /// Who asked; empty for a limit over all.
    ///
    /// It may be a secret or an address. It belongs into no metric, no label and no log line.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// What denied it; `None` if it was allowed.
    pub fn lane(&self) -> Option<Lane> {
        match self.binding {
            _ if self.decision.allowed => None,
            Some(Axis::Rate) => Some(Lane::Rate),
            Some(Axis::Concurrency) => Some(Lane::Concurrency),
            Some(Axis::Cost) => Some(Lane::Cost),
            _ => Some(Lane::Policy),
        }
    }
}

impl fmt::Debug for AdmissionEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionEvent")
            .field("policy", &self.policy)
            .field("cost", &self.cost)
            .field("value", &self.value)
            .field("priority", &self.priority)
            .field("decision", &self.decision)
            .field("axes", &self.axes)
            .field("binding", &self.binding)
            .field("duration_ms", &self.duration_ms)
            .finish_non_exhaustive()
    }
}

/// What a request asked for, as far as its event shows it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) key: &'a str,
    pub(crate) cost: f64,
    pub(crate) value: f64,
    pub(crate) priority: Priority,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(ask: &Ask<'a>) -> Self {
        Self { key: ask.key, cost: ask.cost, value: ask.value, priority: ask.priority }
    }

    /// The event of its admission, of which nobody has marked the parts.
    pub(crate) fn event(self, policy: &'a str, admission: &Admission, duration_ms: f64) -> AdmissionEvent<'a> {
        let Self { key, cost, value, priority } = self;
        let Admission { decision, axes, binding, .. } = *admission;
        AdmissionEvent { policy, cost, value, priority, decision, axes, binding, duration_ms, parts_marked: false, key }
    }
}
