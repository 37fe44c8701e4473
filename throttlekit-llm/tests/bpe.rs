//! The tokenizer of a model.
#![cfg(feature = "bpe")]

use throttlekit_llm::{Bpe, BytesPerToken, CountTokens, Framing, Scanner};

#[test]
fn chunks_are_counted_by_themselves_wherever_characters_are_cut() {
    let text = "Grüße, 世界! \u{1F600} It is 12:30.";
    let mut whole = Bpe::o200k();
    whole.text(text.as_bytes());
    let tokens = whole.tokens();
    assert!((8..20).contains(&tokens), "{tokens}");
    for at in 0..=text.len() {
        let mut parts = Bpe::o200k();
        let (head, tail) = text.as_bytes().split_at(at);
        parts.text(head);
        let before = parts.tokens();
        parts.text(tail);
        let after = parts.tokens();
        assert!(before <= after && after >= tokens && after <= tokens + 3, "{after} cut at {at}");
    }
}

#[test]
fn what_is_no_text_counts_too() {
    let mut counter = Bpe::cl100k();
    counter.text(b"\xff\xffab\xc3");
    assert_eq!(counter.tokens(), 3, "two bytes that are no characters, and a word");
    counter.text(b"\xa9");
    assert_eq!(counter.tokens(), 4, "an e with an accent");
    assert_eq!(counter.tokens(), 4);
}

#[test]
fn it_counts_answers() {
    let mut scanner = Scanner::new(Framing::Sse, Bpe::o200k());
    scanner.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n");
    scanner.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\" internationalization\"}}]}\n\n");
    let tokens = scanner.tokens();
    let mut estimate = BytesPerToken::default();
    estimate.text(b"Hello internationalization");
    assert!(tokens < estimate.tokens() && tokens > 1, "{tokens}");
}
