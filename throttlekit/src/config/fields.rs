//! Reading the fields of a map, one by one, and saying what is wrong with those that are left over.

use std::collections::{HashMap, HashSet};

use super::error::{Position, Problem};
use super::node::{Entry, Node, Value, listed_name, number_text, quoted, shown_name};
use crate::error::BuildError;

/// What reading has found out so far.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) problems: Vec<Problem>,
    /// The paths of what could not be read. A field too many is no such thing: the others are still judged.
    pub(super) unread: Vec<String>,
    /// The paths of fields that are required and not there, each with a problem of its own.
    missing: HashSet<String>,
    /// Where each value is, by its path.
    pub(super) positions: HashMap<String, Position>,
}

impl Context {
    pub(super) fn problem(&mut self, path: impl Into<String>, at: Position, message: impl Into<String>) {
        let path = path.into();
        self.unread.push(path.clone());
        self.too_many(path, at, message);
    }

    /// A problem with a field that nothing depends on.
    fn too_many(&mut self, path: impl Into<String>, at: Position, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), position: Some(at), message: message.into() });
    }

    /// The members of a map under their paths, each name once; a problem for what is no map and for repeated names.
    pub(super) fn members<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        path_of: impl Fn(&str) -> String,
    ) -> Option<Vec<(String, &'n Entry)>> {
        let Value::Map(entries) = &node.value else {
            let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let runs_on =
                matches!(&node.value, Value::Text(text) if text.split_once(':').is_some_and(|(start, _)| name(start)));
            let space = if runs_on { "; a field is written with a space behind its colon" } else { "" };
            self.problem(path, node.at, format!("expected a map, found {}{space}", node.value));
            return None;
        };
        let mut first: HashMap<&str, Position> = HashMap::new();
        let mut members = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = path_of(&entry.key);
            if let Some(Position { line, column }) = first.get(entry.key.as_str()) {
                let path = if entry.hidden { path_of(HIDDEN) } else { path };
                self.problem(path, entry.key_at, format!("given twice, first at line {line}, column {column}"));
                continue;
            }
            first.insert(&entry.key, entry.key_at);
            // What is wrong with a number or a text is there; what is wrong with a map as a whole is at its name.
            let at = match entry.node.value {
                Value::Null | Value::List(_) | Value::Map(_) => entry.key_at,
                _ => entry.node.at,
            };
            self.positions.insert(path.clone(), at);
            members.push((path, entry));
        }
        Some(members)
    }
}

/// Whether the value at `path` is the one at `outer`, or a part of it.
pub(super) fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What a converter makes of a value: the result, or what is wrong with it.
pub(super) type Converted<T> = Result<T, String>;

