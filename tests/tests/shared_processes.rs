//! Several processes that share a limit admit exactly that many, on every store.
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

mod process_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;

use process_support::{Role, process, runtime};
use tests::dynamodb::DynamoDb;
use tests::postgres::Postgres;
use tests::redis::Redis;
use throttlekit::store::{DynStore, Remote};
use throttlekit::{FixedWindow, Gcra, Limiter, Strategy};
use tokio::task::JoinSet;

const LIMIT: f64 = 50.0;
const PROCESSES: usize = 4;
/// Checks of each limit, by all of them.
const CHECKS: usize = 200;

fn main() {
    if let Some(role) = Role::of_this_process() {
        runtime().block_on(check(&role));
        return;
    }
    let redis = Redis::start();
    processes_share_a_limit_of_50("redis", &redis.url());
    drop(redis);
    let postgres = Postgres::start();
    processes_share_a_limit_of_50("postgres", &postgres.url());
    processes_share_a_limit_of_50("postgres, fast", &postgres.url());
    drop(postgres);
    let dynamodb = DynamoDb::start();
    processes_share_a_limit_of_50("dynamodb", &dynamodb.address().to_string());
}

fn processes_share_a_limit_of_50(store: &str, place: &str) {
    let start = |_| process(store, place).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut processes: Vec<Child> = (0..PROCESSES).map(start).collect();
    let mut answers: Vec<_> =
        processes.iter_mut().map(|process| BufReader::new(process.stdout.take().unwrap())).collect();
    // All are connected before any of them starts.
    for answer in &mut answers {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{store}");
    }
    for process in &mut processes {
        writeln!(process.stdin.take().unwrap(), "go").unwrap();
    }
    let mut admitted = [0, 0];
    for (mut answer, mut process) in answers.into_iter().zip(processes) {
        let mut text = String::new();
        answer.read_to_string(&mut text).unwrap();
        assert!(process.wait().unwrap().success(), "{store}");
        let mut counts = text.split_whitespace().map(|count| count.parse::<u64>().unwrap());
        admitted = admitted.map(|count| count + counts.next().unwrap());
    }
    assert_eq!(admitted, [50, 50], "{store}, of {CHECKS} checks each");
    println!("test processes_share_a_limit_of_50 on {store} ... ok");
}

/// What one of the processes does: its part of the checks, all at once.
async fn check(role: &Role) {
    let store = role.open().await;
    // Neither the next window nor the next unit comes within days.
    let window = FixedWindow::builder().limit(LIMIT).window_ms(1e12).build().unwrap();
    let gcra = Gcra::builder().limit(LIMIT).period_ms(1e11).build().unwrap();
    let window = limiter(&store, window);
    let gcra = limiter(&store, gcra);
    window.peek("another").await.unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mut checks = JoinSet::new();
    for _ in 0..CHECKS / PROCESSES {
        let (window, gcra) = (Arc::clone(&window), Arc::clone(&gcra));
        checks.spawn(async move {
            [window.check("window").await.unwrap().allowed, gcra.check("gcra").await.unwrap().allowed]
        });
    }
    let mut admitted = [0, 0];
    while let Some(allowed) = checks.join_next().await {
        let [window, gcra] = allowed.unwrap().map(u64::from);
        admitted = [admitted[0] + window, admitted[1] + gcra];
    }
    println!("{} {}", admitted[0], admitted[1]);
}

fn limiter<S: Strategy>(store: &Arc<dyn DynStore>, strategy: S) -> Arc<Limiter<S, Remote>> {
    Arc::new(Limiter::builder(strategy).keyspace(Remote::from_dyn(Arc::clone(store))).build())
}
