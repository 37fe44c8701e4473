//! The builder of a multi-dimensional limit.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::dimension::{Dimension, Local, Site, Stored};
use super::select::Mode;
use super::{InMemory, MOST, Multi, Named, Parts};
use crate::clock::{Clock, SystemClock};
use crate::error::{BuildError, Error};
use crate::limiter::{DynLimiter, Watch};
use crate::math::MAX;
use crate::observe::Observer;
use crate::program::{Project, Strategy};
use crate::store::memory::Table;
use crate::store::{Remote, prefixed};
use crate::strategy::validate_cost;

/// The option that a refused set of dimensions is reported under.
const DIMENSIONS: &str = "multi.dimensions";

/// Builds a [`Multi`]; from [`Multi::all`] and [`Multi::any`].
///
/// ```
/// use throttlekit::{Gcra, Limiter, Multi};
///
/// let per_user = Limiter::new(Gcra::per_minute(10)?);
/// let limit = Multi::any()
///     .dimension("everybody", Gcra::per_second(1_000)?, 1.0)
///     .limiter("user", &per_user, 2.0)
///     .build()?;
/// assert_eq!(limit.dimensions().collect::<Vec<_>>(), ["everybody", "user"]);
///
/// limit.check(&["", "u1"])?;
/// assert_eq!(per_user.peek("u1")?.remaining, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct MultiBuilder<W = InMemory, C = SystemClock, O = ()> {
    mode: Mode,
    declared: Vec<Declared>,
    prefix: String,
    name: Option<Arc<str>>,
    keep_each: bool,
    site: W,
    clock: C,
    observer: O,
}

/// A dimension before it is known where its keys are.
struct Declared {
    name: String,
    weight: f64,
    /// Whether it is asked for the weight, whatever the cost of a check.
    fixed: bool,
    origin: Origin,
}

enum Origin {
    Strategy(Box<dyn Unbound>),
    Limiter(Result<Dimension, Error>),
}

/// A strategy without keys.
trait Unbound: Send + Sync {
    fn key_space(&self) -> &'static str;
    fn local(&self) -> Dimension;
    fn stored(&self, keys: Remote) -> Dimension;
}

impl<S: Project> Unbound for S {
    fn key_space(&self) -> &'static str {
        Strategy::key_space(self)
    }

    fn local(&self) -> Dimension {
        Dimension::local(self.clone(), Table::new())
    }

    fn stored(&self, keys: Remote) -> Dimension {
        Dimension::stored(self.clone(), keys)
    }
}

impl MultiBuilder {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            declared: Vec::new(),
            prefix: String::new(),
            name: None,
            site: InMemory(()),
            clock: SystemClock::new(),
            keep_each: false,
            observer: (),
        }
    }
}

impl<W, C, O> MultiBuilder<W, C, O> {
    /// Adds a dimension with keys of its own. It is asked for `weight` times the cost of a check.
    ///
    /// Its `name` is not empty and differs from the others. Keep it free of colons: `a` with the key `b:c` is `a:b` with
    /// the key `c`, and a check that has both is refused.
    pub fn dimension(self, name: impl Into<String>, strategy: impl Project, weight: f64) -> Self {
        self.add(name.into(), weight, false, Origin::Strategy(Box::new(strategy)))
    }

    /// Adds a dimension that shares the keys of `limiter`: each sees what the other charges. It is asked for `weight`
    /// times the cost of a check.
    ///
    /// The limiter's keys stay where they are, without the prefix and the name given here. Its clock and its observer
    /// are not asked. One whose answers are not those of its keys alone, such as a [`Fallback`](crate::Fallback), is refused.
    pub fn limiter(self, name: impl Into<String>, limiter: &dyn DynLimiter, weight: f64) -> Self {
        self.add(name.into(), weight, false, Origin::Limiter(limiter.dimension()))
    }

    /// As [`limiter`](Self::limiter), asked for `units` whatever the cost of a check.
    #[cfg(feature = "config")]
    pub(crate) fn limiter_for(self, name: impl Into<String>, limiter: &dyn DynLimiter, units: f64) -> Self {
        self.add(name.into(), units, true, Origin::Limiter(limiter.dimension()))
    }

    fn add(mut self, name: String, weight: f64, fixed: bool, origin: Origin) -> Self {
        self.declared.push(Declared { name, weight, fixed, origin });
        self
    }

    /// Keeps the dimensions in a store instead of in memory. A limiter that was added must be on the same store.
    pub fn store(self, store: Remote) -> MultiBuilder<Remote, C, O> {
        let Self { mode, declared, prefix, name, keep_each, site: _, clock, observer } = self;
        MultiBuilder { mode, declared, prefix, name, keep_each, site: store, clock, observer }
    }

