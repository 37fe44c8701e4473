//! From a request to what becomes of it.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "config")]
use throttlekit::policy::Guarded;
use throttlekit::{Admission, Admit, Ask, Decision, Error, FailMode, Permit, Run};

use crate::admitted::Admitted;
use crate::door::{Door, Present};
use crate::hooks::unwound;
use crate::keyless::Keyless;
use crate::limits::{Limits, Rules, Shared};
use crate::pass::{Pass, Rest};
use crate::reject::{Limited, Rejection};
use crate::rule::{Asked, Found, FoundKey, Rule};
use crate::terms::Terms;
use crate::waiting::{Answering, Decided, Kept, Reply, Waiting};

/// What keeps a request from the inner service.
#[allow(clippy::large_enum_variant)] // it is always boxed
pub enum Stop<D: Door> {
    /// It is answered here.
    Answer(D::Response),
    /// A store has to be waited for.
    Wait(Waiting<D>),
}

/// `None` lets the request pass. Boxed, so that the usual case moves one word.
pub type Verdict<D> = Option<Box<Stop<D>>>;

impl<D: Door> Limits<D> {
    /// Decides the request `head`. What it takes along is left in `pass`, which is empty before.
    #[inline]
    pub fn decide(&self, head: &D::Head<'_>, pass: &mut Pass<D>) -> Verdict<D> {
        self.shared.judge(head, pass)
    }
}

impl<D: Door> Shared<D> {
    fn judge(&self, head: &D::Head<'_>, pass: &mut Pass<D>) -> Verdict<D> {
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
    fn apply(&self, head: &D::Head<'_>, rule: &Arc<Rule<D>>, pass: &mut Pass<D>) -> Verdict<D> {
        if rule.spares(head) {
            return None;
        }
        let mut key = FoundKey::new();
        match rule.find_key(head, &mut key) {
            Found::Key => {}
            Found::Missing => match self.key_instead(head, rule) {
                Ok(other) => key.other = Some(other),
                Err(Keyless::Skip) => return None,
                Err(Keyless::Reject) => return self.refuse_keyless(head, rule, pass),
            },
            Found::Panicked => return self.panicked(head, rule, "the key function panicked", None, pass),
        }
        match &rule.resolver {
            None => self.ask(head, rule, key.as_str(), &Terms::default(), pass),
            Some(resolver) => {
                let key = key.as_str();
                let Some(terms) = unwound(|| resolver.resolve(head, key)) else {
                    return self.panicked(head, rule, "the function for terms panicked", Some(&Ask::new(key)), pass);
                };
                match terms.now() {
                    Ok(terms) => self.resolved(head, rule, key, terms, pass),
                    Err(terms) => Some(self.wait(rule, &Ask::new(key), Answering::Terms(terms))),
                }
            }
        }
    }

    /// Asks the limit that the terms of a request call for.
    fn resolved(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        key: &str,
        terms: Result<Terms, Error>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let terms = match terms {
            Ok(terms) => terms,
            Err(error) => return self.fail(head, rule, &error, Some(&Ask::new(key)), pass),
        };
        let plan = rule.plan(terms.plan.as_deref()).unwrap_or_else(|error| {
            self.hooks.failed(&rule.failure(head, Some(key), &error));
            rule
        });
        self.ask(head, plan, key, &terms, pass)
    }

    /// Asks the limits of `rule`.
    #[inline]
    fn ask(&self, head: &D::Head<'_>, rule: &Arc<Rule<D>>, key: &str, terms: &Terms, pass: &mut Pass<D>) -> Verdict<D> {
        let Some(cost) = terms.cost.or_else(|| rule.cost_of(head)) else {
            return self.panicked(head, rule, "the cost function panicked", Some(&Ask::new(key)), pass);
        };
        let Some(priority) = terms.priority.or_else(|| rule.priority_of(head)) else {
            return self.panicked(head, rule, "the priority function panicked", Some(&Ask::new(key)), pass);
        };
        // Put together where it is needed only: of a limiter in memory it is not. A rule that is tried out makes nobody
        // wait.
        let ask = || Ask::new(key).cost(cost).priority(priority).queues(!rule.manners.shadow);
        match &rule.asked {
            // Answers are looked at where they are: of fields that were written just now, processors are slow to read
            // several at once.
            Asked::Limiter(limiter) if rule.shows_allows() => {
                let timed = limiter.check_timed(key, cost);
                match allowed(&timed.1) {
                    Some(decision) if !self.hooks.share => {
                        pass.tell(rule, decision, timed.0);
                        None
                    }
                    _ => self.answered(head, rule, &ask(), rated(timed.1), pass),
                }
            }
            Asked::Limiter(limiter) => {
                let answer = limiter.check(key, cost);
                match allowed(&answer) {
                    Some(_) if !self.hooks.share => None,
                    _ => self.answered(head, rule, &ask(), rated(answer), pass),
                }
            }
            Asked::Admit(admit) => self.ask_all(head, rule, &**admit, &ask(), pass),
            #[cfg(feature = "config")]
            Asked::Guarded(guarded) => self.enter(head, rule, guarded, &ask(), pass),
        }
    }

    /// As [`ask`](Self::ask), of limits that answer with an admission.
    #[inline(never)] // a frame of its own, since that of a check should be small
    fn ask_all(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        admit: &dyn Admit,
        ask: &Ask<'_>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let mut answer = admit.admit(ask);
        // Where it is, since moving an admission costs about as much as a check.
        match &mut answer {
            Run::Ready(Some(Ok(admission))) if admission.decision.allowed => {
                self.admitted(head, rule, (ask, None), admission, pass);
                None
            }
            _ => self.answered(head, rule, ask, answer, pass),
        }
    }

    /// As [`ask`](Self::ask), of slots and what is asked once they are held.
    #[cfg(feature = "config")]
    #[inline(never)] // as above
    fn enter(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        guarded: &Guarded,
        ask: &Ask<'_>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        match guarded.enter(ask).now() {
            Ok(entry) => self.conclude(head, rule, ask, entry.into(), pass),
            Err(answer) => Some(self.wait(rule, ask, Answering::Guarded(answer))),
        }
    }

