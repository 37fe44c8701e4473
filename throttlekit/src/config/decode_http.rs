//! From nodes to the `http` section.

use super::decode::fail_mode;
use super::decode_blocks::by_name;
use super::decode_key::{client_ip, key_source};
use super::decode_plans::plans;
use super::decode_store::Env;
use super::fields::{Context, Converted, Fields, Leftover, boolean, one_of, positive, text};
use super::http::{HttpRule, HttpSpec};
use super::key::KeySource;
use super::node::{Entry, Value};
use crate::fallback::MissingKey;
use crate::headers::{HeaderFamily, HeaderSet};
use crate::permit::Outcome;
use crate::priority::Priority;

const MISSING: [(&str, MissingKey); 4] = [
    ("peer", MissingKey::Peer),
    ("shared", MissingKey::Shared),
    ("reject", MissingKey::Reject),
    ("skip", MissingKey::Skip),
];

const FAMILIES: [(&str, HeaderFamily); 4] = [
    ("draft", HeaderFamily::Draft),
    ("structured", HeaderFamily::Structured),
    ("legacy", HeaderFamily::Legacy),
    ("openai", HeaderFamily::OpenAi),
];

pub(super) const PRIORITIES: [(&str, Priority); 4] =
    [("critical", Priority::Critical), ("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

const DISCONNECTS: [(&str, Outcome); 2] = [("dropped", Outcome::Dropped), ("ignored", Outcome::Ignored)];

/// Reads the section.
pub(super) fn http(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>) -> HttpSpec {
    let mut base = HttpRule::new("", [""; 0]);
    let mut keyed = false;
    if let Some(Entry { key_at, node, .. }) = fields.take("defaults") {
        if let Some(mut defaults) = Fields::new(cx, &fields.path_of("defaults"), *key_at, node) {
            keyed = defaults.has("key");
            options(&mut defaults, cx, env, &mut base, keyed);
            defaults.finish(cx, |_| Leftover::Unknown);
        }
    }
    let path = fields.path_of("rules");
    let mut spec = HttpSpec::default();
    if let Some(Entry { node, .. }) = fields.take("rules") {
        if let Value::List(items) = &node.value {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                cx.positions.insert(path.clone(), item.at);
                // A rule that is no map keeps its place, so that the others keep their numbers.
                let rule = match Fields::new(cx, &path, item.at, item) {
                    Some(fields) => rule(fields, cx, env, base.clone(), keyed),
                    None => base.clone(),
                };
                spec.rules.push(rule);
            }
        } else {
            cx.problem(path, node.at, format!("expected a list of rules, found {}", node.value));
        }
    }
    fields.finish(cx, |_| Leftover::Unknown);
    spec
}

/// One rule, over what the defaults say, which may have chosen a key (`keyed`). What is missing or wrong is reported, and has
/// some value.
fn rule(mut fields: Fields<'_>, cx: &mut Context, env: Env<'_>, mut rule: HttpRule, keyed: bool) -> HttpRule {
    if let Some(path) = fields.required(cx, "path", text) {
        path.clone_into(&mut rule.path);
    }
    rule.methods = fields.texts(cx, "methods").unwrap_or_default();
    rule.policies = policies(&mut fields, cx);
    let keyed = keyed || fields.has("key");
    options(&mut fields, cx, env, &mut rule, keyed);
    rule.costs = by_name(&mut fields, cx, "costs").unwrap_or_default();
    finish(fields, cx);
    rule
}

/// Judges what is left of a rule or a plan.
pub(super) fn finish(fields: Fields<'_>, cx: &mut Context) {
    if fields.misspells(&["policy", "policies"]) {
        // It has policies, whichever.
        cx.unread.push(fields.path_of("policies"));
    }
    fields.finish(cx, |_| Leftover::Unknown);
}

/// The names under `policy` or `policies`.
pub(super) fn policies(fields: &mut Fields<'_>, cx: &mut Context) -> Vec<String> {
    if fields.has("policy") && fields.has("policies") {
        fields.problem(cx, "policies", "give either policy or policies, not both");
    }
    let one = fields.optional(cx, "policy", text);
    let many = fields.texts(cx, "policies").unwrap_or_default();
    one.map(str::to_owned).into_iter().chain(many).collect()
}

/// The options that a rule and the defaults have in common, laid over what `rule` says. `keyed` is whether anybody has chosen a
/// key.
fn options(fields: &mut Fields<'_>, cx: &mut Context, env: Env<'_>, rule: &mut HttpRule, keyed: bool) {
    fn set<T>(target: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *target = value;
        }
    }
    set(&mut rule.key, key_source(fields, cx, env));
    if let Some(spec) = client_ip(fields, cx) {
        rule.client_ip = spec;
        // Behind a proxy the peer is the proxy, for everybody.
        if !keyed && rule.key == KeySource::Peer {
            rule.key = KeySource::ClientIp;
        }
    }
    set(&mut rule.plans, plans(fields, cx));
    set(&mut rule.missing, fields.optional(cx, "missing", one_of("fallback", &MISSING)));
    set(&mut rule.cost, fields.optional(cx, "cost", positive));
    set(&mut rule.priority, fields.optional(cx, "priority", one_of("priority", &PRIORITIES)));
    set(&mut rule.fail_mode, fail_mode(fields, cx).map(Some));
    set(&mut rule.headers, fields.optional(cx, "headers", header_set));
    set(&mut rule.options, fields.optional(cx, "options", boolean));
    set(&mut rule.shadow, fields.optional(cx, "shadow", boolean));
    set(&mut rule.problem_json, fields.optional(cx, "problemJson", boolean));
    set(&mut rule.drop_on_5xx, fields.optional(cx, "dropOn5xx", boolean));
    set(&mut rule.on_disconnect, fields.optional(cx, "onDisconnect", one_of("outcome", &DISCONNECTS)));
}

fn header_set(value: &Value) -> Converted<HeaderSet> {
    const WORDS: [(&str, HeaderSet); 5] = [
        ("draft", HeaderSet::EMPTY.with(HeaderFamily::Draft)),
        ("structured", HeaderSet::EMPTY.with(HeaderFamily::Structured)),
        ("legacy", HeaderSet::EMPTY.with(HeaderFamily::Legacy)),
        ("openai", HeaderSet::EMPTY.with(HeaderFamily::OpenAi)),
        ("none", HeaderSet::NONE),
    ];
    match value {
        Value::List(items) => items.iter().map(|item| one_of("header family", &FAMILIES)(&item.value)).collect(),
        Value::Text(_) => one_of("header family", &WORDS)(value),
        _ => Err(format!("expected draft, structured, legacy, openai, none or a list of families, found {value}")),
    }
}
