//! TOML to nodes.

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::error::{Position, Problem};
use super::node::{Entry, MAX_DEPTH, Node, Source, Value, syntax_error, too_deep};

/// How many dots a key may have. Each makes a table within a table; the parser bounds brackets (80) and dots by
/// themselves, but not what they amount to together, and drops the tables recursively. With this bound there are at most
/// 1,400 levels.
const MAX_DOTS: usize = 16;

/// Parses one document. All errors of the syntax are reported together.
pub(super) fn parse(source: &Source<'_>) -> Result<Node, Vec<Problem>> {
    if let Some(offset) = long_key(source.text) {
        let message = format!("a key has too many dots, at most {MAX_DOTS} are allowed");
        return Err(vec![syntax_error(source.position(offset), message)]);
    }
    let (document, errors) = DeTable::parse_recoverable(source.text);
    if errors.is_empty() {
        let value = table(source, document.get_ref(), 1).map_err(|problem| vec![problem])?;
        return Ok(Node { at: Position::START, value });
    }
    let at = |error: &toml::de::Error| source.position(error.span().map_or(0, |span| span.start));
    let mut problems: Vec<Problem> = errors.iter().map(|error| syntax_error(at(error), error.message())).collect();
    // One unclosed bracket after the other is reported at the same place.
    problems.dedup();
    Err(problems)
}

/// Where a dotted key begins to be too long.
fn long_key(text: &str) -> Option<usize> {
    let mut dots = 0;
    let tokens = toml_parser::Source::new(text).lex();
    let mut too_long = tokens.filter(|token| {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom | TokenKind::Whitespace | TokenKind::BasicString | TokenKind::LiteralString => {}
            _ => dots = 0,
        }
        dots > MAX_DOTS
    });
    too_long.next().map(|token| token.span().start())
}

fn node(source: &Source<'_>, spanned: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Problem> {
    let at = source.position(spanned.span().start);
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) => Value::Number(integer(number)),
        DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(_) | DeValue::Table(_) if depth > MAX_DEPTH => return Err(too_deep(at)),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(source, item, depth + 1)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(members) => table(source, members, depth)?,
    };
    Ok(Node { at, value })
}

fn table(source: &Source<'_>, members: &DeTable<'_>, depth: usize) -> Result<Value, Problem> {
    let mut members: Vec<_> = members.iter().collect();
    // The parser sorts by name; the text's order is that of the spans.
    members.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&Spanned<DeString<'_>>, _)| {
        let key_at = source.position(key.span().start);
        Ok(Entry::new(key.get_ref().clone().into_owned(), key_at, node(source, value, depth + 1)?))
    };
    members.into_iter().map(entry).collect::<Result<_, _>>().map(Value::Map)
}

#[allow(clippy::cast_precision_loss)] // every other format reads a number as f64 too
fn integer(number: &DeInteger<'_>) -> f64 {
    // Decimal text goes through the float parser, so that a large number is not refused for its type.
    if number.radix() == 10 {
        return number.as_str().parse().unwrap_or(f64::INFINITY);
    }
    i128::from_str_radix(number.as_str(), number.radix()).map_or(f64::INFINITY, |value| value as f64)
}
