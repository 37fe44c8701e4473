//! A master that sentinels watch.

use std::process::Command;

use crate::folder::Folder;
use crate::port::Port;
use crate::process::{Process, wait};
use crate::redis::{Redis, Settings, output};

/// A master, its replica, and three sentinels that watch them.
#[derive(Debug)]
pub struct Watched {
    servers: Vec<Redis>,
    sentinels: Vec<Sentinel>,
}

/// The name that the sentinels know the master by.
pub const MASTER: &str = "limits";

#[derive(Debug)]
struct Sentinel {
    _process: Process,
    port: Port,
    _folder: Folder,
}

impl Watched {
    /// Starts all of them, with these settings for the two servers.
    ///
    /// # Panics
    ///
    /// If they do not get ready or do not find each other.
    pub fn with(settings: &Settings) -> Self {
        let master = Redis::with(settings.clone());
        let mut replica = settings.clone();
        let follow = ["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.port().to_string()];
        replica.arguments.extend(follow);
        if let Some(password) = &settings.password {
            replica.arguments.extend(["--masterauth".to_owned(), password.clone()]);
        }
        let servers = vec![master, Redis::with(replica)];
        let follows = wait(|| servers[1].cli(&["INFO", "replication"]).contains("master_link_status:up"));
        assert!(follows, "the replica does not follow");
        let sentinels = (0..3).map(|_| Sentinel::start(&servers[0])).collect();
        let watched = Self { servers, sentinels };
        let met = wait(|| watched.sentinels.iter().all(Sentinel::knows_all));
        assert!(met, "the sentinels do not find each other");
        watched
    }

    /// Starts all of them with the default settings.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    pub fn start() -> Self {
        Self::with(&Settings::default())
    }

    /// How clients name the sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://{}", sentinel.port.address())).collect()
    }

    /// The two servers: first the one that was the master at the start.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// A server, to kill it.
    ///
    /// # Panics
    ///
    /// If there is none at `index`.
    pub fn server_mut(&mut self, index: usize) -> &mut Redis {
        &mut self.servers[index]
    }

    /// The port of the master, as the first sentinel knows it.
    pub fn master(&self) -> Option<u16> {
        let answer = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        answer.lines().nth(1)?.parse().ok()
    }

    /// Makes the sentinels swap the roles of the two servers, though neither is down.
    pub fn fail_over(&self) {
        self.sentinels[0].cli(&["SENTINEL", "FAILOVER", MASTER]);
    }
}

impl Sentinel {
    fn start(master: &Redis) -> Self {
        let (folder, port) = (Folder::new("sentinel"), Port::free());
        let (path, number) = (folder.join("sentinel.conf"), port.number());
        // Sentinels write down in it what they learn.
        let password = master.settings.password.as_ref();
        let password = password.map(|password| format!("sentinel auth-pass {MASTER} {password}\n"));
        let text = format!(
            "port {number}\nbind 127.0.0.1\ndir {dir}\n\
             sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 500\n\
             sentinel failover-timeout {MASTER} 5000\n{password}",
            dir = folder.path().display(),
            master = master.port(),
            password = password.unwrap_or_default(),
        );
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        let mut command = Command::new("redis-server");
        command.arg(&path).arg("--sentinel");
        let mut process = Process::start(command, folder.join("log"));
        let connection = ["-p".to_owned(), number.to_string()];
        process.wait_until(|| output(&connection, &["PING"]) == "PONG");
        Self { _process: process, port, _folder: folder }
    }

    fn cli(&self, command: &[&str]) -> String {
        output(&["-p".to_owned(), self.port.number().to_string()], command)
    }

    /// Whether it knows the replica and the other two.
    fn knows_all(&self) -> bool {
        let said = self.cli(&["SENTINEL", "MASTER", MASTER]);
        let lines: Vec<&str> = said.lines().collect();
        let is = |name: &str, value: &str| lines.windows(2).any(|pair| pair == [name, value]);
        is("num-slaves", "1") && is("num-other-sentinels", "2")
    }
}
