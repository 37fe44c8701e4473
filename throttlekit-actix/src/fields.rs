//! Header fields in the types of actix-web.

use std::sync::LazyLock;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use throttlekit_http::{FIELD_NAMES, Present};

static NAMES: LazyLock<[HeaderName; FIELD_NAMES.len()]> = LazyLock::new(|| FIELD_NAMES.map(HeaderName::from_static));

/// Sets the field whose name is at `name` of [`FIELD_NAMES`].
#[inline]
pub(crate) fn put(map: &mut HeaderMap, name: usize, text: Bytes, present: Present) {
    let Some(name) = NAMES.get(name) else { return };
    if present == Present::Replace || !map.contains_key(name) {
        if let Ok(value) = HeaderValue::from_maybe_shared(text) {
            map.insert(name.clone(), value);
        }
    }
}
