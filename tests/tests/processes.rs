//! The guard around servers: what it starts ends, and does what it is told.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::fs;
use std::process::Command;

use tests::folder::Folder;
use tests::installed;
use tests::port::Port;
use tests::process::{Process, wait};

/// A shell that starts another process and waits for it.
fn family(folder: &Folder) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & echo child $!; wait"]);
    let mut process = Process::start(command, folder.join("log"));
    let log = folder.join("log");
    process.wait_until(|| fs::read_to_string(&log).unwrap().contains("child"));
    process
}

/// The state letter of a process; none if it is gone.
fn state(id: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("State:"))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn child(process: &Process) -> String {
    process.log().lines().rev().find_map(|line| line.strip_prefix("child ")).unwrap().to_owned()
}

fn is_gone(id: &str) -> bool {
    state(id).is_none_or(|state| state == "Z")
}

#[test]
fn dropping_a_process_ends_its_children_too() {
    let folder = Folder::new("processes");
    let process = family(&folder);
    let (parent, child) = (process.id().unwrap().to_string(), child(&process));
    assert!(!is_gone(&parent) && !is_gone(&child));
    drop(process);
    assert!(is_gone(&parent) && is_gone(&child));
}

#[test]
fn a_pause_reaches_children_and_ends() {
    let folder = Folder::new("processes");
    let mut process = family(&folder);
    let ids = [process.id().unwrap().to_string(), child(&process)];
    process.pause();
    assert!(wait(|| ids.iter().all(|id| state(id).as_deref() == Some("T"))));
    assert!(process.is_running());
    process.resume();
    assert!(wait(|| ids.iter().all(|id| state(id).as_deref() == Some("S"))));
}

#[test]
fn a_restarted_process_is_another() {
    let folder = Folder::new("processes");
    let mut process = family(&folder);
    let before = process.id();
    process.kill();
    assert!(!process.is_running() && process.id().is_none());
    process.restart();
    assert!(process.is_running() && process.id() != before);
    process.stop();
    assert!(!process.is_running());
}

#[test]
#[should_panic(expected = "ended; it said:\nno such option")]
fn a_server_that_gives_up_is_shown_with_its_words() {
    let folder = Folder::new("processes");
    let mut command = Command::new("sh");
    command.args(["-c", "echo no such option; exit 3"]);
    Process::start(command, folder.join("log")).wait_until(|| false);
}

#[test]
#[should_panic(expected = "run `cargo xtask services`")]
fn a_missing_program_says_what_to_do() {
    let folder = Folder::new("processes");
    Process::start(Command::new("throttlekit-no-such-program"), folder.join("log"));
}

#[test]
fn ports_are_free_and_differ() {
    let (one, two) = (Port::free(), Port::free());
    assert_ne!(one.number(), two.number());
    for port in [one, two] {
        assert_eq!(port.address().port(), port.number());
        std::net::TcpListener::bind(port.address()).unwrap();
    }
}

#[test]
fn folders_go_with_their_guard() {
    let folder = Folder::new("processes");
    fs::write(folder.join("file"), "x").unwrap();
    let path = folder.path().to_owned();
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn what_the_tasks_install_is_found() {
    assert!(installed("dynoxide/bin/dynoxide").is_file());
    assert!(installed("python/throttlekit/redis_backend.py").is_file());
}

#[test]
#[should_panic(expected = "no-such-package is not installed: run `cargo xtask services`")]
fn what_is_not_installed_says_what_to_do() {
    installed("no-such-package");
}
