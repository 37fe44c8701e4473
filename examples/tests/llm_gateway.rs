//! The gateway in front of the fake upstream, both as processes.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use common::{Server, gateway, gateway_before, gateway_with, received, send, upstream};
use serde_json::{Value, json};
use tests::port::Port;
use tests::process::wait;
use throttlekit::config::Config;

const COMPLETIONS: &str = "/v1/chat/completions";

/// Much of everything, unless a test says otherwise.
const LIMITS: &str = "
limiters:
  requests: { strategy: fixedWindow, limit: 1000, period: 1d }
  flights: { concurrency: { limit: 8 } }
  tokens: { tokenBudget: { budget: 100000, windowMs: 86400000 } }
http:
  defaults: { key: { header: x-client }, headers: openai }
  rules: [ { path: '/v1/{*path}', policies: [requests, tokens] } ]
";

fn chat(model: &str, question: &str, stream: bool) -> String {
    let messages = json!([{ "role": "user", "content": question }]);
    json!({ "model": model, "messages": messages, "stream": stream }).to_string()
}

/// The body, if it has a length.
fn json_of(response: &str) -> Value {
    let (_, body) = response.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {response}"))
}

fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = response.split_once("\r\n\r\n")?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The events of a stream, without the sizes of chunks.
fn events(response: &str) -> Vec<&str> {
    response.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

#[test]
fn an_answer_passes_with_the_limits_of_the_client() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let question = chat("fake", "Say 20 words", false);
    let (status, response) = gateway.post(COMPLETIONS, "alice", "", &question);
    assert_eq!(status, 200, "{response}");
    let answer = json_of(&response);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let direct = upstream.post(COMPLETIONS, "alice", "", &question).1;
    assert_eq!(json_of(&direct), answer);

    assert_eq!(field(&response, "x-ratelimit-limit-requests"), Some("1000"));
    assert_eq!(field(&response, "x-ratelimit-remaining-requests"), Some("999"));
    assert_eq!(field(&response, "x-ratelimit-limit-tokens"), Some("100000"));
    let input = 3; // the 12 bytes of `Say 20 words`
    assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some(&*(100_000 - input).to_string()));
    assert!(field(&response, "x-ratelimit-reset-tokens").is_some_and(|span| span.ends_with('s')));
    assert_eq!(response.matches("x-ratelimit-").count(), 6, "none of the upstream's: {response}");
    assert_eq!(field(&response, "openai-version"), Some("2020-10-01"));
    for of_the_other_hop in ["keep-alive", "x-of-this-hop"] {
        assert_eq!((field(&direct, of_the_other_hop).is_some(), field(&response, of_the_other_hop)), (true, None));
    }

    // What the upstream counts is what the answer cost, whatever was reserved.
    let usage = answer["usage"]["total_tokens"].as_u64().expect("usage");
    let bounded = question.replacen('{', "{\"max_tokens\":20,", 1);
    let (_, next) = gateway.post(COMPLETIONS, "alice", "", &bounded);
    let left = 100_000 - usage - input - 20;
    assert_eq!(field(&next, "x-ratelimit-remaining-tokens"), Some(&*left.to_string()));
    let (_, other) = gateway.post(COMPLETIONS, "bob", "", &question);
    assert_eq!(field(&other, "x-ratelimit-remaining-requests"), Some("999"), "another key has limits of its own");
}

#[test]
fn a_stream_passes_event_by_event() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let question = chat("fake", "Say 20 words", true);
    let (status, response) = gateway.post(COMPLETIONS, "alice", "", &question);
    assert_eq!((status, field(&response, "content-type")), (200, Some("text/event-stream; charset=utf-8")));
    let direct = upstream.post(COMPLETIONS, "alice", "", &question).1;
    assert_eq!(events(&response), events(&direct));
    assert_eq!((events(&response).len(), events(&response).last()), (23, Some(&"[DONE]")));
    assert!(response.ends_with("0\r\n\r\n"), "the body is complete");
}

