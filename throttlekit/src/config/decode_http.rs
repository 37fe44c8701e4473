//! From nodes to the `http` section.

use super::decode::fail_mode;
use super::fields::{Context, Converted, Fields, Leftover, boolean, one_of, positive, text};
use super::http::{HttpRule, HttpSpec, KeySource};
use super::node::{Entry, Value};
use crate::fallback::MissingKey;
use crate::headers::{HeaderFamily, HeaderSet};
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

const PRIORITIES: [(&str, Priority); 4] =
    [("critical", Priority::Critical), ("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// Reads the section.
pub(super) fn http(mut fields: Fields<'_>, cx: &mut Context) -> HttpSpec {
    let mut base = HttpRule::new("", [""; 0]);
    if let Some(Entry { key_at, node, .. }) = fields.take("defaults") {
        if let Some(mut defaults) = Fields::new(cx, &fields.path_of("defaults"), *key_at, node) {
            options(&mut defaults, cx, &mut base);
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
                    Some(fields) => rule(fields, cx, base.clone()),
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

/// One rule. What is missing or wrong is reported, and has some value.
fn rule(mut fields: Fields<'_>, cx: &mut Context, mut rule: HttpRule) -> HttpRule {
    if let Some(path) = fields.required(cx, "path", text) {
        path.clone_into(&mut rule.path);
    }
    if let Some(methods) = fields.list(cx, "methods", text) {
        rule.methods = methods.into_iter().map(str::to_owned).collect();
    }
    if fields.has("policy") && fields.has("policies") {
        fields.problem(cx, "policies", "give either policy or policies, not both");
    }
    let one = fields.optional(cx, "policy", text);
    let many = fields.list(cx, "policies", text);
    rule.policies = one.into_iter().chain(many.into_iter().flatten()).map(str::to_owned).collect();
    options(&mut fields, cx, &mut rule);
    fields.finish(cx, |_| Leftover::Unknown);
    rule
}

/// The options that a rule and the defaults have in common, laid over what `rule` says.
fn options(fields: &mut Fields<'_>, cx: &mut Context, rule: &mut HttpRule) {
    fn set<T>(target: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *target = value;
        }
    }
    set(&mut rule.key, key_source(fields, cx));
    set(&mut rule.missing, fields.optional(cx, "missing", one_of("fallback", &MISSING)));
    set(&mut rule.cost, fields.optional(cx, "cost", positive));
    set(&mut rule.priority, fields.optional(cx, "priority", one_of("priority", &PRIORITIES)));
    set(&mut rule.fail_mode, fail_mode(fields, cx).map(Some));
    set(&mut rule.headers, fields.optional(cx, "headers", header_set));
    set(&mut rule.options, fields.optional(cx, "options", boolean));
}

fn key_source(fields: &mut Fields<'_>, cx: &mut Context) -> Option<KeySource> {
    let Entry { key_at, node, .. } = fields.take("key")?;
    let path = fields.path_of("key");
    if let Value::Map(_) = node.value {
        let problems = cx.problems.len();
        let mut fields = Fields::new(cx, &path, *key_at, node)?;
        let header = fields.optional(cx, "header", text).map(|name| KeySource::Header(name.to_ascii_lowercase()));
        let constant = fields.optional(cx, "constant", text).map(|text| KeySource::Constant(text.to_owned()));
        fields.finish(cx, |_| Leftover::Unknown);
        return match (header, constant) {
            (Some(_), Some(_)) => {
                cx.problem(path, *key_at, "give either header or constant, not both");
                None
            }
            (None, None) if cx.problems.len() == problems => {
                cx.problem(path, *key_at, "give either header or constant");
                None
            }
            (one, other) => one.or(other),
        };
    }
    if matches!(&node.value, Value::Text(text) if text == "peer") {
        return Some(KeySource::Peer);
    }
    let message = format!("expected peer, {{ header: name }} or {{ constant: text }}, found {}", node.value);
    cx.problem(path, node.at, message);
    None
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
