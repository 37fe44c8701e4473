//! Header fields in the types of the `http` crate.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use throttlekit_http::{FIELD_NAMES, FieldText, Present};

/// The name at a place of [`FIELD_NAMES`], a constant: a copy of one costs less than the clone of a variable.
macro_rules! name_at {
    ($place:expr; $($at:literal)*) => {{
        const { assert!(FIELD_NAMES.len() == [$($at),*].len(), "each name has its place") };
        match $place {
            $($at => const { HeaderName::from_static(FIELD_NAMES[$at]) },)*
            _ => return,
        }
    }};
}

/// Sets the field whose name is at `name` of [`FIELD_NAMES`].
#[inline]
pub(crate) fn put(map: &mut HeaderMap, name: usize, text: FieldText, present: Present) {
    let name = name_at!(name; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    if present == Present::Keep && map.contains_key(&name) {
        return;
    }
    let value = match text {
        FieldText::Static(text) => HeaderValue::from_static(text),
        FieldText::Shared(text) => match HeaderValue::from_maybe_shared(text) {
            Ok(value) => value,
            Err(_) => return,
        },
    };
    map.insert(name, value);
}
