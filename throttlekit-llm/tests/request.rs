//! What is read of a request, and what is added to it.
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use throttlekit_llm::{BytesPerToken, Dialect, ModelRequest};

/// One byte is a token, so that lengths can be seen.
fn read(dialect: Dialect, body: &[u8]) -> Option<ModelRequest> {
    ModelRequest::read(dialect, body, &mut BytesPerToken::new(1.0).unwrap()).ok()
}

fn chat(body: &Value) -> ModelRequest {
    read(Dialect::Chat, body.to_string().as_bytes()).unwrap()
}

#[test]
fn each_api_says_in_its_own_way_how_much_it_wants() {
    let cases = [
        (Dialect::Chat, json!({"max_tokens": 7}), Some(7), 1),
        (Dialect::Chat, json!({"max_tokens": 7, "max_completion_tokens": 9, "n": 3}), Some(9), 3),
        (Dialect::Chat, json!({"max_tokens": 9, "max_completion_tokens": 7}), Some(9), 1),
        (Dialect::Completions, json!({"max_tokens": 7, "n": 2, "best_of": 4}), Some(7), 4),
        // To each prompt.
        (Dialect::Completions, json!({"prompt": ["a", "b", ""], "max_tokens": 7, "n": 2}), Some(7), 6),
        (Dialect::Completions, json!({"prompt": [[1, 2], [3], []], "n": 2}), None, 6),
        (Dialect::Completions, json!({"prompt": [1, 2, 3], "n": 2}), None, 2),
        (Dialect::Completions, json!({"prompt": "a", "n": 2}), None, 2),
        (Dialect::Completions, json!({"prompt": [], "n": u64::MAX}), None, u64::MAX),
        // What other APIs call it.
        (Dialect::Chat, json!({"max_tokens": 7, "options": {"num_predict": 1}, "max_output_tokens": 1}), Some(7), 1),
        (Dialect::Completions, json!({"max_tokens": 7, "max_completion_tokens": 9}), Some(7), 1),
        (
            Dialect::Responses,
            json!({"max_output_tokens": 7, "max_completion_tokens": 1, "max_tokens": 9, "n": 3}),
            Some(7),
            1,
        ),
        (Dialect::Messages, json!({"max_tokens": 7, "max_completion_tokens": 1, "n": 3}), Some(7), 1),
        (Dialect::Ollama, json!({"options": {"num_predict": 7}, "max_tokens": 1}), Some(7), 1),
        (Dialect::Responses, json!({"max_output_tokens": 11}), Some(11), 1),
        (Dialect::Messages, json!({"max_tokens": 1024}), Some(1024), 1),
        (Dialect::Ollama, json!({"options": {"num_predict": 5}}), Some(5), 1),
        (Dialect::Ollama, json!({"options": {"num_predict": -1}}), None, 1),
        (Dialect::Chat, json!({"max_tokens": null, "n": "two"}), None, 1),
        (Dialect::Chat, json!({"max_tokens": -5, "n": 0}), None, 1),
        (Dialect::Chat, json!({"max_tokens": 1.5}), None, 1),
    ];
    for (dialect, body, max, choices) in cases {
        let request = read(dialect, body.to_string().as_bytes()).unwrap();
        assert_eq!((request.max_output(), request.choices()), (max, choices), "{body}");
    }
}

#[test]
fn every_spelling_of_a_path_has_its_api() {
    for (path, dialect) in [
        ("/v1/chat/completions/", Dialect::Chat),
        ("/v1//chat//completions", Dialect::Chat),
        ("/v1/chat/./completions", Dialect::Chat),
        ("/v1/Chat/COMPLETIONS", Dialect::Chat),
        ("/v1/%2e/chat%2Fcompletions", Dialect::Chat),
        ("/v1/chat/../completions", Dialect::Completions),
        ("/v1/responses/.", Dialect::Responses),
        ("/v1/x/../responses", Dialect::Responses),
        ("/v1/x/y/%2e%2E/.%2e/responses", Dialect::Responses),
        ("/../v1/x\\..\\Responses", Dialect::Responses),
        ("/V1/Messages", Dialect::Messages),
        ("/api//generate", Dialect::Ollama),
    ] {
        assert_eq!(Dialect::of_path(path), Some(dialect), "{path}");
    }
    for path in
        ["", "/", "/v1/responses/..", "/v1/responses/resp_1", "/v1/my-responses", "/v1/messages/batches", "/chat"]
    {
        assert_eq!(Dialect::of_path(path), None, "{path}");
    }
}

