//! The gateway as users of `OpenAI`'s SDK for Python see it. What they see is asserted in `openai_client.py`.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Server, gateway_before, upstream};
use tests::installed;
use tests::port::Port;

/// Much of everything.
const AMPLE: &str = "{ strategy: fixedWindow, limit: 1000, period: 1d }";

fn limits(requests: &str, tokens: u32) -> String {
    format!(
        "
limiters:
  requests: {requests}
  tokens: {{ tokenBudget: {{ budget: {tokens}, windowMs: 86400000 }} }}
http:
  defaults: {{ key: {{ header: x-client }}, headers: openai }}
  rules: [ {{ path: '/v1/{{*path}}', policies: [requests, tokens] }} ]
"
    )
}

/// Runs a scenario against a gateway with these limits in front of the fake upstream.
fn runs(scenario: &str, limits: &str) {
    let upstream = upstream(&[]);
    passes(scenario, &gateway_before(&upstream.address, limits));
}

fn passes(scenario: &str, gateway: &Server) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(format!("http://{}/v1", gateway.address)).arg(scenario);
    command.env("PYTHONPATH", installed("openai")).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "127.0.0.1");
    let output = command.output().unwrap_or_else(|error| panic!("python3: {error}; run `cargo xtask services`"));
    assert!(output.status.success(), "{scenario}:\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_answer_in_one_piece_shows_the_limits() {
    runs("whole", &limits(AMPLE, 100_000));
}

#[test]
fn a_stream_is_complete() {
    runs("streamed", &limits(AMPLE, 100_000));
}

#[test]
fn a_denial_is_retried_when_the_gateway_says() {
    runs("retried", &limits("{ strategy: gcra, limit: 1, period: 1s, burst: 1 }", 100_000));
}

#[test]
fn a_denial_that_says_only_seconds_is_waited_for_by_these() {
    let limits = limits("{ strategy: gcra, limit: 1, period: 1m, burst: 1 }", 100_000);
    runs("told_in_seconds", &limits.replace("headers: openai", "headers: draft"));
}

#[test]
fn a_denial_is_a_rate_limit_error() {
    runs("denied", &limits("{ strategy: fixedWindow, limit: 1, period: 1d }", 100_000));
}

#[test]
fn a_budget_that_runs_out_ends_the_stream_well() {
    runs("exhausted", &limits(AMPLE, 60));
}

#[test]
fn a_budget_that_runs_out_ends_a_response_well() {
    // Each token takes its time, so the name of its event comes in a chunk of its own.
    let upstream = upstream(&["--pace", "1ms"]);
    passes("exhausted_response", &gateway_before(&upstream.address, &limits(AMPLE, 60)));
}

#[test]
fn failures_are_the_errors_that_the_sdk_knows() {
    runs("failing", &limits(AMPLE, 100_000));
}

#[test]
fn an_upstream_that_is_not_there_is_an_error_of_the_server() {
    let nobody = Port::free();
    passes("unreachable", &gateway_before(&nobody.address().to_string(), &limits(AMPLE, 100_000)));
}
