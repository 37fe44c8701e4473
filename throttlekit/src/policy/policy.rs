//! One policy: a named limiter.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::bind::{self, Site};
use super::listed::{self, Listed};
use super::options::LoadOptions;
use super::slots::{self, Slots};
use super::store::OpenStore;
use crate::admit::Admit;
use crate::clock::Clock;
use crate::config::LimiterSpec;
use crate::error::BuildError;
use crate::fallback::{FailMode, Fallback, Share, Standby, standby};
use crate::limiter::DynLimiter;
use crate::observe::{GuardReport, GuardStats, TableReport, Wholes};
use crate::outage::Outage;
use crate::sketch::DenyList;
use crate::unified::Unified;

/// A limiter with a name: of a strategy, of the work in flight, or of both; or of another [kind](crate::config::LimiterKind).
///
/// In memory each policy has a table of its own, so policies cannot disturb each other whatever their keys are. In a store
/// their keys are below their [prefixes](Self::prefix), none of which is part of another.
pub struct Policy {
    spec: LimiterSpec,
    prefix: String,
    /// `None` if it limits nothing but the work in flight.
    limiter: Option<Arc<dyn DynLimiter>>,
    /// `None` if the work in flight is not limited.
    guard: Option<Arc<dyn Slots>>,
    /// `None` without a deny list.
    list: Option<Arc<Listed>>,
    admit: Arc<dyn Admit>,
    place: Place,
}

/// Where the keys of a policy are.
enum Place {
    /// There are no keys.
    Nowhere,
    /// In this process, to go on with after a reload.
    Memory(Box<dyn Any + Send + Sync>),
    Store(Stored),
}

/// A policy in a store.
struct Stored {
    /// The limiter without what stands in for it.
    shared: Arc<dyn DynLimiter>,
    outage: Outage,
    options: LoadOptions,
    /// What stands in for it, one for each share that somebody asks for.
    standbys: Mutex<Vec<(Share, LimiterStandby)>>,
}

type LimiterStandby = Arc<Standby<dyn DynLimiter>>;

