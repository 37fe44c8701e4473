//! Sentinels: which server is the master now.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::Value;
use throttlekit::BoxFuture;

use crate::error::{Failure, code};
use crate::link::dial::{Address, Dial, Wire};

/// The sentinels that watch one master.
#[derive(Clone)]
pub(crate) struct Sentinels(Arc<Inner>);

struct Inner {
    dial: Arc<Dial>,
    name: String,
    addresses: Vec<Address>,
}

/// What one of the things under way came to.
enum Step {
    Named(Result<Address, Failure>),
    Opened(Result<Wire, Failure>),
}

impl Sentinels {
    /// The sentinels at `addresses`, reached by `dial`, which know the master by `name`.
    pub(crate) fn new(dial: Arc<Dial>, name: String, addresses: Vec<Address>) -> Self {
        Self(Arc::new(Inner { dial, name, addresses }))
    }

    /// A connection to the master, made by `dial`.
    ///
    /// All sentinels are asked at once, since one may hang and one may not have heard of the failover yet. Each server
    /// they name is tried once, and the first that says it is a master is taken.
    pub(crate) async fn master(&self, dial: &Arc<Dial>) -> Result<Wire, Failure> {
        let mut steps: FuturesUnordered<BoxFuture<Step>> = FuturesUnordered::new();
        for address in &self.0.addresses {
            let (sentinels, address) = (self.clone(), address.clone());
            steps.push(Box::pin(async move { Step::Named(sentinels.ask(&address).await) }));
        }
        let mut named = HashSet::new();
        let mut failure = None;
        while let Some(step) = steps.next().await {
            match step {
                Step::Opened(Ok(wire)) => return Ok(wire),
                Step::Named(Ok(address)) => {
                    if named.insert(address.clone()) {
                        let dial = Arc::clone(dial);
                        steps.push(Box::pin(async move { Step::Opened(open_master(&dial, &address).await) }));
                    }
                }
                // What the server said tells more than what a sentinel did.
                Step::Opened(Err(reason)) => failure = Some(reason),
                Step::Named(Err(reason)) => failure = failure.or(Some(reason)),
            }
        }
        Err(failure.unwrap_or_else(|| Failure::new("there are no sentinels")))
    }

    async fn ask(&self, address: &Address) -> Result<Address, Failure> {
        let wire = self.0.dial.open(address).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.0.name);
        let answer = wire.command(&command).await.map_err(|error| Failure::of_exchange(&error))?;
        match redis::from_redis_value::<Option<(String, u16)>>(answer) {
            Ok(Some((host, port))) => Ok(Address::Tcp(host, port)),
            Ok(None) => Err(Failure::new(format!("the sentinel {address} knows no master {:?}", self.0.name))),
            Err(_) => Err(Failure::new(format!("the sentinel {address} refused the question"))),
        }
    }
}

async fn open_master(dial: &Dial, address: &Address) -> Result<Wire, Failure> {
    let wire = dial.open(address).await?;
    match wire.command(&redis::cmd("ROLE")).await {
        Ok(Value::Array(role)) if is_master(&role) => Ok(wire),
        // Who may not ask finds out by the first write.
        Ok(Value::ServerError(error)) if code(&error) == "NOPERM" => Ok(wire),
        Ok(Value::ServerError(error)) => Err(Failure::new(format!("{address}: the server answered {}", code(&error)))),
        Ok(_) => Err(Failure::new(format!("{address}: the server is not a master"))),
        Err(error) => Err(Failure::of_exchange(&error)),
    }
}

fn is_master(role: &[Value]) -> bool {
    match role.first() {
        Some(Value::BulkString(name)) => name == b"master",
        Some(Value::SimpleString(name)) => name == "master",
        _ => false,
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels").field("name", &self.0.name).field("addresses", &self.0.addresses).finish()
    }
}
