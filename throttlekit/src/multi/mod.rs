//! Several limits on one request, admitted together.

mod builder;
mod dimension;
mod keys;
mod observed;
mod select;

pub use builder::MultiBuilder;
pub use dimension::Dimension;
pub(crate) use dimension::{Local, Site, Stored};
pub use keys::DimensionKeys;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::admit::{Admission, Admit, Ask};
use crate::clock::{Clock, SystemClock};
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{Made, Watch};
use crate::observe::{CallKind, Observer, is_blind};
use crate::run::Run;
use crate::store::{Call, Moment, Remote, Rule};
use keys::{Asks, Positional, Same, common};
use observed::Observed;
use select::{Mode, Shown, Tally};

/// The most dimensions of one [`Multi`]. Each of them is held while the others are judged.
const MOST: usize = 16;

/// Marks a [`Multi`] whose dimensions are in memory.
#[derive(Clone, Copy, Debug)]
pub struct InMemory(());

/// Limits a request in several dimensions at once, such as its address and its user, without charging one of them for
/// what another refuses.
///
/// - [`all`](Self::all) admits if every dimension does. Either all of them are charged, or none is. The decision is that
///   of the dimension with the least remaining; on a denial that of the denying one with the longest wait.
/// - [`any`](Self::any) admits if one dimension does, and charges exactly those that do. The decision is that of the
///   admitting dimension with the most remaining; on a denial that of the one with the shortest wait.
///
/// Of equals, the dimension that was declared first is shown. The decision is one of the dimensions' own, not their
/// [`combine`](Decision::combine).
///
/// ```
/// use throttlekit::{Gcra, ManualClock, Multi};
///
/// let both = Multi::all()
///     .dimension("ip", Gcra::per_minute(100)?, 1.0)
///     .dimension("user", Gcra::per_second(2)?, 1.0)
///     .clock(ManualClock::new(0.0))
///     .build()?;
///
/// assert_eq!(both.check(&["10.0.0.1", "u1"])?.remaining, 1);
/// assert_eq!(both.check(&["10.0.0.1", "u1"])?.remaining, 0);
/// let denied = both.check(&["10.0.0.1", "u1"])?;
/// assert_eq!((denied.allowed, denied.limit, denied.retry_after_ms), (false, 2, 500));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it promises
///
/// - **Atomic**: no other check, joint or plain, sees one dimension charged and another not. In memory the keys are held
///   together, in an order that is the same for all; over a store it is one call of the store.
/// - **One clock reading** for all dimensions, after every cost was found to be legal. A dimension in memory where other threads
///   were at a later instant meanwhile is judged by a reading of its own.
/// - **One event** for each check, also one that is refused, with the cost that was given and, if all dimensions are asked
///   for the same key, that key.
/// - **Costs**: a dimension is asked for its weight times the cost.
/// - **Keys**: in memory each dimension has a table of its own; over a store its keys are `prefix:name:key`. Two
///   dimensions of one check that meet on one key are `invalid_argument`.
/// - **No allocation** in memory.
///
/// As an [`Admit`] it takes [`Ask::dimensions`], or [`Ask::key`] for every dimension if that is empty.
pub struct Multi<W = InMemory, C = SystemClock, O = ()> {
    mode: Mode,
    names: Vec<Named>,
    parts: Parts,
    /// Whether two dimensions could meet on one key, because the scope of one starts with that of another.
    may_meet: bool,
    /// Whether an admission carries the decision of each dimension.
    keep_each: bool,
    clock: C,
    watch: Watch<O>,
    site: PhantomData<W>,
}

/// What is known of a dimension apart from how it limits.
#[derive(Debug)]
struct Named {
    name: String,
    weight: f64,
    /// Whether it is asked for the weight, whatever the cost of a check.
    fixed: bool,
    /// What its keys are below, apart from the prefix: its name, and the key space of the strategy if that has one.
    /// `None` for a limiter that was added, whose keys are where the limiter put them.
    scope: Option<String>,
}

impl Named {
    /// What a check of `cost` asks it for, at `weight`.
    fn units(&self, weight: f64, cost: f64) -> f64 {
        if self.fixed { weight } else { weight * cost }
    }
}

