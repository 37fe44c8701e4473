//! What the model says, as one JSON or as a stream of events.

use axum::body::Bytes;
use serde_json::{Value, json};

/// When everything was made: it is the same at all times.
pub(crate) const CREATED: u64 = 1_700_000_000;

/// How many tokens an answer has if nobody says.
const LENGTH: u64 = 32;
/// And at most, so that a number in a message is no bill.
const LONGEST: u64 = 100_000;

/// Each is one token.
const WORDS: [&str; 16] = [
    "The",
    " quick",
    " brown",
    " fox",
    " jumps",
    " over",
    " a",
    " lazy",
    " dog",
    ",",
    " na\u{ef}vely",
    " \u{2014}",
    " then",
    " rests",
    ".",
    "\n",
];

/// The answer to one request.
pub(crate) struct Answer {
    id: String,
    model: String,
    tokens: u64,
    /// Whether the request allows no more, though there is more to say.
    cut: bool,
    prompt_tokens: u64,
    include_usage: bool,
    seed: u64,
}

/// What is sent at once.
pub(crate) enum Part {
    /// An event that takes the time of a token.
    Token(Bytes),
    /// An event that comes with the one before it.
    Rest(Bytes),
    /// The end of the connection.
    Failure,
}

impl Answer {
    pub(crate) fn to(request: &Value) -> Self {
        // Either API: that of responses takes a text too.
        let asked = request.get("input").unwrap_or(&request["messages"]);
        let messages = asked.to_string();
        let seed = fingerprint(messages.bytes());
        let last = asked.as_array().and_then(|messages| messages.last()).map_or(asked, |message| &message["content"]);
        let wanted = number_in(&last.to_string()).unwrap_or(LENGTH).min(LONGEST);
        let most = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
        let most = most.iter().find_map(|name| request[*name].as_u64());
        let tokens = most.unwrap_or(u64::MAX).min(wanted);
        Self {
            id: format!("{}-{seed:016x}", if request.get("input").is_some() { "resp" } else { "chatcmpl" }),
            model: request["model"].as_str().unwrap_or("fake").to_owned(),
            tokens,
            cut: tokens < wanted,
            // About what a real one counts.
            prompt_tokens: messages.len().div_ceil(4) as u64,
            include_usage: request["stream_options"]["include_usage"] == true,
            seed,
        }
    }

    /// The answer as one JSON.
    pub(crate) fn whole(&self) -> Value {
        let text: String = (0..self.tokens).map(|index| self.word(index)).collect();
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": self.finish_reason(),
            }],
            "usage": self.usage(),
            "system_fingerprint": "fp_fake",
        })
    }

    /// The answer as a stream: who speaks, each token, why it ends, the usage if asked for, and the mark of the end.
    pub(crate) fn parts(&self, broken: bool) -> impl Iterator<Item = Part> + Send + 'static {
        let start = self.chunk(&json!({ "role": "assistant", "content": "", "refusal": null }), None);
        let end = self.chunk(&json!({}), Some(self.finish_reason()));
        let usage = self.include_usage.then(|| {
            let mut last = self.head();
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            Part::Rest(event(&last))
        });
        let this = Self { id: self.id.clone(), model: self.model.clone(), ..*self };
        let sent = if broken { self.tokens / 2 } else { self.tokens };
        let tokens = (0..sent).map(move |index| Part::Token(this.chunk(&json!({ "content": this.word(index) }), None)));
        let rest: Vec<Part> = if broken {
            vec![Part::Failure]
        } else {
            let done = Part::Rest(Bytes::from_static(b"data: [DONE]\n\n"));
            [Part::Rest(end)].into_iter().chain(usage).chain([done]).collect()
        };
        [Part::Rest(start)].into_iter().chain(tokens).chain(rest)
    }

    /// The answer as a stream of the responses API. The name of each event comes before the token is there, and its data after.
    pub(crate) fn events(&self) -> impl Iterator<Item = Part> + Send + 'static {
        let text: String = (0..self.tokens).map(|index| self.word(index)).collect();
        let (status, last, details) = if self.cut {
            ("incomplete", "response.incomplete", json!({ "reason": "max_output_tokens" }))
        } else {
            ("completed", "response.completed", Value::Null)
        };
        let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
        let item = |status: &str, content: Value| json!({ "type": "message", "id": "msg_fake", "status": status, "role": "assistant", "content": content });
        let state = |status: &str, details: &Value, output: Value, usage: Value| {
            json!({ "response": {
                "id": self.id, "object": "response", "created_at": CREATED, "status": status, "model": self.model,
                "incomplete_details": details, "output": output, "usage": usage, "error": null, "tools": [],
                "parallel_tool_calls": true, "tool_choice": "auto",
            } })
        };
        let usage = json!({
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": self.tokens,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": self.prompt_tokens + self.tokens,
        });
        let place = json!({ "item_id": "msg_fake", "output_index": 0, "content_index": 0 });
        let at = |name: &str, value: Value| {
            let mut document = place.clone();
            document[name] = value;
            document
        };
        let mut documents = vec![
            ("response.created", state("in_progress", &Value::Null, json!([]), Value::Null)),
            ("response.output_item.added", at("item", item("in_progress", json!([])))),
            ("response.content_part.added", at("part", part(""))),
        ];
        let deltas = (0..self.tokens).map(|index| at("delta", json!(self.word(index))));
        documents.extend(deltas.map(|delta| ("response.output_text.delta", delta)));
        let whole = item(status, json!([part(&text)]));
        documents.extend([
            ("response.output_text.done", at("text", json!(text))),
            ("response.content_part.done", at("part", part(&text))),
            ("response.output_item.done", at("item", whole.clone())),
            (last, state(status, &details, json!([whole]), usage)),
        ]);
        documents.into_iter().enumerate().flat_map(|(number, (name, mut document))| {
            document["type"] = json!(name);
            document["sequence_number"] = json!(number);
            let data = event(&document);
            let is_token = name == "response.output_text.delta";
            [Part::Rest(format!("event: {name}\n").into()), if is_token { Part::Token(data) } else { Part::Rest(data) }]
        })
    }

    fn finish_reason(&self) -> &'static str {
        if self.cut { "length" } else { "stop" }
    }

    fn word(&self, index: u64) -> &'static str {
        let place = fingerprint(self.seed.wrapping_add(index).to_le_bytes()) % 16;
        usize::try_from(place).ok().and_then(|place| WORDS.get(place)).copied().unwrap_or(" and")
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Bytes {
        let mut chunk = self.head();
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// What all chunks have in common.
    fn head(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        })
    }
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// The last number in a text.
fn number_in(text: &str) -> Option<u64> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).next_back()
}

/// FNV-1a with 64 bits: the same for the same bytes at all times.
fn fingerprint(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
