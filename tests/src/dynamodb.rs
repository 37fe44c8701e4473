//! A server that speaks DynamoDB.

mod proxy;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};

use crate::folder::Folder;
use crate::installed;
use crate::port::Port;
use crate::process::Process;

pub use proxy::{Proxy, Verdict};

/// A running server with a file of its own, so that a restarted one holds what it held.
#[derive(Debug)]
pub struct DynamoDb {
    process: Process,
    port: Port,
    _folder: Folder,
}

impl DynamoDb {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it is not installed or does not start.
    pub fn start() -> Self {
        let folder = Folder::new("dynamodb");
        let port = Port::free();
        let mut command = Command::new(installed("dynoxide/bin/dynoxide"));
        command.args(["serve", "--port", &port.number().to_string(), "--db-path"]).arg(folder.join("items"));
        let mut server = Self { process: Process::start(command, folder.join("log")), port, _folder: folder };
        server.wait();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Client {
        client(self.address())
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after a crash, with what it held, and waits until it answers.
    pub fn restart(&mut self) {
        self.process.restart();
        self.wait();
    }

    /// Stops it in its tracks: it accepts connections and answers nothing.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    fn wait(&mut self) {
        let address = self.port.address();
        self.process.wait_until(|| TcpStream::connect(address).is_ok());
    }
}

/// A client of whatever listens on `address`, without retries of its own, with the sort of credentials that must never
/// show.
pub fn client(address: SocketAddr) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIDTEST", SECRET, None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// The secret key of every [`client`].
pub const SECRET: &str = "swordfish";
