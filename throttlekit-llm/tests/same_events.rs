//! Events that are the same but for their text are not read each time: what comes of them must be what reading them gives.

mod support;

use proptest::prelude::*;
use support::{account, drive, meter_of, policy, served};
use throttlekit_llm::{BytesPerToken, Exhausted, Framing, Scanner};

fn chat(choice: u32, text: &str, more: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"model\":\"m\",\"created\":3,\"choices\":[{{\"index\":{choice},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]{more}}}\n\n"
    )
}

fn block(kind: &str, index: u32, rest: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"index\":{index}{rest}}}\n\n")
}

/// Events that differ from each other in what must not be overlooked.
fn event() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[a-z]{0,20}",
        "[a-zé😀]{0,200}",
        // No text of JSON has a control character as such, but what reads it goes on.
        Just("a\tb".to_owned()),
        Just("a\\n\\\"b".to_owned()),
        Just("\\u00e9".to_owned()),
        Just("\\ud83d\\ude00 \\ud83d".to_owned()),
        Just(String::new())
    ];
    (0_u32..14, 0_u32..3, text, 0_u32..30).prop_map(|(kind, index, text, number)| match kind {
        0..=2 => chat(index, &text, ""),
        3 => chat(index, &text, &format!(",\"obfuscation\":\"{}\"", "x".repeat(number as usize))),
        4 => chat(index, &text, &format!(",\"usage\":{{\"completion_tokens\":{number}}}")),
        5 => chat(index, &text, "").replace("null", "\"stop\""),
        6 => {
            block("content_block_delta", index, &format!(",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}"))
        }
        7 => block(
            "content_block_start",
            index,
            &format!(",\"content_block\":{{\"type\":\"tool_use\",\"name\":\"{text}\"}}"),
        ),
        8 => block("content_block_stop", index, ""),
        9 => format!(
            "data: {{\"type\":\"response.output_text.delta\",\"delta\":\"{text}\",\"sequence_number\":{number}}}\n\n"
        ),
        // Two lines of one document, and no empty line after it.
        10 => chat(index, &text, "").replace(",\"choices\"", ",\ndata: \"choices\""),
        // A message that may be beside what is added to it.
        11 => chat(index, &text, "").replace("\"delta\"", "\"message\""),
        12 => chat(index, &text, "").replace("\"delta\"", "\"message\":{\"content\":\"so far\"},\"delta\""),
        _ => format!("data: {{\"delta\":\"{text}\"}}\ndata: {{\"delta\":\"{text}\"}}\n\n"),
    })
}

/// Events whose lines may end in another way than those before them.
fn ended() -> impl Strategy<Value = String> {
    let end = prop_oneof![5 => Just("\n"), 1 => Just("\r")];
    (event(), end).prop_map(|(event, end)| event.replace('\n', end))
}

