//! Who is measured.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script};
use throttlekit::store::Remote;
use throttlekit::{Gcra, Limiter, Program};
use throttlekit_redis::{RedisOptions, RedisStore, scripts};

pub(crate) const OURS: &str = "ThrottleKit";
pub(crate) const BARE: &str = "bare EVALSHA of our script";
pub(crate) const PLAIN: &str = "plain EVALSHA of a script by hand";
pub(crate) const CELL: &str = "redis-cell";

/// The period of both limits, in milliseconds.
const PERIOD_MS: f64 = 3_600_000.0;
/// Units an hour, of which one key gets through all checks of a run.
const MANY: f64 = 360_000_000.0;
/// One unit an hour.
const FEW: f64 = 1.0;

/// Long enough for a busy machine: what is slow is to be measured, not to fail.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) enum Rival {
    Ours(Arc<[Limiter<Gcra, Remote>; 2]>),
    Bare(MultiplexedConnection, Arc<Script>),
    Plain(MultiplexedConnection, Arc<Script>),
    Cell(MultiplexedConnection),
}

/// Everyone, on a server that knows the module `with_cell`.
pub(crate) async fn all(url: &str, with_cell: bool) -> Result<Vec<Rival>, Box<dyn Error>> {
    let client = Client::open(url)?;
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let connect = || client.get_multiplexed_async_connection_with_config(&config);
    let options = RedisOptions::single(url)?.response_timeout(PATIENCE)?;
    let keys = Remote::new(RedisStore::new(&options)?);
    let limiter = |strategy, name| Limiter::builder(strategy).prefix(name).keyspace(keys.clone()).build();
    let limiters = [limiter(gcra(true)?, "ours:many"), limiter(gcra(false)?, "ours:few")];
    let lua = gcra(true)?.twin().ok_or("GCRA has a twin")?.lua();
    let [bare, _] = scripts(&[lua]);
    let mut rivals = vec![
        Rival::Ours(Arc::new(limiters)),
        Rival::Bare(connect().await?, Arc::new(Script::new(&bare))),
        Rival::Plain(connect().await?, Arc::new(Script::new(include_str!("plain.lua")))),
    ];
    if with_cell {
        rivals.push(Rival::Cell(connect().await?));
    }
    Ok(rivals)
}

fn gcra(allowed: bool) -> Result<Gcra, throttlekit::BuildError> {
    let limit = if allowed { MANY } else { FEW };
    Gcra::builder().limit(limit).period_ms(PERIOD_MS).build()
}

impl Rival {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => OURS,
            Self::Bare(..) => BARE,
            Self::Plain(..) => PLAIN,
            Self::Cell(_) => CELL,
        }
    }

    /// Whether a check of one unit passed, by a limit that lets all pass if `allowed`, or else the first of a key.
    pub(crate) async fn check(&self, key: &str, allowed: bool) -> bool {
        const LIVES: &str = "the server lives as long as the run";
        let limit = if allowed { MANY } else { FEW };
        let name = if allowed { "many" } else { "few" };
        match self {
            Self::Ours(limiters) => limiters[usize::from(!allowed)].check(key).await.expect(LIVES).allowed,
            Self::Bare(connection, script) => {
                let interval = PERIOD_MS / limit;
                let mut run = script.key(format!("bare:{name}:{key}"));
                run.arg(0).arg(1).arg(2).arg(interval).arg(interval * limit).arg(1);
                let (_, _, changes): (Option<String>, i64, i64) =
                    run.invoke_async(&mut connection.clone()).await.expect(LIVES);
                changes == 1
            }
            Self::Plain(connection, script) => {
                let mut run = script.key(format!("plain:{name}:{key}"));
                run.arg(0).arg(PERIOD_MS).arg(limit).arg(limit).arg(1);
                let reply: [i64; 5] = run.invoke_async(&mut connection.clone()).await.expect(LIVES);
                reply[0] == 1
            }
            Self::Cell(connection) => {
                let mut command = redis::cmd("CL.THROTTLE");
                // The module counts the burst on top of the first unit. It reads whole numbers only.
                let limit = if allowed { 360_000_000_u64 } else { 1 };
                command.arg(format!("cell:{name}:{key}")).arg(limit - 1).arg(limit).arg(3_600).arg(1);
                let reply: [i64; 5] = command.query_async(&mut connection.clone()).await.expect(LIVES);
                reply[0] == 0
            }
        }
    }
}
