//! What an admitted request takes along.

use std::fmt;
use std::sync::Arc;

use throttlekit::{Admission, Decision, Observer, Outcome, Permit};

use crate::admitted::Admitted;
use crate::door::{Door, Head as _, Present};
use crate::ending::{Ending, UpgradeSlot};
use crate::fields::FieldTexts;
use crate::rule::{Manners, Rule};

/// What an admitted request takes along, if it takes anything: what to tell its client, and what it holds.
///
/// The middleware says [`begin`](Self::begin) when it calls the service, and [`end_by_body`](Self::end_by_body) where
/// trailers may follow, and then [`finish`](Self::finish) or [`fail`](Self::fail). Dropped before, the client went away.
pub struct Pass<D: Door> {
    /// The numbers of the draft family. Most requests have nothing else, and make and drop nothing else then.
    told: Option<[i64; 3]>,
    rest: Option<Rest<D>>,
}

/// What fewer requests take along.
pub(crate) struct Rest<D: Door> {
    ending: Ending,
    shown: Option<Shown<D>>,
    /// What few requests have.
    more: Option<Box<More<D>>>,
    manners: Manners,
    /// What the method says of the response.
    method: Kind,
}

/// What the client is told of its limits, as they were when the request was decided.
struct Shown<D: Door> {
    rule: Arc<Rule<D>>,
    decision: Decision,
    now_ms: f64,
}

struct More<D: Door> {
    /// The decision of each limit, of several.
    each: Box<[Decision]>,
    admitted: Option<Admitted>,
    /// The rule that shows what the service says, where nothing is shown by itself.
    silent: Option<Arc<Rule<D>>>,
    slot: Option<UpgradeSlot>,
}

impl<D: Door> Default for More<D> {
    fn default() -> Self {
        Self { each: Box::default(), admitted: None, silent: None, slot: None }
    }
}

impl<D: Door> More<D> {
    /// Shows what the service said of single limits, and nothing of the others, of which nobody knows.
    #[cold]
    fn show_heard(&mut self, headers: &mut D::HeaderMap) {
        let Some(rule) = self.silent.take() else { return };
        let mut decision = Decision::ALLOW_FULL;
        if rule.limits.len() > 1 {
            self.each = vec![decision; rule.limits.len()].into();
        }
        if self.hear(&rule, &mut decision) {
            rule.write(&decision, rule.clock.now_ms(), &self.each, Present::Replace, headers);
        }
    }

    /// Puts what the service said of single limits in the place of what the admission found. Whether it said anything.
    fn hear(&mut self, rule: &Rule<D>, decision: &mut Decision) -> bool {
        let told = self.admitted.as_ref().map(Admitted::told).unwrap_or_default();
        for (meter, told) in &told {
            if rule.limits.len() == 1 {
                *decision = *told;
            } else if let Some(place) = rule.place_of_units(*meter).and_then(|place| self.each.get_mut(place)) {
                *place = *told;
            }
        }
        !told.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usual,
    /// Its response has no body.
    Head,
    /// Success turns the connection into a tunnel.
    Connect,
}

impl Kind {
    fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Usual,
        }
    }
}

impl<D: Door> Pass<D> {
    /// A request of a rule with one limit was decided at `now_ms`, is shown and holds nothing.
    #[inline]
    pub(crate) fn tell(&mut self, rule: &Arc<Rule<D>>, decision: &Decision, now_ms: f64) {
        self.told = rule.draft(decision, now_ms);
        if self.told.is_none() {
            self.rest.get_or_insert_with(Rest::none).tell(rule, decision, now_ms);
        }
    }

    /// A request of `rule` takes something along, and holds `permit`.
    #[inline(always)] // so that it is made where it is to be: moving it costs more than making it
    pub(crate) fn carry(&mut self, head: &D::Head<'_>, rule: &Rule<D>, permit: &mut Permit) -> &mut Rest<D> {
        let rest = self.rest.get_or_insert_with(Rest::none);
        rest.ending.hold(permit);
        rest.manners = rule.manners;
        rest.method = Kind::of(head.method());
        rest
    }

    /// Whether a request takes nothing along.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.told.is_none() && self.rest.is_none()
    }

    /// What the service is to know of its admission, for the request's extensions; `None` unless the middleware was told to
    /// [share](crate::Limits::share) it.
    #[inline]
    pub fn shared(&self) -> Option<&Admitted> {
        self.rest.as_ref()?.more.as_ref()?.admitted.as_ref()
    }

    /// What the service may keep of the request's slot, for the request's extensions; `None` unless the middleware was told
    /// to [hold upgrades](crate::Limits::hold_upgrades).
    #[inline]
    pub fn upgrade_slot(&self) -> Option<&UpgradeSlot> {
        self.rest.as_ref()?.upgrade_slot()
    }

    /// The work starts.
    #[inline]
    pub fn begin(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.ending.begin(rest.manners.on_disconnect == Outcome::Dropped);
        }
    }

    /// The server asks a body on whose length is reached, as over HTTP/2, where trailers may follow: the response is over
    /// when its body says so.
    #[inline]
    pub fn end_by_body(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.ending.end_by_body();
        }
    }

    /// The service failed without a response.
    pub fn fail(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.ending.fail();
        }
    }

    /// The service gave a response: tells the client, and gives what the body has to carry, if anything. The body takes it from
    /// there. It is `None` if nothing is held any more, as where the server will send no body.
    #[inline]
    pub fn finish(&mut self, status: u16, headers: &mut D::HeaderMap) -> Option<&mut Ending> {
        if let Some(numbers) = self.told {
            FieldTexts::for_each_draft(numbers, |name, text| D::put(headers, name, text, Present::Replace));
        }
        self.rest.as_mut()?.finish(status, headers)
    }
}

