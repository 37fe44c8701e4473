//! The text form of states: numbers, flat arrays and flat objects of JSON, and nothing else.
//!
//! Numbers are written with the fewest digits that read back to the same bits and are parsed correctly rounded; both is
//! what the standard library does.

use std::fmt::Write;

/// A value that a state may hold.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Numbers(Vec<f64>),
}

impl Value {
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Numbers(_) => None,
        }
    }

    pub(crate) fn numbers(self) -> Option<Vec<f64>> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Number(_) => None,
        }
    }
}

/// The text of one number.
pub(crate) fn write_number(number: f64) -> String {
    // The standard form has no point in a whole number.
    number.to_string()
}

/// Appends `[a,b,...]`.
pub(crate) fn push_numbers(text: &mut String, numbers: impl IntoIterator<Item = f64>) {
    text.push('[');
    for (i, number) in numbers.into_iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{number}");
    }
    text.push(']');
}

/// The number that is all of `text`.
pub(crate) fn read_number(text: &str) -> Option<f64> {
    Reader::whole(text, Reader::number)
}

/// The flat array of numbers that is all of `text`.
pub(crate) fn read_numbers(text: &str) -> Option<Vec<f64>> {
    Reader::whole(text, Reader::numbers)
}

/// The flat object that is all of `text`; each member is given to `member` in the order of the text. A repeated member
/// is given again, so that the last one counts, as elsewhere with JSON.
pub(crate) fn read_object(text: &str, mut member: impl FnMut(&str, Value)) -> Option<()> {
    Reader::whole(text, |reader| reader.object(&mut member))
}

/// What is left of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Reads one value with nothing but white space around it.
    fn whole<T>(text: &'a str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self { rest: text };
        reader.skip_space();
        let value = read(&mut reader)?;
        reader.skip_space();
        reader.rest.is_empty().then_some(value)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes `token` and the white space before it.
    fn token(&mut self, token: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes digits; how many there were.
    fn digits(&mut self) -> usize {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = self.rest.len() - rest.len();
        self.rest = rest;
        count
    }

    /// Takes one of `marks` if it is next.
    fn mark(&mut self, marks: &[char]) -> bool {
        let rest = self.rest.strip_prefix(marks);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A number by the grammar of JSON, which is narrower than that of the standard library. Too large for `f64` is
    /// refused: no state holds an infinity.
    fn number(&mut self) -> Option<f64> {
        self.skip_space();
        let text = self.rest;
        self.mark(&['-']);
        let leading_zero = self.rest.starts_with('0');
        match self.digits() {
            0 => return None,
            count if leading_zero && count > 1 => return None,
            _ => {}
        }
        if self.mark(&['.']) && self.digits() == 0 {
            return None;
        }
        if self.mark(&['e', 'E']) {
            self.mark(&['+', '-']);
            if self.digits() == 0 {
                return None;
            }
        }
        let number: f64 = text.strip_suffix(self.rest)?.parse().ok()?;
        number.is_finite().then_some(number)
    }

    fn numbers(&mut self) -> Option<Vec<f64>> {
        if !self.token('[') {
            return None;
        }
        let mut numbers = Vec::new();
        if self.token(']') {
            return Some(numbers);
        }
        loop {
            numbers.push(self.number()?);
            if self.token(']') {
                return Some(numbers);
            }
            if !self.token(',') {
                return None;
            }
        }
    }

    /// A member's name; one with an escape names no member of a state and is refused.
    fn name(&mut self) -> Option<&'a str> {
        if !self.token('"') {
            return None;
        }
        let (name, rest) = self.rest.split_once('"')?;
        self.rest = rest;
        (!name.contains('\\')).then_some(name)
    }

    fn object(&mut self, member: &mut impl FnMut(&str, Value)) -> Option<()> {
        if !self.token('{') {
            return None;
        }
        if self.token('}') {
            return Some(());
        }
        loop {
            let name = self.name()?;
            if !self.token(':') {
                return None;
            }
            self.skip_space();
            let value = if self.rest.starts_with('[') {
                Value::Numbers(self.numbers()?)
            } else {
                Value::Number(self.number()?)
            };
            member(name, value);
            if self.token('}') {
                return Some(());
            }
            if !self.token(',') {
                return None;
            }
        }
    }
}
