//! The events that end an answer that is cut off, as its API would end one that reached its most tokens.

use std::fmt::Write;

use crate::answer::{Answer, Dialect, Event, Shape};
use crate::scan::Framing;

/// What a client still has to get after what it got, so that it sees an answer that is complete and was cut for its length.
/// Empty if the answer had ended, or nobody knows how it is written.
pub(crate) fn last_events(
    answer: &Answer,
    dialect: Option<Dialect>,
    framing: Framing,
    shape: Shape,
    tokens: Tokens,
) -> String {
    let mut last = Last { out: String::new(), answer, shape, framing, tokens };
    if shape.ended {
        return last.out;
    }
    if framing == Framing::Sse {
        last.end_event();
        let named = matches!(dialect, None | Some(Dialect::Responses | Dialect::Messages));
        if shape.event == Event::Begun && !named {
            last.out.push_str("event:\n");
        }
    }
    match dialect {
        Some(dialect @ (Dialect::Chat | Dialect::Completions)) => last.completion(dialect),
        Some(Dialect::Responses) => last.response(),
        Some(Dialect::Messages) => last.message(),
        Some(Dialect::Ollama) => last.ollama(),
        None => {}
    }
    last.out
}

/// How many tokens went out, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

struct Last<'a> {
    out: String,
    answer: &'a Answer,
    shape: Shape,
    framing: Framing,
    tokens: Tokens,
}

impl Last<'_> {
    /// Ends the event that has begun, if it has data. Without, it would be an event of nothing to clients that do not skip
    /// those that have a name alone; what comes next takes its place, and its name.
    fn end_event(&mut self) {
        let Shape { event, last, .. } = self.shape;
        let mut missing = usize::from(!self.shape.is_at_line_start());
        if matches!(event, Event::Data | Event::Open) {
            // The line feed that follows a carriage return belongs to it.
            missing += if last == Some(b'\r') { 2 } else { 1 };
        }
        self.out.extend(std::iter::repeat_n('\n', missing));
    }

    /// One event, named if the API names its events.
    fn event(&mut self, name: Option<&str>, document: &str) {
        let out = &mut self.out;
        // Writing to a string does not fail.
        let _ = match (self.framing, name) {
            (Framing::Sse, Some(name)) => write!(out, "event: {name}\ndata: {document}\n\n"),
            (Framing::Sse, None) => write!(out, "data: {document}\n\n"),
            _ => writeln!(out, "{document}"),
        };
    }

    fn completion(&mut self, dialect: Dialect) {
        let object = if dialect == Dialect::Chat { "chat.completion.chunk" } else { "text_completion" };
        let choices = if self.shape.choices == 0 { 1 } else { self.shape.choices };
        let first = !self.shape.begun;
        let open = choices & !self.shape.finished;
        for index in (0..u128::BITS).filter(|index| open & (1 << index) != 0) {
            let added = match (dialect, first) {
                (Dialect::Chat, true) => r#""delta":{"role":"assistant","content":""}"#,
                (Dialect::Chat, false) => r#""delta":{}"#,
                _ => r#""text":"""#,
            };
            let document = format!(
                r#"{{"id":{},"object":"{object}","created":{},"model":{},"choices":[{{"index":{index},{added},"logprobs":null,"finish_reason":"length"}}]}}"#,
                quoted(&self.answer.id),
                self.answer.created,
                quoted(&self.answer.model),
            );
            self.event(None, &document);
        }
        if self.framing == Framing::Sse {
            self.event(None, "[DONE]");
        }
    }

    fn message(&mut self) {
        if !self.shape.begun {
            let document = format!(
                r#"{{"type":"message_start","message":{{"id":{},"type":"message","role":"assistant","content":[],"model":{},"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":{},"output_tokens":0}}}}}}"#,
                quoted(&self.answer.id),
                quoted(&self.answer.model),
                self.tokens.input,
            );
            self.event(Some("message_start"), &document);
        }
        if let Some(index) = self.shape.block {
            self.event(Some("content_block_stop"), &format!(r#"{{"type":"content_block_stop","index":{index}}}"#));
        }
        let document = format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"max_tokens","stop_sequence":null}},"usage":{{"output_tokens":{}}}}}"#,
            self.tokens.output,
        );
        self.event(Some("message_delta"), &document);
        self.event(Some("message_stop"), r#"{"type":"message_stop"}"#);
    }

    fn response(&mut self) {
        let mut sequence = self.shape.sequence;
        if self.shape.begun {
            sequence = sequence.saturating_add(1);
        } else {
            let document = self.state("response.created", 0, "in_progress", "null", "null");
            self.event(Some("response.created"), &document);
            sequence = 1;
        }
        let Tokens { input, output } = self.tokens;
        let usage = format!(
            r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}"#,
            input.saturating_add(output),
        );
        let document =
            self.state("response.incomplete", sequence, "incomplete", r#"{"reason":"max_output_tokens"}"#, &usage);
        self.event(Some("response.incomplete"), &document);
    }

    fn state(&self, kind: &str, sequence: u64, status: &str, details: &str, usage: &str) -> String {
        format!(
            r#"{{"type":"{kind}","sequence_number":{sequence},"response":{{"id":{},"object":"response","created_at":{},"status":"{status}","error":null,"incomplete_details":{details},"instructions":null,"max_output_tokens":null,"metadata":{{}},"model":{},"output":[],"parallel_tool_calls":true,"previous_response_id":null,"temperature":null,"tool_choice":"auto","tools":[],"top_p":null,"usage":{usage}}}}}"#,
            quoted(&self.answer.id),
            self.answer.created,
            quoted(&self.answer.model),
        )
    }

    fn ollama(&mut self) {
        let document = format!(
            r#"{{"model":{},"message":{{"role":"assistant","content":""}},"response":"","done":true,"done_reason":"length","prompt_eval_count":{},"eval_count":{}}}"#,
            quoted(&self.answer.model),
            self.tokens.input,
            self.tokens.output,
        );
        self.event(None, &document);
    }
}

/// A text of the answer as JSON.
fn quoted(label: &[u8]) -> String {
    let mut out = String::from("\"");
    for character in String::from_utf8_lossy(label).chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            character if character < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}
