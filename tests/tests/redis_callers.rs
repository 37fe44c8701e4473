//! Callers of the Redis store who stand still, go away, are too many, or are nowhere.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use redis_support::{counting, patient, store, used};
use tests::redis::Redis;
use tests::shared::Shared;
use throttlekit::ErrorKind;
use throttlekit_redis::{RedisOptions, RedisStore};

static SERVER: Shared<Redis> = Shared::new();

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that is kept and not polled, as one branch of a `select`, holds up neither others nor itself.
#[tokio::test]
async fn callers_who_stand_still_hold_up_nobody() {
    let server = SERVER.get(Redis::start);
    let store = RedisStore::new(&patient(RedisOptions::single(server.url()).unwrap())).unwrap();
    let limiter = counting(store, 100.0);
    // Once while there is no connection yet, and once over one.
    for key in ["first", "second"] {
        let mut kept: Vec<_> = (0..6).map(|_| Box::pin(limiter.check(key))).collect();
        for check in &mut kept {
            assert!(poll_once(check).is_pending());
        }
        let check = tokio::time::timeout(Duration::from_secs(60), limiter.check(key));
        let mut answers = vec![check.await.expect("it waits for those who are not polled")];
        answers.extend(join_all(kept).await);
        let mut remaining: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().remaining).collect();
        remaining.sort_unstable();
        assert_eq!(remaining, [93, 94, 95, 96, 97, 98, 99]);
    }
}

#[tokio::test]
async fn callers_who_leave_before_their_turn_count_nowhere() {
    let server = SERVER.get(Redis::start);
    let limiter = counting(store(&server), 100.0);
    assert!(limiter.check("other").await.unwrap().allowed);
    // On a runtime of one thread nothing goes on between these.
    for _ in 0..10 {
        assert!(poll_once(&mut Box::pin(limiter.check("left"))).is_pending());
    }
    assert_eq!(limiter.check("left").await.unwrap().remaining, 99);
}

#[tokio::test]
async fn callers_who_are_too_many_are_told_at_once() {
    let server = SERVER.get(Redis::start);
    let options = patient(RedisOptions::single(server.url()).unwrap());
    let limiter = counting(RedisStore::builder(&options).max_waiting(3).build().unwrap(), 100.0);
    for _ in 0..2 {
        let answers = join_all((0..9).map(|_| limiter.check("many"))).await;
        // Two are under way, and three wait.
        let refused: Vec<_> = answers.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, false, false, false, false, true, true, true, true]);
        for error in answers.into_iter().filter_map(Result::err) {
            assert!(error.is_store_unavailable() && error.to_string().contains("too many"), "{error}");
        }
    }
    assert_eq!(used(&server.cli(&["HGET", "many", "c"])), 10);
}

#[test]
fn elsewhere_than_on_a_runtime_it_says_so() {
    let options = RedisOptions::single("redis://127.0.0.1").unwrap();
    let limiter = counting(RedisStore::new(&options).unwrap(), 1.0);
    let Poll::Ready(Err(error)) = poll_once(&mut Box::pin(limiter.check("k"))) else {
        panic!("it must answer at once");
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("tokio"), "{error}");
}
