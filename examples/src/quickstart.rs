//! An axum service whose limits come from a file.
//!
//! ```text
//! cargo run --release --bin quickstart [-- --listen ADDRESS] [--config FILE] [--watch]
//! ```
//!
//! Ctrl-C and SIGTERM let open requests finish; SIGHUP reads the file again, and with `--watch` so does each change of it. The
//! file also says where the limits are counted; the features `redis`, `postgres` and `dynamodb` of this package choose which
//! stores it may name.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use lexopt::prelude::{Long, Short, ValueExt as _};
use throttlekit::TokioRuntime;
use throttlekit::policy::LoadOptions;
use throttlekit_axum::ThrottleLayer;

mod address;
mod serve;
mod start;

use address::address;
use serve::ErrorLog;

const USAGE: &str = "\
An axum service whose limits come from a file.

Usage: quickstart [--listen ADDRESS] [--config FILE] [--watch]

  --listen ADDRESS  where to listen [default: 127.0.0.1:3000]; port 0 takes a free one
  --config FILE     limits and rules as YAML, JSON or TOML [default: the project's examples/throttle.yaml]
  --watch           read FILE again whenever it changes, as a SIGHUP does
  -h, --help        print this";

/// How often a file is looked at that is watched.
const LOOK_EVERY: Duration = Duration::from_millis(500);

struct Options {
    listen: SocketAddr,
    config: PathBuf,
    watch: bool,
}

/// `None` if only help is wanted.
fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
        config: concat!(env!("CARGO_MANIFEST_DIR"), "/throttle.yaml").into(),
        watch: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => options.listen = arguments.value()?.parse_with(address)?,
            Long("config") => options.config = arguments.value()?.into(),
            Long("watch") => options.watch = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

#[tokio::main]
async fn main() -> ExitCode {
    start::start("quickstart", USAGE, options(), async |options| serve(&options).await).await
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let policies = serve::load(&options.config, LoadOptions::new()).await?;
    let watching =
        options.watch.then(|| policies.watch_file(TokioRuntime, LOOK_EVERY, serve::tell_reload)).transpose()?;
    let errors = ErrorLog::new();
    let limits = ThrottleLayer::from_config(&policies)
        .map_err(|error| format!("{}: {error}", options.config.display()))?
        .on_error(move |failure| errors.write(failure.policy, failure.error));
    let app = Router::new()
        .route("/api/hello", get(|| async { "hello\n" }))
        .route("/api/upload", post(|body: Bytes| async move { format!("stored {} bytes\n", body.len()) }))
        .layer(limits);

    let listener = serve::listen(options.listen).await?;
    let address = listener.local_addr()?;
    let store = policies.current().config().store.kind().as_str();
    serve::say(format_args!(
        "listening on http://{address}, limits from {}, counted in {store}

allowed, with the state of the limit in the header fields:
  curl -i http://{address}/api/hello
  curl -i -H 'x-tenant: alice' -d 'some data' http://{address}/api/upload
denied from the sixth on:
  for i in 1 2 3 4 5 6 7; do curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'x-tenant: bob' -d x http://{address}/api/upload; done
",
        options.config.display()
    ));

    serve::run(listener, app, policies).await?;
    drop(watching);
    Ok(())
}
