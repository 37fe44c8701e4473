//! A parsed text, before anything is known about its meaning: the same for every format.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use super::error::{Position, Problem};
use super::validate::MAX_NAME_BYTES;

/// How deep maps and lists may be nested. The schema needs 5 levels.
pub(super) const MAX_DEPTH: usize = 64;

/// A value and where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// What is not finite is refused where a number is read, with its path.
    Number(f64),
    /// A number that no message may show in place of something else: it may be a key or a password of digits.
    HiddenNumber(f64),
    Text(String),
    /// A text that no message may show.
    Hidden(String),
    /// A date or a time, which only TOML has.
    Datetime,
    List(Vec<Node>),
    /// In the order of the text; a key may occur more than once.
    Map(Vec<Entry>),
}

impl Node {
    /// Makes every text and number in it one that no message may show, and its names ones that are shown if they are known.
    pub(super) fn hide(&mut self) {
        match &mut self.value {
            Value::Text(text) => self.value = Value::Hidden(std::mem::take(text)),
            Value::Number(number) => self.value = Value::HiddenNumber(*number),
            Value::List(items) => items.iter_mut().for_each(Self::hide),
            Value::Map(entries) => {
                for entry in entries {
                    entry.node.hide();
                    entry.hidden = true;
                }
            }
            Value::Null | Value::Bool(_) | Value::HiddenNumber(_) | Value::Hidden(_) | Value::Datetime => {}
        }
    }
}

/// Hides the values of those entries that are `secret`, and names beside them that may be a part of one: within braces a
/// comma ends a text without quotes, and what comes behind it is a name.
pub(super) fn hide_values(entries: &mut [Entry], secret: impl Fn(&Entry) -> bool) {
    let mut cut = false;
    for entry in entries.iter_mut().filter(|entry| secret(entry)) {
        cut |= !matches!(entry.node.value, Value::Map(_) | Value::List(_));
        entry.node.hide();
    }
    for entry in entries.iter_mut().filter(|_| cut) {
        entry.hidden = true;
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) node: Node,
    /// Whether the key may be a part of something that no message may show: a forgotten space or quote makes one of it.
    pub(super) hidden: bool,
}

impl Entry {
    pub(super) fn new(key: String, key_at: Position, node: Node) -> Self {
        Self { key, key_at, node, hidden: false }
    }
}

/// What was found, for "expected ..., found ...".
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "the number {}", number_text(*value)),
            Self::Text(value) => write!(f, "the text {}", quoted(value)),
            Self::HiddenNumber(_) => f.write_str("a number"),
            Self::Hidden(_) => f.write_str("a text"),
            Self::Datetime => f.write_str("a date or time"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}

/// A number as people write it; very large and very small ones with an exponent.
pub(super) fn number_text(value: f64) -> String {
    if value == 0.0 || (1e-6..1e17).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

/// How much of a text a message shows.
const SHOWN_CHARS: usize = 60;

/// A text in quotes, escaped and cut short.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", short(text))
}

/// The beginning of a text, with dots for what is left out.
fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A name for a path: control characters are escaped, so that a problem stays on one line. One that is longer than a name
/// may be is cut short, since each path below it is written with it.
pub(super) fn shown_name(name: &str) -> Cow<'_, str> {
    let whole = if name.len() > MAX_NAME_BYTES { short(name) } else { Cow::Borrowed(name) };
    if !whole.chars().any(char::is_control) {
        return whole;
    }
    let escaped = whole.escape_debug().to_string();
    if escaped.len() > MAX_NAME_BYTES { Cow::Owned(short(&escaped).into_owned()) } else { Cow::Owned(escaped) }
}

/// A name for a list of names.
pub(super) fn listed_name(name: &str) -> String {
    short(&shown_name(name)).into_owned()
}

/// A text with the means to find positions in it.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    /// Where each line starts.
    lines: Vec<usize>,
    /// The last answer: texts are read forwards, so the next one is counted from here.
    last: Cell<(usize, Position)>,
}

impl<'t> Source<'t> {
    /// A byte-order mark at the start is no part of the text.
    pub(super) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, last: Cell::new((0, Position::START)) }
    }

    /// The position of a byte; of the end for an offset beyond it.
    pub(super) fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let (last_offset, last) = self.last.get();
        let (from, column) = if last.line == line && last_offset <= offset {
            (last_offset, last.column)
        } else {
            (self.line_offset(line), 1)
        };
        let position = Position::new(line, column + self.text[from..offset].chars().count());
        self.last.set((offset, position));
        position
    }

    /// The offset of a line, counted from 1; the end for a line beyond it.
    pub(super) fn line_offset(&self, line: usize) -> usize {
        self.lines.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }

    /// The position behind the last character.
    pub(super) fn end(&self) -> Position {
        self.position(self.text.len())
    }
}

/// A text that does not parse.
pub(super) fn syntax_error(at: Position, message: impl fmt::Display) -> Problem {
    Problem { path: "config".to_owned(), position: Some(at), message: message.to_string().replace('\n', "; ") }
}

/// A text that nests deeper than [`MAX_DEPTH`].
pub(super) fn too_deep(at: Position) -> Problem {
    syntax_error(at, format_args!("nested too deep, at most {MAX_DEPTH} levels are allowed"))
}
