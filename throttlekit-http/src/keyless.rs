//! Requests without a key, and an application that knows no peer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use throttlekit::{Error, MissingKey};

use crate::decide::Verdict;
use crate::door::{Door, Head as _};
use crate::hooks::unwound;
use crate::key::{ANONYMOUS, Key, stand_in};
use crate::limits::Shared;
use crate::pass::Pass;
use crate::reject::Rejection;
use crate::rule::Rule;

/// What becomes of a request without a key.
pub(crate) enum Keyless {
    Reject,
    Skip,
}

impl<D: Door> Shared<D> {
    /// What stands in for the key of a request that has none.
    #[cold]
    pub(crate) fn key_instead(&self, head: &D::Head<'_>, rule: &Arc<Rule<D>>) -> Result<Key<'static>, Keyless> {
        let by_address = !matches!(rule.missing, MissingKey::Shared | MissingKey::Reject | MissingKey::Skip);
        if ((by_address && !rule.client.hides_peer()) || rule.reads_peer())
            && unwound(|| head.peer()).flatten().is_none()
        {
            self.tell_nobody(head, rule);
        }
        match rule.missing {
            MissingKey::Reject => Err(Keyless::Reject),
            MissingKey::Skip => Err(Keyless::Skip),
            MissingKey::Shared => Ok(Key::from(ANONYMOUS)),
            _ => Ok(stand_in(&rule.client, head).unwrap_or_else(|| Key::from(ANONYMOUS))),
        }
    }

    /// Refuses a request without a key. Of a rule that is tried out the hook hears it, since nobody sees the refusal.
    #[cold]
    pub(crate) fn refuse_keyless(&self, head: &D::Head<'_>, rule: &Arc<Rule<D>>, pass: &mut Pass<D>) -> Verdict<D> {
        if rule.manners.shadow {
            let error = Error::invalid_argument("the request has no key, which the rule demands");
            self.hooks.failed(&rule.failure(head, None, &error));
        }
        self.answer(head, rule, &Rejection::MissingKey(*head), None, pass)
    }

    /// Tells, once in the life of the middleware, that no peer is known: the server is put together wrongly, and
    /// saying so with each request would only fill the log.
    #[cold]
    fn tell_nobody(&self, head: &D::Head<'_>, rule: &Rule<D>) {
        if !self.nobody_told.swap(true, Ordering::Relaxed) {
            let so = match rule.missing {
                MissingKey::Reject => "are refused",
                MissingKey::Skip => "are not limited",
                _ => "share the key `anon`",
            };
            let error = Error::invalid_argument(format!(
                "the peer's address of a request is not known, so requests without it {so}: {}{}",
                D::PEER_REMEDY,
                if rule.client.header().is_some() { PEER_HIDDEN } else { "" }
            ));
            self.hooks.misconfigured(&rule.failure(head, None, &error));
        }
    }
}

/// What else an application may say of an unknown peer that proxies speak for.
const PEER_HIDDEN: &str = "; where it cannot be known, `peerHidden` has to say so";
