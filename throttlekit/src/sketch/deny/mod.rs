//! A deny list in front of a limit, fed by its denials.

mod builder;
mod list;
#[cfg(all(test, loom))]
mod loom_tests;
mod sync;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use builder::DenyListedBuilder;
pub use list::DenyList;

use crate::admit::{Admission, Admit, Ask, Axis};
use crate::analytics::SpaceSaving;
use crate::clock::{Clock, SystemClock, clock_of};
use crate::decision::{Decision, ceil_ms, ceil_wait};
use crate::error::Error;
use crate::limiter::{Made, Watch};
use crate::observe::{Begun, CallKind, GuardReport, GuardStats, Observer, TableReport};
use crate::permit::Permit;
use crate::run::Run;

/// The name of its events, unless it was given one.
const NAME: &str = "denyList";

/// Puts keys that a limit denies again and again on a [`DenyList`], and refuses them without asking the limit.
///
/// A key that was denied, for its rate or its cost, at least [`denials`](DenyListedBuilder::denials) times in one window is
/// refused for the [`ttl`](DenyListedBuilder::ttl). Denials are counted by a [`SpaceSaving`] summary, in the memory of as
/// many keys as it [tracks](DenyListedBuilder::tracked); a key is put on the list only if the count that is
/// sure, without what may be due to other keys, is high enough. So nobody is refused for what others did, but by the chance
/// that a [`DenyList`] states; and nobody is missed whose denials exceed that number by the share `1 / tracked` of all denials
/// of the window.
///
/// A refusal is a normal denial on the rate axis: a limit of 0, nothing left, and the time until the key comes off the list.
/// It does not reach the limit behind, so it is not counted there; the list's own observer sees it. Denials for want
/// of a slot, or by a policy over the axes, say nothing of the key and do not count.
///
/// ```
/// use throttlekit::sketch::DenyListed;
/// use throttlekit::{Admit, Ask, Gcra, Limiter, ManualClock};
///
/// let clock = ManualClock::new(0.0);
/// let limiter = Limiter::builder(Gcra::per_second(1)?).clock(clock.clone()).build();
/// let guarded = DenyListed::builder(limiter).denials(3).ttl_ms(60_000.0).clock(clock.clone()).build()?;
///
/// let ask = |key| guarded.admit(&Ask::new(key)).now().expect("memory does not wait").map(|answer| answer.decision);
/// assert!(ask("10.0.0.1")?.allowed);
/// for _ in 0..3 {
///     assert_eq!(ask("10.0.0.1")?.retry_after_ms, 1_000);
/// }
/// assert_eq!(ask("10.0.0.1")?.retry_after_ms, 60_000);
/// assert!(ask("10.0.0.2")?.allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A check of a key that is not on the list costs a reading of the clock more, and a look into its bucket while anything
/// is on the list. Denials exclude each other while they are counted.
#[derive(Clone)]
pub struct DenyListed<A, C = SystemClock, O = ()> {
    inner: Arc<A>,
    list: Arc<DenyList>,
    offenders: Arc<Offenders>,
    clock: C,
    watch: Watch<O>,
}

/// Who was denied how often.
struct Offenders {
    denials: f64,
    window_ms: f64,
    ttl_ms: f64,
    counted: Mutex<Counted>,
}

struct Counted {
    summary: SpaceSaving,
    end_ms: f64,
}

impl<A> DenyListed<A> {
    /// In front of `inner`: a limit, or anything that admits.
    pub fn builder(inner: A) -> DenyListedBuilder<A> {
        DenyListedBuilder::new(inner)
    }
}

impl<A, C, O> DenyListed<A, C, O> {
    /// What is asked for keys that are not on the list.
    pub fn inner(&self) -> &A {
        &self.inner
    }

    /// The list, to look at, to add to and to take from.
    pub fn list(&self) -> &Arc<DenyList> {
        &self.list
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }
}

impl<A, C: Clock, O: Observer> DenyListed<A, C, O> {
    /// The refusal of a key that is on the list.
    #[inline]
    fn refusal(&self, ask: &Ask<'_>, now_ms: f64) -> Option<Decision> {
        let until_ms = self.list.denied_until(ask.key, now_ms)?;
        let decision = Decision {
            allowed: false,
            limit: 0,
            remaining: 0,
            reset_at_ms: ceil_ms(until_ms),
            retry_after_ms: ceil_wait(until_ms - now_ms).max(1),
        };
        let made = Made { kind: CallKind::Check, cost: ask.cost, now_ms, begun: Begun::default().of(ask), local: true };
        self.watch.tell(ask.key, made, &Ok(decision));
        Some(decision)
    }

    /// The refusal of a key that is on the list now, for whoever asks what is behind it himself.
    #[cfg(feature = "config")]
    pub(crate) fn refuses(&self, ask: &Ask<'_>) -> Option<Decision> {
        self.refusal(ask, self.clock.now_ms())
    }

