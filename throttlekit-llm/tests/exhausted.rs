//! What becomes of an answer when nothing is left.

mod support;

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::Value;
use support::streams::{USAGE, all, chat, messages, ollama, responses};
use support::{Tokens, account, drive, events, meter_of, policy, poll, served};
use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::{FailMode, Gcra, Limiter, ManualClock};
use throttlekit_llm::{BytesPerToken, Dialect, End, Exhausted, Framing, MeterAccount, StreamPolicy};

/// One byte of text is a token.
fn policy_of(exhausted: Exhausted) -> StreamPolicy {
    policy().exhausted(exhausted).counter(|| BytesPerToken::new(1.0).expect("in range")).build().expect("good options")
}

/// The events of a stream, by an implementation that is not ours: their names and documents.
fn parsed(bytes: &[u8]) -> Vec<(String, Value)> {
    // It cannot read a byte order mark.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    // In odd pieces, as from a network.
    let pieces = stream::iter(bytes.chunks(13).map(|chunk| Ok::<_, ()>(chunk.to_vec())));
    let events: Vec<_> = pieces.eventsource().collect().now_or_never().expect("nothing waits");
    let events = events.into_iter().map(|event| event.expect("well-formed"));
    let events = events.filter(|event| event.data != "[DONE]");
    events.map(|event| (event.event, serde_json::from_str(&event.data).expect("JSON"))).collect()
}

const TEXTS: [&str; 4] = ["12345", "67890", "abcde", "fghij"];

/// What a client gets of a stream that may cost `budget` tokens, in chunks of `size` bytes.
fn cut(bytes: &[u8], framing: Framing, budget: u32, size: usize) -> (Vec<u8>, u64) {
    let (meter, _) = meter_of(budget);
    let got = drive(policy_of(Exhausted::Cut).start(framing, account(&meter)), bytes.chunks(size));
    assert_eq!(got.end, End::Cut);
    (got.bytes, served(&meter))
}

#[test]
fn a_chat_completion_ends_for_its_length() {
    let bytes = chat(&TEXTS, Some((1, 20)));
    for size in [1, 7, 64, 150] {
        let (got, served) = cut(&bytes, Framing::Sse, 10, size);
        let events = parsed(&got);
        let text: String =
            events.iter().filter_map(|(_, event)| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!((text.as_str(), served), ("1234567890", 10), "chunks of {size}");
        let last = &events.last().expect("one").1;
        assert_eq!(last["object"], "chat.completion.chunk");
        assert_eq!(
            (&last["id"], &last["model"], &last["created"]),
            (&events[0].1["id"], &events[0].1["model"], &events[0].1["created"])
        );
        assert_eq!(last["choices"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            (last["choices"][0]["index"].as_u64(), &last["choices"][0]["finish_reason"]),
            (Some(0), &"length".into())
        );
        assert!(got.ends_with(b"\n\ndata: [DONE]\n\n"));
    }
}

#[test]
fn every_choice_that_is_open_ends() {
    let event = |index: u32, text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"c\",\"model\":\"m\",\"created\":3,\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut bytes = event(0, "ab", "null") + &event(1, "cd", "null") + &event(2, "ef", "null");
    bytes += &(event(1, "", "\"stop\"") + &event(2, "gh", "null") + &event(0, "too much", "null"));
    let (got, _) = cut(bytes.as_bytes(), Framing::Sse, 8, bytes.find("too much").expect("there") - 50);
    let ends: Vec<(u64, String)> = parsed(&got)
        .into_iter()
        .filter_map(|(_, event)| {
            let choice = &event["choices"][0];
            Some((choice["index"].as_u64()?, choice["finish_reason"].as_str()?.to_owned()))
        })
        .collect();
    assert_eq!(ends, [(1, "stop".to_owned()), (0, "length".to_owned()), (2, "length".to_owned())]);
}

#[test]
fn a_message_ends_for_its_most_tokens() {
    for size in [1, 7, 64] {
        let (got, served) = cut(&messages(&TEXTS), Framing::Sse, 10, size);
        assert_eq!(served, 1 + 10, "what its start says, and what was counted since");
        let events = parsed(&got);
        let kinds: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "message_start",
                "content_block_start",
                "ping",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop"
            ],
            "chunks of {size}"
        );
        assert!(events.iter().all(|(name, event)| event["type"] == name.as_str()));
        assert_eq!(events[5].1["index"], 0);
        assert_eq!(events[6].1["delta"]["stop_reason"], "max_tokens");
        assert_eq!(events[6].1["usage"]["output_tokens"], 11);
    }
}

