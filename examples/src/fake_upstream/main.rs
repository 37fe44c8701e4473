//! A server that answers as a model behind `OpenAI`'s API would, for trying the gateway without one.
//!
//! ```text
//! cargo run --release --bin fake-upstream [-- --listen ADDRESS] [--pace SPAN] [--api-key KEY]
//! ```
//!
//! What it answers depends on the request alone. The last number in the last message says how many tokens the answer has,
//! 32 without one. Some models misbehave: `error-STATUS` answers with that status, `broken` stops in the middle. A text
//! that it is to speak becomes silence, 1,000 bytes for every four of the text. The responses API is here only as
//! a stream, and answers by any model.

#[path = "../address.rs"]
mod address;
mod answer;
#[path = "../start.rs"]
mod start;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use lexopt::prelude::{Long, Short, ValueExt as _};
use serde_json::{Value, json};
use throttlekit::parse_duration_ms;

use address::address;
use answer::{Answer, Part};

const USAGE: &str = "\
A server that answers as a model behind OpenAI's API would.

Usage: fake-upstream [--listen ADDRESS] [--pace SPAN] [--api-key KEY]

  --listen ADDRESS  where to listen [default: 127.0.0.1:9000]; port 0 takes a free one
  --pace SPAN       how long each token takes, such as 20ms [default: no time]
  --api-key KEY     refuse requests without this key [default: any will do]
  -h, --help        print this";

/// Those that are listed; a name that is not is no mistake.
const MODELS: [&str; 3] = ["fake", "error-500", "broken"];

struct Options {
    listen: SocketAddr,
    model: Model,
}

/// What all requests have in common.
#[derive(Clone, Default)]
struct Model {
    pace: Option<Duration>,
    authorization: Option<Arc<str>>,
}

/// `None` if only help is wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 9000)), model: Model::default() };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => options.listen = arguments.value()?.parse_with(address)?,
            Long("pace") => options.model.pace = Some(arguments.value()?.parse_with(span)?),
            Long("api-key") => {
                let key = arguments.value()?.string()?;
                options.model.authorization = Some(format!("Bearer {key}").into());
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn span(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(parse_duration_ms(text)? / 1_000.0)?)
}

#[tokio::main]
async fn main() -> ExitCode {
    start::start("fake-upstream", USAGE, options(), serve).await
}

async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/v1/chat/completions", post(completion))
        .route("/v1/responses", post(response))
        .route("/v1/audio/speech", post(speech))
        .route("/v1/models", get(models))
        .with_state(options.model);
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    println!("listening on http://{}, with the models {}", listener.local_addr()?, MODELS.join(", "));
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    println!("stopped");
    Ok(())
}

async fn models(State(model): State<Model>, headers: HeaderMap) -> Response {
    if let Some(refusal) = model.refusal(&headers) {
        return refusal;
    }
    let models =
        MODELS.map(|id| json!({ "id": id, "object": "model", "created": answer::CREATED, "owned_by": "nobody" }));
    Json(json!({ "object": "list", "data": models })).into_response()
}

async fn speech(State(model): State<Model>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    if let Some(refusal) = model.refusal(&headers) {
        return refusal;
    }
    let text = request["input"].as_str().unwrap_or_default();
    let sound = vec![0_u8; text.len().div_ceil(4) * 1_000];
    ([(header::CONTENT_TYPE, "audio/mpeg")], sound).into_response()
}

async fn completion(State(model): State<Model>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = model.refusal(&headers) {
        return refusal;
    }
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return failure(StatusCode::BAD_REQUEST, &format!("the request is no JSON: {error}"), "invalid_json");
        }
    };
    let name = request["model"].as_str().unwrap_or_default();
    if let Some(status) = name.strip_prefix("error-") {
        let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
        return failure(status.unwrap_or(StatusCode::NOT_FOUND), "this model fails when asked", "on_demand");
    }
    let answer = Answer::to(&request);
    let mut response = if request["stream"] == true {
        streamed(model, answer.parts(name == "broken"))
    } else {
        for part in answer.parts(false) {
            model.work(&part).await;
        }
        Json(answer.whole()).into_response()
    };
    // As the real one, it tells of limits of its own.
    for (name, value) in [
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-tokens", "1999968"),
        ("x-ratelimit-reset-tokens", "0s"),
        ("openai-version", "2020-10-01"),
        ("keep-alive", "timeout=5"),
        ("connection", "x-of-this-hop"),
        ("x-of-this-hop", "1"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The responses API, as far as it streams.
async fn response(State(model): State<Model>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    if let Some(refusal) = model.refusal(&headers) {
        return refusal;
    }
    if request["stream"] != true {
        return failure(StatusCode::BAD_REQUEST, "here responses are streams", "stream_expected");
    }
    streamed(model, Answer::to(&request).events())
}

/// Sends the parts of an answer as they come.
fn streamed(model: Model, parts: impl Iterator<Item = Part> + Send + 'static) -> Response {
    let events = stream::unfold((model, parts), |(model, mut parts)| async move {
        let part = parts.next()?;
        model.work(&part).await;
        let event = match part {
            Part::Token(event) | Part::Rest(event) => Ok(event),
            Part::Failure => {
                // Lets the server send what it has: otherwise the request fails before its answer begins.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("the model is broken"))
            }
        };
        Some((event, (model, parts)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(events)).into_response()
}

impl Model {
    /// Takes the time of a token.
    async fn work(&self, part: &Part) {
        if let (Some(pace), Part::Token(_)) = (self.pace, part) {
            tokio::time::sleep(pace).await;
        }
    }

    /// The answer to a request without the key that is demanded.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let demanded = self.authorization.as_deref()?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        (given != Some(demanded)).then(|| failure(StatusCode::UNAUTHORIZED, "unknown API key", "invalid_api_key"))
    }
}

/// An error as the API tells it.
fn failure(status: StatusCode, message: &str, code: &str) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    (status, Json(body)).into_response()
}
