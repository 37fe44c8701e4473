//! The last events of an answer that is cut, as clients read them that are less patient than the format asks.

mod support;

use serde_json::Value;
use support::streams::{all, chat, messages, responses};
use support::{account, drive, meter_of, policy};
use throttlekit_llm::{BytesPerToken, Dialect, End, Framing};

/// The events of a stream, by a client that takes each for one that has a name, data or, once any had one, an id: so the SDKs
/// of `OpenAI` for Python and JavaScript do, and what has no data is no JSON to them.
fn parsed(bytes: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8(bytes.to_vec()).expect("text").replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut name, mut data, mut has_id) = (Vec::new(), String::new(), Vec::new(), false);
    for line in text.trim_start_matches('\u{feff}').lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                let event = (std::mem::take(&mut name), std::mem::take(&mut data).join("\n"));
                if !(event.0.is_empty() && event.1.is_empty() && !has_id || event.1.starts_with("[DONE]")) {
                    let document = serde_json::from_str(&event.1);
                    events.push((event.0, document.unwrap_or_else(|error| panic!("{error}: {:?} in {text}", event.1))));
                }
            }
            "event" => value.clone_into(&mut name),
            "data" => data.push(value.to_owned()),
            "id" => has_id = true,
            _ => {}
        }
    }
    assert!(name.is_empty() && data.is_empty(), "no event is left open: {text}");
    events
}

const TEXTS: [&str; 4] = ["12345", "67890", "abcde", "fghij"];

/// What a client gets for 10 tokens, one byte of text being one.
fn cut<'a>(dialect: Dialect, chunks: impl Iterator<Item = &'a [u8]>) -> Vec<(String, Value)> {
    let (meter, _) = meter_of(10);
    let policy = policy().counter(|| BytesPerToken::new(1.0).expect("in range")).build().expect("good options");
    let got = drive(policy.start(Framing::Sse, account(&meter)).with_dialect(dialect), chunks);
    assert_eq!(got.end, End::Cut);
    parsed(&got.bytes)
}

#[test]
fn wherever_chunks_are_cut_every_event_has_a_document() {
    for (dialect, stream) in [
        (Dialect::Responses, responses(&TEXTS)),
        (Dialect::Messages, messages(&TEXTS)),
        (Dialect::Chat, chat(&TEXTS, None)),
    ] {
        let stream = String::from_utf8(stream).expect("text");
        let with = |fields: &str| stream.replace("data: ", &format!("{fields}data: "));
        for stream in [stream.clone(), with("id: 7\n"), with("retry: 9\n: why not\n"), with("event: some\n")] {
            for end in ["\n", "\r\n", "\r"] {
                let stream = stream.replace('\n', end);
                for size in [1, 2, 3, 50, 97, 250] {
                    let events = cut(dialect, stream.as_bytes().chunks(size));
                    let (name, last) = events.last().expect("one");
                    let reasons = [&last["choices"][0]["finish_reason"], &last["type"]];
                    let wanted = ["length", "message_stop", "response.incomplete"];
                    assert!(wanted.iter().any(|wanted| reasons.contains(&&Value::from(*wanted))), "{last}");
                    let named = dialect != Dialect::Chat;
                    assert_eq!(name, if named { last["type"].as_str().expect("a name") } else { "" });
                }
                // The name of an event goes out with what precedes it, and its document does not.
                let too_much = stream.find("abcde").expect("there");
                let at = stream[..too_much].rfind("data: ").expect("a line");
                for within in 0..9 {
                    let (head, tail) = stream.as_bytes().split_at(at + within);
                    let text: Value =
                        cut(dialect, [head, tail].into_iter()).into_iter().map(|(_, event)| event).collect();
                    assert!(!text.to_string().contains("abcde"), "{text}");
                }
            }
        }
    }
}

#[test]
fn an_upstream_that_ends_within_a_line_leaves_the_last_events_whole() {
    let long = "x".repeat(200);
    let stream = String::from_utf8(chat(&["12345", &long], None)).expect("text");
    let at = stream.find(&long).expect("there") + long.len();
    let end = stream[at..].find('\n').expect("an end");
    for whole in [at + end, at + end + 1, at + end + 2] {
        let (meter, _) = meter_of(6);
        let policy = policy().counter(|| BytesPerToken::new(1.0).expect("in range")).max_line(100).build();
        let policy = policy.expect("good options");
        let got = drive(policy.start(Framing::Sse, account(&meter)), stream.as_bytes()[..whole].chunks(60));
        let events = parsed(&got.bytes);
        assert_eq!(
            (got.end, &events.last().expect("one").1["choices"][0]["finish_reason"]),
            (End::Cut, &"length".into())
        );
        assert!(events.iter().any(|(_, event)| event["choices"][0]["delta"]["content"] == *long));
    }
}

#[test]
fn whole_answers_are_read_by_such_a_client() {
    for stream in all().into_iter().filter(|stream| stream.framing == Framing::Sse) {
        assert!(!parsed(&stream.bytes).is_empty());
    }
}
