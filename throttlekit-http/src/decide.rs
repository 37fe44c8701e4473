//! From a request to what becomes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

#[cfg(feature = "config")]
use throttlekit::policy::Entry;
use throttlekit::{Admission, Ask, Decision, Error, FailMode, Permit, Run};

use crate::door::{Door, Head as _, Present};
use crate::key::{ANONYMOUS, Key};
use crate::limits::{Limits, Rules, Shared};
use crate::reject::{Failure, Limited, Rejection};
use crate::rule::{Asked, Found, FoundKey, Rule};

/// What keeps a request from the inner service.
pub enum Stop<D: Door> {
    /// It is answered here.
    Answer(D::Response),
    /// A store has to be waited for.
    Wait(Waiting<D>),
}

/// `None` lets the request pass. Boxed, so that the usual case moves one word.
pub type Verdict<D> = Option<Box<Stop<D>>>;

/// What an admitted request takes along, if it takes anything.
pub struct Pass<D: Door> {
    permit: Permit,
    /// The rule whose limit is shown to the client; `None` if nothing is.
    shown: Option<Arc<Rule<D>>>,
    /// `None` if the fail mode lets it pass.
    decision: Option<Decision>,
    /// Whether a response that ends a permit will have no body, by the method.
    bodiless: bool,
}

/// A request whose decision is on its way.
pub struct Waiting<D: Door> {
    answer: Answering,
    rule: Arc<Rule<D>>,
    key: Box<str>,
    cost: f64,
}

/// An answer on its way.
enum Answering {
    Limits(Run<Result<Admission, Error>>),
    #[cfg(feature = "config")]
    Guarded(Run<Entry>),
}

/// What was answered, and the slots that a request holds whose limits failed.
#[derive(Debug)]
pub struct Answered(Result<Admission, Error>, Permit);

impl Future for Answering {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        match self.get_mut() {
            Self::Limits(run) => Pin::new(run).poll(cx).map(|result| Answered(result, Permit::none())),
            #[cfg(feature = "config")]
            Self::Guarded(run) => Pin::new(run).poll(cx).map(apart),
        }
    }
}

#[cfg(feature = "config")]
fn apart(entry: Entry) -> Answered {
    let Entry { result, permit, .. } = entry;
    Answered(result, permit)
}

impl<D: Door> Limits<D> {
    /// Decides the request `head`. What it takes along is left in `pass`, which is `None` before.
    #[inline]
    pub fn decide(&self, head: &D::Head<'_>, pass: &mut Option<Pass<D>>) -> Verdict<D> {
        self.shared.judge(head, pass)
    }
}

impl<D: Door> Shared<D> {
    fn judge(&self, head: &D::Head<'_>, pass: &mut Option<Pass<D>>) -> Verdict<D> {
        if self.hooks.skips(head) {
            return None;
        }
        match &self.rules {
            Rules::One(rule) => self.apply(head, rule, pass),
            #[cfg(feature = "config")]
            Rules::Registry(registry) => self.apply(head, registry.current().rule(head)?, pass),
        }
    }

    #[inline]
    fn apply(&self, head: &D::Head<'_>, rule: &Arc<Rule<D>>, pass: &mut Option<Pass<D>>) -> Verdict<D> {
        if rule.spares(head) {
            return None;
        }
        let mut key = FoundKey::new();
        match rule.find_key(&D::shorten(*head), &mut key) {
            Found::Key => {}
            Found::Nobody => {
                self.tell_nobody(head, rule);
                key.other = Some(Key::from(ANONYMOUS));
            }
            Found::Skip => return None,
            Found::Reject => return Some(self.answer(&Rejection::MissingKey(*head))),
            Found::Panicked => return self.panicked(head, rule, "the key function panicked"),
        }
        let Some(cost) = rule.cost_of(head) else {
            return self.panicked(head, rule, "the cost function panicked");
        };
        let Some(priority) = rule.priority_of(head) else {
            return self.panicked(head, rule, "the priority function panicked");
        };
        let key = key.as_str();
        let ask = Ask::new(key).cost(cost).priority(priority);
        let limiter = match &rule.asked {
            Asked::Limiter(limiter) => limiter,
            Asked::Admit(admit) => return self.settle(head, rule, &ask, admit.admit(&ask), pass),
            #[cfg(feature = "config")]
            Asked::Guarded(guarded) => {
                return match guarded.enter(&ask).now() {
                    Ok(entry) => self.conclude(head, rule, &ask, apart(entry), pass),
                    Err(answer) => Some(wait(rule, &ask, Answering::Guarded(answer))),
                };
            }
        };
        match limiter.check(key, cost) {
            Run::Ready(Some(Ok(decision))) if decision.allowed => {
                if self.takes_along(rule) {
                    let shown = rule.shows_allows().then(|| Arc::clone(rule));
                    *pass = Some(Pass { permit: Permit::none(), shown, decision: Some(decision), bodiless: false });
                }
                None
            }
            answer => self.settle(head, rule, &ask, answer.map(|answer| answer.map(Admission::rate)), pass),
        }
    }