#[test]
fn a_stream_is_cut_where_the_budget_ends() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, &LIMITS.replace("budget: 100000", "budget: 60"));
    let (status, response) = gateway.post(COMPLETIONS, "alice", "", &chat("fake", "Say 500 words", true));
    let events = events(&response);
    assert_eq!((status, events.last()), (200, Some(&"[DONE]")));
    assert!(events.len() < 100, "{} events", events.len());
    let last: Value = serde_json::from_str(events[events.len() - 2]).expect("JSON");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert!(response.ends_with("0\r\n\r\n"), "the body is complete");

    let (status, denied) = gateway.post(COMPLETIONS, "alice", "", &chat("fake", "More", true));
    let error = &json_of(&denied)["error"];
    assert_eq!((status, &error["code"], &error["type"]), (429, &json!("rate_limit_exceeded"), &json!("tokens")));
    assert_eq!(field(&denied, "x-ratelimit-remaining-tokens"), Some("0"));
    assert!(field(&denied, "retry-after").is_some() && field(&denied, "retry-after-ms").is_some());
    assert_eq!(gateway.post(COMPLETIONS, "bob", "", &chat("fake", "Say 1 word", true)).0, 200);
}

#[test]
fn the_most_that_an_answer_may_have_is_reserved() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let question = json!({ "max_completion_tokens": 50, "messages": [{ "role": "user", "content": "Say 2000" }] });
    let (_, response) = gateway.post(COMPLETIONS, "alice", "", &question.to_string());
    assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some(&*(100_000 - 2 - 50).to_string()));
    let answer = json_of(&response);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let usage = answer["usage"]["total_tokens"].as_u64().expect("usage");
    let (_, next) = gateway.post(COMPLETIONS, "alice", "", &question.to_string());
    assert_eq!(field(&next, "x-ratelimit-remaining-tokens"), Some(&*(100_000 - usage - 52).to_string()));
}

#[test]
fn where_no_files_are_taken_a_form_is_read() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let question = chat("fake", &"Say 1 ".repeat(1_000), false).replacen('{', "{\"max_tokens\":1,", 1);
    for kind in ["application/json", "multipart/form-data; boundary=x", "Multipart/x"] {
        let (status, response) = gateway.post_as(kind, COMPLETIONS, kind, &question);
        assert_eq!((status, field(&response, "x-ratelimit-remaining-tokens")), (200, Some("98499")), "{kind}");
    }
}

#[test]
fn an_answer_that_is_fetched_later_is_refused_where_tokens_are_counted() {
    let upstream = upstream(&[]);
    let uncounted = "{ path: '/v1/free/{*path}', policies: [requests] }, ";
    let gateway = gateway_before(&upstream.address, &LIMITS.replace("rules: [ ", &format!("rules: [ {uncounted}")));
    let ask = |path, background| {
        let question = json!({ "model": "fake", "input": "Say 1 word", "background": background }).to_string();
        gateway.post(path, "alice", "", &question)
    };
    let (status, refused) = ask("/v1/responses", true);
    assert_eq!((status, &json_of(&refused)["error"]["code"]), (400, &json!("unsupported_parameter")));
    // The upstream has no such path, and only streams at the other.
    assert_eq!(ask("/v1/free/responses", true).0, 404);
    let (status, passed) = ask("/v1/responses", false);
    assert_eq!((status, &json_of(&passed)["error"]["code"]), (400, &json!("stream_expected")));
    for response in [refused, passed] {
        assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some("100000"), "nothing was taken");
    }
}

#[test]
fn a_sound_costs_what_was_reserved_for_it() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let question = json!({ "model": "fake", "input": "Say this aloud", "voice": "none" }).to_string();
    let input = question.len().div_ceil(4);
    for before in [0, input] {
        let (status, response) = gateway.post("/v1/audio/speech", "alice", "", &question);
        assert_eq!((status, field(&response, "content-length")), (200, Some("4000")));
        let left = 100_000 - before - input;
        assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some(&*left.to_string()));
    }
}

#[test]
fn streams_say_what_they_cost_if_the_operator_wants_it() {
    let upstream = upstream(&[]);
    let mut command = gateway();
    command.args(["--include-usage", "--listen", "127.0.0.1:0", "--upstream", &format!("http://{}", upstream.address)]);
    let gateway = Server::from_command(&mut command);
    let (_, response) = gateway.post(COMPLETIONS, "alice", "", &chat("fake", "Say 20 words", true));
    let events = events(&response);
    assert_eq!(events.len(), 24);
    let usage: Value = serde_json::from_str(events[22]).expect("JSON");
    assert_eq!(usage["usage"]["completion_tokens"], 20);
}

