//! Reading the chain of proxies from the right, where the trust is.
//!
//! The rightmost entries were written by proxies of one's own, those to the left by anybody. So nothing is looked at
//! before what is to its right: an unbalanced quote of a client cannot swallow what a proxy put behind it.

use std::net::IpAddr;

use super::address::{parse_address, parse_leniently};

/// How a header field writes its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Addresses between commas, as in `X-Forwarded-For`.
    List,
    /// Elements of RFC 7239, as in `Forwarded`.
    Forwarded,
}

/// The entries of one line from the right; those that are empty are left out.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    form: Form,
    lenient: bool,
    rest: Option<&'a [u8]>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(form: Form, lenient: bool, line: &'a [u8]) -> Self {
        Self { form, lenient, rest: Some(line) }
    }

    fn address(&self, entry: &[u8]) -> Option<IpAddr> {
        let text = match self.form {
            Form::List => entry,
            Form::Forwarded => forwarded_for(entry)?,
        };
        let text = std::str::from_utf8(text).ok()?;
        if self.lenient { parse_leniently(text) } else { parse_address(text) }
    }
}

impl Iterator for Entries<'_> {
    /// `None` for an entry that is no address.
    type Item = Option<IpAddr>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.rest?;
            let comma = match self.form {
                Form::List => line.iter().rposition(|byte| *byte == b','),
                Form::Forwarded => last_comma(line),
            };
            let entry;
            (self.rest, entry) = match comma.and_then(|comma| cut(line, comma)) {
                Some((rest, entry)) => (Some(rest), entry),
                None => (None, line),
            };
            let entry = entry.trim_ascii();
            if !entry.is_empty() {
                return Some(self.address(entry));
            }
        }
    }
}

/// What is before and after the byte at `at`.
fn cut(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    Some((bytes.get(..at)?, bytes.get(at.checked_add(1)?..)?))
}

/// The last comma that is not inside quotes. If the quotes do not match, there is none: the rest is one entry.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut end = line.len();
    loop {
        let at = line.get(..end)?.iter().rposition(|byte| matches!(byte, b',' | b'"'))?;
        if line.get(at) == Some(&b',') {
            return Some(at);
        }
        end = opening_quote(line.get(..at)?)?;
    }
}

/// Where the quotes open that close right behind `line`.
fn opening_quote(line: &[u8]) -> Option<usize> {
    let mut end = line.len();
    loop {
        let at = line.get(..end)?.iter().rposition(|byte| *byte == b'"')?;
        let escapes = line.get(..at)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(at);
        }
        end = at;
    }
}

/// The value of `for` in one element of `Forwarded`; `None` if the element is malformed or does not say it once.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut node = None;
    let mut rest = element.trim_ascii();
    while !rest.is_empty() {
        if let [b';', more @ ..] = rest {
            rest = more.trim_ascii_start();
            continue;
        }
        let (name, after) = cut(rest, rest.iter().position(|byte| *byte == b'=')?)?;
        let (value, after) = value(after)?;
        if !is_token(name) || (name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some()) {
            return None;
        }
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b';', ..]) {
            return None;
        }
    }
    node
}

/// A value in quotes or not, and what is behind it. Addresses with colons or brackets should be quoted, but are read if
/// they are not. Escapes stay: no address has one.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let [b'"', quoted @ ..] = text else {
        let end = text.iter().position(|byte| matches!(byte, b';' | b'"' | b' ' | b'\t')).unwrap_or(text.len());
        return text.split_at_checked(end);
    };
    let mut escaped = false;
    let end = quoted.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    cut(quoted, end)
}

/// A token of HTTP.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
