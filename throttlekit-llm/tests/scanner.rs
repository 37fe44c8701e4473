//! What is read of answers, wherever their chunks are cut.

mod support;

use proptest::prelude::*;
use support::streams::{Stream, USAGE, all, chat};
use throttlekit_llm::{BytesPerToken, Dialect, Framing, Scanner, UsageOnly};

/// One byte is a token, so that a miscount of one byte shows.
fn scanner(framing: Framing) -> Scanner {
    Scanner::new(framing, BytesPerToken::new(1.0).expect("in range"))
}

fn check(stream: &Stream, scanner: &mut Scanner, what: &str) {
    scanner.finish();
    let usage = scanner.usage();
    assert_eq!(scanner.tokens(), stream.text, "{what} of {:?}", stream.dialect);
    assert_eq!((usage.input, usage.output), stream.usage, "{what} of {:?}", stream.dialect);
}

#[test]
fn every_answer_is_read_whole() {
    for stream in all() {
        let mut scanner = scanner(stream.framing);
        scanner.feed(&stream.bytes);
        check(&stream, &mut scanner, "all");
        assert_eq!(scanner.output(), USAGE.1);
        assert_eq!(scanner.has_ended(), stream.framing != Framing::Whole, "{stream:?}");
        assert_eq!(scanner.dialect(), Some(stream.dialect), "{stream:?}");
    }
}

#[test]
fn every_answer_is_read_the_same_wherever_it_is_cut() {
    for stream in all() {
        for at in 0..=stream.bytes.len() {
            let mut scanner = scanner(stream.framing);
            let (head, tail) = stream.bytes.split_at(at);
            scanner.feed(head);
            scanner.feed(tail);
            check(&stream, &mut scanner, &format!("cut at {at}"));
        }
    }
}

#[test]
fn every_answer_is_read_the_same_in_chunks_of_any_size() {
    for stream in all() {
        for size in 1..70 {
            let mut scanner = scanner(stream.framing);
            stream.bytes.chunks(size).for_each(|chunk| scanner.feed(chunk));
            check(&stream, &mut scanner, &format!("chunks of {size}"));
        }
    }
}

#[test]
fn details_of_usage_are_read() {
    for stream in all().iter().filter(|stream| matches!(stream.dialect, Dialect::Chat | Dialect::Responses)) {
        let mut scanner = scanner(stream.framing);
        scanner.feed(&stream.bytes);
        if stream.framing == Framing::Sse {
            assert_eq!((scanner.usage().cached, scanner.usage().reasoning), (Some(4), Some(2)));
        }
    }
    let mut scanner = scanner(Framing::Sse);
    scanner.feed(b"data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"cache_creation_input_tokens\":2,\"cache_read_input_tokens\":3,\"output_tokens\":4}}}\n\n");
    let usage = scanner.usage();
    assert_eq!((usage.input, usage.cache_written, usage.cached, usage.output), (Some(1), Some(2), Some(3), Some(4)));
}

#[test]
fn what_came_after_a_count_is_added_to_it() {
    let mut scanner = scanner(Framing::Sse);
    let text = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let said = |tokens: u64| format!("data: {{\"choices\":[],\"usage\":{{\"completion_tokens\":{tokens}}}}}\n\n");
    scanner.feed(text("12345").as_bytes());
    assert_eq!(scanner.output(), 5);
    scanner.feed(said(2).as_bytes());
    assert_eq!(scanner.output(), 2);
    scanner.feed(text("678").as_bytes());
    assert_eq!(scanner.output(), 5);
    scanner.feed(said(3).as_bytes());
    assert_eq!(scanner.output(), 3, "the last one is right");
}