#[test]
fn who_asks_is_the_api_key_and_nothing_else() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, &LIMITS.replace("limit: 1000", "limit: 1"));
    let question = chat("fake", "Say 1 word", false);
    assert_eq!(gateway.post(COMPLETIONS, "alice", "", &question).0, 200);
    let (status, denied) = gateway.post(COMPLETIONS, "alice", "\r\nx-client: somebody", &question);
    let error = &json_of(&denied)["error"];
    assert_eq!((status, &error["code"], &error["type"]), (429, &json!("rate_limit_exceeded"), &json!("requests")));
    assert_eq!(field(&denied, "x-ratelimit-remaining-requests"), Some("0"));

    for fields in ["", "\r\nauthorization: Basic YTpi", "\r\nauthorization: Bearer "] {
        let (status, refused) = gateway.send(&format!("GET /v1/models HTTP/1.1{fields}"));
        assert_eq!((status, &json_of(&refused)["error"]["code"]), (401, &json!("invalid_api_key")), "{fields}");
        assert_eq!(field(&refused, "www-authenticate"), Some("Bearer"));
    }
    let (status, two) = gateway.post(COMPLETIONS, "carol", "\r\nauthorization: Bearer dave", &question);
    assert_eq!(status, 401, "{two}");
    let (status, elsewhere) = gateway.send("GET /metrics HTTP/1.1");
    assert_eq!((status, &json_of(&elsewhere)["error"]["code"]), (404, &json!("unknown_url")));
}

#[test]
fn metrics_are_on_an_address_of_their_own() {
    let upstream = upstream(&[]);
    let limits = LIMITS.replace("limit: 1000", "limit: 2").replace("[requests,", "[requests, flights,");
    let mut gateway = gateway_with(&format!("http://{}", upstream.address), &limits, |command| {
        command.args(["--metrics", "127.0.0.1:0"])
    });
    let line = gateway.line("metrics on ");
    let address = line.strip_prefix("metrics on http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.expect("an address");
    let question = chat("fake", "Say 3 words", false);
    let statuses = [(); 3].map(|()| gateway.post(COMPLETIONS, "alice", "", &question).0);
    assert_eq!(statuses, [200, 200, 429]);

    let (status, metrics) = send(address, "GET /metrics HTTP/1.1");
    assert_eq!(status, 200);
    let value = |series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in {metrics}")).parse::<f64>().expect("a number")
    };
    for (series, expected) in [
        ("throttlekit_allowed_total{policy=\"requests+flights+tokens\"}", 2.0),
        ("throttlekit_denied_total{policy=\"requests+flights+tokens\"}", 1.0),
        ("throttlekit_guard_limit{guard=\"flights\"}", 8.0),
        ("throttlekit_guard_inflight{guard=\"flights\"}", 0.0),
        ("throttlekit_table_keys{policy=\"tokens\"}", 1.0),
    ] {
        assert_eq!(value(series), expected, "{series}");
    }
    // Each request takes what it may cost, and settles it.
    assert!(value("throttlekit_allowed_total{policy=\"tokens\"}") >= 2.0, "{metrics}");
    assert!(!metrics.contains("alice"), "no key of a client");
    // Not for clients of the API, and no API for those who look.
    assert_eq!(gateway.send("GET /metrics HTTP/1.1").0, 404);
    assert_eq!(send(address, "GET /v1/models HTTP/1.1\r\nauthorization: Bearer alice").0, 404);
}

#[test]
fn the_upstream_gets_its_own_key() {
    let upstream = upstream(&["--api-key", "sk-of-the-gateway"]);
    let gateway = |key: Option<&str>| {
        let mut command = gateway();
        command.args(["--listen", "127.0.0.1:0", "--upstream", &format!("http://{}", upstream.address)]);
        Server::from_command(command.envs(key.map(|key| ("UPSTREAM_API_KEY", key))))
    };
    let models = "GET /v1/models HTTP/1.1\r\nauthorization: Bearer alice";
    assert_eq!(gateway(None).send(models).0, 401);
    let (status, response) = gateway(Some("sk-of-the-gateway")).send(models);
    assert_eq!((status, &json_of(&response)["data"][0]["id"]), (200, &json!("fake")));
}

#[test]
fn failures_of_the_upstream_are_told_and_cost_nothing() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    let (status, response) = gateway.post(COMPLETIONS, "alice", "", &chat("error-503", "Hello", true));
    assert_eq!((status, &json_of(&response)["error"]["code"]), (503, &json!("on_demand")));
    assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some("100000"));

    let (status, broken) = gateway.post(COMPLETIONS, "alice", "", &chat("broken", "Say 10 words", true));
    assert_eq!(status, 200);
    assert!(!broken.contains("[DONE]") && !broken.ends_with("0\r\n\r\n"), "it broke off, and so does the answer");

    let nobody = Port::free();
    let gateway = gateway_before(&nobody.address().to_string(), LIMITS);
    let question = json!({ "max_tokens": 99_990, "messages": [] }).to_string();
    let (status, response) = gateway.post(COMPLETIONS, "alice", "", &question);
    assert_eq!((status, &json_of(&response)["error"]["code"]), (502, &json!("upstream_unavailable")));
    assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some("100000"));
    assert!(!response.contains(&nobody.number().to_string()), "no address of the inside: {response}");
}