impl<D: Door> Default for Pass<D> {
    #[inline]
    fn default() -> Self {
        Self { told: None, rest: None }
    }
}

impl<D: Door> Rest<D> {
    #[inline(always)] // as above
    fn none() -> Self {
        Self { ending: Ending::none(), shown: None, more: None, manners: Manners::default(), method: Kind::Usual }
    }

    /// A request that was decided at `now_ms` is shown.
    fn tell(&mut self, rule: &Arc<Rule<D>>, decision: &Decision, now_ms: f64) {
        self.shown = Some(Shown { rule: Arc::clone(rule), decision: *decision, now_ms });
    }

    /// A request that was admitted just now is shown.
    #[inline]
    pub(crate) fn show(&mut self, rule: &Arc<Rule<D>>, admission: &Admission) {
        if rule.limits.len() > 1 {
            self.more().each = rule.decisions(admission);
        }
        self.tell(rule, &admission.decision, rule.clock.now_ms());
    }

    fn more(&mut self) -> &mut More<D> {
        self.more.get_or_insert_default()
    }

    /// Lets the service know. What is shown by itself is there before; of a limit that is only tried out nothing is.
    pub(crate) fn share(&mut self, rule: &Arc<Rule<D>>, admitted: Admitted) {
        let silent = (self.shown.is_none() && !rule.manners.shadow).then(|| Arc::clone(rule));
        let more = self.more();
        (more.admitted, more.silent) = (Some(admitted), silent);
    }

    /// Lets the slot outlive the response, if there is one and the service keeps it.
    pub(crate) fn hold_upgrade(&mut self) {
        if self.ending.is_held() {
            self.offer_slot();
        }
    }

    /// Gives the service something to keep, whether there is a slot or not.
    pub(crate) fn offer_slot(&mut self) {
        self.more().slot = Some(UpgradeSlot::default());
    }

    /// Tells `observer` if the client goes away.
    pub(crate) fn watch(&mut self, observer: &Arc<dyn Observer>, rule: &Arc<Rule<D>>) {
        if self.ending.is_held() {
            let ending = std::mem::take(&mut self.ending);
            self.ending = ending.watched(Arc::clone(observer), rule.clone());
        }
    }

    #[inline]
    fn upgrade_slot(&self) -> Option<&UpgradeSlot> {
        self.more.as_ref()?.slot.as_ref()
    }

    /// As [`Pass::finish`].
    #[inline]
    fn finish(&mut self, status: u16, headers: &mut D::HeaderMap) -> Option<&mut Ending> {
        if let Some(Shown { rule, decision, now_ms }) = &mut self.shown {
            let heard = self.more.as_mut().is_some_and(|more| more.hear(rule, decision));
            let now_ms = if heard { rule.clock.now_ms() } else { *now_ms };
            let each = self.more.as_ref().map(|more| &*more.each).unwrap_or_default();
            rule.write(decision, now_ms, each, Present::Replace, headers);
        } else if let Some(more) = &mut self.more {
            more.show_heard(headers);
        }
        if self.ending.is_held() {
            self.leave(status);
        }
        // What the service was given to keep counts from here on, not what is left of this.
        self.more = None;
        Some(&mut self.ending).filter(|ending| ending.is_held())
    }

    fn leave(&mut self, status: u16) {
        let failed = self.manners.drop_on_5xx && status >= 500;
        self.ending.answer(if failed { Outcome::Dropped } else { Outcome::Completed });
        let switched = status == 101 || (self.method == Kind::Connect && (200..300).contains(&status));
        let slot = self.more.as_mut().and_then(|more| more.slot.take());
        if let Some(slot) = slot.filter(|_| switched) {
            slot.keep(std::mem::take(&mut self.ending));
        } else if switched || self.method == Kind::Head || matches!(status, 100..=199 | 204 | 304) {
            self.ending.complete();
        }
    }
}

impl<D: Door> fmt::Debug for Pass<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = self.rest.as_ref().map(|rest| &rest.ending);
        f.debug_struct("Pass").field("told", &self.told).field("ending", &ending).finish_non_exhaustive()
    }
}
