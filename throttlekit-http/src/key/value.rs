//! Values that a client sends, and how they become keys.

use std::borrow::Cow;

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
pub(super) fn query<'a>(head: &impl Head<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
    let pairs = form_urlencoded::parse(head.query()?.as_bytes());
    let value = only(pairs.filter(|(found, _)| found == name))?.1;
    let value = match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
        Cow::Owned(value) => Cow::Owned(value.into_bytes()),
    };
    Some(value).filter(|value| !value.is_empty())
}

/// The value of the cookie `name`, without quotes around it, if it is there once and not empty.
///
/// A request's cookies are pairs between semicolons (RFC 6265, section 4.2.1). Libraries for cookies are about those of
/// responses, with their dates, and would bring a calendar along.
pub(super) fn cookie<'a>(head: &impl Head<'a>, name: &str) -> Option<&'a [u8]> {
    let pairs = head.values("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    let named = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = pair.split_at_checked(equals)?;
        (found.trim_ascii() == name.as_bytes()).then(|| value.strip_prefix(b"=").unwrap_or(value).trim_ascii())
    });
    let value = only(named)?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value)).filter(|value| !value.is_empty())
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