/// The dimensions, in the order in which they were declared.
enum Parts {
    /// In memory; `order` has each position once, in the order of the locks.
    Local {
        dimensions: Vec<Box<dyn Local>>,
        order: Vec<usize>,
    },
    Stored {
        dimensions: Vec<Box<dyn Stored>>,
        store: Remote,
    },
}

impl Multi {
    /// Starts a limit that admits what every dimension admits.
    pub fn all() -> MultiBuilder {
        MultiBuilder::new(Mode::All)
    }

    /// Starts a limit that admits what one of the dimensions admits.
    pub fn any() -> MultiBuilder {
        MultiBuilder::new(Mode::Any)
    }
}

impl<W, C, O> Multi<W, C, O> {
    /// The names of the dimensions, in the order of the keys.
    pub fn dimensions(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|named| named.name.as_str())
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The name that its events carry.
    pub fn name(&self) -> &str {
        self.watch.policy()
    }
}

/// In memory: plain calls.
impl<C: Clock, O: Observer + Clone> Multi<InMemory, C, O> {
    /// Takes the weight of each dimension from its key; `keys` has one raw key for each, in the order of declaration.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the number of keys is not that of the dimensions, or two dimensions meet on one key.
    pub fn check(&self, keys: &[&str]) -> Result<Decision, Error> {
        self.check_cost(keys, 1.0)
    }

    /// As [`check`](Self::check), for `cost` times the weight of each dimension.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); also if `cost`, or its product with a weight, is not finite, not above 0 or above
    /// 2^53 - 1.
    pub fn check_cost(&self, keys: &[&str], cost: f64) -> Result<Decision, Error> {
        at_once(self.run_check(keys, cost))
    }

    /// As [`check_cost`](Self::check_cost), with keys and weights that the request itself knows.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost); also if the request has no key for a dimension.
    pub fn check_for<X: DimensionKeys + ?Sized>(&self, request: &X, cost: f64) -> Result<Decision, Error> {
        at_once(self.run_check_for(request, cost))
    }

    /// Forgets the key of every dimension, one after the other.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the number of keys is not that of the dimensions.
    pub fn reset(&self, keys: &[&str]) -> Result<(), Error> {
        at_once(self.run_reset(keys))
    }
}

/// Over a store: the same, to be awaited.
impl<C: Clock, O: Observer + Clone> Multi<Remote, C, O> {
    /// Takes the weight of each dimension from its key; `keys` has one raw key for each, in the order of declaration.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the number of keys is not that of the dimensions, or two dimensions meet on one key;
    /// `store_unavailable` and `state_invalid` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, either what the check would have charged is charged, or nothing is.
    pub async fn check(&self, keys: &[&str]) -> Result<Decision, Error> {
        self.run_check(keys, 1.0).await
    }

    /// As [`check`](Self::check), for `cost` times the weight of each dimension.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); also if `cost`, or its product with a weight, is not finite, not above 0 or above
    /// 2^53 - 1.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_cost(&self, keys: &[&str], cost: f64) -> Result<Decision, Error> {
        self.run_check(keys, cost).await
    }

    /// As [`check_cost`](Self::check_cost), with keys and weights that the request itself knows.
    ///
    /// # Errors
    ///
    /// As [`check_cost`](Self::check_cost); also if the request has no key for a dimension.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_for<X: DimensionKeys + Sync + ?Sized>(&self, request: &X, cost: f64) -> Result<Decision, Error> {
        self.run_check_for(request, cost).await
    }

    /// Forgets the key of every dimension, in one call of the store.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the number of keys is not that of the dimensions; `store_unavailable` from the store.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the keys may or may not be forgotten.
    pub async fn reset(&self, keys: &[&str]) -> Result<(), Error> {
        self.run_reset(keys).await
    }
}

/// Wherever the keys are.
impl<W, C: Clock, O: Observer + Clone> Multi<W, C, O> {
    /// Takes `cost` times the weight of each dimension from its key; `keys` has one raw key for each, in the order of
    /// declaration. In memory the answer is ready.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a bad cost or number of keys, or if two dimensions meet on one key; `store_unavailable` and
    /// `state_invalid` from the store.
    pub fn run_check(&self, keys: &[&str], cost: f64) -> Run<Result<Decision, Error>> {
        match self.counted(keys) {
            Ok(keys) => self.run_check_for(&keys, cost),
            Err(error) => Run::ready(Err(self.refuse(&self.watch, &Positional(keys), cost, error))),
        }
    }