proptest! {
    #[test]
    fn events_are_read_the_same_whole_and_byte_by_byte(
        events in prop::collection::vec(ended(), 0..40),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let counter = BytesPerToken::new(1.0).expect("in range");
        let (mut whole, mut bytes) = (Scanner::new(Framing::Sse, counter), Scanner::new(Framing::Sse, counter));
        for event in &events {
            let event = event.replace('\n', end);
            whole.feed(event.as_bytes());
            for byte in event.as_bytes() {
                bytes.feed(&[*byte]);
            }
            prop_assert_eq!(whole.tokens(), bytes.tokens());
            prop_assert_eq!(whole.output(), bytes.output());
            prop_assert_eq!(whole.usage(), bytes.usage());
            prop_assert_eq!(whole.dialect(), bytes.dialect());
        }
    }

    #[test]
    fn events_are_read_the_same_in_any_pieces(
        events in prop::collection::vec(ended(), 0..40),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        sizes in prop::collection::vec(1_usize..300, 1..40),
        garbled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let counter = BytesPerToken::new(1.0).expect("in range");
        let (mut pieces, mut bytes) = (Scanner::new(Framing::Sse, counter), Scanner::new(Framing::Sse, counter));
        let mut stream = events.concat().replace('\n', end).into_bytes();
        for (index, byte) in garbled.into_iter().filter(|_| !events.is_empty()) {
            *index.get_mut(&mut stream) = byte;
        }
        let mut rest = stream.as_slice();
        for size in sizes.into_iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            pieces.feed(piece);
            for byte in piece {
                bytes.feed(&[*byte]);
            }
            prop_assert_eq!(pieces.tokens(), bytes.tokens());
            prop_assert_eq!(pieces.output(), bytes.output());
            prop_assert_eq!(pieces.usage(), bytes.usage());
            prop_assert_eq!(pieces.dialect(), bytes.dialect());
            prop_assert_eq!(pieces.has_ended(), bytes.has_ended());
            if rest.is_empty() {
                break;
            }
        }
    }

    #[test]
    fn they_are_cut_the_same(
        events in prop::collection::vec(event(), 1..30),
        sizes in prop::collection::vec(1_usize..300, 1..40),
    ) {
        // Each event is a chunk, or chunks end anywhere in them, so that the same one is denied, and then one that surely is.
        let counter = || BytesPerToken::new(1.0).expect("in range");
        let policy = policy().exhausted(Exhausted::Cut).counter(counter).build().expect("good options");
        let all = events.concat() + &chat(0, "denied", "");
        let mut scanner = Scanner::new(Framing::Sse, counter());
        scanner.feed(events.concat().as_bytes());
        let budget = u32::try_from(scanner.tokens().max(1)).expect("short");
        let run = |size: usize| {
            let (meter, _) = meter_of(budget);
            let got = drive(policy.start(Framing::Sse, account(&meter)), all.as_bytes().chunks(size));
            (String::from_utf8(got.bytes).expect("text"), served(&meter))
        };
        if scanner.tokens() > 0 {
            let events: Vec<&[u8]> = all.split_inclusive("\n\n").map(str::as_bytes).collect();
            let (meter, _) = meter_of(budget);
            let got = drive(policy.start(Framing::Sse, account(&meter)), events.into_iter());
            let got = (String::from_utf8(got.bytes).expect("text"), served(&meter));
            let bytes = run(1);
            prop_assert_eq!(&got, &bytes);

            let (events, denied) = all.as_bytes().split_at(all.len() - chat(0, "denied", "").len());
            let mut pieces = Vec::new();
            let mut rest = events;
            for size in sizes.into_iter().cycle() {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let (meter, _) = meter_of(budget);
            let got = drive(policy.start(Framing::Sse, account(&meter)), pieces.into_iter().chain([denied]));
            prop_assert_eq!((String::from_utf8(got.bytes).expect("text"), served(&meter)), bytes);
        }
    }

    #[test]
    fn lines_of_json_are_read_the_same(
        texts in prop::collection::vec(("[a-z]{0,9}|\\\\\\\\n", 0_u32..3), 0..40),
        size in 1_usize..200,
    ) {
        let counter = BytesPerToken::new(1.0).expect("in range");
        let (mut whole, mut bytes) = (Scanner::new(Framing::Ndjson, counter), Scanner::new(Framing::Ndjson, counter));
        let mut stream = String::new();
        for (text, kind) in texts {
            let line = match kind {
                0 => format!("{{\"model\":\"m\",\"at\":\"{text}\",\"message\":{{\"content\":\"{text}\"}},\"done\":false}}\n"),
                1 => format!("{{\"model\":\"m\",\"response\":\"{text}\",\"done\":false}}\n"),
                _ => format!("{{\"response\":\"{text}\",\"done\":true,\"eval_count\":{}}}\r\n", text.len()),
            };
            whole.feed(line.as_bytes());
            for byte in line.as_bytes() {
                bytes.feed(&[*byte]);
            }
            prop_assert_eq!(whole.tokens(), bytes.tokens());
            prop_assert_eq!(whole.output(), bytes.output());
            prop_assert_eq!(whole.has_ended(), bytes.has_ended());
            stream += &line;
        }
        let mut pieces = Scanner::new(Framing::Ndjson, counter);
        for piece in stream.as_bytes().chunks(size) {
            pieces.feed(piece);
        }
        prop_assert_eq!(pieces.tokens(), bytes.tokens());
        prop_assert_eq!(pieces.output(), bytes.output());
        prop_assert_eq!(pieces.has_ended(), bytes.has_ended());
    }
}

