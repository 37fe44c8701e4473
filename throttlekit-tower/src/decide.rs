//! From a request to what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use throttlekit::{Admission, Ask, Decision, Error, FailMode, Permit, Run};

use crate::fields::Present;
use crate::hooks::Hooks;
use crate::key::{ANONYMOUS, Key};
use crate::reject::{Failure, Limited, Rejection};
use crate::request::RequestHead;
use crate::rule::{Asked, Found, Rule};

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

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes to the inner service.
    Pass(Pass),
    /// It is answered here. Boxed, like the next one, so that the usual case moves little.
    Answer(Box<Response<Bytes>>),
    /// A store has to be waited for.
    Wait(Box<Waiting>),
}

/// What an admitted request takes along.
#[derive(Debug)]
pub(crate) struct Pass {
    permit: Permit,
    /// The rule whose limit is shown to the client; `None` if nothing is.
    shown: Option<Arc<Rule>>,
    decision: Option<Decision>,
    /// Whether a response that ends a permit will have no body, by the method.
    bodiless: bool,
}

/// A request whose decision is on its way.
pub(crate) struct Waiting {
    answer: Run<Result<Admission, Error>>,
    rule: Arc<Rule>,
    key: Box<str>,
}

impl Shared {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, hooks: Hooks::default(), nobody_told: Arc::default() }
    }

    /// Decides `request`.
    #[inline]
    pub(crate) fn decide<B>(&self, request: &Request<B>) -> Verdict {
        let head = RequestHead::within(request, &*self.hooks.framework);
        if self.hooks.skips(&head) {
            return Verdict::Pass(Pass::free());
        }
        match &self.rules {
            Rules::One(rule) => self.apply(&head, rule),
            #[cfg(feature = "config")]
            Rules::Registry(registry) => match registry.current().rule(&head) {
                Some(rule) => self.apply(&head, rule),
                None => Verdict::Pass(Pass::free()),
            },
        }
    }

    #[inline]
    fn apply(&self, head: &RequestHead<'_>, rule: &Arc<Rule>) -> Verdict {
        if rule.spares(head) {
            return Verdict::Pass(Pass::free());
        }
        let key = match rule.find_key(head) {
            Found::Key(key) => key,
            Found::Nobody => {
                self.tell_nobody(head, rule);
                Key::from(ANONYMOUS)
            }
            Found::Skip => return Verdict::Pass(Pass::free()),
            Found::Reject => return self.answer(&Rejection::MissingKey(*head)),
            Found::Panicked => return self.panicked(head, rule, "the key function panicked"),
        };
        let Some(cost) = rule.cost_of(head) else {
            return self.panicked(head, rule, "the cost function panicked");
        };
        let key = key.as_str();
        match &rule.asked {
            Asked::Limiter(limiter) => match limiter.check(key, cost) {
                Run::Ready(Some(Ok(decision))) if decision.allowed => {
                    Verdict::Pass(Pass::admitted(head, rule, decision, Permit::none()))
                }
                answer => self.settle(head, rule, key, answer.map(|answer| answer.map(Admission::rate))),
            },
            Asked::Admit(admit) => self.settle(head, rule, key, admit.admit(&Ask::new(key).cost(cost))),
        }
    }

    /// Concludes at once, or says that a store has to be waited for.
    fn settle(
        &self,
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        key: &str,
        answer: Run<Result<Admission, Error>>,
    ) -> Verdict {
        match answer.now() {
            Ok(answer) => self.conclude(head, rule, key, answer),
            Err(answer) => Verdict::Wait(Box::new(Waiting { answer, rule: Arc::clone(rule), key: key.into() })),
        }
    }

    /// Turns what the limits answered into what becomes of the request. Never [`Verdict::Wait`].
    fn conclude(
        &self,
        head: &RequestHead<'_>,
        rule: &Arc<Rule>,
        key: &str,
        answer: Result<Admission, Error>,
    ) -> Verdict {
        match answer {
            Ok(admission) if admission.decision.allowed => {
                Verdict::Pass(Pass::admitted(head, rule, admission.decision, admission.permit))
            }
            Ok(admission) => self.deny(head, rule, key, &admission),
            Err(error) => self.fail(head, rule, &error),
        }
    }

    #[cold]
    fn deny(&self, head: &RequestHead<'_>, rule: &Rule, key: &str, admission: &Admission) -> Verdict {
        let limit = rule.limit_of(&admission.decision);
        let policy = limit.map_or("", |limit| &limit.name);
        let limited = Limited { request: *head, key, policy, admission };
        self.hooks.limited(&limited);
        let mut response = self.hooks.response(&Rejection::Limited(limited));
        if let Some(limit) = limit {
            let now_ms = rule.clock.now_ms();
            limit.fields.write(&admission.decision, now_ms, Present::Keep, response.headers_mut());
        }
        Verdict::Answer(Box::new(response))
    }

    #[cold]
    fn fail(&self, head: &RequestHead<'_>, rule: &Rule, error: &Error) -> Verdict {
        let failure = Failure { request: *head, policy: rule.name(), error };
        self.hooks.failed(&failure);
        if !error.is_store_unavailable() {
            return self.answer(&Rejection::Failed(failure));
        }
        match rule.fail_mode {
            FailMode::Open => Verdict::Pass(Pass::free()),
            _ => self.answer(&Rejection::Unavailable(failure)),
        }
    }

    #[cold]
    fn panicked(&self, head: &RequestHead<'_>, rule: &Rule, what: &'static str) -> Verdict {
        self.fail(head, rule, &Error::invalid_argument(what))
    }

    fn answer(&self, rejection: &Rejection<'_>) -> Verdict {
        Verdict::Answer(Box::new(self.hooks.response(rejection)))
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

impl Waiting {
    /// The answer to wait for.
    pub(crate) fn answer(&mut self) -> &mut Run<Result<Admission, Error>> {
        &mut self.answer
    }

    /// Concludes with the answer that was waited for. Never [`Verdict::Wait`].
    pub(crate) fn conclude<B>(
        &self,
        shared: &Shared,
        request: &Request<B>,
        answer: Result<Admission, Error>,
    ) -> Verdict {
        let head = RequestHead::within(request, &*shared.hooks.framework);
        shared.conclude(&head, &self.rule, &self.key, answer)
    }
}

impl Pass {
    /// A request that is not limited.
    #[inline]
    fn free() -> Self {
        Self { permit: Permit::none(), shown: None, decision: None, bodiless: false }
    }

    /// A request that was admitted.
    #[inline]
    fn admitted(head: &RequestHead<'_>, rule: &Arc<Rule>, decision: Decision, permit: Permit) -> Self {
        let bodiless = permit.is_held() && *head.method() == Method::HEAD;
        let shown = rule.shows_allows().then(|| Arc::clone(rule));
        Self { permit, shown, decision: Some(decision), bodiless }
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
