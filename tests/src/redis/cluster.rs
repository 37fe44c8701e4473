//! A cluster whose slots can be moved.

use crate::process::wait;
use crate::redis::{Redis, Settings};

/// A cluster of three masters that share the slots evenly.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts one, with these settings for each node.
    ///
    /// # Panics
    ///
    /// If a node does not get ready or they do not find together.
    pub fn with(settings: &Settings) -> Self {
        let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(of_cluster(settings))).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
        let mut command = vec!["--cluster", "create"];
        command.extend(addresses.iter().map(String::as_str));
        command.push("--cluster-yes");
        let said = nodes[0].cli(&command);
        let cluster = Self { nodes };
        let agreed = wait(|| cluster.nodes.iter().all(|node| is_whole(node, 3)));
        assert!(agreed, "the cluster does not get ready; redis-cli said:\n{said}");
        cluster
    }

    /// Starts one with the default settings.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    pub fn start() -> Self {
        Self::with(&Settings::default())
    }

    /// The nodes, in the order of their slots.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// A node, to kill it.
    ///
    /// # Panics
    ///
    /// If there is none at `index`.
    pub fn node_mut(&mut self, index: usize) -> &mut Redis {
        &mut self.nodes[index]
    }

    /// Adds a node that follows the one at `index` and takes its place when it fails.
    ///
    /// # Panics
    ///
    /// If it does not get ready or does not follow.
    pub fn add_replica(&mut self, index: usize, settings: &Settings) {
        let replica = Redis::with(of_cluster(settings));
        let (new, known) = (replica.address().to_string(), self.nodes[index].address().to_string());
        let id = self.id(index);
        let add = ["--cluster", "add-node", &new, &known, "--cluster-slave", "--cluster-master-id", &id];
        let said = self.nodes[index].cli(&add);
        self.nodes.push(replica);
        let follows = |node: &Redis| node.cli(&["INFO", "replication"]).contains("master_link_status:up");
        let agreed = wait(|| {
            let nodes = self.nodes.len();
            self.nodes.iter().all(|node| is_whole(node, nodes)) && self.nodes.last().is_some_and(follows)
        });
        assert!(agreed, "the replica does not follow; redis-cli said:\n{said}");
    }

    /// How clients name the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The index of the node that holds a key's slot, as the first node knows it.
    ///
    /// # Panics
    ///
    /// If no node holds it.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let holds = |node: &Redis| {
            node.cli(&["CLUSTER", "NODES"]).lines().filter(|line| line.contains("myself")).any(|line| {
                line.split_whitespace().skip(8).any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    matches!((first.parse::<u16>(), last.parse::<u16>()),
                        (Ok(first), Ok(last)) if (first..=last).contains(&slot))
                })
            })
        };
        self.nodes.iter().position(holds).unwrap_or_else(|| panic!("no node holds the slot {slot}"))
    }

    /// The slot of a key.
    ///
    /// # Panics
    ///
    /// If the first node does not say.
    pub fn slot(&self, key: &str) -> u16 {
        let said = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        said.parse().unwrap_or_else(|_| panic!("no slot but {said:?}"))
    }

    /// What a command answers at the node that holds the key.
    pub fn cli(&self, key: &str, command: &[&str]) -> String {
        self.nodes[self.owner(key)].cli(command)
    }

    /// Begins to move a slot: its keys may from now on be at either node.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        self.nodes[to].cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.nodes[from].cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    /// Moves a key of a slot on the move.
    pub fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port().to_string();
        self.nodes[from].cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }

    /// Moves what is left in the slot, and ends its move.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (number, id) = (slot.to_string(), self.id(to));
        loop {
            let keys = self.nodes[from].cli(&["CLUSTER", "GETKEYSINSLOT", &number, "100"]);
            if keys.is_empty() {
                break;
            }
            keys.lines().for_each(|key| self.move_key(key, from, to));
        }
        for node in [to, from].into_iter().chain((0..self.nodes.len()).filter(|node| *node != to && *node != from)) {
            self.nodes[node].cli(&["CLUSTER", "SETSLOT", &number, "NODE", &id]);
        }
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"])
    }
}

fn of_cluster(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf"];
    settings.arguments.extend(more.map(str::to_owned));
    settings
}

/// Whether a node knows `nodes` others with it and finds that all slots are held.
fn is_whole(node: &Redis, nodes: usize) -> bool {
    let info = node.cli(&["CLUSTER", "INFO"]);
    let has = |line: String| info.lines().any(|known| known.trim_end() == line);
    has("cluster_state:ok".to_owned()) && has(format!("cluster_known_nodes:{nodes}"))
}
