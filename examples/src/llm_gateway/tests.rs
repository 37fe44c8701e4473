//! The gateway in this process, between an upstream that does as it is told and a store that may be out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::any;
use axum::{Json, Router};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use throttlekit::config::{Format, StoreKind, StoreSpec};
use throttlekit::policy::{Connect, LoadOptions, Policies};
use throttlekit::store::{Call, DynStore, Store};
use throttlekit::{BuildError, Error, Runtime, TokioRuntime};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::forward::Upstream;
use crate::{client, gateway};

const COMPLETIONS: &str = "/v1/chat/completions";

/// A store in memory of which one call fails.
#[derive(Clone, Default)]
struct Flaky {
    rows: Arc<Mutex<HashMap<String, String>>>,
    calls: Arc<AtomicU64>,
    /// The number of that call, from 1.
    fails: u64,
}

impl Store for Flaky {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails {
            return Err(Error::store_unavailable("connection reset"));
        }
        let mut rows = self.rows.lock().expect("whole");
        let states: Vec<_> = call.keys().iter().map(|key| rows.get(key).cloned()).collect();
        let now_ms = call.now_ms();
        for write in call.step(&states, now_ms)? {
            let key = call.keys()[write.key].clone();
            match write.state {
                Some((text, _)) => rows.insert(key, text),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

impl Connect for Flaky {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    fn open(&self, _spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError> {
        Ok(Arc::new(self.clone()))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }
}

/// Limits of `tokens` in a store, and `more` about their rule.
fn limits(tokens: u64, more: &str) -> String {
    format!(
        "
store: {{ redis: {{ urls: ['redis://127.0.0.1'] }} }}
limiters:
  tokens: {{ fleetBudget: {{ budget: {tokens}, windowMs: 86400000 }} }}
http:
  defaults: {{ key: {{ header: x-client }}, headers: openai }}
  rules: [ {{ path: '/v1/{{*path}}', policies: [tokens]{more} }} ]
"
    )
}

/// The gateway with these limits in front of `upstream`, to which it shows `key`.
async fn gateway_of(limits: &str, store: Flaky, upstream: Router, key: Option<&str>) -> Router {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, upstream).await });
    let span = Duration::from_secs(60);
    let upstream = Upstream::new(&base, key, span, span).expect("a good address");
    let options = LoadOptions::new().runtime(TokioRuntime).connector(store);
    let policies = Policies::load(limits, options.format(Format::Yaml)).expect("good limits");
    let hasher = client::hasher(Some("not a secret, but long"), None, StoreKind::Redis).expect("a good secret");
    gateway::router(&policies, upstream, hasher, false, span).expect("good limits")
}

/// Answers each request by so many tokens, of which 40 are of the question, or with the status that its model says.
fn model(tokens: u64) -> Router {
    let answer = move |body: Bytes| async move {
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(status) =
            request["model"].as_u64().and_then(|status| StatusCode::from_u16(status.try_into().ok()?).ok())
        {
            return (status, Json(json!({ "error": {} }))).into_response();
        }
        let choices = json!([{ "index": 0, "message": { "content": "Hello" }, "finish_reason": "stop" }]);
        let usage = json!({ "prompt_tokens": 40, "completion_tokens": tokens - 40, "total_tokens": tokens });
        Json(json!({ "choices": choices, "usage": usage })).into_response()
    };
    Router::new().route("/v1/{*path}", any(answer))
}

/// What comes of a request of `client` with these further fields.
async fn post(
    app: &Router,
    path: &str,
    client: &str,
    fields: &[(&str, &str)],
    body: impl Into<Body>,
) -> Response<Bytes> {
    let mut request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {client}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).expect("a request");
    let (head, body) = app.clone().oneshot(request).await.expect("an answer").into_parts();
    Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
}

async fn ask(app: &Router, client: &str, question: &Value) -> Response<Bytes> {
    post(app, COMPLETIONS, client, &[], question.to_string()).await
}

fn remaining(response: &Response<Bytes>) -> Option<u64> {
    response.headers().get("x-ratelimit-remaining-tokens")?.to_str().ok()?.parse().ok()
}

fn code(response: &Response<Bytes>) -> Value {
    let body: Value = serde_json::from_slice(response.body()).expect("JSON");
    body["error"]["code"].clone()
}

#[tokio::test]
async fn an_answer_whose_reservation_failed_is_counted_all_the_same() {
    // Each request is admitted by one call, reserves by one, and is settled by one.
    let question = json!({ "max_tokens": 1_000, "messages": [] });
    for fails in 1..4 {
        let store = Flaky { fails, ..Flaky::default() };
        let app = gateway_of(&limits(100_000, ""), store, model(500), None).await;
        assert_eq!(ask(&app, "alice", &question).await.status(), StatusCode::OK);
        let left = remaining(&ask(&app, "alice", &json!({ "max_tokens": 0 })).await).expect("a number");
        let counted = 100_000 - left - 1;
        // What failed at last stays reserved.
        assert_eq!(counted, if fails == 3 { 1_000 } else { 500 }, "call {fails} failed");
    }
}