impl Policy {
    /// Builds the limiter, in `store` or in memory. There `heir_of` is a policy whose keys go on, if their state is of the
    /// same type. `slots_of` is a policy whose guard goes on, and `list_of` one whose deny list does.
    pub(super) fn new(
        spec: LimiterSpec,
        prefix: String,
        options: &LoadOptions,
        store: Option<&OpenStore>,
        heir_of: Option<&Self>,
        slots_of: Option<&Self>,
        list_of: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let kept = slots_of.and_then(|policy| policy.guard.clone());
        let guard = match (&spec.concurrency, kept) {
            (Some(_), Some(kept)) => Some(kept),
            (Some(slots), None) => Some(slots::open(slots, &spec.name, options)?),
            (None, _) => None,
        };
        let (limiter, place) = if spec.limits_units() {
            let (limiter, place) = limiter(&spec, &prefix, options, store, heir_of)?;
            (Some(limiter), place)
        } else {
            (None, Place::Nowhere)
        };
        let admit: Arc<dyn Admit> = match (&limiter, &guard) {
            (Some(limiter), None) => Arc::new(Arc::clone(limiter)),
            (None, Some(guard)) => Arc::new(Arc::clone(guard)),
            (limiter, guard) => Arc::new(unified(&spec.name, limiter.as_ref(), guard.as_ref(), options)?),
        };
        let list = match &spec.deny_list {
            Some(list) => {
                let kept = list_of.and_then(|policy| policy.list.as_deref());
                Some(listed::open(list, &spec.name, Arc::clone(&admit), options, kept)?)
            }
            None => None,
        };
        let admit = match &list {
            Some(list) => Arc::clone(list) as Arc<dyn Admit>,
            None => admit,
        };
        Ok(Self { spec, prefix, limiter, guard, list, admit, place })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What the configuration says about it.
    pub fn spec(&self) -> &LimiterSpec {
        &self.spec
    }

    /// What precedes its keys in a shared store. In memory it has a table of its own and needs none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// All that the policy limits: its deny list first, then a slot, then the units of the strategy. With both of these it
    /// is a [`Unified`]. Keep it to go on limiting with this version of the policy, whatever is loaded later.
    ///
    /// If the policy's fail mode is local, it goes on in memory while the store is out. Otherwise it fails then, having
    /// given the slot back.
    pub fn admit(&self) -> &Arc<dyn Admit> {
        &self.admit
    }

    /// The limiter of units, if there is one. It takes no slots, and no deny list is in front of it.
    ///
    /// If the policy's fail mode is local, it is a [`Fallback`]. Otherwise it fails while the store is out, and the caller
    /// applies the fail mode.
    pub fn limiter(&self) -> Option<&Arc<dyn DynLimiter>> {
        self.limiter.as_ref()
    }

    /// Slots in flight and their limit at one instant; `None` if the work in flight is not limited.
    pub fn guard_report(&self) -> Option<GuardReport> {
        self.guard.as_ref()?.guard_state().map(|(report, _)| report)
    }

    /// How its guard is doing; `None` if the work in flight is not limited.
    pub fn guard_stats(&self) -> Option<GuardStats> {
        self.guard.as_ref()?.guard_state().map(|(_, stats)| stats)
    }

    /// How many keys its table in this process holds, and how many it may: of a strategy in memory or behind a screen, and of
    /// a budget in this process. `None` if there is no such table.
    pub fn table_report(&self) -> Option<TableReport> {
        self.limiter.as_ref()?.table_state()
    }

    /// Its deny list, to look at, to add to and to take from; `None` without one. A reload keeps it unless its size changes.
    pub fn deny_list(&self) -> Option<&Arc<DenyList>> {
        self.list.as_ref().map(|list| list.list())
    }

    /// Its deny list, with what is behind it.
    pub(super) fn listed(&self) -> Option<&Arc<Listed>> {
        self.list.as_ref()
    }

    /// Its guard.
    pub(super) fn guard(&self) -> Option<&Arc<dyn Slots>> {
        self.guard.as_ref()
    }

    /// The limiter without what stands in for it.
    pub(super) fn shared(&self) -> Option<&Arc<dyn DynLimiter>> {
        match &self.place {
            Place::Memory(_) | Place::Nowhere => self.limiter.as_ref(),
            Place::Store(stored) => Some(&stored.shared),
        }
    }

    /// Lets the states in memory that it went on with live as long as it needs them.
    pub(super) fn prolong(&self, now_ms: f64) {
        if let Place::Memory(kept) = &self.place {
            bind::prolong(&self.spec, &**kept, now_ms);
        }
    }

    /// What stands in for the limiter with this share; nothing does in memory.
    pub(super) fn standby(&self, share: Share) -> Option<LimiterStandby> {
        match &self.place {
            Place::Memory(_) | Place::Nowhere => None,
            Place::Store(stored) => Some(stored.standby(&self.spec, share)),
        }
    }
}

impl Stored {
    /// The one for `share`, which all that apply the policy with this share have in common.
    fn standby(&self, spec: &LimiterSpec, share: Share) -> LimiterStandby {
        // Entries are added and removed as a whole.
        let mut standbys = self.standbys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = standbys.iter().find(|(of, _)| *of == share) {
            return Arc::clone(known);
        }
        // Those that only this list holds are of rules that are gone.
        standbys.retain(|(_, known)| Arc::strong_count(known) > 1);
        let (spec, options) = (spec.clone(), self.options.clone());
        let made = standby(&self.outage, move || bind::local(&spec, share, &options));
        standbys.push((share, Arc::clone(&made)));
        made
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("spec", &self.spec).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The limiter of units, and where its keys are.
fn limiter(
    spec: &LimiterSpec,
    prefix: &str,
    options: &LoadOptions,
    store: Option<&OpenStore>,
    heir_of: Option<&Policy>,
) -> Result<(Arc<dyn DynLimiter>, Place), BuildError> {
    let Some(store) = store.filter(|_| spec.is_stored()) else {
        let kept = match heir_of.map(|policy| &policy.place) {
            Some(Place::Memory(kept)) => Some(&**kept),
            _ => None,
        };
        let (limiter, kept) = bind::limiter(spec, options, Site::Memory(kept))?;
        return Ok((limiter, Place::Memory(kept)));
    };
    let (shared, _) = bind::limiter(spec, options, Site::Store(store, prefix))?;
    let stored = Stored {
        shared: Arc::clone(&shared),
        outage: store.outage().clone(),
        options: options.clone(),
        standbys: Mutex::default(),
    };
    let limiter: Arc<dyn DynLimiter> = match spec.fail_mode {
        FailMode::Local(share) => Arc::new(Fallback::over(shared, stored.standby(spec, share))),
        FailMode::Open | FailMode::Closed => shared,
    };
    Ok((limiter, Place::Store(stored)))
}

/// A strategy beside a guard.
fn unified(
    name: &str,
    limiter: Option<&Arc<dyn DynLimiter>>,
    guard: Option<&Arc<dyn Slots>>,
    options: &LoadOptions,
) -> Result<Unified<Arc<dyn Clock>>, BuildError> {
    let mut builder = Unified::builder().rate_by_cost(true).name(name).parts_tell();
    if let Some(observer) = &options.observer {
        builder = builder.observer(Wholes(Arc::clone(observer)));
    }
    if let Some(limiter) = limiter {
        builder = builder.shared_rate(Arc::clone(limiter));
    }
    if let Some(guard) = guard {
        builder = builder.concurrency(Arc::clone(guard));
    }
    builder.clock(options.clock_of_all()).build()
}
