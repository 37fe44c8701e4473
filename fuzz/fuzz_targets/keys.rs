#![no_main]

use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use throttlekit_tower::key::{
    AllKeys, ApiKey, ClientIp, CookieKey, HeaderKey, KeyExtractor, KeyHasher, PathParam, QueryKey,
};
use throttlekit_tower::{Plain, RequestHead, Tower};

/// The longest key of one value: as it stands, or hashed with a key id.
const LONGEST: usize = 256;

// The first line is the target of the request, the second a header field's value; the third is a pattern.
fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let (target, value, pattern) = (lines.next(), lines.next(), lines.next());
    let mut builder = Request::get(target.unwrap_or_default());
    for name in ["x", "cookie", "authorization", "forwarded"] {
        if let Ok(value) = HeaderValue::from_bytes(value.unwrap_or_default()) {
            builder = builder.header(name, value);
        }
    }
    let Ok(request) = builder.body(()) else { return };
    let head: RequestHead<'_> = RequestHead::new(&request);

    let hasher = || KeyHasher::new("k1", "sixteen bytes or more").expect("a good secret");
    let header = HeaderKey::named("x").expect("a name");
    let mut extractors: Vec<Box<dyn KeyExtractor<Tower<Plain>>>> = vec![
        Box::new(header.clone()),
        Box::new(QueryKey::named("k")),
        Box::new(CookieKey::named("k").expect("a name")),
        Box::new(ApiKey::bearer(hasher())),
        Box::new(ApiKey::query("k", hasher())),
        Box::new(ClientIp::builder().trust_hops(1).header("forwarded").build().expect("good options")),
    ];
    let pattern = std::str::from_utf8(pattern.unwrap_or_default()).unwrap_or_default();
    if let Ok(parameter) = PathParam::of(pattern, "k") {
        extractors.push(Box::new(parameter));
    }
    for extractor in &extractors {
        if let Some(key) = extractor.key(&head) {
            assert!(key.as_str().len() <= LONGEST && !key.as_str().starts_with("peer:"));
        }
    }
    let both = AllKeys::new(header.clone()).and(QueryKey::named("k"));
    assert!(KeyExtractor::<Tower<Plain>>::key(&both, &head).is_none_or(|key| key.as_str().ends_with(',')));
});
