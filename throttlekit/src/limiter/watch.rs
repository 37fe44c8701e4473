//! Who is told about decisions, and under which names.

use std::fmt;
use std::sync::Arc;

use crate::admit::{Ask, Axis};
use crate::decision::Decision;
use crate::error::Error;
use crate::fingerprint::Mark;
use crate::observe::{Begun, CallKind, Event, LeaseEvent, Observer, is_blind, told};
use crate::run::Run;

/// An observer with the names that its events carry.
#[derive(Clone)]
pub(crate) struct Watch<O> {
    observer: O,
    policy: Arc<str>,
    strategy: &'static str,
    axis: Axis,
}

/// A decision that is being made, as its event will show it.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    pub(crate) kind: CallKind,
    pub(crate) cost: f64,
    pub(crate) now_ms: f64,
    pub(crate) begun: Begun,
    /// Whether the store was not asked.
    pub(crate) local: bool,
}

impl Made {
    /// The same, of what `ask` asks for.
    #[inline(always)]
    pub(crate) fn of(self, ask: &Ask<'_>) -> Self {
        Self { begun: self.begun.of(ask), ..self }
    }

    /// The same, of a key that the store knows by `mark`.
    #[inline(always)]
    pub(crate) fn marked(self, mark: Mark) -> Self {
        Self { begun: self.begun.marked(mark), ..self }
    }
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
    /// The same names with `observer` to tell; `None` if there is somebody to tell.
    pub(crate) fn told_to(&self, observer: &Arc<dyn Observer>) -> Option<Watch<Arc<dyn Observer>>> {
        self.is_blind().then(|| self.naming(Arc::clone(observer)))
    }

    /// Whether there is nobody to tell.
    pub(crate) fn is_blind(&self) -> bool {
        self.observer.is_blind()
    }

    /// The same names for another observer.
    pub(crate) fn naming<P>(&self, observer: P) -> Watch<P> {
        let Self { observer: _, policy, strategy, axis } = self;
        Watch { observer, policy: Arc::clone(policy), strategy, axis: *axis }
    }

    /// Before a decision: reads the stopwatch, if there is one.
    #[inline(always)]
    pub(crate) fn begin(&self) -> Begun {
        Begun::now(&self.observer)
    }

    /// Gives one event. A panic of the observer ends here.
    #[inline(always)]
    pub(crate) fn tell(&self, key: &str, made: Made, result: &Result<Decision, Error>) {
        self.tell_of(key, made, result.as_ref().copied());
    }

    /// As [`tell`](Self::tell), of a decision that is a part of the answer.
    #[inline(always)]
    pub(crate) fn tell_of(&self, key: &str, made: Made, result: Result<Decision, &Error>) {
        if !is_blind::<O>() {
            told(&self.observer, || self.give(key, made, made.begun.took_ms(&self.observer), result));
        }
    }

    /// Gives the event of a cost that is refused, and the error back.
    #[cold]
    pub(crate) fn refuse(
        &self,
        key: &str,
        kind: CallKind,
        cost: f64,
        now_ms: impl FnOnce() -> f64,
        error: Error,
    ) -> Error {
        if !is_blind::<O>() {
            let made = Made { kind, cost, now_ms: now_ms(), begun: Begun::default(), local: true };
            told(&self.observer, || self.give(key, made, None, Err(&error)));
        }
        error
    }

    /// Gives the event that `event` makes of the names.
    pub(crate) fn tell_lease<'a>(&'a self, event: impl FnOnce(&'a str, &'static str) -> LeaseEvent<'a>) {
        let event = event(&self.policy, self.strategy);
        told(&self.observer, || self.observer.leased(&event));
    }

    /// Gives one event for each of the decisions of a batch; if it failed, each carries the error.
    pub(crate) fn tell_many<K: AsRef<str>>(&self, keys: &[K], made: Made, result: &Result<Vec<Decision>, Error>) {
        if is_blind::<O>() {
            return;
        }
        let mut took = None;
        told(&self.observer, || took = made.begun.took_ms(&self.observer));
        #[allow(clippy::cast_precision_loss)] // far below 2^53 keys
        let share_ms = took.map(|took_ms| took_ms / keys.len() as f64);
        for (index, key) in keys.iter().enumerate() {
            match result {
                Ok(decisions) => {
                    let Some(decision) = decisions.get(index) else { return };
                    told(&self.observer, || self.give(key.as_ref(), made, share_ms, Ok(*decision)));
                }
                Err(error) => told(&self.observer, || self.give(key.as_ref(), made, share_ms, Err(error))),
            }
        }
    }

    #[inline(always)]
    fn give(&self, key: &str, made: Made, took_ms: Option<f64>, result: Result<Decision, &Error>) {
        let Made { kind, cost, now_ms, begun, local } = made;
        let mut event = Event::new(&self.policy, self.strategy, self.axis, cost, now_ms, result).with_key(key);
        (event.took_ms, event.kind, event.local) = (took_ms, kind, local);
        event.part = begun.part && result.is_ok();
        event.mark = begun.mark();
        self.observer.observe(&event);
    }
}

impl<O: Observer + Clone> Watch<O> {
    /// Gives one event when `run` answers: now, or later. Copies the key and the names only in the latter case.
    #[inline(always)]
    pub(crate) fn follow(
        &self,
        key: &str,
        made: Made,
        run: Run<Result<Decision, Error>>,
    ) -> Run<Result<Decision, Error>> {
        match run {
            Run::Ready(Some(result)) => {
                self.tell(key, made, &result);
                Run::Ready(Some(result))
            }
            Run::Ready(None) => Run::Ready(None),
            Run::Wait(answer) if is_blind::<O>() => Run::Wait(answer),
            Run::Wait(answer) => {
                let (watch, key) = (self.clone(), Box::<str>::from(key));
                Run::wait(async move {
                    let result = answer.await;
                    watch.tell(&key, made, &result);
                    result
                })
            }
        }
    }

    /// As [`follow`](Self::follow), for a batch.
    pub(crate) fn follow_many(
        &self,
        keys: &[&str],
        made: Made,
        run: Run<Result<Vec<Decision>, Error>>,
    ) -> Run<Result<Vec<Decision>, Error>> {
        match run {
            Run::Ready(Some(result)) => {
                self.tell_many(keys, made, &result);
                Run::Ready(Some(result))
            }
            Run::Ready(None) => Run::Ready(None),
            Run::Wait(answer) if is_blind::<O>() => Run::Wait(answer),
            Run::Wait(answer) => {
                let watch = self.clone();
                let keys: Vec<Box<str>> = keys.iter().map(|key| Box::from(*key)).collect();
                Run::wait(async move {
                    let result = answer.await;
                    watch.tell_many(&keys, made, &result);
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
