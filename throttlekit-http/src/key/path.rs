//! Parameters of the path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use throttlekit::BuildError;

use super::{Key, KeyExtractor, value};
use crate::door::{Door, Head as _};

/// What a parameter of a pattern stands for in the path of a request, percent-decoded: in `/users/{id}` the `id`.
///
/// Treated like the value of a [`HeaderKey`](super::HeaderKey). It is for requests that match the pattern; of others, a
/// segment at the same place is the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathParam {
    /// How many slashes precede its segment.
    segment: usize,
    /// What precedes and follows it there, decoded.
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
    /// Whether it stands for all segments from there on.
    rest: bool,
}

impl PathParam {
    /// The parameter `name` of `pattern`, in axum's syntax: `/users/{id}`, `/files/{*rest}`.
    ///
    /// # Errors
    ///
    /// If the pattern has no such parameter.
    pub fn of(pattern: &str, name: &str) -> Result<Self, BuildError> {
        let mut segments = pattern.split('/').enumerate();
        segments.find_map(|(index, segment)| Self::in_segment(index, segment, name)).ok_or_else(|| {
            let allowed = format!("must be a parameter of the path {pattern:?}");
            BuildError::new("pathParam.name", format!("{name:?}"), allowed)
        })
    }

    fn in_segment(index: usize, segment: &str, name: &str) -> Option<Self> {
        // A doubled brace is a brace of the text.
        let mut from = 0;
        let open = loop {
            let open = from + segment.get(from..)?.find('{')?;
            if !segment.get(open + 1..)?.starts_with('{') {
                break open;
            }
            from = open + 2;
        };
        let (found, suffix) = segment.get(open + 1..)?.split_once('}')?;
        let plain = |text: &str| {
            let text = text.replace("{{", "{").replace("}}", "}");
            percent_decode_str(&text).collect()
        };
        (found.trim_start_matches('*') == name).then(|| Self {
            segment: index,
            prefix: plain(&segment[..open]),
            suffix: plain(suffix),
            rest: found.starts_with('*'),
        })
    }
}

impl<D: Door> KeyExtractor<D> for PathParam {
    fn key<'a>(&'a self, request: &D::Head<'a>) -> Option<Key<'a>> {
        let path = request.path();
        let segment = if self.rest {
            path.splitn(self.segment + 1, '/').nth(self.segment)?
        } else {
            path.split('/').nth(self.segment)?
        };
        // Otherwise each way to write a letter would be another key.
        let segment: Cow<'a, [u8]> = percent_decode_str(segment).into();
        let end = segment.strip_suffix(&*self.suffix)?.len();
        let text = match segment {
            Cow::Borrowed(segment) => segment.get(..end)?.strip_prefix(&*self.prefix).map(Cow::Borrowed),
            Cow::Owned(segment) => {
                segment.get(..end)?.strip_prefix(&*self.prefix).map(|text| Cow::Owned(text.to_vec()))
            }
        };
        text.filter(|text| !text.is_empty()).map(value::bounded)
    }
}
