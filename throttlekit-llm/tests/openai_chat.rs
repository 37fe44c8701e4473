//! Chat completions, from the first chunk to the last event.

mod support;

use support::streams::chat;
use support::{account, drive, events, meter_of, policy, served};
use throttlekit_llm::{Dialect, End, Exhausted, Framing};

#[test]
fn an_answer_passes_untouched_and_costs_what_the_provider_says() {
    let (meter, _) = meter_of(1_000);
    let stream = chat(&["Hello", " there", ", friend"], Some((12, 5)));
    let answer = policy().build().unwrap().start(Framing::Sse, account(&meter));
    let got = drive(answer, stream.chunks(40));
    assert_eq!(got.bytes, stream);
    assert_eq!(served(&meter), 5, "19 bytes were estimated as 5 tokens, and are 5");

    let answer = policy().build().unwrap().start(Framing::Sse, account(&meter)).with_input(3);
    drive(answer, stream.chunks(7));
    assert_eq!(served(&meter), 5 + 12 + 5);
}

#[test]
fn an_exhausted_key_gets_a_last_event() {
    let (meter, _) = meter_of(3);
    let stream = chat(&["four", "four", "four", "four", "four"], None);
    let policy = policy().exhausted(Exhausted::Cut).build().unwrap();
    let got = drive(policy.start(Framing::Sse, account(&meter)), stream.chunks(1));
    assert!(stream.starts_with(&got.bytes[..400]));
    let documents = events(&got.bytes);
    let texts: Vec<_> = documents.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(texts, ["", "four", "four", "four"]);
    let last = documents.last().unwrap();
    assert_eq!(
        (last["choices"][0]["finish_reason"].as_str(), last["id"].as_str()),
        (Some("length"), Some("chatcmpl-1"))
    );
    assert!(got.bytes.ends_with(b"data: [DONE]\n\n"));
    assert_eq!((got.end, got.dialect), (End::Cut, Some(Dialect::Chat)));
    assert_eq!(served(&meter), 3);
}
