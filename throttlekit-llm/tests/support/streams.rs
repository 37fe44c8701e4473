//! Answers as providers write them.

use std::fmt::Write;

use serde_json::{Value, json};
use throttlekit_llm::{Dialect, Framing};

/// An answer, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) dialect: Dialect,
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of text that was produced.
    pub(crate) text: u64,
    pub(crate) usage: (Option<u64>, Option<u64>),
}

/// One byte of text is a token here, so that a miscount of one byte shows.
pub(crate) const USAGE: (u64, u64) = (12, 34);

fn event(out: &mut String, name: Option<&str>, document: &Value) {
    if let Some(name) = name {
        writeln!(out, "event: {name}").expect("a string takes it");
    }
    write!(out, "data: {document}\n\n").expect("a string takes it");
}

fn text_of(texts: &[&str]) -> u64 {
    texts.iter().map(|text| text.len() as u64).sum()
}

fn chat_chunk(choices: &Value, usage: &Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1",
        "system_fingerprint": "fp_1", "choices": choices, "usage": usage})
}

fn choice(index: u64, delta: &Value, finish: Option<&str>) -> Value {
    json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}])
}

fn chat_usage(input: u64, output: u64) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 9}})
}

/// A chat completion of these texts, with usage if it is asked for.
pub(crate) fn chat(texts: &[&str], usage: Option<(u64, u64)>) -> Vec<u8> {
    let mut out = String::new();
    let mut add = |choices: &Value, usage: &Value| event(&mut out, None, &chat_chunk(choices, usage));
    add(&choice(0, &json!({"role": "assistant", "content": "", "refusal": null}), None), &Value::Null);
    for text in texts {
        add(&choice(0, &json!({"content": text}), None), &Value::Null);
    }
    add(&choice(0, &json!({}), Some("stop")), &Value::Null);
    if let Some((input, output)) = usage {
        add(&json!([]), &chat_usage(input, output));
    }
    out.push_str("data: [DONE]\n\n");
    out.into_bytes()
}

/// Tool calls of several choices, with reasoning, as what follows the API writes them.
fn tools() -> Stream {
    let mut out = String::from(": a comment, with \"content\":\"none\"\n\n");
    let mut add = |choices: &Value| event(&mut out, None, &chat_chunk(choices, &Value::Null));
    let call = |arguments: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]});
    add(&choice(0, &json!({"role": "assistant", "content": null}), None));
    add(&choice(0, &json!({"reasoning_content": "héllo"}), None));
    add(&choice(
        0,
        &json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}),
        None,
    ));
    add(&choice(0, &call("{\"city\":"), None));
    add(&choice(1, &json!({"role": "assistant", "content": "a \\ \"b\" \n\u{1F980}"}), None));
    add(&choice(0, &call(" \"Oslo\"}"), None));
    add(&choice(1, &json!({"refusal": "no"}), None));
    add(&choice(1, &json!({}), Some("stop")));
    add(&choice(0, &json!({}), Some("tool_calls")));
    event(&mut out, None, &chat_chunk(&json!([]), &chat_usage(USAGE.0, USAGE.1)));
    out.push_str("data: [DONE]\n\n");
    let text = text_of(&["héllo", "weather", "{\"city\":", "a \\ \"b\" \n\u{1F980}", " \"Oslo\"}", "no"]);
    Stream { dialect: Dialect::Chat, framing: Framing::Sse, bytes: out.into_bytes(), text, usage: both() }
}

fn both() -> (Option<u64>, Option<u64>) {
    (Some(USAGE.0), Some(USAGE.1))
}

pub(crate) fn responses(texts: &[&str]) -> Vec<u8> {
    let mut out = String::new();
    let mut number = 0;
    let mut add = |kind: &str, mut document: Value| {
        document["type"] = json!(kind);
        document["sequence_number"] = json!(number);
        number += 1;
        event(&mut out, Some(kind), &document);
    };
    let state = |status: &str, output: Value, usage: Value| {
        json!({"response": {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status,
            "model": "m-1", "output": output, "usage": usage, "tools": [{"name": "not counted"}]}})
    };
    add("response.created", state("in_progress", json!([]), Value::Null));
    add("response.output_item.added", json!({"output_index": 0, "item": {"id": "msg_1", "content": []}}));
    for text in texts {
        let delta = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
        add("response.output_text.delta", delta);
    }
    let whole = texts.concat();
    add("response.output_text.done", json!({"item_id": "msg_1", "text": whole}));
    let item = json!({"id": "msg_1", "content": [{"type": "output_text", "text": whole}]});
    add("response.output_item.done", json!({"output_index": 0, "item": item}));
    let usage = json!({"input_tokens": USAGE.0, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": USAGE.1,
        "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": USAGE.0 + USAGE.1});
    add("response.completed", state("completed", json!([item]), usage));
    out.into_bytes()
}

