//! What an admitted request takes along.

use std::fmt;
use std::sync::Arc;

use throttlekit::{Admission, Decision, Observer, Outcome, Permit};

use crate::admitted::Admitted;
use crate::door::{Door, Head as _, Present};
use crate::ending::{Ending, UpgradeSlot};
use crate::rule::{Manners, Rule};

/// What an admitted request takes along, if it takes anything: what to tell its client, and what it holds.
///
/// The middleware says [`begin`](Self::begin) when it calls the service, and then [`finish`](Self::finish) or
/// [`fail`](Self::fail). Dropped before, the client went away.
pub struct Pass<D: Door> {
    ending: Ending,
    /// What is shown to the client, and the rule that it is of; `None` if nothing is.
    shown: Option<(Arc<Rule<D>>, Decision)>,
    /// What few requests have.
    more: Option<Box<More>>,
    manners: Manners,
    /// What the method says of the response.
    method: Kind,
}

#[derive(Default)]
struct More {
    /// The decision of each limit, of several.
    each: Box<[Decision]>,
    admitted: Option<Admitted>,
    slot: Option<UpgradeSlot>,
}

impl More {
    /// The decision of each limit, of several, with what the service said of them; of one that is `decision`.
    fn told<D: Door>(&mut self, rule: &Rule<D>, decision: &mut Decision) -> &[Decision] {
        for (meter, told) in self.admitted.as_ref().map(Admitted::told).unwrap_or_default() {
            if self.each.is_empty() {
                *decision = told;
            } else if let Some(place) = rule.place_of_units(meter).and_then(|place| self.each.get_mut(place)) {
                *place = told;
            }
        }
        &self.each
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
    /// A request of a rule with one limit, which is shown and holds nothing.
    #[inline]
    pub(crate) fn counted(rule: &Arc<Rule<D>>, decision: Decision) -> Self {
        Self {
            ending: Ending::none(),
            shown: Some((Arc::clone(rule), decision)),
            more: None,
            manners: rule.manners,
            method: Kind::Usual,
        }
    }

    /// A request that was admitted; its permit is taken from `admission`.
    #[inline(always)] // so that it is made where it is to be: moving it costs more than making it
    pub(crate) fn admitted(head: &D::Head<'_>, rule: &Arc<Rule<D>>, admission: &mut Admission) -> Self {
        let mut pass = Self {
            ending: Ending::holding(std::mem::take(&mut admission.permit)),
            shown: rule.shows_allows().then(|| (Arc::clone(rule), admission.decision)),
            more: None,
            manners: rule.manners,
            method: Kind::of(head.method()),
        };
        if rule.shows_allows() && rule.limits.len() > 1 {
            pass.more().each = rule.decisions(admission);
        }
        pass
    }

    /// A request that passes without a decision.
    #[inline]
    pub(crate) fn undecided(head: &D::Head<'_>, rule: &Rule<D>, permit: Permit) -> Self {
        let (ending, manners, method) = (Ending::holding(permit), rule.manners, Kind::of(head.method()));
        Self { ending, shown: None, more: None, manners, method }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Lets the service know.
    pub(crate) fn share(&mut self, admitted: Admitted) {
        self.more().admitted = Some(admitted);
    }

    /// Lets the slot outlive the response, if there is one and the service keeps it.
    pub(crate) fn hold_upgrade(&mut self) {
        if self.ending.is_held() {
            self.more().slot = Some(UpgradeSlot::default());
        }
    }

    /// Tells `observer` if the client goes away.
    pub(crate) fn watch(&mut self, observer: &Arc<dyn Observer>, rule: &Arc<Rule<D>>) {
        if self.ending.is_held() {
            let ending = std::mem::take(&mut self.ending);
            self.ending = ending.watched(Arc::clone(observer), rule.clone());
        }
    }

    /// What the service is to know of its admission, for the request's extensions; `None` unless the middleware was told to
    /// [share](crate::Limits::share) it.
    #[inline]
    pub fn shared(&self) -> Option<&Admitted> {
        self.more.as_ref()?.admitted.as_ref()
    }

    /// What the service may keep of the request's slot, for the request's extensions; `None` unless the middleware was told
    /// to [hold upgrades](crate::Limits::hold_upgrades).
    #[inline]
    pub fn upgrade_slot(&self) -> Option<&UpgradeSlot> {
        self.more.as_ref()?.slot.as_ref()
    }

    /// The work starts.
    #[inline]
    pub fn begin(&mut self) {
        self.ending.begin(self.manners.on_disconnect == Outcome::Dropped);
    }

    /// The service failed without a response.
    pub fn fail(&mut self) {
        self.ending.fail();
    }

    /// The service gave a response: tells the client, and gives what the body has to carry. That holds nothing if the
    /// server will send no body.
    #[inline]
    pub fn finish(&mut self, status: u16, headers: &mut D::HeaderMap) -> Ending {
        if let Some((rule, decision)) = &mut self.shown {
            let each = match &mut self.more {
                Some(more) => more.told(rule, decision),
                None => &[],
            };
            rule.write(decision, each, Present::Replace, headers);
        }
        if self.ending.is_held() {
            self.leave(status);
        }
        // What the service was given to keep counts from here on, not what is left of this.
        self.more = None;
        std::mem::take(&mut self.ending)
    }

    fn leave(&mut self, status: u16) {
        let failed = self.manners.drop_on_5xx && status >= 500;
        self.ending.answer(if failed { Outcome::Dropped } else { Outcome::Completed });
        let switched = status == 101 || (self.method == Kind::Connect && (200..300).contains(&status));
        if let Some(slot) = self.upgrade_slot().filter(|_| switched).cloned() {
            slot.keep(std::mem::take(&mut self.ending));
        } else if switched || self.method == Kind::Head || matches!(status, 100..=199 | 204 | 304) {
            self.ending.complete();
        }
    }
}

impl<D: Door> fmt::Debug for Pass<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("ending", &self.ending)
            .field("shown", &self.shown.as_ref().map(|(_, decision)| decision))
            .finish_non_exhaustive()
    }
}
