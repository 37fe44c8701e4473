//! Several processes that share a limit admit exactly that many.
//!
//! The test starts itself a few times, with the server's URL as argument; each of these makes its share of the checks.
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

mod redis_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use redis_support::{at_once, counting, patient, used};
use tests::redis::Redis;
use throttlekit_redis::{RedisOptions, RedisStore};

const PROCESSES: usize = 4;
const CHECKS: usize = 200;
const LIMIT: f64 = 50.0;

fn main() {
    // The names of tests and the flags of the test runner are no URLs.
    if let Some(url) = std::env::args().nth(1).filter(|argument| argument.starts_with("redis://")) {
        share(&url);
    } else {
        several_processes_admit_exactly_the_limit();
        println!("test several_processes_admit_exactly_the_limit ... ok");
    }
}

fn several_processes_admit_exactly_the_limit() {
    let server = Redis::start();
    let mut processes: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(server.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut answers: Vec<_> =
        processes.iter_mut().map(|process| BufReader::new(process.stdout.take().unwrap())).collect();
    // All are connected before any of them starts.
    for answer in &mut answers {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }
    for process in &mut processes {
        writeln!(process.stdin.take().unwrap(), "go").unwrap();
    }
    let mut admitted = 0;
    for (mut answer, process) in answers.into_iter().zip(&mut processes) {
        let mut text = String::new();
        answer.read_to_string(&mut text).unwrap();
        assert!(process.wait().unwrap().success());
        admitted += text.trim().parse::<u64>().unwrap();
    }
    assert_eq!(admitted, 50);
    assert_eq!(used(&server.cli(&["HGET", "k", "c"])), 50);
}

/// What one of the processes does.
fn share(url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = RedisStore::new(&patient(RedisOptions::single(url).unwrap())).unwrap();
    let tally = runtime.block_on(async {
        store.ready().await.unwrap();
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        at_once(&Arc::new(counting(store, LIMIT)), "k", CHECKS / PROCESSES).await
    });
    assert_eq!(tally.lost, 0);
    println!("{}", tally.admitted);
}