#[tokio::test]
async fn a_rule_that_fails_closed_refuses_what_cannot_be_reserved() {
    let question = json!({ "max_tokens": 1_000, "messages": [] });
    for fails in 1..3 {
        let store = Flaky { fails, ..Flaky::default() };
        let app = gateway_of(&limits(100_000, ", failMode: closed"), store, model(500), None).await;
        let refused = ask(&app, "alice", &question).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "call {fails} failed");
        let left = remaining(&ask(&app, "alice", &json!({ "max_tokens": 0 })).await);
        assert_eq!(left, Some(99_999), "what was refused took nothing");
    }
}

#[tokio::test]
async fn what_is_given_back_is_shown() {
    let app = gateway_of(&limits(100_000, ""), Flaky::default(), model(500), None).await;
    for status in [400, 429, 503] {
        let question = json!({ "model": status, "max_tokens": 99_990, "messages": [] });
        let response = ask(&app, "alice", &question).await;
        assert_eq!((response.status().as_u16(), remaining(&response)), (status, Some(100_000)));
    }
}

#[tokio::test]
async fn a_body_that_the_upstream_may_read_otherwise_is_refused_where_tokens_are_counted() {
    let app = gateway_of(&limits(100_000, ""), Flaky::default(), model(500), None).await;
    let text = json!({ "messages": [{ "role": "user", "content": "Hello" }], "background": true }).to_string();
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for body in [wide(u16::to_be_bytes), wide(u16::to_le_bytes), b"[]".to_vec(), Vec::new()] {
        let refused = post(&app, COMPLETIONS, "alice", &[], body.clone()).await;
        assert_eq!((refused.status(), code(&refused)), (StatusCode::BAD_REQUEST, json!("invalid_json")), "{body:?}");
        assert_eq!(remaining(&refused), Some(100_000));
        // Of what is no API of a model only the length is known.
        assert_eq!(post(&app, "/v1/files", "bob", &[], body).await.status(), StatusCode::OK);
    }
    for coding in ["gzip", "zstd", "identity, br"] {
        let refused = post(&app, COMPLETIONS, "alice", &[("content-encoding", coding)], "{}").await;
        let wanted = (StatusCode::UNSUPPORTED_MEDIA_TYPE, json!("unsupported_content_encoding"));
        assert_eq!((refused.status(), code(&refused)), wanted, "{coding}");
    }
    for coding in ["Identity", "", "identity, identity"] {
        let passed = post(&app, COMPLETIONS, "alice", &[("content-encoding", coding)], "{}").await;
        assert_eq!(passed.status(), StatusCode::OK, "{coding}");
    }
    let refused = post(&app, "/v1/responses", "alice", &[], r#"{"background":1}"#).await;
    assert_eq!((refused.status(), code(&refused)), (StatusCode::BAD_REQUEST, json!("unsupported_parameter")));
}

#[tokio::test]
async fn a_path_of_another_spelling_is_refused_before_it_is_counted() {
    let rates = limits(100_000, "").replace("limiters:", "limiters:\n  rate: { strategy: gcra, limit: 1, period: 1d }");
    let rules = rates.replace("rules: [ ", "rules: [ { path: '/v1/free/{*path}', policies: [rate] }, ");
    let app = gateway_of(&rules, Flaky::default(), model(500), None).await;
    for path in ["/v1/free/../chat/completions", "/v1/free/%2e%2e/responses", "/v1//responses", "/v1/%72esponses"] {
        let refused = post(&app, path, "alice", &[], "{}").await;
        assert_eq!((refused.status(), code(&refused)), (StatusCode::BAD_REQUEST, json!("invalid_url")), "{path}");
        assert_eq!(remaining(&refused), None, "{path}");
    }
    assert_eq!(post(&app, "/v1/free/audio", "alice", &[], "{}").await.status(), StatusCode::OK);
    // Other letters are another path to the rules, and may be none to the upstream.
    let refused = post(&app, "/v1/Responses", "alice", &[], r#"{"background":true}"#).await;
    assert_eq!((refused.status(), code(&refused)), (StatusCode::BAD_REQUEST, json!("unsupported_parameter")));
}

#[tokio::test]
async fn with_a_key_of_the_operator_what_belongs_to_its_account_is_not_there() {
    for (key, status) in [(Some("sk-1"), StatusCode::NOT_FOUND), (None, StatusCode::OK)] {
        let app = gateway_of(&limits(100_000, ""), Flaky::default(), model(500), key).await;
        for path in ["/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/threads/t/runs", "/v1/responses/r/cancel"]
        {
            let response = post(&app, path, "alice", &[], "{}").await;
            assert_eq!(response.status(), status, "{path}");
            if key.is_some() {
                assert_eq!((code(&response), remaining(&response)), (json!("unknown_url"), None), "{path}");
            }
        }
        for path in [COMPLETIONS, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"] {
            assert_eq!(post(&app, path, "alice", &[], "{}").await.status(), StatusCode::OK, "{path}");
        }
        for (path, status) in [("/v1/models/m", StatusCode::OK), ("/v1/responses/resp_1", status)] {
            let request = Request::get(path).header(header::AUTHORIZATION, "Bearer alice").body(Body::empty());
            let response = app.clone().oneshot(request.expect("a request")).await.expect("an answer");
            assert_eq!(response.status(), status, "{path}");
        }
    }
}

#[tokio::test]
async fn how_long_answers_are_is_learnt_and_reserved() {
    let app = gateway_of(&limits(10_000, ""), Flaky::default(), model(2_000), None).await;
    let question = json!({ "messages": [] });
    for client in 0..8 {
        assert_eq!(ask(&app, &client.to_string(), &question).await.status(), StatusCode::OK);
    }
    // All of them are on their way before any is answered.
    let answers = join_all((0..16).map(|_| ask(&app, "alice", &question))).await;
    let admitted = answers.iter().filter(|answer| answer.status() == StatusCode::OK).count();
    assert!((1..=6).contains(&admitted), "{admitted} answers of 2,000 tokens in a budget of 10,000");
    let denied = answers.iter().find(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).expect("the others");
    assert_eq!(code(denied), json!("rate_limit_exceeded"));
    // Short answers that say so keep it, and so do failures.
    for client in 20..30 {
        let bounded = json!({ "max_tokens": 1, "messages": [] });
        assert_eq!(ask(&app, &client.to_string(), &bounded).await.status(), StatusCode::OK);
        ask(&app, &client.to_string(), &json!({ "model": 500, "messages": [] })).await;
    }
    assert!(remaining(&ask(&app, "bob", &question).await).is_some_and(|left| left < 9_000));
}

#[tokio::test]
async fn whole_answers_of_any_api_teach_how_long_they_are() {
    let chat = json!({ "choices": [{ "message": { "content": "Hello" } }], "usage": { "completion_tokens": 2_000 } });
    let output = json!([{ "type": "message", "content": [{ "type": "output_text", "text": "Hello" }] }]);
    let response = json!({ "object": "response", "output": output, "usage": { "output_tokens": 2_000 } });
    let message = json!({ "type": "message", "content": [], "usage": { "output_tokens": 2_000 } });
    let nothing = json!({ "error": "none" });
    for (path, answer, learns) in [
        (COMPLETIONS, &chat, true),
        ("/v1/responses", &response, true),
        ("/v1/messages", &message, true),
        ("/v1/responses", &nothing, false),
    ] {
        let answer = answer.clone();
        let upstream = Router::new().route("/v1/{*path}", any(|| async { Json(answer) }));
        let app = gateway_of(&limits(10_000, ""), Flaky::default(), upstream, None).await;
        for client in 0..8 {
            post(&app, path, &client.to_string(), &[], "{}").await;
        }
        let left = remaining(&post(&app, path, "alice", &[], "{}").await).expect("a number");
        assert_eq!(left < 9_000, learns, "{left} after {path}");
    }
}

/// Answers with these events, one at a time.
fn streaming(events: &'static [&'static str]) -> Router {
    let answer = move || async move {
        let chunks = futures_util::stream::iter(events.iter().map(|event| Ok::<_, Infallible>(*event)));
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(chunks))
    };
    Router::new().route("/v1/{*path}", any(answer))
}

