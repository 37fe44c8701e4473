//! JSON to nodes, strictly as RFC 8259 has it.
//!
//! `serde_json` hands out values as slices of the text, and the place of a slice in the text is its position. Each level
//! is scanned once more for the level below it; the depth is bounded, so that costs at most a constant factor.

use std::fmt;

use serde_core::Deserialize;
use serde_core::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Problem;
use super::node::{Entry, MAX_DEPTH, Node, Source, Value, syntax_error, too_deep};

/// Parses one document.
pub(super) fn parse(source: &Source<'_>) -> Result<Node, Problem> {
    let raw: &RawValue = serde_json::from_str(source.text).map_err(|error| {
        // Columns count bytes from 1, and are 0 for a line that has just begun.
        let offset = source.line_offset(error.line()) + error.column().saturating_sub(1);
        syntax_error(source.position(offset), message(&error))
    })?;
    node(source, raw.get(), 1)
}

/// `raw` is a well-formed value inside the text of `source`, without white space around it.
fn node(source: &Source<'_>, raw: &str, depth: usize) -> Result<Node, Problem> {
    let at = source.position(offset(source, raw));
    let invalid = |error: serde_json::Error| syntax_error(at, message(&error));
    let value = match raw.as_bytes().first() {
        Some(b'{' | b'[') if depth > MAX_DEPTH => return Err(too_deep(at)),
        Some(b'{') => {
            let Members(members) = serde_json::from_str(raw).map_err(invalid)?;
            let entry = |(key, value): (&RawValue, &RawValue)| {
                let key_at = source.position(offset(source, key.get()));
                let text = serde_json::from_str(key.get()).map_err(|error| syntax_error(key_at, message(&error)));
                Ok(Entry::new(text?, key_at, node(source, value.get(), depth + 1)?))
            };
            Value::Map(members.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(invalid)?;
            Value::List(items.into_iter().map(|item| node(source, item.get(), depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Value::Text(serde_json::from_str(raw).map_err(invalid)?),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => match raw.parse() {
            Ok(value) => Value::Number(value),
            Err(_) => return Err(syntax_error(at, format_args!("{raw} is not a number"))),
        },
    };
    Ok(Node { at, value })
}

/// Where `part` starts in the text that it is a slice of.
fn offset(source: &Source<'_>, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(source.text.as_ptr().addr())
}

/// The message without its " at line 1 column 2", which is not always a position in the whole text.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The members of an object in their order, repeated names included.
struct Members<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
