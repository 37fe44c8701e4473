//! Whether the plans of a rule make sense.

use std::collections::HashMap;

use super::http::HttpRule;
use super::key::KeySource;
use super::node::{quoted, shown_name};
use super::plans::{PlanSource, PlanSpec};
use super::spec::Config;
use super::validate::{self, Findings, MAX_NAME_BYTES};
use super::validate_key::{NO_HEADER, is_field_name};
use crate::identity::{MAX_KEY_BYTES, PEER_MARK};

/// Everything that is wrong with the plans of the rule at `path`. `names` are those of all limiters.
pub(super) fn rule(rule: &HttpRule, path: &str, config: &Config, names: &[&str], findings: &mut Findings<'_>) {
    let Some(plans) = &rule.plans else { return };
    let own = format!("{path}.plans");
    // What the defaults say is wrong there, and not in each rule.
    let path = if findings.knows(&own) { own } else { "config.http.defaults.plans".to_owned() };
    let at = |field: &str| [format!("{path}.{field}"), path.clone()];
    // Nothing follows from a source that could not be read.
    let found_by_key = (!findings.is_unread(&format!("{path}.from"))).then_some(plans.from == PlanSource::Key);
    match &plans.from {
        PlanSource::Claim(name) if name.is_empty() => findings.add(&at("from.claim"), "must not be empty"),
        PlanSource::TrustedHeader(name) if !is_field_name(name) => {
            findings.add(&at("from.trustedHeader"), format!("{NO_HEADER} (found {})", quoted(name)));
        }
        PlanSource::Claim(_) | PlanSource::TrustedHeader(_) | PlanSource::Key => {}
    }
    if plans.table.is_empty() {
        findings.add(&at("table"), "at least one plan is required");
    }
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for (index, plan) in plans.table.iter().enumerate() {
        let path = format!("{path}.table.{}", shown_name(&plan.name));
        if let Some(message) = wrong_name(plan, &plans.table[..index]) {
            findings.add(std::slice::from_ref(&path), message);
        }
        validate::applied(&rule.under(plan), &path, config, names, findings);
        if found_by_key == Some(true) && plan.keys.is_empty() {
            let at = [format!("{path}.keys"), path.clone()];
            findings.add(&at, "keys are required where plans are found by key");
        } else if found_by_key == Some(false) && !plan.keys.is_empty() {
            findings.add(&[format!("{path}.keys"), path.clone()], "not used unless plans are found by `from: key`");
        }
        for (index, key) in plan.keys.iter().enumerate().filter(|_| found_by_key == Some(true)) {
            let at = [format!("{path}.keys[{index}]"), path.clone()];
            if let Some(message) = wrong_key(key, &rule.key) {
                findings.add(&at, message);
            } else if let Some(owner) = owners.insert(key, &plan.name) {
                findings.add(&at, format!("is a key of the plan {} already", quoted(owner)));
            }
        }
    }
}

fn wrong_name(plan: &PlanSpec, earlier: &[PlanSpec]) -> Option<String> {
    if plan.name.is_empty() {
        Some("the name must not be empty".to_owned())
    } else if plan.name.len() > MAX_NAME_BYTES {
        Some(format!("the name must have at most {MAX_NAME_BYTES} bytes"))
    } else if plan.name.chars().any(char::is_control) {
        Some("the name must not contain control characters".to_owned())
    } else if earlier.iter().any(|earlier| earlier.name == plan.name) {
        Some("there is another plan of this name".to_owned())
    } else {
        None
    }
}

/// Why no request counts under `key`. It may be an API key by mistake, so it is not shown.
fn wrong_key(key: &str, source: &KeySource) -> Option<String> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Some(format!("must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    let KeySource::ApiKey(spec) = source else { return None };
    let digits = if spec.truncated { 32 } else { 64 };
    let hash = key.strip_prefix(spec.key_id.as_str()).and_then(|rest| rest.strip_prefix(':'));
    let is_hash =
        |hash: &str| hash.len() == digits && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_stand_in = key.starts_with(PEER_MARK);
    (!is_stand_in && !hash.is_some_and(is_hash)).then(|| {
        let form = format!("the key id, a colon and {digits} hex digits in lower case");
        format!("must be an API key as requests count under it: {form}, which is what `KeyHasher::hash` gives")
    })
}