    /// Whether a request that holds no slot takes anything along.
    #[inline]
    fn takes_along(&self, rule: &Rule<D>) -> bool {
        rule.shows_allows() || self.hooks.share_decision
    }

    /// Concludes at once, or says that a store has to be waited for.
    fn settle(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        answer: Run<Result<Admission, Error>>,
        pass: &mut Option<Pass<D>>,
    ) -> Verdict<D> {
        match answer.now() {
            Ok(answer) => self.conclude(head, rule, ask, Answered(answer, Permit::none()), pass),
            Err(answer) => Some(wait(rule, ask, Answering::Limits(answer))),
        }
    }

    /// Turns what the limits answered into what becomes of the request. Never [`Stop::Wait`].
    fn conclude(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        Answered(answer, slots): Answered,
        pass: &mut Option<Pass<D>>,
    ) -> Verdict<D> {
        match answer {
            Ok(admission) if admission.decision.allowed => {
                if admission.permit.is_held() || self.takes_along(rule) {
                    *pass = Some(Pass::admitted(head, rule, admission));
                }
                None
            }
            Ok(admission) => Some(self.deny(head, rule, ask.key, &admission)),
            Err(error) => self.stand_in(head, rule, ask, (&error, slots), pass),
        }
    }

    /// Lets the limit in memory decide, if there is one and `error` says that the store is out. The slots stay those that
    /// are held.
    #[cold]
    fn stand_in(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        (error, slots): (&Error, Permit),
        pass: &mut Option<Pass<D>>,
    ) -> Verdict<D> {
        let standby = rule.standby.as_ref().filter(|_| error.is_store_unavailable());
        let Some(standby) = standby else { return self.let_pass(head, rule, error, slots, pass) };
        self.hooks.failed(&Failure { request: D::shorten(*head), policy: rule.name(), error });
        match standby.admit(ask).now() {
            Ok(Ok(mut admission)) => {
                admission.permit = slots;
                self.conclude(head, rule, ask, Answered(Ok(admission), Permit::none()), pass)
            }
            Ok(Err(error)) => self.let_pass(head, rule, &error, slots, pass),
            // It is in memory, so this does not happen; if it did, nothing would be decided.
            Err(_) => {
                let error = Error::store_unavailable("what stands in for it has to be waited for");
                self.let_pass(head, rule, &error, slots, pass)
            }
        }
    }

    /// Applies the fail mode to a request that holds `slots`.
    #[cold]
    fn let_pass(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        error: &Error,
        slots: Permit,
        pass: &mut Option<Pass<D>>,
    ) -> Verdict<D> {
        let verdict = self.fail(head, rule, error);
        if verdict.is_none() && slots.is_held() {
            *pass = Some(Pass::undecided(head, slots));
        }
        verdict
    }

    #[cold]
    fn deny(&self, head: &D::Head<'_>, rule: &Rule<D>, key: &str, admission: &Admission) -> Box<Stop<D>> {
        let limit = rule.denier(admission);
        let policy = limit.map_or("", |limit| &limit.name);
        let limited = Limited { request: D::shorten(*head), key, policy, admission };
        self.hooks.limited(&limited);
        let mut response = self.hooks.response(&Rejection::Limited(limited));
        if let Some(limit) = limit {
            let now_ms = rule.clock.now_ms();
            D::write(&limit.fields, &admission.decision, now_ms, Present::Keep, D::headers_of(&mut response));
        }
        Box::new(Stop::Answer(response))
    }