    /// As [`run_check`](Self::run_check), with keys and weights that the request itself knows.
    ///
    /// # Errors
    ///
    /// As [`run_check`](Self::run_check); also if the request has no key for a dimension.
    pub fn run_check_for<X: DimensionKeys + ?Sized>(&self, request: &X, cost: f64) -> Run<Result<Decision, Error>> {
        let ask = Ask::new("").cost(cost);
        self.run(&self.watch, request, &ask, Tally::new(self.mode)).map(|result| result.map(|shown| shown.decision))
    }

    /// Of `ask` only the cost counts: `request` knows the keys.
    fn run<X: DimensionKeys + ?Sized, P: Observer + Clone>(
        &self,
        watch: &Watch<P>,
        request: &X,
        ask: &Ask<'_>,
        mut tally: Tally,
    ) -> Run<Result<Shown, Error>> {
        let mut asks = [("", 0.0); MOST];
        if let Err(error) = self.ask(request, ask.cost, &mut asks) {
            return Run::ready(Err(self.refuse(watch, request, ask.cost, error)));
        }
        let key = if is_blind::<P>() { "" } else { common(asks.iter().take(self.names.len()).map(|(key, _)| *key)) };
        match &self.parts {
            Parts::Local { dimensions, order } => {
                let mut made = self.begin(watch, ask);
                let at = Moment::of(made.now_ms, &self.clock);
                let (mode, keeps, latest_ms) = (self.mode, tally.keeps(), Cell::new(made.now_ms));
                let frames = Frames { dimensions, asks: &asks, at, mode, keeps, latest_ms };
                let result = frames.run(order, true, &mut tally).and_then(|_| tally.shown());
                made.now_ms = frames.latest_ms.get();
                watch.tell_of(key, made, result.as_ref().map(|shown| shown.decision));
                Run::ready(result)
            }
            Parts::Stored { dimensions, store } => {
                let keys = match self.stored_keys(dimensions, &asks) {
                    Ok(keys) => keys,
                    Err(error) => return Run::ready(Err(self.refuse(watch, request, ask.cost, error))),
                };
                let made = self.begin(watch, ask);
                let mut call = Call::new(made.now_ms, self.mode.rule());
                let keeps = tally.keeps();
                for ((dimension, key), (_, cost)) in dimensions.iter().zip(keys).zip(asks) {
                    if keeps {
                        dimension.push_judge(&mut call, key, cost);
                    } else {
                        dimension.push(&mut call, key, cost);
                    }
                }
                let (running, watch, key) = (store.run_call(call), watch.clone(), Box::<str>::from(key));
                Run::wait(async move {
                    let result = running.await.and_then(|call| tally.replies(call));
                    watch.tell_of(&key, made, result.as_ref().map(|shown| shown.decision));
                    result
                })
            }
        }
    }

    /// Tells of a request that is refused, and gives the error back.
    #[cold]
    fn refuse<X: DimensionKeys + ?Sized, P: Observer>(
        &self,
        watch: &Watch<P>,
        request: &X,
        cost: f64,
        error: Error,
    ) -> Error {
        let named = self.names.iter().enumerate();
        let key = common(named.filter_map(|(index, named)| request.key(index, &named.name)));
        watch.refuse(key, CallKind::Check, cost, || self.clock.now_ms(), error)
    }

    /// Before a decision: reads the stopwatch of the observer, if it has one, and the clock.
    #[inline(always)]
    fn begin<P: Observer>(&self, watch: &Watch<P>, ask: &Ask<'_>) -> Made {
        let begun = watch.begin().of(ask);
        Made { kind: CallKind::Check, cost: ask.cost, now_ms: self.clock.now_ms(), begun, local: false }
    }

