//! Whether the blocks of limiters make sense, and whether a rule can apply them.

use super::blocks::LimiterKind;
use super::http::HttpRule;
use super::node::{number_text, quoted};
use super::spec::{Config, LimiterSpec};
use super::strategy::build_strategy;
use super::validate::Findings;
use crate::error::BuildError;
use crate::strategy::floor_f64;

/// Everything that is wrong with the kind of one limiter at `path`.
pub(super) fn kind(limiter: &LimiterSpec, path: &str, findings: &mut Findings<'_>) {
    let around = [path.to_owned()];
    let name = limiter.kind.name();
    let checked = match &limiter.kind {
        LimiterKind::Plain => {
            if limiter.strategy.is_none() && limiter.concurrency.is_none() {
                findings.add(&around, "a strategy or concurrency is required");
            }
            return;
        }
        LimiterKind::TwoTier(tiers) => match limiter.strategy.as_ref().map(build_strategy) {
            Some(Ok(strategy)) => tiers.check(&strategy),
            // It was reported.
            Some(Err(_)) => Ok(()),
            None => {
                findings.add(&around, "a strategy is required beside twoTier");
                Ok(())
            }
        },
        LimiterKind::TokenBudget(budget) => budget.check(),
        LimiterKind::FleetBudget(budget) => budget.check(),
        LimiterKind::FairEscrow(fair) => fair.check(),
    };
    if limiter.concurrency.is_some() || (limiter.strategy.is_some() && !matches!(limiter.kind, LimiterKind::TwoTier(_)))
    {
        let other = if limiter.concurrency.is_some() { "concurrency" } else { "a strategy" };
        findings.add(&around, format!("{name} is not possible beside {other}"));
    }
    if let Err(error) = checked {
        refused(&error, limiter, path, findings);
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
        for (index, limiter) in limiters().filter(|(_, limiter)| decides_alone(limiter, config)) {
            let at = [format!("{path}.policies[{index}]"), format!("{path}.policy"), path.to_owned()];
            let message = format!(
                "{} is a {}, which cannot be charged together with other limits, all or none: give it a rule of its own",
                quoted(&limiter.name),
                limiter.kind.name(),
            );
            findings.add(&at, message);
        }
    }
    let counts_tokens =
        |limiter: &LimiterSpec| matches!(limiter.kind, LimiterKind::TokenBudget(_) | LimiterKind::FleetBudget(_));
    if let Some((_, budget)) = limiters().find(|(_, limiter)| counts_tokens(limiter)) {
        if rule.cost > 0.0 && floor_f64(rule.cost) != rule.cost {
            let message = format!(
                "must be a whole number for the {} {} (found {})",
                budget.kind.name(),
                quoted(&budget.name),
                number_text(rule.cost),
            );
            findings.add(&[format!("{path}.cost"), path.to_owned()], message);
        }
    }
}

/// Whether it takes no part in joint checks: its units are in this process, or on their way to it.
fn decides_alone(limiter: &LimiterSpec, config: &Config) -> bool {
    let in_memory = config.store.kind() == super::store::StoreKind::Memory;
    match &limiter.kind {
        LimiterKind::Plain => false,
        LimiterKind::FleetBudget(budget) => budget.leased.is_some() || in_memory,
        LimiterKind::TwoTier(_) | LimiterKind::TokenBudget(_) | LimiterKind::FairEscrow(_) => true,
    }
}