#[test]
fn a_count_that_comes_again_is_a_count_again() {
    let mut scanner = Scanner::new(Framing::Sse, BytesPerToken::new(1.0).expect("in range"));
    for text in ["abc", "de", "f"] {
        scanner.feed(chat(0, text, ",\"usage\":{\"completion_tokens\":5}").as_bytes());
        assert_eq!(scanner.output(), 5);
    }
}

#[test]
fn a_block_that_begins_again_is_open_again() {
    let start = |name: &str| {
        block("content_block_start", 1, &format!(",\"content_block\":{{\"type\":\"tool_use\",\"name\":\"{name}\"}}"))
    };
    let (meter, _) = meter_of(4);
    let counter = || BytesPerToken::new(1.0).expect("in range");
    let policy = policy().exhausted(Exhausted::Cut).counter(counter).build().expect("good options");
    let events = [start("ab"), block("content_block_stop", 1, ""), start("cd"), start("denied")];
    let got = drive(policy.start(Framing::Sse, account(&meter)), events.iter().map(String::as_bytes));
    let got = String::from_utf8(got.bytes).expect("text");
    assert_eq!(got.matches("event: content_block_start").count(), 2);
    assert_eq!(got.matches("event: content_block_stop").count(), 2, "{got}");
}

#[test]
fn an_event_that_begins_like_the_one_before_is_read_from_its_start() {
    let event = chat(0, "abc", "");
    for more in ["", ",\"usage\":{\"completion_tokens\":7}"] {
        let other = chat(0, "de", more);
        for at in 1..other.len() {
            let mut scanner = Scanner::new(Framing::Sse, BytesPerToken::new(1.0).expect("in range"));
            scanner.feed(event.as_bytes());
            let (first, second) = other.as_bytes().split_at(at);
            scanner.feed(first);
            scanner.feed(second);
            assert_eq!(scanner.tokens(), 5, "cut at {at}");
            assert_eq!(scanner.usage().output, if more.is_empty() { None } else { Some(7) }, "cut at {at}");
        }
    }
}

#[test]
fn an_event_that_begins_within_a_line_is_none() {
    let event = chat(0, "abc", "");
    let start = "data: {\"id\":\"c\"";
    let broken = format!("{start}{event}");
    let mut whole = Scanner::new(Framing::Sse, BytesPerToken::new(1.0).expect("in range"));
    let mut read = Scanner::new(Framing::Sse, BytesPerToken::new(1.0).expect("in range"));
    for piece in [&event, start, &event] {
        whole.feed(piece.as_bytes());
    }
    // Without an event before it, nothing is compared.
    read.feed(broken.as_bytes());
    assert_eq!(whole.tokens(), 3 + read.tokens());
}

#[test]
fn an_answer_that_is_cut_after_events_with_names_has_no_empty_one() {
    let delta = |text: &str| {
        block("content_block_delta", 0, &format!(",\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}"))
    };
    let (meter, _) = meter_of(4);
    let counter = || BytesPerToken::new(1.0).expect("in range");
    let policy = policy().exhausted(Exhausted::Cut).counter(counter).build().expect("good options");
    let events = ["ab", "cd", "ef"].map(delta);
    let got = drive(policy.start(Framing::Sse, account(&meter)), events.iter().map(String::as_bytes));
    let got = String::from_utf8(got.bytes).expect("text");
    let (passed, last) = got.split_at(events[0].len() + events[1].len());
    assert_eq!(passed, events[..2].concat());
    assert!(last.starts_with("event: "), "{last:?}");
}