#[tokio::test]
async fn a_stream_that_is_cut_at_once_ends_as_its_api_ends_one() {
    let upstream = streaming(&["event: response.created\n", "data: {\"type\":\"response.created\"}\n\n"]);
    let app = gateway_of(&limits(5, ""), Flaky::default(), upstream, None).await;
    let question = json!({ "input": "x".repeat(400), "stream": true, "max_output_tokens": 1 }).to_string();
    let response = post(&app, "/v1/responses", "alice", &[], question).await;
    let text = String::from_utf8_lossy(response.body());
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text.contains("event: response.incomplete\n"), "{text}");
}

#[tokio::test]
async fn a_rule_that_is_tried_out_refuses_and_cuts_nothing() {
    const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"four\"}}]}\n\n";
    let tried =
        "{ path: '/v1/completions', policies: [tokens] }, { path: '/v1/{*path}', policies: [tokens], shadow: true } ]";
    let of = |tokens| limits(tokens, "").replace("{ path: '/v1/{*path}', policies: [tokens] } ]", tried);
    let upstream = || streaming(&[EVENT, EVENT, EVENT, "data: [DONE]\n\n"]);
    let question = json!({ "stream": true, "messages": [{ "content": "x".repeat(40) }], "max_tokens": 500 });
    let app = gateway_of(&of(12), Flaky::default(), upstream(), None).await;
    for _ in 0..3 {
        let response = ask(&app, "alice", &question).await;
        let whole = [EVENT, EVENT, EVENT, "data: [DONE]\n\n"].concat();
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, whole.as_bytes()));
    }
    let fields = [("content-encoding", "gzip")];
    assert_eq!(post(&app, COMPLETIONS, "alice", &fields, "{}").await.status(), StatusCode::OK);
    assert_eq!(post(&app, "/v1/responses", "alice", &[], r#"{"background":true}"#).await.status(), StatusCode::OK);
    // While the store is out, too.
    for fails in 1..4 {
        let store = Flaky { fails, ..Flaky::default() };
        let closed = of(12).replace("shadow: true", "shadow: true, failMode: closed");
        let app = gateway_of(&closed, store, upstream(), None).await;
        let response = ask(&app, "alice", &question).await;
        assert!(response.status() == StatusCode::OK && response.body().ends_with(b"[DONE]\n\n"), "call {fails} failed");
    }
    // It counts, as the other rule shows.
    let app = gateway_of(&of(100_000), Flaky::default(), upstream(), None).await;
    ask(&app, "alice", &question).await;
    let counted = post(&app, "/v1/completions", "alice", &[], r#"{"max_tokens":0}"#).await;
    assert_eq!(remaining(&counted), Some(100_000 - 10 - 3 - 1));
}

#[tokio::test]
async fn answers_are_asked_for_as_they_are_and_tell_of_no_limits_of_the_upstream() {
    let answer = |headers: HeaderMap| async move {
        let limits = [("x-ratelimit-limit-images", "1"), ("anthropic-ratelimit-requests-limit", "50")];
        let codings = headers.get_all(header::ACCEPT_ENCODING).iter().map(|value| value.to_str().expect("text"));
        let codings: Vec<_> = codings.collect();
        (limits, Json(json!({ "codings": codings })))
    };
    let upstream = Router::new().route("/v1/{*path}", any(answer));
    let app = gateway_of(&limits(100_000, ""), Flaky::default(), upstream, None).await;
    let wishes = [("accept-encoding", "br"), ("accept-encoding", "gzip")];
    for fields in [&wishes[..0], &wishes[..1], &wishes] {
        let response = post(&app, COMPLETIONS, "alice", fields, "{}").await;
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["codings"], json!(["identity"]), "{fields:?}");
        let names = ["x-ratelimit-limit-images", "anthropic-ratelimit-requests-limit"];
        assert!(names.iter().all(|name| !response.headers().contains_key(*name)), "{response:?}");
    }
}

#[tokio::test]
async fn forms_with_files_reserve_a_token() {
    let app = gateway_of(&limits(100_000, ""), Flaky::default(), model(500), None).await;
    let form = [("content-type", "multipart/form-data; boundary=x")];
    let response = post(&app, "/v1/audio/transcriptions", "alice", &form, "x".repeat(4_000)).await;
    assert_eq!((response.status(), remaining(&response)), (StatusCode::OK, Some(99_999)));
}

/// Answers with the fields of the request, and tells of an account.
fn echo() -> Router {
    let answer = |headers: HeaderMap| async move {
        let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        let fields = [("set-cookie", "a=b"), ("openai-organization", "org-1"), ("openai-version", "1")];
        (fields, Json(json!({ "names": names, "key": headers[header::AUTHORIZATION].to_str().expect("text") })))
    };
    Router::new().route("/v1/{*path}", any(answer))
}

#[tokio::test]
async fn with_a_key_of_the_operator_no_account_of_the_client_is_named() {
    let fields = [
        ("openai-organization", "org-2"),
        ("openai-project", "p"),
        ("api-key", "k"),
        ("x-api-key", "k"),
        ("cookie", "a=b"),
    ];
    for (key, shown, kept) in [(Some("sk-1"), "Bearer sk-1", false), (None, "Bearer alice", true)] {
        let app = gateway_of(&limits(100_000, ""), Flaky::default(), echo(), key).await;
        let response = post(&app, COMPLETIONS, "alice", &[&fields[..], &[("openai-beta", "x")]].concat(), "{}").await;
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        let came = |name: &str| body["names"].as_array().expect("names").contains(&name.into());
        assert_eq!((&body["key"], came("openai-beta")), (&json!(shown), true));
        assert!(fields.iter().all(|(name, _)| came(name) == kept), "{body}");
        let told = |name: &str| response.headers().contains_key(name);
        assert_eq!((told("set-cookie"), told("openai-organization"), told("openai-version")), (kept, kept, true));
    }
}
