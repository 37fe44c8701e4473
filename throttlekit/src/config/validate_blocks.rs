//! Whether the blocks of limiters make sense, and whether a rule can apply them.

use super::blocks::LimiterKind;
use super::http::HttpRule;
use super::node::{number_text, quoted, shown_name};
use super::spec::{Config, LimiterSpec, StrategySpec};
use super::store::StoreKind;
use super::strategy::{AnyStrategy, build_strategy};
use super::validate::Findings;
use crate::error::BuildError;
use crate::lease::Mode;
use crate::math::{MAX, floor_f64};
use crate::program::{Program, Step, Strategy};

/// Everything that is wrong with the kind of one limiter at `path`.
pub(super) fn kind(limiter: &LimiterSpec, path: &str, findings: &mut Findings<'_>) {
    let around = [path.to_owned()];
    let name = limiter.kind.name();
    let of_strategy = limiter.kind.is_of_strategy();
    let strategy = match limiter.strategy.as_ref().map(build_strategy) {
        Some(Ok(strategy)) => Some(strategy),
        // It was reported.
        Some(Err(_)) => return,
        None => None,
    };
    let checked = match (&limiter.kind, strategy) {
        (LimiterKind::Plain, strategy) => {
            if strategy.is_none() && limiter.concurrency.is_none() {
                findings.add(&around, "a strategy or concurrency is required");
            }
            return;
        }
        (LimiterKind::TwoTier(tiers), Some(strategy)) => tiers.check(&strategy),
        (LimiterKind::Screen(screen), Some(strategy)) => screen.check(&strategy, limiter.max_keys),
        (LimiterKind::TwoTier(_) | LimiterKind::Screen(_), None) => {
            findings.add(&around, format!("a strategy is required beside {name}"));
            Ok(())
        }
        (LimiterKind::TokenBudget(budget), _) => budget.check(),
        (LimiterKind::FleetBudget(budget), _) => budget.check(),
        (LimiterKind::FairEscrow(fair), _) => fair.check(),
        (LimiterKind::Sketch(sketch), _) => sketch.builder().and_then(|builder| builder.check()),
    };
    if limiter.concurrency.is_some() || (limiter.strategy.is_some() && !of_strategy) {
        let other = if limiter.concurrency.is_some() { "concurrency" } else { "a strategy" };
        findings.add(&around, format!("{name} is not possible beside {other}"));
    }
    if let Err(error) = checked {
        refused(&error, limiter, path, findings);
    }
}

/// Everything that is wrong with the deny list of one limiter at `path`.
pub(super) fn deny_list(limiter: &LimiterSpec, path: &str, findings: &mut Findings<'_>) {
    let Some(list) = &limiter.deny_list else { return };
    if !limiter.limits_units() {
        let at = [format!("{path}.denyList"), path.to_owned()];
        findings.add(&at, "not used without a limit of units, whose denials it counts");
    }
    if let Err(error) = list.builder(()).check() {
        refused(&error, limiter, path, findings);
    }
}

/// Whether a limiter with a screen has its keys where the sketch is.
pub(super) fn place(limiter: &LimiterSpec, config: &Config, path: &str, findings: &mut Findings<'_>) {
    let store = config.store.kind();
    if matches!(limiter.kind, LimiterKind::Screen(_)) && store != StoreKind::Memory {
        let message = format!(
            "not possible where the store is {}: other processes do not see what a sketch counts here; take sketch for a limit \
             of this process, or denyList to spare the store",
            store.as_str(),
        );
        findings.add(&[format!("{path}.screen"), path.to_owned()], message);
    }
}

/// What a builder refuses, at the field that it is about.
fn refused(error: &BuildError, limiter: &LimiterSpec, path: &str, findings: &mut Findings<'_>) {
    let option = limiter.kind.path_of(error.option()).unwrap_or_else(|| limiter.kind.name().to_owned());
    let exact = format!("{path}.{option}");
    let given = findings.knows(&exact);
    // The maps around it, from the inside.
    let mut paths = vec![exact];
    let mut rest = option.as_str();
    while let Some((outer, _)) = rest.rsplit_once('.') {
        paths.push(format!("{path}.{outer}"));
        rest = outer;
    }
    paths.push(path.to_owned());
    let subject = if given { String::new() } else { format!("{} ", option.rsplit('.').next().unwrap_or_default()) };
    let found = error.value().map_or_else(String::new, |value| {
        let shown = value.parse().map_or_else(|_| value.to_owned(), number_text);
        format!(" (found {shown})")
    });
    findings.add(&paths, format!("{subject}{}{found}", error.allowed()));
}

