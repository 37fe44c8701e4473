//! Waiting on real threads: everybody gets on, nobody gets more than there is.
#![cfg(feature = "tokio")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use throttlekit::{
    Admit, Algorithm, Ask, Guard, GuardBuilder, KeyedGuard, ManualClock, Outcome, Priority, Queue, Runtime,
    TokioRuntime,
};

use crate::support::polled;

const TASKS: usize = 24;
const ROUNDS: usize = 200;
/// Longer than any test: no deadline decides.
const FOR_EVER_MS: f64 = 1e9;

fn builder() -> GuardBuilder {
    Guard::builder().queue(Queue::new(u32::try_from(TASKS).unwrap(), FOR_EVER_MS), TokioRuntime)
}

/// Each task asks again and again, works a little, now and then leaves the queue, and never asks for more than one slot.
async fn crowd(guard: Arc<dyn Admit>, limit: u32) {
    let (held, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (guard, held, done) = (Arc::clone(&guard), Arc::clone(&held), Arc::clone(&done));
            tokio::spawn(async move {
                let key = ["a", "b", "c"][task % 3];
                for round in 0..ROUNDS {
                    let ask = Ask::new(key).priority(Priority::ALL[(task + round) % 4]);
                    if round % 7 == task % 7 {
                        // May have got a slot meanwhile, on another thread.
                        let left = guard.admit(&ask);
                        tokio::task::yield_now().await;
                        drop(polled(left, round % 2));
                    }
                    let mut admission = guard.admit(&ask).await.unwrap();
                    assert!(admission.decision.allowed, "the queue has room for all tasks");
                    let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= limit, "{now} hold a slot");
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    let dropped = (round + task) % 50 == 0;
                    admission.permit.settle(if dropped { Outcome::Dropped } else { Outcome::Completed });
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst) as usize, TASKS * ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_fixed_limit() {
    let guard = builder().fixed(3).build().unwrap();
    crowd(Arc::new(guard.clone()), 3).await;
    assert_eq!((guard.in_flight(), guard.waiting(), guard.acquire().is_held()), (0, 0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_limit_that_moves() {
    let guard = builder().algorithm(Algorithm::Aimd).min_limit(1.0).max_limit(5.0).build().unwrap();
    crowd(Arc::new(guard.clone()), 5).await;
    assert_eq!((guard.in_flight(), guard.waiting(), guard.acquire().is_held()), (0, 0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn among_tenants() {
    let builder = builder().algorithm(Algorithm::Aimd).min_limit(2.0).max_limit(5.0);
    let guard = KeyedGuard::builder(builder).max_per_key(3).weight("a", 2.0).build().unwrap();
    crowd(Arc::new(guard.clone()), 5).await;
    assert_eq!((guard.in_flight(), guard.waiting(), guard.acquire("d").is_held()), (0, 0, true));
    assert_eq!(["a", "b", "c"].map(|key| guard.in_flight_of(key)), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_the_runtimes() {
    let clock = ManualClock::new(0.0);
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
    let builder = Guard::builder().fixed(1).queue(Queue::new(8, 50.0), runtime).clock(clock);
    let guard = builder.build().unwrap();
    let held = guard.acquire();
    let start = tokio::time::Instant::now();
    let refused = guard.admit(&Ask::new("a")).await.unwrap();
    let waited = start.elapsed();
    assert!(!refused.decision.allowed);
    // The timer counts whole milliseconds, rounded up.
    assert!((Duration::from_millis(50)..=Duration::from_millis(51)).contains(&waited), "{waited:?}");

    let waiting = guard.admit(&Ask::new("a"));
    tokio::time::sleep(Duration::from_millis(30)).await;
    drop(held);
    let start = tokio::time::Instant::now();
    assert!(waiting.await.unwrap().decision.allowed);
    assert_eq!(start.elapsed(), Duration::ZERO);
}
