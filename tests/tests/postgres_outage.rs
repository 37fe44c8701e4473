//! The PostgreSQL store while its server is slow, gone or replaced, and while callers give up.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod postgres_support;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use postgres_support::{MODES, SERVER, builder, gcra, limiter, patient, start};
use tests::postgres::Postgres;
use tests::process::wait;
use throttlekit::store::Remote;
use throttlekit::{Error, ErrorKind, FixedWindow, Gcra, Limiter, Multi};
use throttlekit_postgres::{Mode, PostgresStore};
use tokio::time::Instant;

/// Polls `future` at most `polls` times, each time it wants to be, and drops it then.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => {
                if left == 0 {
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Locks that are held and transactions that are open, apart from those of whoever asks.
fn leftovers(postgres: &Postgres) -> String {
    postgres.sql(
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') || ' ' || \
         (SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' OR wait_event_type = 'Lock')",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_leave_no_lock_and_no_open_transaction() {
    let postgres = Postgres::start();
    for mode in MODES {
        let limiter = limiter(builder(&postgres, "dropped", mode).pool_size(2).build().unwrap(), 5.0);
        let multi = Multi::all().dimension("a", gcra(100.0, 1e9), 1.0).dimension("b", gcra(3.0, 1e9), 1.0);
        let multi = multi.store(Remote::new(builder(&postgres, "dropped", mode).build().unwrap())).build().unwrap();
        for polls in 0..60 {
            // Both admitted and denied ones, alone and with others in the lane.
            let _ = polled(limiter.check("k"), polls % 6).await;
            let _ = polled(multi.check(&["k", "k"]), polls % 4).await;
            if polls % 10 == 0 {
                limiter.peek("k").await.unwrap();
            }
        }
        assert!(wait(|| leftovers(&postgres) == "0 0"), "{}", leftovers(&postgres));
        // What was counted is whole, and everything goes on.
        let remaining = limiter.peek("k").await.unwrap().remaining;
        for left in (0..remaining).rev() {
            assert_eq!(limiter.check("k").await.unwrap().remaining, left);
        }
        assert!(!limiter.check("k").await.unwrap().allowed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_dropped_at_work_leaves_nothing_behind() {
    let postgres = Postgres::start();
    for mode in MODES {
        for polls in 1..8 {
            let limiter = limiter(builder(&postgres, "gone", mode).build().unwrap(), 1e6);
            let _ = polled(limiter.check("k"), polls).await;
            let tasks = (0..5).map(|_| polled(limiter.check("k"), 1));
            for task in tasks {
                let _ = task.await;
            }
        }
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'throttlekit'";
        assert!(wait(|| postgres.sql(sessions) == "0" && leftovers(&postgres) == "0 0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_unavailable_in_time_and_back_at_once() {
    let mut postgres = Postgres::start();
    for mode in MODES {
        let limiters = [(); 2].map(|()| {
            let store = PostgresStore::builder(&postgres.url()).table("hung").mode(mode);
            // Wide of what a busy machine takes, and much less than a minute.
            let store = store.timeout(Duration::from_secs(5)).connect_timeout(Duration::from_secs(2));
            limiter(store.statement_timeout(Duration::from_secs(1)).build().unwrap(), 50.0)
        });
        // The first has connections, the second has none.
        assert!(retry(&limiters[0]).await);
        let before = retry_peek(&limiters[0]).await;
        postgres.pause();
        for limiter in &limiters {
            let begun = Instant::now();
            let error = limiter.check("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        }
        postgres.resume();
        for limiter in &limiters {
            assert!(retry(limiter).await);
        }
        // At most the checks that hung were counted on top of those that were answered.
        let after = retry_peek(&limiters[1]).await;
        assert!((2..=4).contains(&(before - after)), "{before} before, {after} after");
    }
}

/// Checks until there is an answer, which must come soon.
async fn retry(limiter: &Limiter<Gcra, Remote>) -> bool {
    let begun = Instant::now();
    loop {
        match limiter.check("k").await {
            Ok(decision) => return decision.allowed,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
                assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn retry_peek(limiter: &Limiter<Gcra, Remote>) -> u64 {
    limiter.peek("k").await.unwrap().remaining
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_and_double_nothing() {
    let mut postgres = Postgres::start();
    for mode in MODES {
        // A limit that is not reached: every unit is accounted for.
        let limiter = limiter(builder(&postgres, "killed", mode).timeout(Duration::from_secs(5)).build().unwrap(), 1e6);
        limiter.check("k").await.unwrap();
        let (stop, admitted, failed) = (AtomicBool::new(false), AtomicU32::new(1), AtomicU32::new(0));
        let counts = Arc::new((stop, admitted, failed));
        let load: Vec<_> = (0..8)
            .map(|_| {
                let (limiter, counts) = (limiter.clone(), Arc::clone(&counts));
                tokio::spawn(async move {
                    while !counts.0.load(Ordering::Relaxed) {
                        match limiter.check("k").await {
                            Ok(decision) => {
                                assert!(decision.allowed);
                                counts.1.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
                                counts.2.fetch_add(1, Ordering::Relaxed);
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
                        }
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            let seen = counts.1.load(Ordering::Relaxed);
            assert!(wait(|| counts.1.load(Ordering::Relaxed) > seen + 50), "no progress after a restart");
            let failed = counts.2.load(Ordering::Relaxed);
            postgres.kill();
            assert!(wait(|| counts.2.load(Ordering::Relaxed) > failed), "nobody noticed");
            postgres.restart();
        }
        let seen = counts.1.load(Ordering::Relaxed);
        assert!(wait(|| counts.1.load(Ordering::Relaxed) > seen));
        counts.0.store(true, Ordering::Relaxed);
        for task in load {
            task.await.unwrap();
        }
        let (admitted, failed) = (counts.1.load(Ordering::Relaxed), counts.2.load(Ordering::Relaxed));
        let counted = 1_000_000 - limiter.peek("k").await.unwrap().remaining;
        // An unanswered check may have been counted, once; an answered one was.
        let (least, most) = (u64::from(admitted), u64::from(admitted + failed));
        assert!((least..=most).contains(&counted), "{mode:?}: {counted} counted, {admitted} admitted, {failed} failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_cost_no_answer() {
    let postgres = Postgres::start();
    let store = builder(&postgres, "ended", Mode::Shared).pool_size(3).build().unwrap();
    let window = FixedWindow::builder().limit(1e6).window_ms(1e15).build().unwrap();
    let limiter = Limiter::builder(window).keyspace(Remote::new(store)).build();
    for round in 0..10 {
        limiter.check("k").await.unwrap();
        postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'throttlekit'");
        // Whether the driver has heard of it yet or not: nothing was written, so it is asked again.
        let remaining = limiter.check("k").await.unwrap().remaining;
        assert_eq!(remaining, 1_000_000 - 2 - 2 * round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_whole_counts_once_at_most_when_the_session_ends() {
    let postgres = Postgres::start();
    for mode in [Mode::Shared, Mode::Fast] {
        let store = builder(&postgres, "whole", mode).pool_size(3).build().unwrap();
        let limiter = limiter(store, 1e6);
        let (mut answered, mut failed) = (0, 0);
        for _ in 0..10 {
            limiter.check("k").await.unwrap();
            answered += 1;
            postgres
                .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'throttlekit'");
            match limiter.check("k").await {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
                    failed += 1;
                }
            }
        }
        let counted = 1_000_000 - limiter.peek("k").await.unwrap().remaining;
        assert!((answered..=answered + failed).contains(&counted), "{counted} counted, {answered} + {failed} asked");
    }
}

#[tokio::test]
async fn refusals_of_the_server_are_unavailable_and_tell_no_secret() {
    let postgres = SERVER.get(start);
    let port = postgres.port();
    let tried = async |url: String| -> Error {
        let store = patient(PostgresStore::builder(&url).table("refused")).build().unwrap();
        let shown = format!("{store:?}");
        assert!(!shown.contains("sesame") && !shown.contains("hush"), "{shown}");
        let error = limiter(store, 10.0).check("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("sesame") && !shown.contains("hush"), "{shown}");
        error
    };
    let wrong = tried(format!("postgres://app:hush@127.0.0.1:{port}/postgres")).await;
    assert!(wrong.to_string().contains("28P01"), "{wrong}");
    let none = tried(format!("postgres://app:{}@127.0.0.1:{port}/nowhere", Postgres::PASSWORD)).await;
    assert!(none.to_string().contains("3D000"), "{none}");
    // Nobody listens on the port of a server that is not there.
    let free = tests::port::Port::free();
    let refused = tried(format!("postgres://app:hush@127.0.0.1:{}/postgres", free.number())).await;
    assert!(refused.to_string().contains("refused"), "{refused}");

    let read_only =
        format!("postgres://postgres@127.0.0.1:{port}/postgres?options=-c%20default_transaction_read_only%3Don");
    limiter(door_table(&postgres, "refused"), 10.0).check("other").await.unwrap();
    let read_only = tried(read_only).await;
    assert!(read_only.to_string().contains("25006"), "{read_only}");
}

fn door_table(postgres: &Postgres, table: &str) -> PostgresStore {
    builder(postgres, table, Mode::Shared).build().unwrap()
}

#[tokio::test]
async fn a_server_without_room_is_unavailable() {
    let postgres = Postgres::start_with(&["fsync=off", "max_connections=4", "superuser_reserved_connections=0"], &[]);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(postgres_support::session(&postgres).await);
    }
    let limiter = limiter(builder(&postgres, "no_room", Mode::Shared).build().unwrap(), 10.0);
    let error = limiter.check("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.to_string().contains("53300"), "{error}");
    drop(sessions);
    assert!(retry(&limiter).await);
}

#[tokio::test]
async fn more_callers_than_may_wait_are_refused_at_once() {
    let postgres = SERVER.get(start);
    let store = builder(&postgres, "crowd", Mode::Shared).pool_size(1).max_waiting(5).build().unwrap();
    let limiter = limiter(store, 100.0);
    // On one thread: no task runs before all have asked.
    let mut checks: Vec<_> = (0..8).map(|_| Box::pin(limiter.check("k"))).collect();
    let mut refused = 0;
    for check in &mut checks {
        if let Some(answer) = polled(check.as_mut(), 1).await {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::StoreUnavailable);
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
    // Those who gave up make room.
    checks.truncate(2);
    assert!(limiter.check("k").await.unwrap().allowed);
}

#[tokio::test]
async fn calls_that_wait_together_go_together() {
    let postgres = SERVER.get(start);
    for mode in MODES {
        let store = Arc::new(builder(&postgres, "together", mode).pool_size(1).build().unwrap());
        let limiter = Limiter::builder(gcra(60.0, 3_600_000_000.0)).keyspace(Remote::from_dyn(store.clone())).build();
        let tasks: Vec<_> = (0..100)
            .map(|index| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.check(["a", "hot"][usize::from(index % 10 > 0)]).await.unwrap() })
            })
            .collect();
        let mut remaining = Vec::new();
        for task in tasks {
            let decision = task.await.unwrap();
            remaining.push((decision.allowed, decision.remaining));
        }
        // In the order of arrival, as if one by one.
        let hot = remaining.iter().enumerate().filter(|(index, _)| index % 10 > 0).map(|(_, decision)| *decision);
        let expected = (0..90).map(|n| if n < 60 { (true, 59 - n) } else { (false, 0) });
        assert!(hot.eq(expected), "{mode:?}");
        let stats = store.stats();
        assert_eq!((stats.calls, stats.batches), (100, 2), "{mode:?}");
    }
}

#[test]
fn a_runtime_that_ends_takes_its_task_along_but_not_the_store() {
    let postgres = SERVER.get(start);
    let limiter = limiter(builder(&postgres, "runtimes", Mode::Shared).pool_size(1).build().unwrap(), 10.0);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    assert!(first.block_on(limiter.check("k")).unwrap().allowed);
    // Ended with a task at work.
    assert!(first.block_on(polled(limiter.check("k"), 1)).is_none());
    drop(first);
    let second = runtime();
    let allowed = second.block_on(async { retry(&limiter).await });
    assert!(allowed);
    let none = pollster(limiter.check("k"));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::StoreUnavailable);
}

/// The answer of a future that is ready at once, without a runtime.
fn pollster<T>(future: impl Future<Output = T>) -> T {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("not ready"),
    }
}
