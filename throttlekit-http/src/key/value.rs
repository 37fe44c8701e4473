//! Values that a client sends, and how they become keys.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use throttlekit::BuildError;
use throttlekit::identity::BoundedKey;

use super::Key;
use crate::door::Head;

/// The longest value that is a key as it stands, in bytes.
const MAX_PLAIN: usize = 256;

/// The key of a value: as it stands, or hashed if it is long, not UTF-8, holds a NUL, or starts like a key of another kind.
pub(super) fn bounded(value: Cow<'_, [u8]>) -> Key<'_> {
    match value {
        Cow::Borrowed(value) => Key::from(BoundedKey::new(value, MAX_PLAIN)),
        Cow::Owned(value) => Key::from(BoundedKey::new(&value, MAX_PLAIN).as_str().to_owned()),
    }
}

/// The only one of `values`. Of two, which counts would be a guess, and a client could send the other.
fn only<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// The value of the header field `name`, which is in lower case, if it is there once.
pub(crate) fn header<'a>(head: &impl Head<'a>, name: &str) -> Option<&'a [u8]> {
    only(head.values(name))
}

/// The value of the parameter `name` of the query, decoded, if it is there once and not empty.
///
/// Decoded to bytes, as a form has them: values that are no UTF-8 stay different ones.
pub(super) fn query<'a>(head: &impl Head<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
    let pairs = head.query()?.as_bytes().split(|byte| *byte == b'&').map(pair);
    let named = pairs.filter(|(found, _)| *form_decoded(found) == *name.as_bytes());
    Some(form_decoded(only(named)?.1)).filter(|value| !value.is_empty())
}

/// The value of the cookie `name`, without quotes around it, percent-decoded, if it is there once and not empty.
///
/// A request's cookies are pairs between semicolons (RFC 6265, section 4.2.1). Libraries for cookies are about those of
/// responses, with their dates, and would bring a calendar along. Most of them decode name and value, so that a client
/// could write one session in many ways.
pub(super) fn cookie<'a>(head: &impl Head<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
    let lines = head.values("cookie");
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).filter(|pair| pair.contains(&b'=')).map(pair);
    let named = pairs.filter(|(found, _)| percent_decode(found.trim_ascii()).eq(name.bytes()));
    let value = match percent_decoded(only(named)?.1.trim_ascii()) {
        Cow::Borrowed(value) => Cow::Borrowed(unquoted(value)),
        Cow::Owned(value) => Cow::Owned(unquoted(&value).to_vec()),
    };
    Some(value).filter(|value| !value.is_empty())
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// What precedes and what follows the first `=`.
fn pair(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(text).into()
}

/// `text` of a form, in which a plus is a space.
fn form_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decoded(text);
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// The token of `Authorization: Bearer`, if the field is there once and of that scheme (RFC 6750).
pub(super) fn bearer<'a>(head: &impl Head<'a>) -> Option<&'a [u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = header(head, "authorization")?.split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// `name`, if a header field or a cookie can be called so (RFC 9110, section 5.6.2).
pub(super) fn token(option: &'static str, name: &str, allowed: &'static str) -> Result<Box<str>, BuildError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(BuildError::new(option, format!("{name:?}"), allowed));
    }
    Ok(name.into())
}