#[test]
fn a_whole_number_may_be_written_as_a_real_one() {
    let whole = [("1e5", 100_000), ("8.0", 8), ("1.25E+2", 125), ("9007199254740991.0", (1 << 53) - 1), ("-0.0", 0)];
    let whole = whole.map(|(text, number)| (text, Some(number)));
    let none = ["1.5", "-1e2", "1e16", "9007199254740992.0", "1e400", "NaN", "Infinity", "0x10", "tru"];
    let long = format!("1{}.0", "0".repeat(40));
    for (text, number) in whole.into_iter().chain(none.into_iter().chain([&*long]).map(|text| (text, None))) {
        let request = read(Dialect::Chat, format!(r#"{{"max_tokens":{text},"n":{text}}}"#).as_bytes()).unwrap();
        assert_eq!((request.max_output(), request.choices()), (number, number.unwrap_or(1).max(1)), "{text}");
    }
}

#[test]
fn the_texts_of_the_input_count_and_nothing_else_does() {
    let picture = "data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAA";
    let request = chat(&json!({"model": "m-1", "user": "not counted", "messages": [
        {"role": "system", "content": "12345"},
        {"role": "user", "content": [{"type": "text", "text": "123"}, {"type": "image_url", "image_url": {"url": picture}}]},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "é\n"},
    ], "tools": [{"type": "function", "function": {"name": "f", "description": "12"}}]}));
    assert_eq!((request.model(), request.input()), ("m-1", 5 + 3 + 1 + 7 + 3 + 8 + 1 + 2));
    let messages = json!({"system": [{"type": "text", "text": "12"}], "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "", "data": picture}}, {"type": "text", "text": "345"}]}]});
    assert_eq!(read(Dialect::Messages, messages.to_string().as_bytes()).unwrap().input(), 5);
    let responses = json!({"instructions": "12", "input": [{"role": "user", "content": [
        {"type": "input_text", "text": "345"}, {"type": "input_image", "image_url": picture}]}]});
    assert_eq!(read(Dialect::Responses, responses.to_string().as_bytes()).unwrap().input(), 5);
    assert_eq!(read(Dialect::Responses, br#"{"input":"12345"}"#).unwrap().input(), 5);
    assert_eq!(read(Dialect::Completions, br#"{"prompt":["12","345"]}"#).unwrap().input(), 5);
    // Tokens, of one prompt or of several.
    assert_eq!(read(Dialect::Completions, br#"{"prompt":[11, 22,33]}"#).unwrap().input(), 3);
    assert_eq!(read(Dialect::Completions, br#"{"prompt":[[11,22],[33]],"n":1,"seed":7}"#).unwrap().input(), 3);
}

#[test]
fn in_tools_and_calls_every_text_counts() {
    // Names that mean a file in a message.
    let named = json!({"url": "1", "image_url": "2", "data": "3", "file_data": "4", "images": ["5"], "type": "6",
        "role": "7", "id": "8", "tool_call_id": "9", "file_id": "a", "signature": "b", "source": {"data": "c"}});
    let bodies = [
        (Dialect::Chat, json!({"tools": [{"function": {"parameters": {"properties": named}}}]}), 12),
        (Dialect::Messages, json!({"tools": [{"input_schema": {"properties": named}}]}), 12),
        (Dialect::Messages, json!({"messages": [{"content": [{"type": "tool_use", "input": named}]}]}), 12),
        (Dialect::Ollama, json!({"messages": [{"tool_calls": [{"function": {"arguments": named}}]}]}), 12),
        (Dialect::Responses, json!({"input": [{"type": "mcp_list_tools", "tools": [{"input_schema": named}]}]}), 12),
        (Dialect::Responses, json!({"input": [{"type": "function_call", "id": "x", "arguments": "12345"}]}), 5),
        (Dialect::Messages, json!({"messages": [{"content": [{"type": "tool_result", "content": [named]}]}]}), 0),
        (Dialect::Responses, json!({"input": [{"type": "function_call_output", "output": [named]}]}), 0),
        (Dialect::Responses, json!({"prompt": {"id": "x", "variables": {"url": "1", "data": named}}}), 1),
    ];
    for (dialect, body, input) in bodies {
        assert_eq!(read(dialect, body.to_string().as_bytes()).unwrap().input(), input, "{body}");
    }
}

#[test]
fn a_document_that_is_a_text_counts() {
    for (source, input) in [
        (r#"{"type":"text","media_type":"","data":"12345"}"#, 5),
        (r#"{"type":"base64","media_type":"","data":"12345"}"#, 0),
        (r#"{"media_type":"","data":"12345","type":"base64"}"#, 0),
        (r#"{"type":"content","content":[{"type":"text","text":"123"}]}"#, 3),
        // However it is written.
        (r#"{"data":"12\"4\u0035","media_type":"","type":"text"}"#, 5),
        (r#"{"type":"te\u0078t","data":"12345"}"#, 5),
        (r#"{"type":"text","x":{},"y":[{"type":"base64","data":"no"}],"data":"12345"}"#, 5),
        (r#"{"type":"base64","data":"12345","type":"text"}"#, 5),
        (r#"{"type":"textual","data":"12345"}"#, 0),
        (r#"{"data":"12345","x":{"type":"text"}}"#, 0),
    ] {
        let part = format!(r#"{{"type":"document","source":{source}}}"#);
        let body = format!(r#"{{"messages":[{{"content":[{{"type":"text","text":"12"}},{part}]}}]}}"#);
        assert_eq!(read(Dialect::Messages, body.as_bytes()).unwrap().input(), 2 + input, "{source}");
    }
}

#[test]
fn nothing_lies_too_deep_to_be_counted() {
    for depth in 0..40 {
        let deep = format!(r#"{}"12\"4"{}"#, r#"{"a":["#.repeat(depth), "]}".repeat(depth));
        for (body, at_most) in [
            (format!(r#"{{"tools":[{deep}],"prompt":"567"}}"#), 8 * depth + 11),
            (format!(r#"{{"messages":[{{"content":{deep}}}],"prompt":"567"}}"#), 8 * depth + 11),
        ] {
            let input = usize::try_from(read(Dialect::Chat, body.as_bytes()).unwrap().input()).unwrap();
            assert!((7..=at_most).contains(&input), "{input} of {body}");
        }
        // What is no input is none there either.
        let body = format!(r#"{{"metadata":{deep},"messages":[{{"content":[{{"data":{deep}}}]}}],"prompt":"567"}}"#);
        assert_eq!(read(Dialect::Chat, body.as_bytes()).unwrap().input(), 3, "{body}");
    }
}

#[test]
fn no_spelling_of_a_name_hides_what_it_names() {
    let body =
        br#"{"\u006dessages":[{"c\u006Fntent":"12345"}],"max\u005ftokens":7,"\u006D\u006F\u0064\u0065\u006C":"m-1"}"#;
    let request = read(Dialect::Chat, body).unwrap();
    assert_eq!((request.input(), request.max_output(), request.model()), (5, Some(7), "m-1"));
    // These are other names, however they go on.
    for name in
        ["\\nmessages", "\\ud83d\\ude00messages", "messages\\u0000", "\\\\messages", "m\\\"essages", "messages\\ud800"]
    {
        let body = format!(r#"{{"{name}":"no input","prompt":"123"}}"#);
        assert_eq!(read(Dialect::Chat, body.as_bytes()).unwrap().input(), 3, "{name}");
    }
    let long = "\\u0061".repeat(1_000);
    let body = format!(r#"{{"{long}":"no input","messages{long}":"no input","\u0070rompt":"123"}}"#);
    assert_eq!(read(Dialect::Chat, body.as_bytes()).unwrap().input(), 3);
}

#[test]
fn a_reservation_is_input_and_the_most_of_each_answer() {
    let request = chat(&json!({"messages": [{"content": "12345"}], "n": 2}));
    assert_eq!(request.reservation(100), 205);
    let request = chat(&json!({"messages": [{"content": "12345"}], "max_tokens": 10, "n": 2}));
    assert_eq!(request.reservation(100), 25);
    let request = chat(&json!({"max_tokens": u64::MAX, "n": u64::MAX}));
    assert_eq!(request.reservation(1), throttlekit::MAX_SAFE);
}

#[test]
fn a_stream_is_asked_for_and_by_ollama_given() {
    assert!(!chat(&json!({"stream": false})).stream());
    assert!(!chat(&json!({})).stream());
    assert!(chat(&json!({"stream": true})).stream());
    let ollama = |body: &[u8]| read(Dialect::Ollama, body).unwrap().stream();
    assert!(ollama(b"{}") && !ollama(br#"{"stream":false}"#));
}

#[test]
fn an_answer_that_is_fetched_later_is_asked_for() {
    let background = |body: &[u8]| read(Dialect::Responses, body).unwrap().background();
    assert!(background(br#"{"background":true,"input":"x"}"#) && background(br#"{"b\u0061ckground":true}"#));
    assert!(!background(b"{}") && !background(br#"{"background":null}"#));
    assert!(!background(br#"{"background":false,"metadata":{"background":true}}"#));
    // Servers take these for true, or the first of two.
    for said in ["1", "\"true\"", "\"\"", "{}", "[]", "0.5", "true,\"background\":false", "false,\"background\":1"] {
        assert!(background(format!(r#"{{"background":{said}}}"#).as_bytes()), "{said}");
    }
}

#[test]
fn the_wish_for_usage_is_added_where_it_is_missing() {
    let with = |dialect, body: &str| {
        let request = read(dialect, body.as_bytes()).unwrap();
        String::from_utf8(request.with_usage(Bytes::copy_from_slice(body.as_bytes())).to_vec()).unwrap()
    };
    let cases = [
        (r#"{"stream":true}"#, r#"{"stream_options":{"include_usage":true},"stream":true}"#),
        (
            " { \"z\" : 1.50e+3,\n \"stream\":true, \"a\":18446744073709551616 }",
            " {\"stream_options\":{\"include_usage\":true}, \"z\" : 1.50e+3,\n \"stream\":true, \"a\":18446744073709551616 }",
        ),
        (r#"{"stream":true,"stream_options":{ }}"#, r#"{"stream":true,"stream_options":{"include_usage":true }}"#),
        (
            r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
        ),
        // To say nothing, and to say that it is the default, is the same.
        (r#"{"stream_options": null ,"stream":true}"#, r#"{"stream_options": {"include_usage":true} ,"stream":true}"#),
        (
            r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream":true,"stream_options":{"include_usage":null,"a":1},"z":null}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true,"a":1},"z":null}"#,
        ),
        // The last one is what other readers take.
        (
            r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":null}"#,
            r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ];
    for (body, wanted) in cases {
        assert_eq!(with(Dialect::Chat, body), wanted);
        assert_eq!(with(Dialect::Completions, body), wanted);
        assert_eq!(with(Dialect::Responses, body), body, "which says it unasked");
        assert_eq!(with(Dialect::Messages, body), body);
    }
    for said in [
        r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":0}}"#,
        r#"{"stream":true,"stream_options":"null"}"#,
        r#"{"stream":false}"#,
        "{}",
    ] {
        assert_eq!(with(Dialect::Chat, said), said);
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", "  ", "[]", "1", "\"{}\"", "{", r#"{"a":"#, r#"{"a":"}"#, r#"{"a":[}"#] {
        let error = ModelRequest::read(Dialect::Chat, body.as_bytes(), &mut BytesPerToken::default()).unwrap_err();
        assert_eq!(error.code(), "invalid_argument", "{body}");
    }
}

/// Python's `json.loads` reads all of these encodings, as do servers that use it.
#[test]
fn what_is_not_in_utf_8_is_refused() {
    let text = r#"{"messages":[{"content":"Hello"}],"max_tokens":7,"background":true}"#;
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let (little, big) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
    let utf32 = text.chars().flat_map(|character| u32::from(character).to_be_bytes()).collect();
    let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    let latin = b"{\"messages\":[{\"content\":\"\xE9\"}]}".to_vec();
    for body in [marked(b"\xFF\xFE", &little), marked(b"\xFE\xFF", &big), little, big, utf32, latin] {
        assert_eq!(read(Dialect::Chat, &body), None, "{body:?}");
    }
    let request = read(Dialect::Chat, &marked(b"\xEF\xBB\xBF", text.as_bytes())).unwrap();
    assert_eq!((request.input(), request.max_output()), (5, Some(7)), "this mark changes nothing");
}

/// JSON of any shape.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        Just("stream_options".to_owned()),
        Just("include_usage".to_owned()),
        Just("messages".to_owned()),
        ".{0,40}",
    ];
    prop::collection::vec((name, value), 0..6).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_added_is_the_wish_and_nothing_else(mut members in members(value()), pretty in any::<bool>()) {
        members.insert("stream".to_owned(), Value::Bool(true));
        let text = if pretty { serde_json::to_string_pretty(&members) } else { serde_json::to_string(&members) }.unwrap();
        let mut wanted: Value = serde_json::from_str(&text).unwrap();
        match wanted.get_mut("stream_options") {
            None | Some(Value::Null) => wanted["stream_options"] = json!({"include_usage": true}),
            Some(Value::Object(options)) if options.get("include_usage").is_none_or(Value::is_null) => {
                options.insert("include_usage".to_owned(), Value::Bool(true));
            }
            Some(_) => {}
        }
        let request = read(Dialect::Chat, text.as_bytes()).unwrap();
        let longer = request.with_usage(Bytes::from(text));
        prop_assert_eq!(serde_json::from_slice::<Value>(&longer).unwrap(), wanted);
    }

    #[test]
    fn no_bytes_are_too_odd(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(request) = read(Dialect::Chat, &body) {
            prop_assert!(request.with_usage(body.clone().into()).len() >= body.len());
        }
    }
}
