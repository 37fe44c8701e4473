//! From nodes to the plans of a rule.

use super::decode::section;
use super::decode_blocks::by_name;
use super::decode_http::{PRIORITIES, finish, policies};
use super::fields::{Context, Converted, Fields, Leftover, REQUIRED, number, one_of, text};
use super::node::{Entry, Value, shown_name};
use super::plans::{PlanSource, PlanSpec, PlansSpec};

/// The `plans` of a rule or of the defaults: `None` if they are absent or no such block, `Some(None)` if there are to be
/// none. What is missing or wrong in the block is reported, and has some value.
#[allow(clippy::option_option)] // a rule may say that it has none of the defaults
pub(super) fn plans(fields: &mut Fields<'_>, cx: &mut Context) -> Option<Option<PlansSpec>> {
    const FORMS: &str = "expected none, or a map with from and table";
    fields.know("plans");
    let Entry { node, .. } = fields.peek("plans")?;
    if !matches!(node.value, Value::Map(_)) {
        return fields.optional(cx, "plans", |value| match value {
            Value::Text(word) if word == "none" => Ok(None),
            other => Err(format!("{FORMS}, found {other}")),
        });
    }
    let mut block = section(fields, cx, "plans")?;
    // Where the one could not be read, the other is still judged.
    let from = source(&mut block, cx).unwrap_or(PlanSource::Key);
    let table = table(&mut block, cx).unwrap_or_default();
    block.finish(cx, |_| Leftover::Unknown);
    Some(Some(PlansSpec { from, table }))
}

/// `key`, or a map with one source.
fn source(block: &mut Fields<'_>, cx: &mut Context) -> Option<PlanSource> {
    const ONE: &str = "give one of claim and trustedHeader";
    if !block.has("from") {
        block.missing(cx, "from", REQUIRED);
    }
    let map = block.peek("from").filter(|entry| matches!(entry.node.value, Value::Map(_)));
    if map.is_none() {
        return block.optional(cx, "from", word);
    }
    let problems = cx.problems.len();
    let mut map = section(block, cx, "from")?;
    let claim = map.optional(cx, "claim", text).map(|name| PlanSource::Claim(name.to_owned()));
    let header = map.optional(cx, "trustedHeader", text);
    let header = header.map(|name| PlanSource::TrustedHeader(name.to_ascii_lowercase()));
    let source = match (claim, header) {
        (Some(source), None) | (None, Some(source)) => Some(source),
        (None, None) => None,
        (Some(_), Some(_)) => {
            map.problem(cx, "trustedHeader", format!("{ONE}, not both"));
            None
        }
    };
    let given = map.has("header") || source.is_some();
    map.finish(cx, |name| match name {
        "header" => Leftover::Because(
            "not possible, since a client could choose his plan: call it trustedHeader if something in front of the limit \
             sets the field on every request, in place of what the client sends"
                .to_owned(),
        ),
        _ => Leftover::Unknown,
    });
    if !given && cx.problems.len() == problems {
        block.problem(cx, "from", ONE);
    } else if source.is_none() {
        cx.unread.push(block.path_of("from"));
    }
    source
}

fn word(value: &Value) -> Converted<PlanSource> {
    match value {
        Value::Text(word) if word == "key" => Ok(PlanSource::Key),
        other => Err(format!("expected key, or a map such as {{ claim: NAME }}, found {other}")),
    }
}

fn table(block: &mut Fields<'_>, cx: &mut Context) -> Option<Vec<PlanSpec>> {
    if !block.has("table") {
        block.missing(cx, "table", REQUIRED);
    }
    let Entry { node, .. } = block.take("table")?;
    let path = block.path_of("table");
    let members = cx.members(node, &path, |name| format!("{path}.{}", shown_name(name)))?;
    let mut plans = Vec::with_capacity(members.len());
    for (path, Entry { key, key_at, node, .. }) in members {
        let Some(fields) = Fields::new(cx, &path, *key_at, node) else { continue };
        plans.push(plan(key, fields, cx));
    }
    Some(plans)
}

fn plan(name: &str, mut fields: Fields<'_>, cx: &mut Context) -> PlanSpec {
    let mut plan = PlanSpec::new(name, policies(&mut fields, cx));
    plan.cost = fields.optional(cx, "cost", number);
    plan.costs = by_name(&mut fields, cx, "costs");
    plan.priority = fields.optional(cx, "priority", one_of("priority", &PRIORITIES));
    let keys = fields.list(cx, "keys", key).unwrap_or_default();
    plan.keys = keys.into_iter().map(Option::unwrap_or_default).collect();
    finish(fields, cx);
    plan
}

/// A key, which no message may show.
fn key(value: &Value) -> Converted<String> {
    match value {
        Value::Hidden(text) => Ok(text.clone()),
        _ => Err(format!("expected a text in quotes, found {value}")),
    }
}