pub(crate) fn messages(texts: &[&str]) -> Vec<u8> {
    let mut out = String::new();
    let mut add = |kind: &str, mut document: Value| {
        document["type"] = json!(kind);
        event(&mut out, Some(kind), &document);
    };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m-1",
        "stop_reason": null, "usage": {"input_tokens": USAGE.0, "cache_read_input_tokens": 4, "output_tokens": 1}});
    add("message_start", json!({"message": message}));
    add("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}}));
    add("ping", json!({}));
    for text in texts {
        add("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": text}}));
    }
    add("content_block_stop", json!({"index": 0}));
    let tool = json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}});
    add("content_block_start", json!({"index": 1, "content_block": tool}));
    add("content_block_delta", json!({"index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}}));
    add("content_block_stop", json!({"index": 1}));
    let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
    add("message_delta", json!({"delta": delta, "usage": {"output_tokens": USAGE.1}}));
    add("message_stop", json!({}));
    out.into_bytes()
}

pub(crate) fn ollama(texts: &[&str]) -> Vec<u8> {
    let mut out = String::new();
    for text in texts {
        let message = json!({"role": "assistant", "content": text});
        writeln!(out, "{}", json!({"model": "m-1", "message": message, "done": false})).expect("a string takes it");
    }
    let last = json!({"model": "m-1", "message": {"role": "assistant", "content": ""}, "done": true,
        "done_reason": "stop", "prompt_eval_count": USAGE.0, "eval_count": USAGE.1});
    writeln!(out, "{last}").expect("a string takes it");
    out.into_bytes()
}

const TEXTS: [&str; 5] = ["Hel", "lo, w\u{f6}rld", " \\\"quoted\\\"\n", "\u{1F600}\u{7f}\u{0}", "end"];

fn stream(dialect: Dialect, framing: Framing, bytes: Vec<u8>, text: u64) -> Stream {
    Stream { dialect, framing, bytes, text, usage: both() }
}

/// An answer of each kind.
pub(crate) fn all() -> Vec<Stream> {
    let text = text_of(&TEXTS);
    let ascii = |bytes: Vec<u8>| escaped(&String::from_utf8(bytes).expect("text")).into_bytes();
    let crlf = |bytes: Vec<u8>, end: &str| String::from_utf8(bytes).expect("text").replace('\n', end).into_bytes();
    let plain = chat(&TEXTS, Some(USAGE));
    let completion = json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m-1",
        "choices": [{"text": "abc", "index": 0, "finish_reason": null}], "usage": null});
    let end =
        json!({"choices": [{"text": "", "index": 0, "finish_reason": "stop"}], "usage": chat_usage(USAGE.0, USAGE.1)});
    let whole_chat = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "abc", "tool_calls": [
            {"id": "call_1", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "stop"}],
        "usage": chat_usage(USAGE.0, USAGE.1)});
    let whole_message = json!({"id": "msg_1", "type": "message", "model": "m-1", "content": [{"type": "text", "text": "abc"}],
        "usage": {"input_tokens": USAGE.0, "output_tokens": USAGE.1}});
    let whole_response = json!({"id": "resp_1", "object": "response", "model": "m-1", "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "abc"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"}],
        "usage": {"input_tokens": USAGE.0, "output_tokens": USAGE.1}});
    let pretty = serde_json::to_vec_pretty(&whole_chat).expect("a value");
    vec![
        stream(Dialect::Chat, Framing::Sse, plain.clone(), text),
        stream(Dialect::Chat, Framing::Sse, ascii(plain.clone()), text),
        stream(Dialect::Chat, Framing::Sse, crlf(plain.clone(), "\r\n"), text),
        stream(Dialect::Chat, Framing::Sse, crlf(plain.clone(), "\r"), text),
        stream(Dialect::Chat, Framing::Sse, [b"\xEF\xBB\xBF".to_vec(), plain].concat(), text),
        tools(),
        stream(
            Dialect::Completions,
            Framing::Sse,
            format!("data: {completion}\n\ndata:{end}\n\ndata: [DONE]\n\n").into_bytes(),
            3,
        ),
        stream(Dialect::Responses, Framing::Sse, responses(&TEXTS), text),
        stream(Dialect::Messages, Framing::Sse, messages(&TEXTS), text + 3),
        stream(Dialect::Messages, Framing::Sse, crlf(messages(&TEXTS), "\r\n"), text + 3),
        stream(Dialect::Ollama, Framing::Ndjson, ollama(&TEXTS), text),
        stream(Dialect::Chat, Framing::Whole, whole_chat.to_string().into_bytes(), 6),
        stream(Dialect::Chat, Framing::Whole, pretty, 6),
        stream(Dialect::Messages, Framing::Whole, whole_message.to_string().into_bytes(), 3),
        stream(Dialect::Responses, Framing::Whole, whole_response.to_string().into_bytes(), 6),
    ]
}

/// With everything that is not ASCII escaped, as some servers write it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut units = [0; 2];
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04X}").expect("a string takes it");
            }
        }
    }
    out
}
