//! A request whose decision is on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(feature = "config")]
use throttlekit::policy::Entry;
use throttlekit::{Admission, Ask, Error, Observer, Permit, Priority, Run, Stage};

use crate::decide::{Stop, Verdict};
use crate::door::Door;
use crate::ending::Watch;
use crate::hooks::unwound;
use crate::limits::Limits;
use crate::pass::Pass;
use crate::rule::Rule;
use crate::terms::Terms;

/// A request whose decision is on its way. Dropped, the client went away.
pub struct Waiting<D: Door> {
    answer: Answering,
    asked: Kept<D>,
    watch: Option<Box<Watch>>,
}

/// What is kept of a request while it waits.
pub(crate) struct Kept<D: Door> {
    pub(crate) rule: Arc<Rule<D>>,
    key: Box<str>,
    cost: f64,
    priority: Priority,
}

/// An answer on its way.
pub(crate) enum Answering {
    Terms(Run<Result<Terms, Error>>),
    Limits(Run<Result<Admission, Error>>),
    #[cfg(feature = "config")]
    Guarded(Run<Entry>),
}

/// What was answered.
#[derive(Debug)]
pub struct Answered(pub(crate) Reply);

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it is passed on at once, once per wait
pub(crate) enum Reply {
    Terms(Result<Terms, Error>),
    Limits(Decided),
}

/// What limits answered, and the slots that a request holds whose limits failed.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) result: Result<Admission, Error>,
    pub(crate) slots: Permit,
}

impl From<Result<Admission, Error>> for Decided {
    fn from(result: Result<Admission, Error>) -> Self {
        Self { result, slots: Permit::none() }
    }
}

#[cfg(feature = "config")]
impl From<Entry> for Decided {
    fn from(Entry { result, permit, .. }: Entry) -> Self {
        Self { result, slots: permit }
    }
}

impl Future for Answering {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match self.get_mut() {
            // Whoever finds the terms is of the application, and what it does wrong must not take the request with it.
            Self::Terms(run) => unwound(|| Pin::new(run).poll(cx))
                .unwrap_or_else(|| Poll::Ready(Err(Error::invalid_argument("the function for terms panicked"))))
                .map(Reply::Terms),
            Self::Limits(run) => Pin::new(run).poll(cx).map(|result| Reply::Limits(result.into())),
            #[cfg(feature = "config")]
            Self::Guarded(run) => Pin::new(run).poll(cx).map(|entry| Reply::Limits(entry.into())),
        }
    }
}

impl<D: Door> Kept<D> {
    /// What is asked for.
    pub(crate) fn ask(&self) -> Ask<'_> {
        Ask::new(&self.key).cost(self.cost).priority(self.priority)
    }
}

impl<D: Door> Waiting<D> {
    /// Waits for `answer` to `ask`, and tells `observer` if the client does not.
    pub(crate) fn stop(
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        answer: Answering,
        observer: Option<&Arc<dyn Observer>>,
    ) -> Box<Stop<D>> {
        let asked = Kept { rule: Arc::clone(rule), key: ask.key.into(), cost: ask.cost, priority: ask.priority };
        let watch = observer.map(|observer| {
            Box::new(Watch { observer: Arc::clone(observer), policy: rule.clone(), stage: Stage::Deciding })
        });
        Box::new(Stop::Wait(Self { answer, asked, watch }))
    }

    /// Waits for the answer.
    ///
    /// # Panics
    ///
    /// If polled again after it gave its answer.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        let answered = Pin::new(&mut self.answer).poll(cx);
        if answered.is_ready() {
            self.watch = None;
        }
        answered.map(Answered)
    }

    /// Concludes with the answer that was waited for, as [`Limits::decide`] does for the same request. It may say that
    /// there is another one to wait for.
    pub fn conclude(
        &self,
        limits: &Limits<D>,
        head: &D::Head<'_>,
        Answered(reply): Answered,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        limits.shared.resume(head, &self.asked, reply, pass)
    }
}

impl<D: Door> Drop for Waiting<D> {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.tell();
        }
    }
}

impl<D: Door> fmt::Debug for Waiting<D> {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("rule", &self.asked.rule).finish_non_exhaustive()
    }
}
