//! From a request to what becomes of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
#[cfg(feature = "config")]
use throttlekit::policy::Entry;
use throttlekit::{Admission, Ask, Decision, Error, FailMode, Permit, Run};

use crate::fields::Present;
use crate::hooks::Hooks;
use crate::key::{ANONYMOUS, Key};
use crate::reject::{Failure, Limited, Rejection};
use crate::request::RequestHead;
use crate::rule::{Asked, Found, FoundKey, Rule};

/// Where the rules come from.
#[derive(Clone, Debug)]
pub(crate) enum Rules {
    /// One rule for every request.
    One(Arc<Rule>),
    /// Rules of a file, which may be read again.
    #[cfg(feature = "config")]
    Registry(Arc<crate::registry::Registry>),
}

/// What a layer and all its services share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) rules: Rules,
    pub(crate) hooks: Hooks,
    /// Whether the hook was told that peers are not known.
    nobody_told: Arc<AtomicBool>,
}

/// What keeps a request from the inner service.
pub(crate) enum Stop {
    /// It is answered here.
    Answer(Response<Bytes>),
    /// A store has to be waited for.
    Wait(Waiting),
}

/// `None` lets the request pass. Boxed, so that the usual case moves one word.
pub(crate) type Verdict = Option<Box<Stop>>;

/// What an admitted request takes along, if it takes anything.
#[derive(Debug)]
pub(crate) struct Pass {
    permit: Permit,
    /// The rule whose limit is shown to the client; `None` if nothing is.
    shown: Option<Arc<Rule>>,
    /// `None` if the fail mode lets it pass.
    decision: Option<Decision>,
    /// Whether a response that ends a permit will have no body, by the method.
    bodiless: bool,
}

/// A request whose decision is on its way.
pub(crate) struct Waiting {
    answer: Answering,
    rule: Arc<Rule>,
    key: Box<str>,
    cost: f64,
}

/// An answer on its way.
pub(crate) enum Answering {
    Limits(Run<Result<Admission, Error>>),
    #[cfg(feature = "config")]
    Guarded(Run<Entry>),
}

/// What was answered, and the slots that a request holds whose limits failed.
pub(crate) type Answer = (Result<Admission, Error>, Permit);

impl Future for Answering {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.get_mut() {
            Self::Limits(run) => Pin::new(run).poll(cx).map(|result| (result, Permit::none())),
            #[cfg(feature = "config")]
            Self::Guarded(run) => Pin::new(run).poll(cx).map(apart),
        }
    }
}

#[cfg(feature = "config")]
fn apart(entry: Entry) -> Answer {
    let Entry { result, permit, .. } = entry;
    (result, permit)
}