/// What a builder checks of one number by itself.
pub(super) type Range = fn(&'static str, f64) -> Result<f64, BuildError>;

/// The fields of one map. Each is taken by its name; [`finish`](Self::finish) reports the others.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    path: String,
    at: Position,
    left: Vec<(String, &'n Entry)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// `at` is where the absence of a field is reported.
    pub(super) fn new(cx: &mut Context, path: &str, at: Position, node: &'n Node) -> Option<Self> {
        let left = cx.members(node, path, |name| format!("{path}.{}", shown_name(name)))?;
        Some(Self { path: path.to_owned(), at, left, known: Vec::new() })
    }

    /// The path of a field of this map.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value of a field; null counts as absent.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.know(name);
        let index = self.left.iter().position(|(_, entry)| entry.key == name)?;
        let (_, entry) = self.left.swap_remove(index);
        if matches!(entry.node.value, Value::Null) { None } else { Some(entry) }
    }

    /// Says that there is a field of this name, which is not asked for here.
    pub(super) fn know(&mut self, name: &'static str) {
        // One that is left blank is looked for twice.
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    /// Takes a field that has no value; reports it if it is there.
    pub(super) fn blank(&mut self, cx: &mut Context, name: &'static str, message: &str) {
        if self.peek(name).is_some() {
            self.problem(cx, name, message);
        }
        self.take(name);
    }

    /// The value of a field that was not taken yet, and stays so.
    pub(super) fn peek(&self, name: &str) -> Option<&'n Entry> {
        self.left.iter().find(|(_, entry)| entry.key == name).map(|(_, entry)| *entry)
    }

    /// The converted value of a field; `None` if it is absent or wrong.
    pub(super) fn optional<T>(
        &mut self,
        cx: &mut Context,
        name: &'static str,
        convert: impl FnOnce(&'n Value) -> Converted<T>,
    ) -> Option<T> {
        let Entry { node, .. } = self.take(name)?;
        convert(&node.value).map_err(|message| cx.problem(self.path_of(name), node.at, message)).ok()
    }

    /// As [`optional`](Self::optional), but absence is a problem.
    pub(super) fn required<T>(
        &mut self,
        cx: &mut Context,
        name: &'static str,
        convert: impl FnOnce(&'n Value) -> Converted<T>,
    ) -> Option<T> {
        if !self.has(name) {
            self.missing(cx, name, REQUIRED);
        }
        self.optional(cx, name, convert)
    }

    /// As [`optional`](Self::optional), for a number in the range that a builder gives it. One that is out of range is
    /// reported in the builder's words, and is a number all the same: the rest of the map is still judged.
    pub(super) fn ranged(
        &mut self,
        cx: &mut Context,
        name: &'static str,
        convert: impl FnOnce(&'n Value) -> Converted<f64>,
        range: Range,
    ) -> Option<f64> {
        let Entry { node, .. } = self.take(name)?;
        let path = self.path_of(name);
        let number = match convert(&node.value) {
            Ok(number) => number,
            Err(message) => {
                cx.problem(path, node.at, message);
                return None;
            }
        };
        if let Err(error) = range(name, number) {
            cx.too_many(path, node.at, format!("{} (found {})", error.allowed(), number_text(number)));
        }
        Some(number)
    }

    /// Reports the absence of a field, unless another one turns out to be a misspelling of it.
    pub(super) fn missing(&mut self, cx: &mut Context, name: &'static str, message: impl Into<String>) {
        self.know(name);
        let path = self.path_of(name);
        cx.missing.insert(path.clone());
        cx.problem(path, self.at, message);
    }

    /// Takes back that a field is missing.
    pub(super) fn not_missing(&self, cx: &mut Context, name: &str) {
        let path = self.path_of(name);
        if cx.missing.remove(&path) {
            // It is one of the last.
            if let Some(index) = cx.problems.iter().rposition(|problem| problem.path == path) {
                cx.problems.remove(index);
            }
        }
    }

    /// Whether a field that nobody took is a misspelling of one of `names`.
    pub(super) fn misspells(&self, names: &[&'static str]) -> bool {
        self.left.iter().any(|(_, entry)| nearest(&entry.key, names).is_some())
    }

    /// The converted items of a list, `None` for each that is wrong; `None` if it is absent or no list.
    pub(super) fn list<T>(
        &mut self,
        cx: &mut Context,
        name: &'static str,
        convert: impl Fn(&'n Value) -> Converted<T>,
    ) -> Option<Vec<Option<T>>> {
        let Entry { node, .. } = self.take(name)?;
        let path = self.path_of(name);
        let Value::List(items) = &node.value else {
            let brackets = if matches!(node.value, Value::Text(_)) { "; put it in brackets" } else { "" };
            cx.problem(path, node.at, format!("expected a list, found {}{brackets}", node.value));
            return None;
        };
        let read = |(index, item): (usize, &'n Node)| {
            let path = format!("{path}[{index}]");
            cx.positions.insert(path.clone(), item.at);
            convert(&item.value).map_err(|message| cx.problem(path, item.at, message)).ok()
        };
        Some(items.iter().enumerate().map(read).collect())
    }

    /// The texts of a list; `None` if it is absent or no list. One that is wrong is empty, so that the others keep their
    /// numbers.
    pub(super) fn texts(&mut self, cx: &mut Context, name: &'static str) -> Option<Vec<String>> {
        let texts = self.list(cx, name, text)?;
        Some(texts.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    }

    /// Whether a field that was not taken yet has a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some_and(|entry| !matches!(entry.node.value, Value::Null))
    }

    /// Reports a problem with a field, or with the absence of it.
    pub(super) fn problem(&self, cx: &mut Context, name: &str, message: impl Into<String>) {
        let path = self.path_of(name);
        let at = cx.positions.get(&path).copied().unwrap_or(self.at);
        cx.problem(path, at, message);
    }

    /// Judges every field that was not taken. An unknown one is reported with the nearest name that was asked for.
    pub(super) fn finish(self, cx: &mut Context, judge: impl Fn(&str) -> Leftover) {
        for (path, entry) in &self.left {
            let known = match judge(&entry.key) {
                Leftover::Fine => continue,
                Leftover::Because(message) => {
                    cx.too_many(path, entry.key_at, message);
                    continue;
                }
                Leftover::Unknown => self.known.clone(),
                Leftover::UnknownAmong(known) => known,
            };
            // What was misspelt is there.
            if let Some(meant) = nearest(&entry.key, &known) {
                self.not_missing(cx, meant);
            }
            // What is nearly a known name was meant to be it; anything else may be a part of a secret.
            let is_name = !entry.hidden || (is_word(&entry.key) && closest(&entry.key, &known).is_some());
            let path = if is_name { path.clone() } else { self.path_of(HIDDEN) };
            let message = format!("unknown field, {}", suggestion(&entry.key, known.into_iter()));
            cx.too_many(path, entry.key_at, message);
        }
    }
}

/// What is to be said of a field that nobody took.
#[derive(Debug)]
pub(super) enum Leftover {
    /// Nothing.
    Fine,
    /// That it is unknown.
    Unknown,
    /// That it is unknown, where these fields are known.
    UnknownAmong(Vec<&'static str>),
    /// Something better than that.
    Because(String),
}

/// What is wrong with a field that is not there.
pub(super) const REQUIRED: &str = "required";

/// How many known words a message lists.
const LISTED: usize = 20;

/// What stands in a path for a name that may be a secret.
const HIDDEN: &str = "(hidden)";

/// Whether a field could have this name. A forgotten space or colon makes one that is none of a value.
fn is_word(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The longest word that is compared with others, in bytes: that takes as many steps as one is long times the other.
const LONGEST: usize = 100;

/// A word without case and separators, which are how most names go wrong.
fn plain(word: &str) -> String {
    word.replace(['_', '-', ' '], "").to_lowercase()
}

/// The known word that is nearest to an unknown one, if that is a few letters away.
fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let target = plain(word);
    let length = target.chars().count();
    let distance = |candidate: &str| strsim::osa_distance(&target, &plain(candidate));
    let known = known.iter().copied().filter(|candidate| candidate.len() <= LONGEST);
    let nearest = known.map(|candidate| (distance(candidate), candidate)).min_by_key(|(distance, _)| *distance);
    let close = nearest.filter(|(distance, _)| *distance <= (length / 3).max(1) && *distance < length);
    close.map(|(_, nearest)| nearest)
}

/// The known word that an unknown one was probably meant to be: the closest, or the only one that is part of it, has it as a
/// part, or begins the same.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Shorter ones are part of others by chance.
    const PART: usize = 4;
    /// As much may be a word of its own, as the start of `refillPerSec` is.
    const START: usize = 5;
    if let Some(closest) = closest(word, known) {
        return Some(closest);
    }
    if word.len() > LONGEST {
        return None;
    }
    let target = plain(word);
    let length = target.chars().count();
    let mut related = known.iter().copied().filter(|candidate| candidate.len() <= LONGEST).filter(|candidate| {
        let text = plain(candidate);
        let is_part = text.len().min(target.len()) >= PART && (text.contains(&target) || target.contains(&text));
        let start = text.chars().zip(target.chars()).take_while(|(one, other)| one == other).count();
        is_part || (start >= START && start * 2 >= length)
    });
    related.next().filter(|_| related.next().is_none())
}

/// For messages about an unknown word: the nearest known one, or all of them.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    if let Some(nearest) = nearest(word, &known) {
        return format!("did you mean {}?", quoted(nearest));
    }
    let listed: Vec<String> = known.iter().take(LISTED).map(|name| listed_name(name)).collect();
    match known.len() {
        0 => "there are none".to_owned(),
        1..=LISTED => format!("known are {}", listed.join(", ")),
        _ => format!("known are {}, ...", listed.join(", ")),
    }
}

/// Any text.
pub(super) fn text(value: &Value) -> Converted<&str> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Number(_) | Value::HiddenNumber(_) | Value::Bool(_) | Value::Datetime => {
            Err(format!("expected a text, found {value}; a text that looks like something else needs quotes"))
        }
        _ => Err(format!("expected a text, found {value}")),
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Converted<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        _ => Err(format!("expected true or false, found {value}")),
    }
}

/// Any finite number.
pub(super) fn number(value: &Value) -> Converted<f64> {
    match value {
        Value::Number(number) | Value::HiddenNumber(number) if number.is_finite() => Ok(*number),
        Value::Number(number) | Value::HiddenNumber(number) => {
            Err(format!("must be a finite number (found {})", number_text(*number)))
        }
        Value::Text(text) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Err(format!("expected a number, found {value}; write it without quotes"))
        }
        _ => Err(format!("expected a number, found {value}")),
    }
}

