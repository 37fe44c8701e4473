#![no_main]

use libfuzzer_sys::fuzz_target;
use throttlekit_llm::{BytesPerToken, Dialect, Framing, ModelRequest, Scanner};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (framing, size, bytes) = input;
    let framing = [Framing::Sse, Framing::Ndjson, Framing::Whole, Framing::Opaque][usize::from(framing % 4)];
    let counter = BytesPerToken::new(1.0).expect("in range");
    let (mut whole, mut parts) = (Scanner::new(framing, counter), Scanner::new(framing, counter));
    whole.feed(bytes);
    for chunk in bytes.chunks(usize::from(size).max(1)) {
        parts.feed(chunk);
        // Nothing is counted that is not there: an escape of six bytes is a character of three at most.
        assert!(parts.tokens() <= bytes.len() as u64);
    }
    whole.finish();
    parts.finish();
    assert_eq!(whole.tokens(), parts.tokens());
    assert_eq!(whole.usage(), parts.usage());
    assert_eq!(whole.dialect(), parts.dialect());
    assert_eq!(whole.has_ended(), parts.has_ended());
    if let Ok(request) = ModelRequest::read(Dialect::Chat, bytes, &mut counter.clone()) {
        assert!(request.with_usage(bytes.to_vec().into()).len() >= bytes.len());
    }
});
