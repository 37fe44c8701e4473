//! The quickstart as a process.
#![allow(dead_code)] // each test file uses a part

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

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

/// A running server; it is killed with the value.
pub(crate) struct Server {
    pub(crate) process: Child,
    output: BufReader<ChildStdout>,
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
        Self { process, output, address }
    }

    /// The status and the whole head of the response.
    pub(crate) fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let request = format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is read");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), response)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The next line that starts with `start`.
    #[cfg(unix)]
    pub(crate) fn line(&mut self, start: &str) -> String {
        let lines = self.output.by_ref().lines().map(|line| line.expect("a line"));
        lines.into_iter().find(|line| line.starts_with(start)).expect("the line before the end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