    /// Goes on with what the limits answered, if they have.
    #[inline(never)]
    fn answered(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        answer: Run<Result<Admission, Error>>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        match answer.now() {
            Ok(answer) => self.conclude(head, rule, ask, answer.into(), pass),
            Err(answer) => Some(self.wait(rule, ask, Answering::Limits(answer))),
        }
    }

    /// Says that an answer has to be waited for.
    fn wait(&self, rule: &Arc<Rule<D>>, ask: &Ask<'_>, answer: Answering) -> Box<Stop<D>> {
        Waiting::stop(rule, ask, answer, self.hooks.observer.as_ref())
    }

    /// Goes on with what was waited for.
    pub(crate) fn resume(&self, head: &D::Head<'_>, asked: &Kept<D>, reply: Reply, pass: &mut Pass<D>) -> Verdict<D> {
        let ask = asked.ask();
        match reply {
            Reply::Terms(terms) => self.resolved(head, &asked.rule, ask.key, terms, pass),
            Reply::Limits(decided) => self.conclude(head, &asked.rule, &ask, decided, pass),
        }
    }

    /// Turns what the limits answered into what becomes of the request. Never [`Stop::Wait`].
    fn conclude(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        Decided { result, slots }: Decided,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        match result {
            Ok(mut admission) if admission.decision.allowed => {
                self.admitted(head, rule, (ask, None), &mut admission, pass);
                None
            }
            Ok(admission) => self.deny(head, rule, ask, &admission, pass),
            Err(error) => self.stand_in(head, rule, ask, (&error, slots), pass),
        }
    }

