//! The quickstart as a stranger runs it: a process, a free port, a client over loopback.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::{Server, refused};
use tests::folder::Folder;

/// A file with one limit.
fn limits(limit: u32) -> String {
    format!(
        "limiters: {{ all: {{ strategy: fixedWindow, limit: {limit}, period: 1d }} }}\n\
         http: {{ rules: [ {{ path: /api/hello, policy: all }} ] }}\n"
    )
}

#[test]
fn two_routes_are_limited_and_others_are_not() {
    let server = Server::start(&[]);
    let (status, response) = server.send("GET /api/hello HTTP/1.1");
    assert_eq!(status, 200);
    assert!(response.contains("ratelimit-limit: 20") && response.ends_with("hello\n"), "{response}");

    // Twelve in a row fill two windows of five, wherever in a minute the test runs.
    let upload = "POST /api/upload HTTP/1.1\r\nx-tenant: alice\r\ncontent-length: 0";
    let denied: Vec<String> =
        (0..12).map(|_| server.send(upload)).filter(|(status, _)| *status == 429).map(|(_, text)| text).collect();
    assert!(!denied.is_empty());
    assert!(denied[0].contains("retry-after: ") && denied[0].contains(r#"{"error":"Too Many Requests""#));
    assert_eq!(server.send(&upload.replace("alice", "bob")).0, 200);

    let (status, response) = server.send("GET / HTTP/1.1");
    assert_eq!((status, response.contains("ratelimit")), (404, false));
}

/// Clients that know beforehand that it speaks HTTP/2 need no other version first.
#[test]
fn it_answers_in_http_2() {
    let server = Server::start(&[]);
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    // The preface, and settings that set nothing: length 0, type 4, no flags, stream 0.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("it is read");
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).expect("a frame");
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]), "the settings of the server");
}

#[test]
#[cfg(unix)]
fn it_reloads_on_hangup_and_stops_on_terminate() {
    let folder = Folder::new("quickstart");
    let file = folder.join("limits.yaml");
    std::fs::write(&file, limits(5)).expect("it is written");
    let mut server = Server::start(&["--config", file.to_str().expect("text")]);
    assert!(server.send("GET /api/hello HTTP/1.1").1.contains("ratelimit-limit: 5\r\n"));

    std::fs::write(&file, limits(7)).expect("it is written");
    server.signal("HUP");
    assert!(server.line("reloaded").contains("version 2"));
    assert!(server.send("GET /api/hello HTTP/1.1").1.contains("ratelimit-limit: 7\r\n"));

    server.signal("TERM");
    assert_eq!(server.line("stopped"), "stopped");
    assert!(server.process.wait().expect("it ends").success());
}

#[test]
fn it_reads_a_file_again_that_changes() {
    let folder = Folder::new("quickstart-watch");
    let file = folder.join("limits.yaml");
    std::fs::write(&file, limits(5)).expect("it is written");
    let mut server = Server::start(&["--config", file.to_str().expect("text"), "--watch"]);
    std::fs::write(&file, limits(7)).expect("it is written");
    assert!(server.line("reloaded").contains("version 2"));
    assert!(server.send("GET /api/hello HTTP/1.1").1.contains("ratelimit-limit: 7\r\n"));
}

/// What Ctrl-C sends; the second one does not wait for whoever never ends a request.
#[test]
#[cfg(unix)]
fn an_interrupt_drains_and_a_second_one_cuts_off() {
    let mut server = Server::start(&[]);
    assert_eq!(server.send("GET /api/hello HTTP/1.1").0, 200);
    server.signal("INT");
    assert_eq!(server.line("stopped"), "stopped");
    assert!(server.process.wait().expect("it ends").success());

    let mut server = Server::start(&[]);
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    stream.write_all(b"GET /api/hello HTTP/1.1\r\nhost: localhost\r\n").expect("it is read");
    // Answered on another connection, so the first one was accepted.
    assert_eq!(server.send("GET /api/hello HTTP/1.1").0, 200);
    server.signal("INT");
    assert!(server.line("stopping").contains("a second Ctrl-C"));
    server.signal("INT");
    assert_eq!(server.process.wait().expect("it ends").code(), Some(1));
}

/// As behind `| head -1`.
#[test]
#[cfg(unix)]
fn it_finishes_its_work_when_nobody_reads_its_output() {
    let mut server = Server::start(&[]);
    server.stop_listening();
    assert_eq!(server.send("GET /api/hello HTTP/1.1").0, 200);
    server.signal("TERM");
    assert!(server.process.wait().expect("it ends").success());
}

#[test]
fn mistakes_are_clear_errors() {
    let (code, text) = refused(&["--bogus"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("invalid option '--bogus'") && text.contains("Usage:"), "{text}");
    let (code, text) = refused(&["--listen", "localhost:3000"]);
    assert_eq!(code, Some(2));
    let problem = r#"argument "localhost:3000": must be an IP address and a port, such as 127.0.0.1:3000"#;
    assert!(text.contains(problem), "{text}");

    let (code, text) = refused(&["--config", "/nonexistent/limits.yaml"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nonexistent/limits.yaml"), "{text}");

    let folder = Folder::new("quickstart-mistakes");
    let file = folder.join("limits.yaml");
    let file = file.to_str().expect("text");
    std::fs::write(file, "limiters: {}").expect("it is written");
    assert_eq!(refused(&["--config", file]), (Some(1), format!("quickstart: {file}: http.rules: required\n")));
    std::fs::write(file, "limiters: { a: 5, b: 6 }").expect("it is written");
    let problem = |name: char, column, number| {
        format!("{file}:1:{column}: config.limiters[{name}]: expected a map, found the number {number}\n")
    };
    let expected = format!("quickstart:\n{}{}", problem('a', 16, 5), problem('b', 22, 6));
    assert_eq!(refused(&["--config", file]), (Some(1), expected), "each line begins with its place");

    let server = Server::start(&[]);
    let (code, text) = refused(&["--listen", &server.address]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with(&format!("quickstart: cannot listen on {}", server.address)), "{text}");
}