#[test]
fn a_message_between_two_blocks_has_no_block_to_end() {
    let (got, _) = cut(&messages(&["1234567890"]), Framing::Sse, 10, 64);
    let kinds: Vec<String> = parsed(&got).into_iter().map(|(name, _)| name).collect();
    let stops = kinds.iter().filter(|kind| *kind == "content_block_stop").count();
    let starts = kinds.iter().filter(|kind| *kind == "content_block_start").count();
    assert_eq!(starts, stops, "{kinds:?}");
}

#[test]
fn a_response_is_incomplete() {
    for size in [1, 7, 64, 150] {
        let (got, served) = cut(&responses(&TEXTS), Framing::Sse, 10, size);
        assert_eq!(served, 10);
        let events = parsed(&got);
        let (name, last) = events.last().expect("one");
        assert_eq!((name.as_str(), &last["type"]), ("response.incomplete", &"response.incomplete".into()));
        let numbers: Vec<u64> = events.iter().filter_map(|(_, event)| event["sequence_number"].as_u64()).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        let response = &last["response"];
        assert_eq!((&response["id"], &response["status"]), (&"resp_1".into(), &"incomplete".into()));
        assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(response["usage"]["output_tokens"], 10);
    }
}

#[test]
fn lines_of_json_end_with_one_that_is_done() {
    for size in [1, 7, 64] {
        let (got, served) = cut(&ollama(&TEXTS), Framing::Ndjson, 10, size);
        assert_eq!(served, 10);
        let lines: Vec<Value> = std::str::from_utf8(&got)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
        assert_eq!(text, "1234567890");
        let last = lines.last().expect("one");
        assert_eq!(
            (&last["done"], &last["done_reason"], &last["eval_count"]),
            (&true.into(), &"length".into(), &10.into())
        );
    }
}

#[test]
fn a_key_with_nothing_left_gets_a_whole_answer_of_nothing() {
    for (bytes, dialect, kinds) in [
        (chat(&TEXTS, None), Dialect::Chat, vec!["message"]),
        (messages(&TEXTS), Dialect::Messages, vec!["message_start", "message_delta", "message_stop"]),
        (responses(&TEXTS), Dialect::Responses, vec!["response.created", "response.incomplete"]),
    ] {
        let (meter, _) = meter_of(1);
        meter.debit("k", 1).expect("one is left");
        // All in one chunk, so that nothing goes out before the denial.
        let got = drive(policy_of(Exhausted::Cut).start(Framing::Sse, account(&meter)), [&bytes[..]].into_iter());
        assert_eq!((got.dialect, got.end), (Some(dialect), End::Cut));
        let (names, events): (Vec<String>, Vec<Value>) = parsed(&got.bytes).into_iter().unzip();
        assert_eq!(names, kinds);
        // What the provider says of them is of an answer that did not go out.
        assert_eq!(served(&meter), 1, "{dialect:?}");
        let last = events.last().expect("one");
        let usage = last.get("usage").or(last.pointer("/response/usage"));
        assert!(usage.is_none_or(|usage| usage["output_tokens"] == 0), "{usage:?}");
    }
}

#[test]
fn an_answer_that_has_not_begun_ends_as_its_api_would_if_that_is_told() {
    let (meter, _) = meter_of(1);
    meter.debit("k", 1).expect("one is left");
    let policy = policy_of(Exhausted::Cut);
    let unknown = policy.start(Framing::Sse, account(&meter)).with_input(5);
    assert_eq!(drive(unknown, [&b": waiting\n\n"[..]].into_iter()).bytes, b"");
    let told = policy.start(Framing::Sse, account(&meter)).with_input(5).with_dialect(Dialect::Chat);
    let got = drive(told, [&b": waiting\n\n"[..]].into_iter());
    assert_eq!(events(&got.bytes)[0]["choices"][0]["finish_reason"], "length");
}

#[test]
fn at_any_budget_and_in_any_chunks_a_cut_answer_is_a_start_of_the_whole_one() {
    for stream in all().into_iter().filter(|stream| stream.framing != Framing::Whole) {
        for budget in 1..u32::try_from(stream.text).expect("short") {
            for size in [1, 50, 333] {
                let (meter, _) = meter_of(budget);
                let policy = policy_of(Exhausted::Cut);
                let got = drive(policy.start(stream.framing, account(&meter)), stream.bytes.chunks(size));
                if got.end == End::Completed {
                    // The debit that crosses the budget counts in full.
                    assert_eq!(got.bytes, stream.bytes);
                    continue;
                }
                let same = got.bytes.iter().zip(&stream.bytes).take_while(|(a, b)| a == b).count();
                let (start, _) = stream.bytes.split_at(same);
                assert!(same == 0 || start.contains(&b'\n') || start.contains(&b'\r'), "{start:?}");
                if stream.framing == Framing::Sse {
                    let whole = parsed(&stream.bytes);
                    let got = parsed(&got.bytes);
                    let same = got.iter().zip(&whole).take_while(|(a, b)| a == b).count();
                    let added = got.len() - same;
                    assert!((1..=4).contains(&added), "{added} of {:?} at {budget} in {size}", stream.dialect);
                }
            }
        }
    }
}

