//! YAML to nodes. Aliases, anchors, tags and several documents are refused: a configuration needs none of them, and
//! each can make a text mean something else than it seems to.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::error::{Position, Problem};
use super::node::{Entry, MAX_DEPTH, Node, Source, Value, syntax_error, too_deep};

const ALIAS: &str = "aliases (`*name`) are not supported; a text that starts with * needs quotes";

/// What a pattern such as `/users/{id}` runs into.
const BRACES: &str = "; between { and } a text with braces needs quotes";

/// Parses one document; an empty one is null.
pub(super) fn parse(source: &Source<'_>) -> Result<Node, Problem> {
    let mut events = Events { parser: Parser::new_from_str(source.text), end: source.end() };
    let mut root = None;
    loop {
        let (event, at) = events.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if root.is_some() => {
                return Err(syntax_error(at, "a second document is not supported"));
            }
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            content => root = Some(events.node(content, at, 1)?),
        }
    }
    Ok(root.unwrap_or(Node { at: Position::START, value: Value::Null }))
}

struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    end: Position,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Position), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.start(span))),
            Some(Err(error)) => {
                let at = self.position(error.marker().line(), error.marker().col());
                // Anchors are refused where they are defined, so that no alias has one.
                if error.info().contains("unknown anchor") {
                    return Err(syntax_error(at, ALIAS));
                }
                let hint = if error.info().contains("flow mapping") { BRACES } else { "" };
                Err(syntax_error(at, format_args!("{}{hint}", error.info())))
            }
            None => Ok((Event::StreamEnd, Position::START)),
        }
    }

    fn start(&self, span: Span) -> Position {
        self.position(span.start.line(), span.start.col())
    }

    /// The parser counts lines from 1 and columns from 0, and may report the line after the last.
    fn position(&self, line: usize, column: usize) -> Position {
        if line > self.end.line { self.end } else { Position::new(line.max(1), column + 1) }
    }

    fn node(&mut self, event: Event<'t>, at: Position, depth: usize) -> Result<Node, Problem> {
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) | Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 {
            return Err(syntax_error(
                at,
                "anchors (`&name`) are not supported; a text that starts with & needs quotes",
            ));
        }
        if tagged {
            return Err(syntax_error(at, "tags (`!name`) are not supported; a text that starts with ! needs quotes"));
        }
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => self.list(at, depth)?,
            Event::MappingStart(..) => self.map(at, depth)?,
            _ => return Err(syntax_error(at, "expected a value")),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self, at: Position, depth: usize) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, at, depth + 1)?);
        }
    }

    fn map(&mut self, at: Position, depth: usize) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let mut entries = Vec::new();
        loop {
            let (event, key_at) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                Event::SequenceStart(..) | Event::MappingStart(..) => {
                    return Err(syntax_error(key_at, "a key must be a text, not a list or a map"));
                }
                _ => return Err(syntax_error(key_at, "a key must be a text, without anchor, alias or tag")),
            };
            let (event, at) = self.next()?;
            entries.push(Entry::new(key, key_at, self.node(event, at, depth + 1)?));
        }
    }
}

/// What a scalar without quotes means, by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(value) => Value::Number(value),
            None => Value::Text(text.to_owned()),
        },
    }
}

/// A number of the core schema; infinite or NaN if the text says so or is out of range.
#[allow(clippy::cast_precision_loss)] // a hexadecimal number rounds like a decimal one
fn number(text: &str) -> Option<f64> {
    let whole = |digits: &str, radix| {
        // The parser of the standard library takes a sign, too.
        let value = u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
        value.map(|value| value as f64)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return whole(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return whole(digits, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(f64::NAN),
        _ => {}
    }
    // The parser of the standard library takes these forms and, besides, words such as `inf` and `nan`.
    let starts_as_number = unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    if starts_as_number { text.parse().ok() } else { None }
}