#[test]
fn a_request_that_does_not_arrive_is_given_up_and_costs_nothing() {
    let upstream = upstream(&[]);
    let gateway = gateway_with(&format!("http://{}", upstream.address), LIMITS, |command| {
        command.args(["--request-timeout", "100ms"])
    });
    let mut stream = TcpStream::connect(&gateway.address).expect("a connection");
    let head =
        format!("POST {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer alice\r\ncontent-length: 99");
    stream.write_all(format!("{head}\r\n\r\n{{").as_bytes()).expect("it is read");
    let (status, refused) = received(stream);
    assert_eq!((status, &json_of(&refused)["error"]["code"]), (408, &json!("request_timeout")));
    assert_eq!(field(&refused, "x-ratelimit-remaining-tokens"), Some("100000"));
    let (_, response) = gateway.post(COMPLETIONS, "alice", "", &chat("fake", "Say 20 words", false));
    assert_eq!(field(&response, "x-ratelimit-remaining-tokens"), Some(&*(100_000 - 3).to_string()));
}

#[test]
fn an_answer_that_falls_silent_breaks_off_and_its_slot_is_free() {
    let upstream = upstream(&["--pace", "1h"]);
    let limits = LIMITS.replace("limit: 8", "limit: 1").replace("[requests,", "[requests, flights,");
    let gateway = gateway_with(&format!("http://{}", upstream.address), &limits, |command| {
        command.args(["--idle-timeout", "100ms"])
    });
    let ask = || gateway.post(COMPLETIONS, "alice", "", &chat("fake", "Say 10 words", true));
    let (status, silent) = ask();
    assert_eq!((status, events(&silent).len()), (200, 1), "{silent}");
    assert!(!silent.ends_with("0\r\n\r\n"), "it broke off");
    assert!(wait(|| ask().0 == 200));
}

#[test]
#[cfg(target_os = "linux")]
fn connections_to_the_upstream_are_probed() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(&upstream.address, LIMITS);
    assert_eq!(gateway.post(COMPLETIONS, "alice", "", &chat("fake", "Say 1 word", false)).0, 200);
    let port: u16 = upstream.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let port = format!(":{port:04X}");
    let probed = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Whom it leads to, whether it stands, and which timer runs.
        matches!(&fields[..], [_, _, to, "01", _, timer, ..] if to.ends_with(&port) && timer.starts_with("02:"))
    };
    assert!(wait(|| std::fs::read_to_string("/proc/net/tcp").expect("a table").lines().any(probed)));
}

#[test]
fn a_slot_is_held_until_the_client_has_its_answer_or_is_gone() {
    let upstream = upstream(&[]);
    let gateway = gateway_before(
        &upstream.address,
        &LIMITS.replace("limit: 8", "limit: 1").replace("[requests,", "[requests, flights,"),
    );
    // More than all buffers on the way hold.
    let mut unread = gateway.open(COMPLETIONS, "alice", "", &chat("fake", "Say 100000 words", true));
    let mut start = [0; 12];
    unread.read_exact(&mut start).expect("it begins");
    assert_eq!(&start, b"HTTP/1.1 200");
    let question = chat("fake", "Say 1 word", false);
    let (status, denied) = gateway.post(COMPLETIONS, "alice", "", &question);
    assert_eq!((status, &json_of(&denied)["error"]["type"]), (429, &json!("requests in flight")));
    drop(unread);
    let mut answer = String::new();
    let comes_back = wait(|| {
        let (status, response) = gateway.post(COMPLETIONS, "alice", "", &question);
        answer = response;
        status == 200
    });
    assert!(comes_back, "{answer}");
    assert_eq!(field(&answer, "x-ratelimit-limit-requests"), Some("1000"), "and not the slots: {answer}");
}