/// A number above 0.
pub(super) fn positive(value: &Value) -> Converted<f64> {
    let number = number(value)?;
    if number > 0.0 {
        Ok(number)
    } else {
        Err(format!("must be a finite number above 0 (found {})", number_text(number)))
    }
}

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<i64> + Into<i64> + Copy>(min: T, max: T) -> impl Fn(&Value) -> Converted<T> {
    move |value| {
        let number = number(value)?;
        #[allow(clippy::cast_possible_truncation)] // saturates, and only whole numbers pass
        let whole = (number.fract() == 0.0).then_some(number as i64);
        whole
            .filter(|whole| (min.into()..=max.into()).contains(whole))
            .and_then(|whole| T::try_from(whole).ok())
            .ok_or_else(|| {
                let shown = number_text(number);
                format!("must be a whole number from {} to {} (found {shown})", min.into(), max.into())
            })
    }
}

/// One word of a closed set.
pub(super) fn one_of<T: Copy>(what: &str, words: &[(&str, T)]) -> impl Fn(&Value) -> Converted<T> {
    move |value| {
        let word = text(value)?;
        let found = words.iter().find(|(name, _)| *name == word);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            format!("unknown {what} {}, {}", quoted(word), suggestion(word, words.iter().map(|(name, _)| *name)))
        })
    }
}