    /// Forgets the key of every dimension.
    ///
    /// # Errors
    ///
    /// `invalid_argument` if the number of keys is not that of the dimensions; `store_unavailable` from the store.
    pub fn run_reset(&self, keys: &[&str]) -> Run<Result<(), Error>> {
        let keys = match self.counted(keys) {
            Ok(keys) => keys.0,
            Err(error) => return Run::ready(Err(error)),
        };
        let now_ms = self.clock.now_ms();
        match &self.parts {
            Parts::Local { dimensions, .. } => {
                let mut each = dimensions.iter().zip(keys);
                Run::ready(each.try_for_each(|(dimension, key)| dimension.reset(key, now_ms)))
            }
            Parts::Stored { dimensions, store } => {
                let mut call = Call::new(now_ms, Rule::Each);
                for (dimension, key) in dimensions.iter().zip(keys) {
                    dimension.push_reset(&mut call, dimension.full_key(key));
                }
                let running = store.run_call(call);
                Run::wait(async move { running.await.map(|_| ()) })
            }
        }
    }
}

/// A joint run in memory: one stack frame for each dimension, each of which holds its key while the next ones are judged.
struct Frames<'a> {
    dimensions: &'a [Box<dyn Local>],
    asks: &'a Asks<'a>,
    at: Moment<'a>,
    mode: Mode,
    /// Whether it is wanted what each dimension has if nothing is taken from it.
    keeps: bool,
    /// The latest instant at which a dimension was judged: later than that of the others where its key was ahead of that.
    latest_ms: Cell<f64>,
}

impl Frames<'_> {
    /// Runs the dimensions at `order`, where `all` says whether those before them want their change. Answers whether
    /// every dimension does.
    fn run(&self, order: &[usize], all: bool, tally: &mut Tally) -> Result<bool, Error> {
        let Some((&index, inner)) = order.split_first() else { return Ok(all) };
        let (key, cost) = self.asks[index];
        let mut every = false;
        // By the time that `then` answers, every dimension has been judged and none of the outer ones has changed.
        let then = &mut |wants| {
            every = self.run(inner, all && wants, tally)?;
            Ok(match self.mode {
                Mode::All => every,
                Mode::Any => wants,
            })
        };
        let dimension = &self.dimensions[index];
        let mut at = self.at;
        let decision = if self.keeps {
            dimension.judge(key, &mut at, cost, then)?
        } else {
            dimension.joint(key, &mut at, cost, then)?
        };
        self.latest_ms.set(self.latest_ms.get().max(at.now_ms));
        tally.add(index, decision);
        Ok(every)
    }
}

fn at_once<T>(run: Run<Result<T, Error>>) -> Result<T, Error> {
    run.now().unwrap_or_else(|_| Err(Error::unsupported("dimensions in memory never wait")))
}

impl<W, C: Clock, O: Observer + Clone> Multi<W, C, O> {
    /// Decides, and tells as `watch` says.
    fn admit_by<P: Observer + Clone>(&self, watch: &Watch<P>, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        let tally = if self.keep_each { Tally::keeping(self.mode, self.names.len()) } else { Tally::new(self.mode) };
        let run = if ask.dimensions.is_empty() {
            self.run(watch, &Same(ask.key), ask, tally)
        } else {
            match self.counted(ask.dimensions) {
                Ok(keys) => self.run(watch, &keys, ask, tally),
                Err(error) => Run::ready(Err(self.refuse(watch, &Positional(ask.dimensions), ask.cost, error))),
            }
        };
        run.map(|result| result.map(|shown| Admission { each: shown.each, ..Admission::rate(shown.decision) }))
    }
}

impl<W: Send + Sync + 'static, C: Clock, O: Observer + Clone> Admit for Multi<W, C, O> {
    fn admit(&self, ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        self.admit_by(&self.watch, ask)
    }

    fn observed(self: Arc<Self>, observer: &Arc<dyn Observer>) -> Option<Arc<dyn Admit>> {
        let watch = self.watch.told_to(observer)?;
        Some(Arc::new(Observed { multi: self, watch }))
    }

    /// Of several dimensions only where each decision is kept: without it nobody knows which of [any](Self::any) was
    /// charged.
    fn units_of(&self, ask: &Ask<'_>, place: usize) -> Option<f64> {
        let named = self.names.get(place).filter(|_| self.keep_each || self.names.len() == 1)?;
        Some(named.units(named.weight, ask.cost))
    }
}

impl<W, C, O> fmt::Debug for Multi<W, C, O> {
    /// Shows no keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multi")
            .field("name", &self.name())
            .field("mode", &self.mode)
            .field("dimensions", &self.names)
            .finish_non_exhaustive()
    }
}