#[test]
fn an_answer_that_finishes_is_charged() {
    for stream in all() {
        for size in [1, 60, 1_000] {
            let meter = indebted(4);
            let policy = policy_of(Exhausted::Finish);
            let got = drive(policy.start(stream.framing, account(&meter)), stream.bytes.chunks(size));
            assert_eq!((got.bytes == stream.bytes, got.end), (true, End::Completed));
            assert_eq!(served(&meter), USAGE.1);
        }
    }
}

#[test]
fn what_a_key_has_used_beyond_its_debt_is_not_given_back() {
    let (meter, _) = meter_of(100);
    // The estimate is 1000, and the provider says less.
    let stream = chat(&["1234567890"; 100], Some((1, 850)));
    drive(policy_of(Exhausted::Finish).start(Framing::Sse, account(&meter)), stream.chunks(600));
    assert_eq!(served(&meter), 850);
}

/// A meter that lets a key owe as much as it may.
fn indebted(budget: u32) -> Tokens {
    let budget = Budget::builder().budget(f64::from(budget)).window_ms(60_000.0).max_debt(10_000.0).build();
    Arc::new(TokenBudget::builder(budget.expect("good options")).clock(ManualClock::new(0.0)).build())
}

#[test]
fn debt_is_carried_into_the_next_window() {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(10.0).window_ms(1_000.0).max_debt(100.0).carry_debt(true).build();
    let meter = TokenBudget::builder(budget.expect("good options")).clock(clock.clone()).build();
    let meter = Arc::new(meter);
    let policy = policy_of(Exhausted::Finish);
    drive(policy.start(Framing::Sse, account(&meter)), chat(&TEXTS, Some((1, 25))).chunks(60));
    assert_eq!(served(&meter), 25);
    clock.advance(1_000.0);
    assert_eq!(served(&meter), 15);
    let got = drive(policy_of(Exhausted::Cut).start(Framing::Sse, account(&meter)), chat(&TEXTS, None).chunks(60));
    assert_eq!(got.end, End::Cut);
}

#[test]
fn only_the_next_answer_is_denied() {
    // 5 and 5 are counted, and 10 forgiven. The provider says that there were more, as many, fewer, and fewer than counted.
    for (said, counted) in [(22, 10), (20, 10), (12, 10), (8, 8)] {
        let (meter, _) = meter_of(7);
        let policy = policy_of(Exhausted::NextOnly);
        let stream = chat(&TEXTS, Some((1, said)));
        let got = drive(policy.start(Framing::Sse, account(&meter)), stream.chunks(60));
        assert_eq!((got.bytes == stream, got.end), (true, End::Completed));
        assert_eq!(served(&meter), counted, "{said} were said");
        assert!(MeterAccount::reserve(meter, "k", 1).now().expect("ready").expect("works").account.is_none());
    }
}

#[test]
fn dropped_with_what_was_not_counted_usage_charges_nothing() {
    let (meter, _) = meter_of(7);
    // It may cut, if the store is out, so lines are held and go out in pieces.
    let policy = policy().exhausted(Exhausted::NextOnly).fail_mode(FailMode::Closed);
    let policy = policy.counter(|| BytesPerToken::new(1.0).expect("in range")).build().expect("good options");
    let mut answer = policy.start(Framing::Sse, account(&meter));
    let text = String::from_utf8(chat(&TEXTS, Some((1, 22)))).expect("text");
    let (counted, rest) = text.split_at(text.find("abcde").expect("there") - 5);
    let mut chunks = [counted, rest].into_iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes()));
    for _ in 0..2 {
        assert!(poll(&mut answer, &mut chunks).is_ready());
    }
    // Of the rest, which is read up to the usage, only the begin of its first line went out.
    assert_eq!(answer.scanner().usage().output, Some(22));
    drop(answer);
    assert_eq!(served(&meter), 10);
}

/// Usage that the estimate far exceeds gives tokens back all the same.
#[test]
fn an_answer_that_was_within_the_budget_leaves_the_rest() {
    let (meter, _) = meter_of(7);
    let stream = chat(&TEXTS, Some((1, 4)));
    drive(policy_of(Exhausted::NextOnly).start(Framing::Sse, account(&meter)), stream.chunks(60));
    assert_eq!(served(&meter), 4);
}

#[test]
fn an_answer_that_does_not_stream_is_never_cut() {
    for stream in all().into_iter().filter(|stream| stream.framing == Framing::Whole) {
        let (meter, _) = meter_of(2);
        let got = drive(policy_of(Exhausted::Cut).start(stream.framing, account(&meter)), stream.bytes.chunks(10));
        assert_eq!((got.bytes == stream.bytes, got.end), (true, End::Completed));
        assert_eq!(served(&meter), USAGE.1);
    }
}