    /// Leaves in `pass` what an admitted request takes along, if anything; `standby` if that admitted it.
    #[inline]
    fn admitted(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        (ask, standby): (&Ask<'_>, Option<&dyn Admit>),
        admission: &mut Admission,
        pass: &mut Pass<D>,
    ) {
        if admission.permit.is_held() || rule.shows_allows() || self.hooks.share {
            let rest = pass.carry(head, rule, &mut admission.permit);
            if rule.shows_allows() {
                rest.show(rule, admission);
            }
            self.equip(rest, rule, self.shared_with(rule, (ask, standby), admission));
        }
    }

    /// What the service is to know of its admission, if anything.
    fn shared_with(
        &self,
        rule: &Rule<D>,
        (ask, standby): (&Ask<'_>, Option<&dyn Admit>),
        admission: &Admission,
    ) -> Option<Admitted> {
        self.hooks.share.then(|| {
            let taken = rule.taken(ask, admission, standby);
            let manners = (rule.fail_mode, rule.manners.shadow);
            Admitted::new(admission, manners, taken, &rule.key_of(ask.key), Arc::clone(&rule.meters))
        })
    }

    /// Lets a request pass that no limit admitted. What the service was promised to find in it is there all the same.
    #[cold]
    fn let_by(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        shared: Option<Admitted>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        if shared.is_some() || self.hooks.hold_upgrades {
            let rest = pass.carry(head, rule, &mut Permit::none());
            if let Some(shared) = shared {
                rest.share(rule, shared);
            }
            if self.hooks.hold_upgrades {
                rest.offer_slot();
            }
        }
        None
    }

    /// What the service is to know of a request that nobody decided, if anything: its meters, if it is known who asks.
    fn undecided(&self, rule: &Rule<D>, ask: Option<&Ask<'_>>) -> Option<Admitted> {
        self.hooks.share.then(|| {
            let meters = if ask.is_some() { Arc::clone(&rule.meters) } else { Arc::default() };
            let key = rule.key_of(ask.map_or("", |ask| ask.key));
            let manners = (rule.fail_mode, rule.manners.shadow);
            Admitted::new(&Admission::rate(Decision::ALLOW_FULL), manners, Box::default(), &key, meters)
        })
    }

    #[inline]
    fn equip(&self, rest: &mut Rest<D>, rule: &Arc<Rule<D>>, shared: Option<Admitted>) {
        if let Some(shared) = shared {
            rest.share(rule, shared);
        }
        if self.hooks.hold_upgrades {
            rest.hold_upgrade();
        }
        if let Some(observer) = &self.hooks.observer {
            rest.watch(observer, rule);
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
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let standby = rule.standby.as_ref().filter(|_| error.is_store_unavailable());
        let Some(standby) = standby else { return self.let_pass(head, rule, ask, (error, slots), pass) };
        self.hooks.failed(&rule.failure(head, Some(ask.key), error));
        match standby.admit(ask).now() {
            Ok(Ok(mut admission)) => {
                admission.permit = slots;
                if !admission.decision.allowed {
                    return self.deny(head, rule, ask, &admission, pass);
                }
                self.admitted(head, rule, (ask, Some(&**standby)), &mut admission, pass);
                None
            }
            Ok(Err(error)) => self.let_pass(head, rule, ask, (&error, slots), pass),
            // It is in memory, so this does not happen; if it did, nothing would be decided.
            Err(_) => {
                let error = Error::store_unavailable("what stands in for it has to be waited for");
                self.let_pass(head, rule, ask, (&error, slots), pass)
            }
        }
    }

    /// Applies the fail mode to a request that holds `slots`.
    #[cold]
    fn let_pass(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        (error, mut slots): (&Error, Permit),
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let verdict = self.fail(head, rule, error, Some(ask), pass);
        if verdict.is_none() && slots.is_held() {
            self.equip(pass.carry(head, rule, &mut slots), rule, None);
        }
        verdict
    }

    #[cold]
    fn deny(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        ask: &Ask<'_>,
        admission: &Admission,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let each = rule.decisions(admission);
        let (policy, shadow) = (rule.binding(&each), rule.manners.shadow);
        let limited = Limited { request: D::shorten(*head), key: ask.key, policy, admission, shadow };
        self.hooks.limited(&limited);
        if shadow {
            return self.let_by(head, rule, self.shared_with(rule, (ask, None), admission), pass);
        }
        let mut response = self.hooks.response(rule.manners.problem_json, &Rejection::Limited(limited));
        let now_ms = rule.clock.now_ms();
        rule.write(&admission.decision, now_ms, &each, Present::Keep, D::headers_of(&mut response));
        Some(Box::new(Stop::Answer(response)))
    }

    /// A request that could not be decided; `ask` as far as it is known.
    #[cold]
    fn fail(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        error: &Error,
        ask: Option<&Ask<'_>>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let failure = rule.failure(head, ask.map(|ask| ask.key), error);
        self.hooks.failed(&failure);
        if !error.is_store_unavailable() {
            return self.answer(head, rule, &Rejection::Failed(failure), ask, pass);
        }
        match rule.fail_mode {
            FailMode::Open => self.let_by(head, rule, self.undecided(rule, ask), pass),
            _ => self.answer(head, rule, &Rejection::Unavailable(failure), ask, pass),
        }
    }

    #[cold]
    fn panicked(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        what: &'static str,
        ask: Option<&Ask<'_>>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        self.fail(head, rule, &Error::invalid_argument(what), ask, pass)
    }

    /// Refuses a request, unless the rule only tries its limit out.
    #[cold]
    pub(crate) fn answer<'a>(
        &self,
        head: &D::Head<'_>,
        rule: &Arc<Rule<D>>,
        rejection: &Rejection<'a, D::Head<'a>>,
        ask: Option<&Ask<'_>>,
        pass: &mut Pass<D>,
    ) -> Verdict<D> {
        let manners = rule.manners;
        if manners.shadow {
            return self.let_by(head, rule, self.undecided(rule, ask), pass);
        }
        Some(Box::new(Stop::Answer(self.hooks.response(manners.problem_json, rejection))))
    }
}

/// The decision of a limiter, if it allows the request.
#[inline]
fn allowed(answer: &Run<Result<Decision, Error>>) -> Option<&Decision> {
    match answer {
        Run::Ready(Some(Ok(decision))) if decision.allowed => Some(decision),
        _ => None,
    }
}

/// What a limiter answered, as an admission.
#[cold] // what is allowed comes here only to be shared
fn rated(answer: Run<Result<Decision, Error>>) -> Run<Result<Admission, Error>> {
    answer.map(|answer| answer.map(Admission::rate))
}

impl<D: Door> fmt::Debug for Stop<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(_) => f.write_str("Answer(..)"),
            Self::Wait(waiting) => f.debug_tuple("Wait").field(waiting).finish(),
        }
    }
}