#[test]
#[cfg(unix)]
fn open_streams_are_finished_before_it_stops() {
    let upstream = upstream(&["--pace", "10ms"]);
    let mut gateway = gateway_before(&upstream.address, LIMITS);
    let mut stream = gateway.open(COMPLETIONS, "alice", "", &chat("fake", "Say 30 words", true));
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("it begins");
    gateway.signal("TERM");
    gateway.line("stopping");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest");
    assert_eq!(events(&rest).last(), Some(&"[DONE]"));
    assert_eq!(gateway.line("stopped"), "stopped");
    assert!(gateway.process.wait().expect("it ends").success());
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_shows_what_comes_back() {
    let shown: String = read("../README.md");
    let (_, shown) = shown.split_once("## An LLM gateway\n").expect("a section");
    let shown = shown.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let (command, fields) = shown.split_once("| grep x-ratelimit\n").expect("a command");
    let question = command.split('\'').find(|text| text.starts_with('{')).expect("a question");

    let upstream = upstream(&[]);
    let url = format!("http://{}", upstream.address);
    let gateway = Server::from_command(gateway().args(["--listen", "127.0.0.1:0", "--upstream", &url]));
    let (_, response) = gateway.post(COMPLETIONS, "alice", "", question);
    // All but the times.
    let told = |text: &str| -> Vec<String> {
        let fields = text.lines().filter(|line| line.starts_with("x-ratelimit-"));
        let fields =
            fields.map(|line| if line.contains("-reset-") { line.split(':').next().unwrap_or(line) } else { line });
        fields.map(str::to_owned).collect()
    };
    assert_eq!(told(fields), told(&response));
}

#[test]
fn the_guide_shows_the_file() {
    let guide: String = read("../docs/llm-gateway.md");
    let shown = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let parse = |text: &str| Config::from_yaml(text).expect("a configuration");
    assert_eq!(parse(shown), parse(&read("llm-gateway.yaml")));
}

#[test]
#[cfg(feature = "redis")]
fn with_a_store_it_does_not_start_without_a_secret() {
    let store = Port::free();
    let limits = format!("store: {{ redis: {{ url: 'redis://{}' }} }}\n{LIMITS}", store.address());
    let limits = limits.replace("tokenBudget", "fleetBudget");
    let folder = tests::folder::Folder::new("llm-gateway-secret");
    let file = folder.join("limits.yaml");
    std::fs::write(&file, &limits).expect("it is written");
    let Output { status, stderr, .. } = gateway().arg("--config").arg(&file).output().expect("it runs");
    let text = String::from_utf8(stderr).expect("text");
    assert!(status.code() == Some(1) && text.contains("GATEWAY_KEY_SECRET is needed"), "{text}");

    let upstream = upstream(&[]);
    let started = |name, value| {
        gateway_with(&format!("http://{}", upstream.address), &limits, |command| {
            command.env("GATEWAY_KEY_SECRET", "not a secret, but long").env(name, value)
        })
    };
    let models = "GET /v1/models HTTP/1.1\r\nauthorization: Bearer alice";
    assert_eq!(started("GATEWAY_KEY_ID", "k2").send(models).0, 200);
}

#[test]
fn mistakes_are_clear_errors() {
    let refused = |arguments: &[&str]| {
        let Output { status, stderr, .. } = gateway().args(arguments).output().expect("it runs");
        (status.code(), String::from_utf8(stderr).expect("text"))
    };
    let (code, text) = refused(&["--bogus"]);
    assert!(code == Some(2) && text.contains("invalid option '--bogus'") && text.contains("Usage:"), "{text}");
    for timeout in ["--timeout", "--request-timeout", "--idle-timeout"] {
        let (code, text) = refused(&[timeout, "soon"]);
        assert!(code == Some(2) && text.contains("soon"), "{text}");
    }
    for (url, why) in [
        ("api.openai.com", "must be a whole URL"),
        ("ftp://api.openai.com", "must begin with http:// or https://"),
        ("http://localhost/?a=b", "must not have a query"),
    ] {
        let (code, text) = refused(&["--upstream", url]);
        assert!(code == Some(1) && text.contains(url) && text.contains(why), "{text}");
    }
    if cfg!(not(feature = "tls")) {
        assert!(refused(&["--upstream", "https://api.openai.com"]).1.contains("feature `tls`"));
    }
    let (code, text) = refused(&["--config", "/nonexistent/limits.yaml"]);
    assert!(code == Some(1) && text.contains("/nonexistent/limits.yaml"), "{text}");
    let server = upstream(&[]);
    let (code, text) = refused(&["--listen", &server.address]);
    assert!(
        code == Some(1) && text.starts_with(&format!("llm-gateway: cannot listen on {}", server.address)),
        "{text}"
    );
    let (code, text) = refused(&["--listen", "127.0.0.1:0", "--metrics", &server.address]);
    assert!(code == Some(1) && text.contains(&format!("cannot listen on {}", server.address)), "{text}");
}
