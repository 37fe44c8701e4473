//! The quickstart over each store: one line of its file changed, two processes that count together, and an outage.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

mod common;

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Server, quickstart, refused};
use tests::folder::Folder;
use tests::process::wait;

const LIMITS: &str = include_str!("../throttle.yaml");

/// The file of the quickstart with another store in its one line.
fn limits(folder: &Folder, store: &str) -> PathBuf {
    assert_eq!(LIMITS.matches("\nstore: memory\n").count(), 1);
    let file = folder.join("throttle.yaml");
    fs::write(&file, LIMITS.replace("\nstore: memory\n", &format!("\nstore: {store}\n"))).unwrap();
    file
}

fn start(file: &std::path::Path) -> Server {
    Server::start(&["--config", file.to_str().unwrap()])
}

fn upload(server: &Server) -> (u16, Option<u32>) {
    let (status, response) = server.send("POST /api/upload HTTP/1.1\r\nx-tenant: alice\r\ncontent-length: 0");
    let field = response.lines().find_map(|line| line.strip_prefix("ratelimit-remaining: "));
    (status, field.map(|value| value.trim().parse().unwrap()))
}

fn hello_limit(server: &Server) -> Option<u32> {
    let (status, response) = server.send("GET /api/hello HTTP/1.1");
    assert_eq!(status, 200, "{response}");
    let field = response.lines().find_map(|line| line.strip_prefix("ratelimit-limit: "));
    field.map(|value| value.trim().parse().unwrap())
}

/// Two processes count together, go on by themselves while the store is out, and come back to it.
fn counts_together(store: &str, kill: impl FnOnce(), restart: impl FnOnce()) {
    let folder = Folder::new("quickstart");
    let file = limits(&folder, store);
    let (one, two) = (start(&file), start(&file));
    // A window of a minute may end between two uploads, but not twice in a row.
    let pairs: Vec<_> = (0..2).map(|_| (upload(&one).1.unwrap(), upload(&two).1.unwrap())).collect();
    assert!(pairs.iter().any(|(first, second)| *second + 1 == *first), "{store}: each counts for itself: {pairs:?}");
    assert_eq!(hello_limit(&one), Some(20));

    kill();
    assert_eq!(upload(&one).0, 503, "closed");
    assert_eq!(hello_limit(&two), Some(10), "local, with half of the burst");
    restart();
    assert!(wait(|| upload(&one).0 != 503), "{store} is not found again");
    assert!(wait(|| hello_limit(&two) == Some(20)), "{store} is not found again");
}

#[test]
#[cfg(feature = "redis")]
fn redis() {
    let server = std::cell::RefCell::new(tests::redis::Redis::start());
    let url = server.borrow().url();
    counts_together(
        &format!("{{ redis: {{ url: {url:?} }} }}"),
        || server.borrow_mut().kill(),
        || server.borrow_mut().restart(),
    );
    let keys = server.borrow().cli(&["KEYS", "*"]);
    assert!(keys.contains("hello:127.0.0.1") || keys.contains("upload:"), "{keys}");
}

#[test]
#[cfg(feature = "postgres")]
fn postgres() {
    let server = std::cell::RefCell::new(tests::postgres::Postgres::start_durable());
    let url = server.borrow().url();
    counts_together(
        &format!("{{ postgres: {{ url: {url:?} }} }}"),
        || server.borrow_mut().kill(),
        || server.borrow_mut().restart(),
    );
    assert!(server.borrow().sql("select string_agg(key, ' ') from throttlekit").contains("upload:alice"));
}

#[test]
#[cfg(feature = "dynamodb")]
fn dynamodb() {
    let server = std::cell::RefCell::new(tests::dynamodb::DynamoDb::start());
    let endpoint = format!("http://{}", server.borrow().address());
    let credentials = "{ accessKeyId: AKIDTEST, secretAccessKey: swordfish }";
    counts_together(
        &format!(
            "{{ dynamodb: {{ table: limits, endpoint: {endpoint:?}, credentials: {credentials}, autoCreate: true }} }}"
        ),
        || server.borrow_mut().kill(),
        || server.borrow_mut().restart(),
    );
}

#[test]
#[cfg(feature = "redis")]
fn a_store_that_is_not_there_is_a_warning_or_an_error() {
    let folder = Folder::new("quickstart");
    let port = tests::port::Port::free();
    let nowhere = format!("redis://:hunter2@127.0.0.1:{}", port.number());
    let file = limits(&folder, &format!("{{ redis: {{ url: {nowhere:?} }} }}"));

    let mut command = quickstart();
    command.args(["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let mut server = Server::from_command(command.stderr(Stdio::piped()));
    for _ in 0..50 {
        assert_eq!(upload(&server).0, 503);
    }
    server.process.kill().unwrap();
    let mut errors = String::new();
    server.process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.starts_with("warning: store is unavailable: ") && !errors.contains("hunter2"), "{errors}");
    let lines = errors.lines().filter(|line| line.starts_with("upload: store is unavailable: ")).count();
    assert!((1..50).contains(&lines), "a line for each request:\n{errors}");

    let file = limits(&folder, &format!("{{ redis: {{ url: {nowhere:?} }}, requireAtStart: true }}"));
    let (code, errors) = refused(&["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    assert!(code == Some(1) && errors.starts_with("quickstart: store is unavailable: "), "{errors}");
}

#[test]
#[cfg(not(feature = "dynamodb"))]
fn a_store_that_was_not_built_in_is_a_clear_error() {
    let folder = Folder::new("quickstart");
    let file = limits(&folder, "{ dynamodb: { table: limits } }");
    let (code, errors) = refused(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("config.store.dynamodb: this program cannot reach dynamodb"), "{errors}");
}