impl Shared {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, hooks: Hooks::default(), nobody_told: Arc::default() }
    }

    /// Decides `request`. What it takes along is left in `pass`, which is `None` before.
    #[inline]
    pub(crate) fn decide<B>(&self, request: &Request<B>, pass: &mut Option<Pass>) -> Verdict {
        self.judge(&RequestHead::within(request, &*self.hooks.framework), pass)
    }

    fn judge(&self, head: &RequestHead<'_>, pass: &mut Option<Pass>) -> Verdict {
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
    fn apply(&self, head: &RequestHead<'_>, rule: &Arc<Rule>, pass: &mut Option<Pass>) -> Verdict {
        if rule.spares(head) {
            return None;
        }
        let mut key = FoundKey::new();
        match rule.find_key(head, &mut key) {
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
    fn takes_along(&self, rule: &Rule) -> bool {
        rule.shows_allows() || self.hooks.share_decision
    }

    /// Concludes at once, or says that a store has to be waited for.
    fn settle(
        &self,
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        ask: &Ask<'_>,
        answer: Run<Result<Admission, Error>>,
        pass: &mut Option<Pass>,
    ) -> Verdict {
        match answer.now() {
            Ok(answer) => self.conclude(head, rule, ask, (answer, Permit::none()), pass),
            Err(answer) => Some(wait(rule, ask, Answering::Limits(answer))),
        }
    }

    /// Turns what the limits answered into what becomes of the request. Never [`Stop::Wait`].
    fn conclude(
        &self,
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        ask: &Ask<'_>,
        (answer, slots): Answer,
        pass: &mut Option<Pass>,
    ) -> Verdict {
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
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        ask: &Ask<'_>,
        (error, slots): (&Error, Permit),
        pass: &mut Option<Pass>,
    ) -> Verdict {
        let standby = rule.standby.as_ref().filter(|_| error.is_store_unavailable());
        let Some(standby) = standby else { return self.let_pass(head, rule, error, slots, pass) };
        self.hooks.failed(&Failure { request: *head, policy: rule.name(), error });
        match standby.admit(ask).now() {
            Ok(Ok(mut admission)) => {
                admission.permit = slots;
                self.conclude(head, rule, ask, (Ok(admission), Permit::none()), pass)
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
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        error: &Error,
        slots: Permit,
        pass: &mut Option<Pass>,
    ) -> Verdict {
        let verdict = self.fail(head, rule, error);
        if verdict.is_none() && slots.is_held() {
            *pass = Some(Pass::undecided(head, slots));
        }
        verdict
    }

    #[cold]
    fn deny(&self, head: &RequestHead<'_>, rule: &Rule, key: &str, admission: &Admission) -> Box<Stop> {
        let limit = rule.denier(admission);
        let policy = limit.map_or("", |limit| &limit.name);
        let limited = Limited { request: *head, key, policy, admission };
        self.hooks.limited(&limited);
        let mut response = self.hooks.response(&Rejection::Limited(limited));
        if let Some(limit) = limit {
            let now_ms = rule.clock.now_ms();
            limit.fields.write(&admission.decision, now_ms, Present::Keep, response.headers_mut());
        }
        Box::new(Stop::Answer(response))
    }

    #[cold]
    fn fail(&self, head: &RequestHead<'_>, rule: &Rule, error: &Error) -> Verdict {
        let failure = Failure { request: *head, policy: rule.name(), error };
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
    fn panicked(&self, head: &RequestHead<'_>, rule: &Rule, what: &'static str) -> Verdict {
        self.fail(head, rule, &Error::invalid_argument(what))
    }

    #[cold]
    fn answer(&self, rejection: &Rejection<'_>) -> Box<Stop> {
        Box::new(Stop::Answer(self.hooks.response(rejection)))
    }

    /// Tells the hook, once in the life of the layer, that no peer is known: the server is put together wrongly, and
    /// saying so with each request would only fill the log.
    #[cold]
    fn tell_nobody(&self, head: &RequestHead<'_>, rule: &Rule) {
        if !self.nobody_told.swap(true, Ordering::Relaxed) {
            let error = Error::invalid_argument(
                "the peer's address of a request is not known, so requests share the key `anon`: the server has to put \
                 it into the request's extensions (with axum: `into_make_service_with_connect_info::<SocketAddr>()`)",
            );
            self.hooks.failed(&Failure { request: *head, policy: rule.name(), error: &error });
        }
    }
}

/// Says that an answer has to be waited for.
fn wait(rule: &Arc<Rule>, ask: &Ask<'_>, answer: Answering) -> Box<Stop> {
    Box::new(Stop::Wait(Waiting { answer, rule: Arc::clone(rule), key: ask.key.into(), cost: ask.cost }))
}

impl Waiting {
    /// The answer to wait for.
    pub(crate) fn answer(&mut self) -> &mut Answering {
        &mut self.answer
    }

    /// Concludes with the answer that was waited for, as [`Shared::decide`] does. Never [`Stop::Wait`].
    pub(crate) fn conclude<B>(
        &self,
        shared: &Shared,
        request: &Request<B>,
        answer: Answer,
        pass: &mut Option<Pass>,
    ) -> Verdict {
        let head = RequestHead::within(request, &*shared.hooks.framework);
        shared.conclude(&head, &self.rule, &Ask::new(&self.key).cost(self.cost), answer, pass)
    }
}

impl Pass {
    /// A request that was admitted.
    fn admitted(head: &RequestHead<'_>, rule: &Arc<Rule>, admission: Admission) -> Self {
        let shown = rule.shows_allows().then(|| Arc::clone(rule));
        Self { shown, decision: Some(admission.decision), ..Self::undecided(head, admission.permit) }
    }

    /// A request that passes without a decision.
    fn undecided(head: &RequestHead<'_>, permit: Permit) -> Self {
        let bodiless = permit.is_held() && *head.method() == Method::HEAD;
        Self { permit, shown: None, decision: None, bodiless }
    }

    /// The work starts.
    #[inline]
    pub(crate) fn begin<B>(&mut self, hooks: &Hooks, request: &mut Request<B>) {
        if let Some(decision) = self.decision.filter(|_| hooks.share_decision) {
            request.extensions_mut().insert(decision);
        }
        self.permit.begin();
    }

    /// Tells the client, and gives what the body has to hold and whether there will be no body.
    #[inline]
    pub(crate) fn finish(self, status: StatusCode, headers: &mut HeaderMap) -> (Permit, bool) {
        if let (Some(rule), Some(decision)) = (&self.shown, &self.decision) {
            if let Some(limit) = rule.limit_of(decision) {
                limit.fields.write(decision, rule.clock.now_ms(), Present::Replace, headers);
            }
        }
        let no_body = self.bodiless || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        (self.permit, no_body)
    }
}
