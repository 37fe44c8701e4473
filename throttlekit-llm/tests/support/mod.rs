//! Answers as providers write them, and what a client gets of them.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part; a failing unwrap is a failing test

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use serde_json::{Value, json};
use throttlekit::ManualClock;
use throttlekit::budget::{Budget, Ledger, Served, TokenBudget};
use throttlekit_llm::{Dialect, End, Source, StreamMeter, StreamPolicy, StreamPolicyBuilder};

pub(crate) type Tokens = Arc<TokenBudget<Ledger<Served>, ManualClock>>;

pub(crate) fn meter_of(budget: u32) -> (Tokens, ManualClock) {
    let clock = ManualClock::new(0.0);
    let budget = Budget::builder().budget(f64::from(budget)).window_ms(60_000.0).build().unwrap();
    (Arc::new(TokenBudget::builder(budget).clock(clock.clone()).build()), clock)
}

pub(crate) fn policy() -> StreamPolicyBuilder {
    StreamPolicy::builder()
}

/// What came out of an answer.
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) end: End,
}

/// Reads an answer to its end; the store must not wait.
pub(crate) fn drive<'a>(mut meter: StreamMeter, chunks: impl Iterator<Item = &'a [u8]>) -> Got {
    let mut chunks = chunks.map(Bytes::copy_from_slice);
    let mut context = Context::from_waker(Waker::noop());
    let mut got = Vec::new();
    loop {
        match meter.poll_chunk::<()>(&mut context, |_| Poll::Ready(chunks.next().map_or(Source::End, Source::Chunk))) {
            Poll::Ready(Some(Ok(chunk))) => got.push(chunk),
            Poll::Ready(None) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(meter.is_over());
    let end = if meter.is_cut() { End::Cut } else { End::Completed };
    Got { bytes: got.concat(), chunks: got, dialect: meter.scanner().dialect(), end }
}

/// The documents of a stream of events, by a plain reading of whole text.
pub(crate) fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    let mut documents = Vec::new();
    for event in text.split("\n\n") {
        let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
        let data = data.join("\n");
        if !data.is_empty() && data.trim() != "[DONE]" {
            documents.push(serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")));
        }
    }
    documents
}

fn event(out: &mut String, name: Option<&str>, document: &Value) {
    if let Some(name) = name {
        out.push_str(&format!("event: {name}\n"));
    }
    out.push_str(&format!("data: {document}\n\n"));
}

/// A chat completion of these texts, with usage if it is asked for.
pub(crate) fn chat(texts: &[&str], usage: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = String::new();
    let chunk = |choices: Value, usage: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1",
            "system_fingerprint": "fp_1", "choices": choices, "usage": usage})
    };
    let choice =
        |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    event(
        &mut out,
        None,
        &chunk(choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null), Value::Null),
    );
    for text in texts {
        event(&mut out, None, &chunk(choice(json!({"content": text}), Value::Null), Value::Null));
    }
    event(&mut out, None, &chunk(choice(json!({}), json!("stop")), Value::Null));
    if let Some((input, output)) = usage {
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}});
        event(&mut out, None, &chunk(json!([]), usage));
    }
    out.push_str("data: [DONE]\n\n");
    out.into_bytes()
}

/// Collects reports.
pub(crate) type Log = Arc<Mutex<Vec<(End, u64, u64)>>>;
