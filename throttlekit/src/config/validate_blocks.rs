//! Whether the blocks of limiters make sense, and whether a rule can apply them.

use super::blocks::LimiterKind;
use super::http::HttpRule;
use super::node::{number_text, quoted};
use super::spec::{Config, LimiterSpec};
use super::store::StoreKind;
use super::strategy::build_strategy;
use super::validate::Findings;
use super::validate_store;
use crate::error::BuildError;
use crate::strategy::floor_f64;

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

/// Whether a rule can apply its limiters together, at its cost.
pub(super) fn rule(rule: &HttpRule, path: &str, config: &Config, findings: &mut Findings<'_>) {
    let named = |name: &String| config.limiters.iter().find(|limiter| limiter.name == *name);
    let limiters = || rule.policies.iter().enumerate().filter_map(|(index, name)| Some((index, named(name)?)));
    if limiters().filter(|(_, limiter)| limiter.limits_units()).count() > 1 {
        let in_memory = validate_store::is_memory(&config.store, findings);
        for (index, limiter) in limiters().filter(|(_, limiter)| decides_alone(limiter, in_memory)) {
            let at = [format!("{path}.policies[{index}]"), format!("{path}.policy"), path.to_owned()];
            let message = format!(
                "{} is a {}, which cannot be charged together with other limits, all or none: give it a rule of its own",
                quoted(&limiter.name),
                limiter.kind.name(),
            );
            findings.add(&at, message);
        }
    }
    let counts_whole = |limiter: &LimiterSpec| {
        matches!(limiter.kind, LimiterKind::TokenBudget(_) | LimiterKind::FleetBudget(_) | LimiterKind::Sketch(_))
    };
    if let Some((_, limiter)) = limiters().find(|(_, limiter)| counts_whole(limiter)) {
        if rule.cost > 0.0 && floor_f64(rule.cost) != rule.cost {
            let message = format!(
                "must be a whole number for the {} {} (found {})",
                limiter.kind.name(),
                quoted(&limiter.name),
                number_text(rule.cost),
            );
            findings.add(&[format!("{path}.cost"), path.to_owned()], message);
        }
    }
}

/// Whether it takes no part in joint checks: its units are in this process, or on their way to it.
fn decides_alone(limiter: &LimiterSpec, in_memory: bool) -> bool {
    match &limiter.kind {
        LimiterKind::Plain => false,
        LimiterKind::FleetBudget(budget) => budget.leased.is_some() || in_memory,
        LimiterKind::TwoTier(_)
        | LimiterKind::Screen(_)
        | LimiterKind::TokenBudget(_)
        | LimiterKind::FairEscrow(_)
        | LimiterKind::Sketch(_) => true,
    }
}