#[test]
fn a_count_is_of_all_the_text_of_its_document() {
    let text = "x".repeat(400);
    let usage = r#""usage":{"input_tokens":9,"completion_tokens":100}"#;
    let message = format!(r#"{{{usage},"choices":[{{"message":{{"content":"{text}"}}}}]}}"#);
    let delta = format!("data: {{{usage},\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let output = format!(r#"{{{usage},"output":[{{"content":[{{"text":"{text}"}}]}}]}}"#);
    // The next one begins before it has ended.
    let broken = format!("data: {{{usage},\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}\n\n");
    for (framing, document) in
        [(Framing::Whole, message), (Framing::Sse, delta), (Framing::Whole, output), (Framing::Sse, broken)]
    {
        for size in [1, 50, 10_000] {
            let mut scanner = scanner(framing);
            document.as_bytes().chunks(size).for_each(|chunk| scanner.feed(chunk));
            assert_eq!((scanner.tokens(), scanner.output()), (400, 100), "{document} in {size}");
            if framing == Framing::Sse {
                scanner.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"abc\"}}]}\n\n");
                assert_eq!(scanner.output(), 103, "{document} in {size}");
            }
        }
    }
}

#[test]
fn a_message_beside_deltas_is_not_counted_again() {
    for delta_first in [true, false] {
        let mut scanner = scanner(Framing::Sse);
        let mut so_far = String::new();
        for text in ["", "abc", "de", "f", "ghi"] {
            so_far += text;
            let delta = format!(r#""delta":{{"content":"{text}"}}"#);
            let message = format!(r#""message":{{"content":"{so_far}","reasoning":"{so_far}"}}"#);
            let (first, second) = if delta_first { (delta, message) } else { (message, delta) };
            scanner.feed(format!("data: {{\"choices\":[{{\"index\":0,{first},{second}}}]}}\n\n").as_bytes());
        }
        assert_eq!(scanner.tokens(), 9, "delta first: {delta_first}");
    }
    // Without one it is the answer.
    let mut scanner = scanner(Framing::Whole);
    scanner.feed(br#"{"choices":[{"delta":null,"message":{"content":"abc"}},{"message":{"content":"de"}}]}"#);
    assert_eq!(scanner.tokens(), 5);
}

#[test]
fn reasoning_under_two_names_counts_once() {
    let parts = |text: &str| {
        [
            format!(r#""reasoning":"{text}","reasoning_content":"{text}","content":null"#),
            format!(r#""reasoning_content":"{text}","content":"","reasoning":"{text}""#),
            format!(r#""reasoning":null,"reasoning_content":"{text}""#),
            format!(r#""reasoning_content":"{text}","reasoning":null"#),
        ]
    };
    for kind in 0..4 {
        let mut stream = Vec::new();
        for text in ["", "abc", "de", "f\\\"g", "", "hijklm", "n"] {
            let delta = &parts(text)[kind];
            let one = |index| format!("{{\"index\":{index},\"delta\":{{{delta}}}}}");
            stream.push(format!("data: {{\"choices\":[{}]}}\n\n", one(0)));
            stream.push(format!("data: {{\"choices\":[{},{}]}}\n\n", one(0), one(1)));
        }
        let stream = stream.concat();
        let message = &parts("abcde")[kind];
        let whole = format!(r#"{{"choices":[{{"message":{{{message}}}}},{{"message":{{{message}}}}}]}}"#);
        for size in [1, 7, 40, 10_000] {
            let (mut events, mut document) = (scanner(Framing::Sse), scanner(Framing::Whole));
            stream.as_bytes().chunks(size).for_each(|chunk| events.feed(chunk));
            whole.as_bytes().chunks(size).for_each(|chunk| document.feed(chunk));
            assert_eq!((events.tokens(), document.tokens()), (3 * 15, 2 * 5), "{kind} in chunks of {size}");
        }
    }
}

#[test]
fn a_count_that_is_none_is_as_if_it_were_missing() {
    for bad in [
        "-1",
        "1.5",
        "1e-3",
        "1e16",
        "NaN",
        "\"7\"",
        "null",
        "true",
        "99999999999999999999999",
        "9007199254740992",
        "{}",
        "[7]",
    ] {
        let mut scanner = scanner(Framing::Sse);
        scanner.feed(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"abc\"}}}}],\"usage\":{{\"completion_tokens\":{bad},\"prompt_tokens\":{bad}}}}}\n\n").as_bytes());
        assert_eq!((scanner.usage().output, scanner.usage().input, scanner.output()), (None, None, 3), "{bad}");
    }
}

#[test]
fn garbage_between_events_does_not_hide_them() {
    let clean = chat(&["abc", "def"], Some(USAGE));
    let clean = String::from_utf8(clean).expect("text");
    let garbage = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"\n\n",
        "data: }}}}]]]\n\n",
        "data: {\"a\\\"b\":{\"c\\\\\":[[[[[[[[[[[[[[[[[[{}]]\n\n",
        "data\n\nevent\n\n:\n\n",
        "data: \"text\\u12\n\n",
        "datum: {\"choices\":[{\"delta\":{\"content\":\"xyz\"}}]}\n\n",
        "id: 7\nretry: 10\n\n",
        "data: null\n\ndata: 12\n\n",
        "data: {\"choices\":\"none\",\"delta\":7,\"usage\":[],\"response\":true,\"message\":[{\"content\":\"x\"}]}\n\n",
    ];
    for garbage in garbage {
        let mut scanner = scanner(Framing::Sse);
        for event in clean.split_inclusive("\n\n") {
            scanner.feed(garbage.as_bytes());
            scanner.feed(event.as_bytes());
        }
        assert_eq!((scanner.tokens(), scanner.usage().output), (6, Some(USAGE.1)), "{garbage}");
    }
}

#[test]
fn an_event_may_have_several_lines_of_data() {
    for end in ["\n", "\r\n", "\r"] {
        let lines = ["data: {\"choices\":[{\"delta\":", "event: x", "data:{\"content\":\"abc\"}", "data: }]}", "", ""];
        let mut scanner = scanner(Framing::Sse);
        scanner.feed(lines.join(end).as_bytes());
        assert_eq!(scanner.tokens(), 3, "{end:?}");
    }
}

#[test]
fn a_name_is_read_however_it_is_spelt() {
    let event =
        br#"data: {"cho\u0069ces":[{"\u0064elta":{"cont\u0065nt":"abc"}}],"us\u0061ge":{"prompt\u005Ftokens":7}}"#;
    for at in 0..event.len() {
        let mut scanner = scanner(Framing::Sse);
        let (head, tail) = event.split_at(at);
        scanner.feed(head);
        scanner.feed(tail);
        scanner.finish();
        assert_eq!((scanner.tokens(), scanner.usage().input), (3, Some(7)), "cut at {at}");
    }
}

#[test]
fn a_last_line_without_end_counts() {
    let mut scanner = scanner(Framing::Ndjson);
    scanner.feed(b"{\"message\":{\"content\":\"abc\"},\"done\":true,\"eval_count\":12");
    scanner.feed(b"}");
    scanner.finish();
    assert_eq!((scanner.tokens(), scanner.usage().output, scanner.has_ended()), (3, Some(12), true));
}

#[test]
fn thinking_counts_beside_the_text_and_in_messages() {
    let mut scanner = scanner(Framing::Ndjson);
    scanner.feed(b"{\"model\":\"m\",\"response\":\"\",\"thinking\":\"abc\",\"done\":false}\n");
    scanner.feed(b"{\"model\":\"m\",\"response\":\"de\",\"done\":false}\n");
    scanner.feed(b"{\"message\":{\"content\":\"f\",\"thinking\":\"ghij\"},\"done\":false}\n");
    assert_eq!(scanner.tokens(), 3 + 2 + 1 + 4);
}

#[test]
fn what_is_spoken_counts_and_what_is_given_to_any_tool() {
    let parts = [
        (r#""audio":{"id":"a","transcript":"12345"}"#, 5),
        (r#""audio":{"data":"UklGRiQAAABXQVZF","expires_at":9}"#, 0),
        (r#""tool_calls":[{"index":0,"id":"c","type":"custom","custom":{"name":"abc","input":""}}]"#, 3),
        (r#""tool_calls":[{"index":0,"custom":{"input":"12345678"}}]"#, 8),
    ];
    for (part, tokens) in parts {
        let mut events = scanner(Framing::Sse);
        events.feed(format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{part}}}}}]}}\n\n").as_bytes());
        let mut whole = scanner(Framing::Whole);
        whole.feed(format!("{{\"choices\":[{{\"index\":0,\"message\":{{{part}}}}}]}}").as_bytes());
        assert_eq!((events.tokens(), whole.tokens()), (tokens, tokens), "{part}");
    }
    let mut whole = scanner(Framing::Whole);
    whole.feed(br#"{"output":[{"type":"custom_tool_call","name":"abc","input":"12345"}]}"#);
    assert_eq!(whole.tokens(), 8);
}

#[test]
fn usage_only_counts_what_the_provider_says() {
    let mut scanner = Scanner::new(Framing::Sse, UsageOnly);
    let stream = chat(&["a", "b"], Some(USAGE));
    let (text, end) = stream.split_at(stream.len() - 500);
    scanner.feed(text);
    assert_eq!(scanner.output(), 0);
    scanner.feed(end);
    assert_eq!(scanner.output(), USAGE.1);
}

#[test]
fn lone_halves_of_characters_count_as_one_character_each() {
    for (text, bytes) in
        [("\\uD83D", 3), ("\\uD83Dx", 4), ("\\uDE00", 3), ("\\uD83D\\uD83D\\uDE00", 7), ("\\uD83D\\n", 4)]
    {
        let mut scanner = scanner(Framing::Sse);
        scanner.feed(format!("data: {{\"delta\":\"{text}\"}}\n\n").as_bytes());
        assert_eq!(scanner.tokens(), bytes, "{text}");
    }
}

/// The text of a stream of chat completions, by reading it whole.
fn model(stream: &[u8]) -> u64 {
    let mut text = 0;
    for event in support::events(stream) {
        for choice in event["choices"].as_array().into_iter().flatten() {
            text += choice["delta"]["content"].as_str().map_or(0, |text| text.len() as u64);
        }
    }
    text
}

proptest! {
    #[test]
    fn any_text_is_counted_in_any_chunks(
        texts in prop::collection::vec(any::<String>(), 0..12),
        output in prop::option::of(0_u64..1 << 53),
        cuts in prop::collection::vec(0_usize..40, 1..20),
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let stream = chat(&texts, output.map(|output| (1, output)));
        let mut scanner = scanner(Framing::Sse);
        let mut rest = &stream[..];
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
            scanner.feed(chunk);
            rest = after;
        }
        prop_assert_eq!(scanner.tokens(), model(&stream));
        prop_assert_eq!(scanner.usage().output, output);
        prop_assert!(scanner.has_ended());
    }

    #[test]
    fn any_bytes_are_read_the_same_in_any_chunks(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'\n'), Just(b'\r')], 0..300),
        at in 0_usize..300,
    ) {
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        for framing in [Framing::Sse, Framing::Ndjson, Framing::Whole, Framing::Opaque] {
            let (mut whole, mut parts) = (scanner(framing), scanner(framing));
            whole.feed(&bytes);
            parts.feed(head);
            parts.feed(tail);
            prop_assert_eq!(whole.tokens(), parts.tokens());
            prop_assert_eq!(whole.usage(), parts.usage());
            prop_assert_eq!(whole.dialect(), parts.dialect());
        }
    }
}
