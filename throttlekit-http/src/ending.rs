//! The end of an admitted request: what it holds is given back once, whatever ends it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use throttlekit::{Disconnect, Observer, Outcome, Permit, Stage};

/// What an admitted request holds until its response is over. The body of the response carries it and says what happens;
/// the first that ends it counts.
///
/// Dropped before, the client went away: that counts as dropped work, or as none if the middleware was told so, and the
/// observer is told.
///
/// A body says
///
/// - [`announce`](Self::announce) before it hands out anything, if it is known how long it is;
/// - [`frame`](Self::frame) with each frame that it hands out: over HTTP/1 servers stop asking a body whose announced
///   length is reached, so that the last frame is where the work ends;
/// - [`complete`](Self::complete) at its end, [`fail`](Self::fail) if it breaks off.
#[must_use = "dropping it ends the request"]
pub struct Ending {
    permit: Permit,
    /// What a response that is handed over completely counts as.
    completed: Outcome,
    /// How many bytes of the body are to come; more than there can be where nobody said.
    left: u64,
    /// Whether the body alone says when it ends, whatever its length.
    by_body: bool,
    watch: Option<Box<Watch>>,
}

/// Who is told of a client that goes away.
pub(crate) struct Watch {
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) policy: Arc<dyn Named>,
    pub(crate) stage: Stage,
}

/// What has the name of a policy.
pub(crate) trait Named: Send + Sync {
    fn name(&self) -> &str;
}

impl Ending {
    /// Holds nothing.
    #[inline]
    pub fn none() -> Self {
        Self { permit: Permit::none(), completed: Outcome::Completed, left: u64::MAX, by_body: false, watch: None }
    }

    /// Holds what `permit` holds.
    #[inline]
    pub(crate) fn hold(&mut self, permit: &mut Permit) {
        self.permit = std::mem::take(permit);
    }

    pub(crate) fn watched(mut self, observer: Arc<dyn Observer>, policy: Arc<dyn Named>) -> Self {
        self.watch = Some(Box::new(Watch { observer, policy, stage: Stage::Working }));
        self
    }

    /// Whether anything is held.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.permit.is_held()
    }

    /// The work starts. With `counts`, being dropped counts as dropped work from here on.
    #[inline]
    pub(crate) fn begin(&mut self, counts: bool) {
        if counts {
            self.permit.begin();
        }
    }

    /// The response is there; handed over completely, it counts as `completed`.
    pub(crate) fn answer(&mut self, completed: Outcome) {
        self.completed = completed;
        if let Some(watch) = &mut self.watch {
            watch.stage = Stage::Answering;
        }
    }

    /// What [`announce`](Self::announce) says of the length ends nothing: the server asks on.
    #[inline]
    pub(crate) fn end_by_body(&mut self) {
        self.by_body = true;
    }

    /// The body has `bytes`, if that was said, by the body or by a header field. With none, the response is handed over,
    /// unless the request [ends by its body](crate::Pass::end_by_body).
    #[inline]
    pub fn announce(&mut self, bytes: Option<u64>) {
        self.left = bytes.filter(|_| !self.by_body).unwrap_or(u64::MAX);
        self.frame(0, false);
    }

    /// A frame of the body with `bytes` is handed out, and with `last` there is no other.
    #[inline]
    pub fn frame(&mut self, bytes: usize, last: bool) {
        self.left = self.left.saturating_sub(bytes as u64);
        if last || self.left == 0 {
            self.complete();
        }
    }

    /// The response was handed over.
    pub fn complete(&mut self) {
        self.permit.settle(self.completed);
    }

    /// The service gave no response, or its body broke off.
    pub fn fail(&mut self) {
        self.permit.settle(Outcome::Dropped);
    }
}

impl Default for Ending {
    fn default() -> Self {
        Self::none()
    }
}

impl Drop for Ending {
    #[inline]
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take().filter(|_| self.permit.is_held()) {
            watch.tell();
        }
    }
}

impl Watch {
    #[cold]
    pub(crate) fn tell(&self) {
        // An observer's panic while a request is dropped would end the process.
        let disconnect = Disconnect::new(self.policy.name(), self.stage);
        crate::hooks::told(&*self.observer, || self.observer.disconnected(&disconnect));
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending")
            .field("permit", &self.permit)
            .field("completed", &self.completed)
            .finish_non_exhaustive()
    }
}

/// The slot of a request that may outlive its response, as with a connection that is upgraded to a WebSocket.
///
/// A middleware that was told to [hold upgrades](crate::Limits::hold_upgrades) puts it into the request. If the response
/// switches protocols the slot is held until the last clone of this is dropped, so whoever works on the connection keeps
/// one. It then goes back as [`Outcome::Ignored`]: how long a connection lasts says nothing of the server. Without a clone, and
/// with any other response, it goes back as it always does.
#[derive(Clone, Debug, Default)]
pub struct UpgradeSlot(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    ending: Option<Ending>,
    /// That of a middleware further out.
    outer: Option<UpgradeSlot>,
}

impl UpgradeSlot {
    /// What to put into a request in which `outer` is: whoever keeps it keeps both.
    #[must_use]
    pub fn around(&self, outer: Option<Self>) -> Self {
        self.held().outer = outer;
        self.clone()
    }

    /// Holds `ending` for as long as somebody has a clone; if nobody has, the response that switched protocols was all.
    pub(crate) fn keep(self, mut ending: Ending) {
        if Arc::strong_count(&self.0) == 1 {
            ending.complete();
        } else {
            ending.completed = Outcome::Ignored;
            self.held().ending = Some(ending);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(ending) = &mut self.0.get_mut().unwrap_or_else(PoisonError::into_inner).ending {
            ending.complete();
        }
    }
}
