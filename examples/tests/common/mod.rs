//! The services of this package as processes.
#![allow(dead_code)] // each test file uses a part

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tests::folder::Folder;

pub(crate) fn quickstart() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    // From elsewhere: the file of limits is found all the same.
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// Runs it with arguments that it refuses.
pub(crate) fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = quickstart().args(arguments).output().expect("it runs");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

/// The fake upstream on a free port.
pub(crate) fn upstream(arguments: &[&str]) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-upstream"));
    Server::from_command(command.args(["--listen", "127.0.0.1:0"]).args(arguments))
}

/// The gateway, without arguments.
pub(crate) fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-gateway"));
    for name in ["UPSTREAM_API_KEY", "GATEWAY_KEY_SECRET", "GATEWAY_KEY_ID"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The gateway on a free port, with `limits` in front of what is at `upstream`.
pub(crate) fn gateway_before(upstream: &str, limits: &str) -> Server {
    gateway_with(&format!("http://{upstream}"), limits, |command| command)
}

/// The same in front of a URL, with whatever `more` adds.
pub(crate) fn gateway_with(upstream: &str, limits: &str, more: impl FnOnce(&mut Command) -> &mut Command) -> Server {
    let folder = Folder::new("llm-gateway");
    let file = folder.join("limits.yaml");
    std::fs::write(&file, limits).expect("it is written");
    let mut command = gateway();
    command.args(["--listen", "127.0.0.1:0", "--upstream", upstream, "--config"]).arg(&file);
    // Once it says where it listens, it has read the file.
    Server::from_command(more(&mut command))
}

/// Sends a request without a body to a server.
pub(crate) fn send(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is read");
    received(stream)
}

/// The status and the whole response.
pub(crate) fn received(mut stream: TcpStream) -> (u16, String) {
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), response)
}

/// A running server; it is killed with the value.
pub(crate) struct Server {
    pub(crate) process: Child,
    /// What it says, as long as somebody reads it.
    output: Option<BufReader<ChildStdout>>,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = quickstart();
        Self::from_command(command.args(["--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts a command that listens on a free port.
    pub(crate) fn from_command(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let address = line.strip_prefix("listening on http://").and_then(|rest| rest.split(',').next());
        let address = address.expect("an address").to_owned();
        Self { process, output: Some(output), address }
    }

    /// The status and the whole response.
    pub(crate) fn send(&self, request: &str) -> (u16, String) {
        send(&self.address, request)
    }

    /// Posts `body` as JSON with `key`, and further `fields`, each with its end of line in front.
    pub(crate) fn post(&self, path: &str, key: &str, fields: &str, body: &str) -> (u16, String) {
        received(self.open(path, key, fields, body))
    }

    /// As [`post`](Self::post), but says that `body` is of another type.
    pub(crate) fn post_as(&self, kind: &str, path: &str, key: &str, body: &str) -> (u16, String) {
        received(self.open_as(kind, path, key, "", body))
    }

    /// As [`post`](Self::post), but leaves the response to be read.
    pub(crate) fn open(&self, path: &str, key: &str, fields: &str, body: &str) -> TcpStream {
        self.open_as("application/json", path, key, fields, body)
    }

    fn open_as(&self, kind: &str, path: &str, key: &str, fields: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-type: {kind}\r\ncontent-length: {length}{fields}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it is read");
        stream
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The next line that starts with `start`.
    pub(crate) fn line(&mut self, start: &str) -> String {
        let output = self.output.as_mut().expect("it is still listened to");
        let lines = output.by_ref().lines().map(|line| line.expect("a line"));
        lines.into_iter().find(|line| line.starts_with(start)).expect("the line before the end")
    }

    /// Closes the end of the pipe at which its output was read.
    pub(crate) fn stop_listening(&mut self) {
        self.output = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