    /// Counts a denial of `key` by what is behind the list.
    #[cfg(feature = "config")]
    pub(crate) fn denied(&self, key: &str) {
        self.offenders.denied(&self.list, key, self.clock.now_ms());
    }
}

/// A list in front of a limit that is known at run time only.
type Observed<O> = DenyListed<Arc<dyn Admit>, Arc<dyn Clock>, O>;

impl<A: Admit, C: Clock, O: Observer + Clone> DenyListed<A, C, O> {
    /// A handle to the same list, in front of what may have an observer.
    fn before<P>(self: Arc<Self>, inner: Arc<dyn Admit>, watch: Watch<P>) -> Observed<P> {
        let (list, offenders) = (Arc::clone(&self.list), Arc::clone(&self.offenders));
        DenyListed { inner: Arc::new(inner), list, offenders, clock: clock_of(self, |listed| &listed.clock), watch }
    }
}

#[cfg(feature = "config")]
impl<A, C: Clone> DenyListed<A, C, Option<Arc<dyn Observer>>> {
    /// A handle to the same list that tells `observer` of its refusals, if it has no observer. For whoever asks what is
    /// behind it himself.
    pub(crate) fn observed_list(&self, observer: &Arc<dyn Observer>) -> Self {
        let Self { inner, list, offenders, clock, watch } = self;
        let (inner, list, offenders) = (Arc::clone(inner), Arc::clone(list), Arc::clone(offenders));
        let watch = if watch.is_blind() { watch.naming(Some(Arc::clone(observer))) } else { watch.clone() };
        Self { inner, list, offenders, clock: clock.clone(), watch }
    }
}

impl Offenders {
    /// Counts an answer about `key`.
    #[inline]
    fn note(&self, list: &DenyList, key: &str, now_ms: f64, answer: &Result<Admission, Error>) {
        let Ok(admission) = answer else { return };
        if !admission.decision.allowed && matches!(admission.binding, Some(Axis::Rate | Axis::Cost)) {
            self.denied(list, key, now_ms);
        }
    }

    #[cold]
    fn denied(&self, list: &DenyList, key: &str, now_ms: f64) {
        let mut counted = self.counted();
        if now_ms >= counted.end_ms {
            counted.summary.clear();
            counted.end_ms = now_ms + self.window_ms;
        }
        counted.summary.observe(key);
        if counted.summary.get(key).is_some_and(|key| key.at_least() >= self.denials) {
            // Under the lock, so that a pardon is not undone by a denial that was counted before.
            list.deny(key, now_ms, now_ms + self.ttl_ms);
        }
    }

    fn forget(&self, key: &str) {
        self.counted().summary.forgive(key);
    }

    fn forget_all(&self) {
        self.counted().summary.clear();
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Admit, C: Clock, O: Observer + Clone> Admit for DenyListed<A, C, O> {
    #[inline]
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let now_ms = self.clock.now_ms();
        if let Some(decision) = self.refusal(ask, now_ms) {
            return Run::ready(Ok(Admission::rate(decision)));
        }
        let run = self.inner.admit(ask);
        match run {
            Run::Ready(Some(answer)) => {
                self.offenders.note(&self.list, ask.key, now_ms, &answer);
                Run::Ready(Some(answer))
            }
            Run::Ready(None) => Run::Ready(None),
            wait @ Run::Wait(_) => {
                let (offenders, list, key) = (Arc::clone(&self.offenders), Arc::clone(&self.list), ask.key.to_owned());
                wait.map(move |answer| {
                    offenders.note(&list, &key, now_ms, &answer);
                    answer
                })
            }
        }
    }

    fn enter(&self, ask: &Ask<'_>) -> Run<Result<(Decision, Permit), Error>> {
        // The decision alone does not say which axis denied.
        self.admit(ask).map(|answer| answer.map(|admission| (admission.decision, admission.permit)))
    }

    fn joins_axes(&self) -> bool {
        self.inner.joins_axes()
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let inner = Arc::clone(&self.inner).observed(observer);
        match (inner, self.watch.told_to(observer)) {
            (None, None) => None,
            (Some(inner), None) => {
                let watch = self.watch.clone();
                Some(Arc::new(self.before(inner, watch)))
            }
            (inner, Some(watch)) => {
                let inner = inner.unwrap_or_else(|| Arc::<A>::clone(&self.inner));
                Some(Arc::new(self.before(inner, watch)))
            }
        }
    }

    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        self.inner.units_of(ask, place)
    }

    fn key_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.inner.key_of(key)
    }

    fn guard_state(&self) -> Option<(GuardReport, GuardStats)> {
        self.inner.guard_state()
    }

    fn table_state(&self) -> Option<TableReport> {
        self.inner.table_state()
    }
}

impl<A: fmt::Debug, C, O> fmt::Debug for DenyListed<A, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyListed").field("inner", &self.inner).field("list", &self.list).finish_non_exhaustive()
    }
}
