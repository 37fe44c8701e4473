//! A gateway in front of an API that is compatible with `OpenAI`'s: each API key has a rate, a number of requests in flight
//! and a budget of tokens, all from one file.
//!
//! ```text
//! cargo run --release --bin llm-gateway [-- --listen ADDRESS] [--upstream URL] [--config FILE] [--timeout SPAN] \
//!     [--request-timeout SPAN] [--idle-timeout SPAN] [--metrics ADDRESS] [--include-usage]
//! ```
//!
//! If the environment has `UPSTREAM_API_KEY`, the upstream gets that key; otherwise that of the client. Ctrl-C and SIGTERM
//! let open requests and streams finish; SIGHUP reads the file again. An upstream with `https` takes the feature `tls` of
//! this package.

#[path = "../address.rs"]
mod address;
mod client;
mod error;
mod forward;
mod gateway;
mod idle;
mod path;
#[path = "../serve.rs"]
mod serve;
#[path = "../start.rs"]
mod start;
#[cfg(test)]
mod tests;
mod tokens;

use std::env::VarError;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt as _};
use throttlekit::parse_duration_ms;
use throttlekit::policy::LoadOptions;
use throttlekit::prometheus::Metrics;
use throttlekit_axum::metrics_router;

use address::address;
use forward::Upstream;

const USAGE: &str = "\
A gateway in front of an OpenAI-compatible API, with limits from a file.

Usage: llm-gateway [--listen ADDRESS] [--upstream URL] [--config FILE] [--timeout SPAN]
                   [--request-timeout SPAN] [--idle-timeout SPAN] [--metrics ADDRESS] [--include-usage]

  --listen ADDRESS        where to listen [default: 127.0.0.1:8080]; port 0 takes a free one
  --upstream URL          what is in front of /v1 there [default: http://127.0.0.1:9000]
  --config FILE           limits and rules as YAML, JSON or TOML [default: the project's examples/llm-gateway.yaml]
  --timeout SPAN          how long the upstream may take until it begins to answer [default: 10m]
  --request-timeout SPAN  how long a request other than a form may take to arrive [default: 1m]
  --idle-timeout SPAN     how long nothing of an answer may come, once it has begun [default: 5m]
  --metrics ADDRESS       where to answer for metrics, at /metrics [default: nowhere]; port 0 takes a free one
  --include-usage         ask each stream to say at its end what it cost; clients see that event too
  -h, --help              print this

In the environment:

  UPSTREAM_API_KEY    the key for the upstream, with what is counted alone [default: that of the client]
  GATEWAY_KEY_SECRET  what the keys of clients are hashed with, before anything is counted under them, 16 bytes or more
                      [default: drawn at each start; with a store there is none]
  GATEWAY_KEY_ID      what marks these hashes [default: k1]; another secret takes another";

struct Options {
    listen: SocketAddr,
    upstream: String,
    config: PathBuf,
    timeout: Duration,
    request_timeout: Duration,
    idle_timeout: Duration,
    metrics: Option<SocketAddr>,
    include_usage: bool,
}

/// `None` if only help is wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        upstream: "http://127.0.0.1:9000".to_owned(),
        config: concat!(env!("CARGO_MANIFEST_DIR"), "/llm-gateway.yaml").into(),
        timeout: Duration::from_secs(600),
        request_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(300),
        metrics: None,
        include_usage: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => options.listen = arguments.value()?.parse_with(address)?,
            Long("upstream") => options.upstream = arguments.value()?.string()?,
            Long("config") => options.config = arguments.value()?.into(),
            Long("timeout") => options.timeout = arguments.value()?.parse_with(span)?,
            Long("request-timeout") => options.request_timeout = arguments.value()?.parse_with(span)?,
            Long("idle-timeout") => options.idle_timeout = arguments.value()?.parse_with(span)?,
            Long("metrics") => options.metrics = Some(arguments.value()?.parse_with(address)?),
            Long("include-usage") => options.include_usage = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn span(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(parse_duration_ms(text)? / 1_000.0)?)
}

/// A variable of the environment, if it is set.
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    start::start("llm-gateway", USAGE, options(), async |options| serve(&options).await).await
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let key = variable("UPSTREAM_API_KEY")?;
    let upstream = Upstream::new(&options.upstream, key.as_deref(), options.timeout, options.idle_timeout)?;
    let (key_secret, key_id) = (variable("GATEWAY_KEY_SECRET")?, variable("GATEWAY_KEY_ID")?);
    let metrics = Metrics::new();
    // Whoever does not look does not pay for it.
    let observed = options.metrics.map(|_| LoadOptions::new().observer(metrics.clone()));
    let policies = serve::load(&options.config, observed.unwrap_or_default()).await?;
    let store = policies.current().config().store.kind();
    let hasher = client::hasher(key_secret.as_deref(), key_id.as_deref(), store)?;
    let app = gateway::router(&policies, upstream, hasher, options.include_usage, options.request_timeout)?;

    let listener = serve::listen(options.listen).await?;
    let address = listener.local_addr()?;
    let (config, upstream) = (options.config.display(), &options.upstream);
    serve::say(format_args!("listening on http://{address}, limits from {config}, upstream {upstream}"));
    let metrics = serve_metrics(options.metrics, metrics).await?;
    serve::say("\nfor OpenAI's SDKs:");
    serve::say(format_args!("  export OPENAI_BASE_URL=http://{address}/v1\n"));

    tokio::select! {
        served = serve::run(listener, app, policies) => served,
        failed = metrics => Ok(failed?),
    }
}

/// Listens for those who look at `metrics`, on an address of their own: clients of the gateway have no business there. The
/// future serves them, and does not end.
async fn serve_metrics(
    address: Option<SocketAddr>,
    metrics: Metrics,
) -> Result<impl Future<Output = std::io::Result<()>>, Box<dyn Error>> {
    let mut listener = None;
    if let Some(address) = address {
        let bound = serve::listen(address).await?;
        serve::say(format_args!("metrics on http://{}/metrics", bound.local_addr()?));
        listener = Some(bound);
    }
    Ok(async move {
        match listener {
            Some(listener) => axum::serve(listener, metrics_router(metrics)).await,
            None => std::future::pending().await,
        }
    })
}