    #[cold]
    fn fail(&self, head: &D::Head<'_>, rule: &Rule<D>, error: &Error) -> Verdict<D> {
        let failure = Failure { request: D::shorten(*head), policy: rule.name(), error };
        self.hooks.failed(&failure);
        if !error.is_store_unavailable() {
            return Some(self.answer(&Rejection::Failed(failure)));
        }
        match rule.fail_mode {
            FailMode::Open => None,
            _ => Some(self.answer(&Rejection::Unavailable(failure))),
        }
    }

    #[cold]
    fn panicked(&self, head: &D::Head<'_>, rule: &Rule<D>, what: &'static str) -> Verdict<D> {
        self.fail(head, rule, &Error::invalid_argument(what))
    }

    #[cold]
    fn answer<'a>(&self, rejection: &Rejection<'a, D::Head<'a>>) -> Box<Stop<D>> {
        Box::new(Stop::Answer(self.hooks.response(rejection)))
    }

    /// Tells the hook, once in the life of the layer, that no peer is known: the server is put together wrongly, and
    /// saying so with each request would only fill the log.
    #[cold]
    fn tell_nobody(&self, head: &D::Head<'_>, rule: &Rule<D>) {
        if !self.nobody_told.swap(true, Ordering::Relaxed) {
            let error = Error::invalid_argument(
                "the peer's address of a request is not known, so requests share the key `anon`: the server has to put \
                 it into the request's extensions (with axum: `into_make_service_with_connect_info::<SocketAddr>()`)",
            );
            self.hooks.failed(&Failure { request: D::shorten(*head), policy: rule.name(), error: &error });
        }
    }
}

/// Says that an answer has to be waited for.
fn wait<D: Door>(rule: &Arc<Rule<D>>, ask: &Ask<'_>, answer: Answering) -> Box<Stop<D>> {
    Box::new(Stop::Wait(Waiting { answer, rule: Arc::clone(rule), key: ask.key.into(), cost: ask.cost }))
}

impl<D: Door> Waiting<D> {
    /// Waits for the answer.
    ///
    /// # Panics
    ///
    /// If polled again after it gave its answer.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        Pin::new(&mut self.answer).poll(cx)
    }

    /// Concludes with the answer that was waited for, as [`Limits::decide`] does for the same request.
    pub fn conclude(
        &self,
        limits: &Limits<D>,
        head: &D::Head<'_>,
        answer: Answered,
        pass: &mut Option<Pass<D>>,
    ) -> Verdict<D> {
        limits.shared.conclude(head, &self.rule, &Ask::new(&self.key).cost(self.cost), answer, pass)
    }
}

impl<D: Door> Pass<D> {
    /// A request that was admitted.
    fn admitted(head: &D::Head<'_>, rule: &Arc<Rule<D>>, admission: Admission) -> Self {
        let shown = rule.shows_allows().then(|| Arc::clone(rule));
        Self { shown, decision: Some(admission.decision), ..Self::undecided(head, admission.permit) }
    }

    /// A request that passes without a decision.
    fn undecided(head: &D::Head<'_>, permit: Permit) -> Self {
        let bodiless = permit.is_held() && head.method() == "HEAD";
        Self { permit, shown: None, decision: None, bodiless }
    }

    /// The decision; `None` if the fail mode let the request pass.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// The work starts: from here on a permit that is dropped counts as [`Outcome::Dropped`](throttlekit::Outcome).
    #[inline]
    pub fn begin(&mut self) {
        self.permit.begin();
    }

    /// Tells the client, and gives what the body has to hold and whether there will be no body.
    #[inline]
    pub fn finish(self, status: u16, headers: &mut D::HeaderMap) -> (Permit, bool) {
        if let (Some(rule), Some(decision)) = (&self.shown, &self.decision) {
            if let Some(limit) = rule.limit_of(decision) {
                D::write(&limit.fields, decision, rule.clock.now_ms(), Present::Replace, headers);
            }
        }
        (self.permit, self.bodiless || matches!(status, 204 | 304))
    }
}

impl<D: Door> fmt::Debug for Pass<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("permit", &self.permit).field("decision", &self.decision).finish_non_exhaustive()
    }
}

impl<D: Door> fmt::Debug for Waiting<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl<D: Door> fmt::Debug for Stop<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(_) => f.write_str("Answer(..)"),
            Self::Wait(waiting) => f.debug_tuple("Wait").field(waiting).finish(),
        }
    }
}
