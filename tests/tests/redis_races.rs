//! Programs that have no script race with other processes, and only the key that is raced for pays for it.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

mod redis_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redis_support::patient;
use tests::redis::Redis;
use tests::shared::Shared;
use throttlekit::store::{Keyspace, Remote};
use throttlekit::{Error, Program, Step};
use throttlekit_redis::{RedisOptions, RedisStore};

static SERVER: Shared<Redis> = Shared::new();

/// Counts its key up and answers the sum, but refuses to go on from one number. As often as it still may, it lets another
/// process write the key between its reading and its writing.
#[derive(Clone)]
struct Count {
    refuses: f64,
    races: Arc<AtomicU32>,
    server: Arc<Redis>,
    key: &'static str,
}

impl Program for Count {
    type State = f64;
    type Change = f64;
    type Request = ();
    type Outcome = f64;
    type Reply = f64;

    fn step(&self, state: Option<&f64>, _now_ms: f64, (): &()) -> Step<f64, f64> {
        let found = state.copied().unwrap_or(0.0);
        if self.races.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.server.cli(&["SET", self.key, &(found + 100.0).to_string()]);
        }
        if found == self.refuses {
            return Step::Fail(Error::invalid_argument("a number to refuse"));
        }
        Step::Write { change: found + 1.0, ttl_ms: 60_000.0, outcome: found + 1.0 }
    }

    fn reply(&self, _now_ms: f64, (): &(), outcome: f64) -> f64 {
        outcome
    }
}

fn count(server: &Arc<Redis>, key: &'static str, races: u32, refuses: f64) -> Count {
    Count { refuses, races: Arc::new(AtomicU32::new(races)), server: Arc::clone(server), key }
}

fn keys(server: &Redis) -> Remote {
    Remote::new(RedisStore::new(&patient(RedisOptions::single(server.url()).unwrap())).unwrap())
}

#[tokio::test]
async fn a_key_that_loses_every_race_costs_no_other_key_its_answer() {
    let server = SERVER.get(Redis::start);
    let keys = keys(&server);
    let run = |key, races| keys.run(key, 0.0, &count(&server, key, races, -1.0), &());
    // Of four that wait, the first two are one batch. By default a lost race is run again five times.
    let (raced, quiet, ..) = tokio::join!(run("raced", 6), run("quiet", 0), run("a", 0), run("b", 0));
    let error = raced.unwrap_err();
    assert!(error.is_store_unavailable(), "{error}");
    assert_eq!(quiet.unwrap(), 1.0);
    assert_eq!((server.cli(&["GET", "raced"]), server.cli(&["GET", "quiet"])), ("600".into(), "1".into()));
}

#[tokio::test]
async fn a_refusal_of_what_was_gone_already_is_taken_back() {
    let server = SERVER.get(Redis::start);
    let keys = keys(&server);
    let run = |key, races, refuses| keys.run(key, 0.0, &count(&server, key, races, refuses), &());
    // The first refuses what is there, the second writes and loses the race; then the first may write too.
    let (first, second, ..) =
        tokio::join!(run("both", 0, 0.0), run("both", 1, -1.0), run("c", 0, -1.0), run("d", 0, -1.0));
    assert_eq!((first.unwrap(), second.unwrap()), (101.0, 102.0));
    assert_eq!(server.cli(&["GET", "both"]), "102");
}