#[test]
fn a_limit_without_debt_lets_an_answer_finish_uncounted() {
    let clock = ManualClock::new(0.0);
    let limiter = Limiter::builder(Gcra::builder().limit(10.0).period_ms(60_000.0).build().expect("good options"));
    let limiter = Arc::new(limiter.clock(clock).build());
    let stream = chat(&TEXTS, None);
    let policy = policy_of(Exhausted::Finish);
    let got = drive(policy.start(Framing::Sse, MeterAccount::new(limiter.clone(), "k")), stream.chunks(60));
    assert_eq!((got.bytes == stream, got.end), (true, End::Completed));
    assert!(!limiter.check("k").expect("works").allowed);
}

#[test]
fn a_line_that_is_too_long_to_be_held_goes_on_to_its_end() {
    let long = "x".repeat(500);
    let stream = chat(&["12345", &long, "67890"], None);
    for size in [1, 10, 100] {
        let meter = indebted(20);
        let policy = policy().counter(|| BytesPerToken::new(1.0).expect("in range")).max_line(100).build();
        let got = drive(policy.expect("good options").start(Framing::Sse, account(&meter)), stream.chunks(size));
        let events = parsed(&got.bytes);
        let texts: Vec<&str> =
            events.iter().filter_map(|(_, event)| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(got.end, End::Cut);
        assert_eq!(texts, ["", "12345", &long], "chunks of {size}");
        assert_eq!(events.last().expect("one").1["choices"][0]["finish_reason"], "length");
        assert_eq!(served(&meter), 505);
    }
}

#[test]
fn a_line_that_is_too_long_is_not_held_after_others_either() {
    let stream = chat(&["12345", &"x".repeat(500), "67890"], None);
    let at = stream.len() - 700;
    let policy = policy().max_line(100).build().expect("good options");
    let (meter, _) = meter_of(10_000);
    let mut answer = policy.start(Framing::Sse, account(&meter));
    let (head, tail) = stream.split_at(at);
    let mut chunks = [head, tail].map(Bytes::copy_from_slice).into_iter();
    let mut out = Vec::new();
    while out.len() < head.len() {
        match poll(&mut answer, &mut chunks) {
            Poll::Ready(Some(chunk)) => out.extend_from_slice(&chunk),
            _ => panic!("the rest of the chunk is held"),
        }
        assert_eq!(chunks.len(), 1, "and more is asked for");
    }
    assert_eq!((out.as_slice(), answer.held()), (head, 0));
}

#[test]
fn an_event_of_several_lines_is_not_cut_within_its_document() {
    let event = |text: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":\n: why not\ndata: {{\"content\":\"{text}\"}}\ndata: }}]}}\n\n"
        )
    };
    let cut = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let meter = indebted(5);
        let got = drive(policy_of(Exhausted::Cut).start(Framing::Sse, account(&meter)), chunks);
        // Each is a document, or it would not be parsed.
        let events = parsed(&got.bytes);
        let texts = events.iter().filter_map(|(_, event)| event["choices"][0]["delta"]["content"].as_str());
        let text = texts.collect::<String>();
        assert_eq!(served(&meter), text.len() as u64);
        let reason = events.last().expect("one").1["choices"][0]["finish_reason"].clone();
        assert_eq!(reason == "length", got.end == End::Cut);
        text
    };
    for end in ["\n", "\r\n", "\r"] {
        let events = TEXTS.map(|text| event(text).replace('\n', end));
        let stream = events.concat() + "data: [DONE]" + end + end;
        for size in 1..stream.len() {
            let text = cut(&mut stream.as_bytes().chunks(size));
            assert!(TEXTS.concat().starts_with(&text), "{text} in chunks of {size}");
        }
        let (first, rest) = stream.as_bytes().split_at(events[0].len());
        let (line, rest) = rest.split_at(stream.find(end).expect("an end") + end.len());
        assert_eq!(cut(&mut [first, line, rest].into_iter()), "1234567890", "what the line begins, and no more");
        assert_eq!(cut(&mut [first, &[line, rest].concat()].into_iter()), "12345");
    }
}

#[test]
fn an_event_that_ends_within_its_document_is_cut_there() {
    let event = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}\n\n");
    let meter = indebted(5);
    let events = TEXTS.map(event);
    let chunks = events.iter().map(String::as_bytes);
    let got = drive(policy_of(Exhausted::Cut).start(Framing::Sse, account(&meter)).with_dialect(Dialect::Chat), chunks);
    assert!(got.bytes.strip_prefix(events[0].as_bytes()).is_some_and(|last| last.starts_with(b"data: {\"id\"")));
    assert_eq!((got.end, served(&meter)), (End::Cut, 5));
}
