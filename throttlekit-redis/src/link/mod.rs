//! Connections to servers, and what runs scripts over them.
//!
//! A script is sent once. It is sent again only after an answer that proves that it did not run: the server does not
//! know it yet, or another node of the cluster holds its key. After silence or a broken connection it is unknown whether
//! it ran, and the caller gets `store_unavailable`.

mod batch;
mod cluster;
mod dial;
mod flight;
mod node;
mod sentinel;
mod slots;
mod topology;

use std::sync::Arc;

use redis::{Cmd, ToRedisArgs, Value};
use throttlekit::Error;
use throttlekit::store::prefixed;

use crate::error::answer;
use crate::link::batch::Batch;
pub(crate) use crate::link::cluster::Cluster;
pub(crate) use crate::link::dial::{Address, Dial, Timing};
pub(crate) use crate::link::node::{Node, Target};
pub(crate) use crate::link::sentinel::Sentinels;
use crate::script::Script;

/// One run of a script: its keys, then its arguments. In a cluster all keys have to be in one slot.
#[derive(Clone, Debug)]
pub(crate) struct ScriptRun {
    script: Arc<Script>,
    /// The whole `EVALSHA` command.
    command: Cmd,
}

/// Where the first key is among the words of the command: `EVALSHA digest count key ...`.
const FIRST_KEY: usize = 3;

impl ScriptRun {
    /// A run on `keys` below `prefix`, without arguments yet.
    pub(crate) fn new<'a>(script: Arc<Script>, prefix: &str, keys: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let mut command = Cmd::with_capacity(24 + keys.len(), 160 + 32 * keys.len());
        command.arg("EVALSHA").arg(script.sha1()).arg(keys.len());
        for key in keys {
            if prefix.is_empty() {
                command.arg(key);
            } else {
                command.arg(prefixed(prefix, key));
            }
        }
        Self { script, command }
    }

    /// Adds an argument.
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }
}

/// Where scripts run. A clone is a handle to the same connections.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// One server, at an address or as the sentinels say.
    Single(Node),
    /// The nodes of a cluster.
    Cluster(Cluster),
}

impl Link {
    /// Runs the scripts as one pipeline for each node, in order on each node: one answer for each run, in their order.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the connection usable; what was sent runs nevertheless.
    pub(crate) async fn send(&self, runs: Vec<ScriptRun>) -> Vec<Result<Value, Error>> {
        // A pipeline of nothing is an error to the client.
        if runs.is_empty() {
            return Vec::new();
        }
        match self {
            Self::Single(node) => {
                let replies = node.run(&Batch::new(runs)).await;
                replies.into_iter().map(|reply| answer(reply?)).collect()
            }
            // In a box: every batch would carry the room for it, on one server too.
            Self::Cluster(cluster) => Box::pin(cluster.send(runs)).await,
        }
    }

    /// The slot of a key below `prefix`, if the server is a cluster: all keys of one run have to be in the same.
    pub(crate) fn slot(&self, prefix: &str, key: &str) -> Option<u16> {
        match self {
            Self::Single(_) => None,
            Self::Cluster(_) => Some(slots::slot_of(prefixed(prefix, key).as_bytes())),
        }
    }

    /// Whether the server is there and answers.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if it is not.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        match self {
            Self::Single(node) => node.ping().await.map_err(Error::from),
            Self::Cluster(cluster) => cluster.ping().await,
        }
    }
}