    /// Where the time comes from. The default is a new [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> MultiBuilder<W, D, O> {
        let Self { mode, declared, prefix, name, keep_each, site, clock: _, observer } = self;
        MultiBuilder { mode, declared, prefix, name, keep_each, site, clock, observer }
    }

    /// Who sees each decision: one event for a check of all dimensions, also of one that is refused, with the strategy name
    /// `all` or `any`.
    pub fn observer<P: Observer + Clone>(self, observer: P) -> MultiBuilder<W, C, P> {
        let Self { mode, declared, prefix, name, keep_each, site, clock, observer: _ } = self;
        MultiBuilder { mode, declared, prefix, name, keep_each, site, clock, observer }
    }

    /// What is put before the name of each dimension, joined by a colon. The empty prefix, the default, adds nothing.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The name that its events carry. The default is `all` or `any`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets an [`Admission`](crate::Admission) carry the decision of [each](crate::Admission::each) dimension too, which
    /// costs an allocation. It does not by default. Where all are charged or none, a dimension that would have admitted
    /// what another one refuses shows what it has as it is.
    pub fn keep_each(mut self, keep: bool) -> Self {
        self.keep_each = keep;
        self
    }

    /// Binds each dimension by `bind`, checks what all sites have in common, and puts them together by `parts`.
    fn assemble<P>(
        self,
        bind: impl Fn(&W, &dyn Unbound, &str) -> Dimension,
        accept: impl Fn(&W, Site) -> Result<P, &'static str>,
        parts: impl FnOnce(W, Vec<P>, &[Named]) -> Result<Parts, BuildError>,
    ) -> Result<Multi<W, C, O>, BuildError> {
        let Self { mode, declared, prefix, name, keep_each, site, clock, observer } = self;
        if declared.is_empty() {
            return Err(BuildError::unsupported(DIMENSIONS, "must have at least one dimension"));
        }
        if declared.len() > MOST {
            return Err(BuildError::new(DIMENSIONS, declared.len(), format!("must be at most {MOST}")));
        }
        let mut names: Vec<Named> = Vec::with_capacity(declared.len());
        let mut bound = Vec::with_capacity(declared.len());
        for Declared { name, weight, fixed, origin } in declared {
            if name.is_empty() || names.iter().any(|named| named.name == name) {
                return Err(refused(&name, "must be a name that is not empty and not taken"));
            }
            if validate_cost(weight).is_err() {
                let allowed = format!("must be a finite number above 0 and at most {MAX} for the dimension {name:?}");
                return Err(BuildError::new("multi.weight", weight, allowed));
            }
            let (dimension, scope) = match origin {
                Origin::Strategy(strategy) => {
                    let scope = match strategy.key_space() {
                        "" => name.clone(),
                        key_space => prefixed(&name, key_space),
                    };
                    (bind(&site, &*strategy, &prefixed(&prefix, &scope)), Some(scope))
                }
                Origin::Limiter(Ok(dimension)) => (dimension, None),
                Origin::Limiter(Err(error)) => {
                    return Err(refused(&name, format!("must be in memory or on a remote store: {error}")));
                }
            };
            bound.push(accept(&site, dimension.0).map_err(|allowed| refused(&name, allowed))?);
            names.push(Named { name, weight, fixed, scope });
        }
        let watch = Watch::new(observer, name, mode.name());
        let may_meet = may_meet(&names);
        Ok(Multi {
            mode,
            parts: parts(site, bound, &names)?,
            names,
            may_meet,
            keep_each,
            clock,
            watch,
            site: PhantomData,
        })
    }
}

impl<C, O> MultiBuilder<InMemory, C, O> {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// `multi.dimensions` if there is none (code `throttlekit_error`), if there are more than 16, if a name is empty or
    /// taken, if two dimensions share a table, or if a limiter that was added is not in memory; `multi.weight` if a weight
    /// is not finite, not above 0 or above 2^53 - 1.
    pub fn build(self) -> Result<Multi<InMemory, C, O>, BuildError> {
        let accept = |_: &InMemory, site| match site {
            Site::Local(dimension) => Ok(dimension),
            Site::Stored(_) => Err("must be in memory like the other dimensions"),
        };
        self.assemble(|_, strategy, _| strategy.local(), accept, |_, dimensions, names| local_parts(dimensions, names))
    }
}

impl<C, O> MultiBuilder<Remote, C, O> {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// `multi.dimensions` if there is none (code `throttlekit_error`), if there are more than 16, if a name is empty or
    /// taken, or if a limiter that was added is not on the same store; `multi.weight` if a weight is not finite, not
    /// above 0 or above 2^53 - 1.
    pub fn build(self) -> Result<Multi<Remote, C, O>, BuildError> {
        let bind = |store: &Remote, strategy: &dyn Unbound, scope: &str| strategy.stored(store.below(scope));
        let accept = |store: &Remote, site| match site {
            Site::Stored(dimension) if dimension.keys().same_store(store) => Ok(dimension),
            Site::Stored(_) | Site::Local(_) => Err("must be on the same store as the other dimensions"),
        };
        let parts = |store, dimensions: Vec<Box<dyn Stored>>, _: &[Named]| Ok(Parts::Stored { dimensions, store });
        self.assemble(bind, accept, parts)
    }
}

/// Whether two dimensions can have the same stored key: the scope of one is, or goes on after a colon, that of the other.
fn may_meet(names: &[Named]) -> bool {
    let scopes = || names.iter().filter_map(|named| named.scope.as_deref()).enumerate();
    let within =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    scopes().any(|(one, long)| scopes().any(|(other, short)| one != other && within(long, short)))
}

/// Orders the locks: ascending by table, the same for every joint run of the process.
fn local_parts(dimensions: Vec<Box<dyn Local>>, names: &[Named]) -> Result<Parts, BuildError> {
    let mut order: Vec<usize> = (0..dimensions.len()).collect();
    order.sort_by_key(|index| dimensions[*index].table_id());
    let shares = |pair: &&[usize]| dimensions[pair[0]].table_id() == dimensions[pair[1]].table_id();
    if let Some(pair) = order.windows(2).find(shares) {
        return Err(refused(&names[pair[0].max(pair[1])].name, "must not share the table of another dimension"));
    }
    Ok(Parts::Local { dimensions, order })
}

fn refused(name: &str, allowed: impl Into<Cow<'static, str>>) -> BuildError {
    BuildError::new(DIMENSIONS, format!("{name:?}"), allowed)
}

impl<W, C, O> fmt::Debug for MultiBuilder<W, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.declared.iter().map(|declared| &declared.name).collect();
        f.debug_struct("MultiBuilder")
            .field("mode", &self.mode)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .field("dimensions", &names)
            .finish_non_exhaustive()
    }
}
