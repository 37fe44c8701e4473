//! Who is told about decisions, and under which names.

use std::fmt;
use std::sync::Arc;

use crate::admit::Axis;
use crate::decision::Decision;
use crate::error::Error;
use crate::observe::{Event, LeaseEvent, Observer};
use crate::run::Run;

/// An observer with the names that its events carry.
#[derive(Clone)]
pub(crate) struct Watch<O> {
    observer: O,
    policy: Arc<str>,
    strategy: &'static str,
    axis: Axis,
}

impl<O> Watch<O> {
    /// `policy` is the strategy's name where there is none.
    pub(crate) fn new(observer: O, policy: Option<Arc<str>>, strategy: &'static str) -> Self {
        Self { observer, policy: policy.unwrap_or_else(|| strategy.into()), strategy, axis: Axis::Rate }
    }

    /// Of an axis other than the rate.
    pub(crate) fn on(mut self, axis: Axis) -> Self {
        self.axis = axis;
        self
    }

    pub(crate) fn policy(&self) -> &str {
        &self.policy
    }
}

impl<O: Observer> Watch<O> {
    /// Gives one event.
    #[inline(always)]
    pub(crate) fn tell(&self, cost: f64, now_ms: f64, result: &Result<Decision, Error>) {
        let result = result.as_ref().copied();
        self.observer.observe(&Event::new(&self.policy, self.strategy, self.axis, cost, now_ms, result));
    }

    /// Gives one event, of a decision that was made in process or by the store.
    #[inline(always)]
    pub(crate) fn tell_from(&self, local: bool, cost: f64, now_ms: f64, result: &Result<Decision, Error>) {
        let result = result.as_ref().copied();
        let event = Event::new(&self.policy, self.strategy, Axis::Rate, cost, now_ms, result);
        self.observer.observe(&Event { local, ..event });
    }

    /// Gives the event that `event` makes of the names.
    pub(crate) fn tell_lease<'a>(&'a self, event: impl FnOnce(&'a str, &'static str) -> LeaseEvent<'a>) {
        self.observer.leased(&event(&self.policy, self.strategy));
    }

    /// Gives one event for each of the `count` decisions of a batch; if it failed, each carries the error.
    pub(crate) fn tell_many(&self, count: usize, cost: f64, now_ms: f64, result: &Result<Vec<Decision>, Error>) {
        let tell =
            |result| self.observer.observe(&Event::new(&self.policy, self.strategy, self.axis, cost, now_ms, result));
        match result {
            Ok(decisions) => decisions.iter().for_each(|decision| tell(Ok(*decision))),
            Err(error) => (0..count).for_each(|_| tell(Err(error))),
        }
    }
}

impl<O: Observer + Clone> Watch<O> {
    /// Gives one event when `run` answers: now, or later. Copies the names only in the latter case.
    #[inline(always)]
    pub(crate) fn follow(
        &self,
        cost: f64,
        now_ms: f64,
        run: Run<Result<Decision, Error>>,
    ) -> Run<Result<Decision, Error>> {
        match run {
            Run::Ready(Some(result)) => {
                self.tell(cost, now_ms, &result);
                Run::Ready(Some(result))
            }
            Run::Ready(None) => Run::Ready(None),
            Run::Wait(answer) => {
                let watch = self.clone();
                Run::wait(async move {
                    let result = answer.await;
                    watch.tell(cost, now_ms, &result);
                    result
                })
            }
        }
    }

    /// As [`follow`](Self::follow), for a batch of `count`.
    pub(crate) fn follow_many(
        &self,
        count: usize,
        cost: f64,
        now_ms: f64,
        run: Run<Result<Vec<Decision>, Error>>,
    ) -> Run<Result<Vec<Decision>, Error>> {
        match run {
            Run::Ready(result) => {
                if let Some(result) = &result {
                    self.tell_many(count, cost, now_ms, result);
                }
                Run::Ready(result)
            }
            Run::Wait(answer) => {
                let watch = self.clone();
                Run::wait(async move {
                    let result = answer.await;
                    watch.tell_many(count, cost, now_ms, &result);
                    result
                })
            }
        }
    }
}

impl<O> fmt::Debug for Watch<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("policy", &self.policy).field("strategy", &self.strategy).finish_non_exhaustive()
    }
}