/// Whether a rule can apply its limiters together, at its costs.
pub(super) fn rule(rule: &HttpRule, path: &str, config: &Config, findings: &mut Findings<'_>) {
    let named = |name: &String| config.limiters.iter().find(|limiter| limiter.name == *name);
    let limiters = || rule.policies.iter().enumerate().filter_map(|(index, name)| Some((index, named(name)?)));
    let mut last: Option<(&LimiterSpec, bool)> = None;
    for (index, limiter) in limiters().filter(|(_, limiter)| limiter.limits_units() && !gives_back(limiter)) {
        // Its units are in this process, or on their way to it: it takes no part in joint checks.
        let alone = !matches!(limiter.kind, LimiterKind::Plain);
        match last {
            // Where one place holds both, it judges both before it charges either.
            Some((_, false)) if !alone => {}
            Some((other, _)) => {
                let at = [format!("{path}.policies[{index}]"), format!("{path}.policy"), path.to_owned()];
                let (one, other) = (shown(limiter), shown(other));
                let message = format!(
                    "{one} cannot be charged all or none beside {other}, since neither takes units back: give one of them a \
                     rule of its own"
                );
                findings.add(&at, message);
            }
            None => last = Some((limiter, alone)),
        }
    }
    // One message for the cost of all that have no other.
    let mut of_all = false;
    for (_, limiter) in limiters() {
        let own = rule.cost_of(&limiter.name);
        let units = own.unwrap_or(rule.cost);
        let Some(allowed) = uncounted(limiter, units).filter(|_| own.is_some() || !of_all) else { continue };
        of_all |= own.is_none();
        let of_own = own.map(|_| format!("{path}.costs.{}", shown_name(&limiter.name)));
        let message = format!("{allowed} {} (found {})", shown(limiter), number_text(units));
        findings.add(&[of_own.unwrap_or_else(|| format!("{path}.cost")), path.to_owned()], message);
    }
    if config.store.kind() == StoreKind::Memory {
        return;
    }
    let mut sharing = limiters().filter(|(_, limiter)| limiter.is_stored() && config.shares_prefix(limiter));
    let Some((_, first)) = sharing.next() else { return };
    for (index, limiter) in sharing {
        // The keys of an exact one, `exact:k`, are keys of the others too.
        let at = [format!("{path}.policies[{index}]"), format!("{path}.policy"), path.to_owned()];
        let message = format!(
            "{} and {} could keep keys under one name in the store, since both have the default prefix and \
             `sharedDefaultsPrefix` is true: give one of them a prefix, or a rule of its own",
            shown(limiter),
            shown(first),
        );
        findings.add(&at, message);
    }
}

/// An instant of these years, which tells how fine a state in `f64` is.
const TODAY_MS: f64 = 1_700_000_000_000.0;

/// What a cost has to be that a limiter cannot count. Whether it is one at all is looked at elsewhere.
fn uncounted(limiter: &LimiterSpec, units: f64) -> Option<&'static str> {
    let whole = match limiter.kind {
        LimiterKind::TokenBudget(_) | LimiterKind::FleetBudget(_) | LimiterKind::Sketch(_) => true,
        LimiterKind::Plain | LimiterKind::TwoTier(_) | LimiterKind::Screen(_) => limiter.is_exact(),
        LimiterKind::FairEscrow(_) => false,
    };
    if !(units > 0.0 && units <= MAX) {
        None
    } else if whole && floor_f64(units) != units {
        Some("must be a whole number for")
    } else if vanishes(limiter, units) {
        Some("must be large enough to be counted by")
    } else {
        None
    }
}

/// Whether units are fewer than a limiter can tell, of a key that has as much as it can have, or at its limit.
fn vanishes(limiter: &LimiterSpec, units: f64) -> bool {
    let leased = matches!(&limiter.kind, LimiterKind::TwoTier(tiers) if tiers.mode == Mode::Leased);
    let ceiling = match (&limiter.kind, limiter.strategy) {
        (LimiterKind::FairEscrow(fair), _) => fair.limit,
        (_, Some(StrategySpec::Gcra { burst, .. })) => burst,
        (_, Some(StrategySpec::TokenBucket { capacity, .. })) => capacity,
        // Plain it counts the next whole number.
        (_, Some(StrategySpec::SlidingWindowLog { .. })) if !leased => return false,
        (
            _,
            Some(
                StrategySpec::FixedWindow { limit, .. }
                | StrategySpec::SlidingWindow { limit, .. }
                | StrategySpec::SlidingWindowLog { limit, .. }
                | StrategySpec::Quota { limit, .. },
            ),
        ) => limit,
        (_, None) => return false,
    };
    if ceiling - units >= ceiling {
        return true;
    }
    match limiter.strategy.as_ref().map(build_strategy) {
        // Its state is an instant, of which a lease takes a whole unit at least.
        Some(Ok(AnyStrategy::Gcra(gcra))) if !leased => {
            matches!(gcra.step(None, TODAY_MS + gcra.ttl_ms(), &units), Step::Fail(_))
        }
        _ => false,
    }
}

/// A limiter with what it is, for a message.
fn shown(limiter: &LimiterSpec) -> String {
    let kind = match (&limiter.kind, &limiter.strategy) {
        (LimiterKind::Plain, Some(strategy)) => strategy.name(),
        (kind, _) => kind.name(),
    };
    format!("the {kind} {}", quoted(&limiter.name))
}

/// Whether units that were taken from it can be given back.
fn gives_back(limiter: &LimiterSpec) -> bool {
    match limiter.kind {
        LimiterKind::Plain | LimiterKind::TwoTier(_) => {
            !matches!(limiter.strategy, Some(StrategySpec::SlidingWindowLog { .. }))
        }
        LimiterKind::TokenBudget(_) | LimiterKind::FleetBudget(_) => true,
        LimiterKind::Screen(_) | LimiterKind::FairEscrow(_) | LimiterKind::Sketch(_) => false,
    }
}
