//! Waiting for a departure.
#![cfg(feature = "tokio")]

use std::sync::Arc;
use std::time::Duration;

use throttlekit::{LeakyBucket, ManualClock, Reservation, Shaper, TokioRuntime};

use crate::support::polled;

fn bucket(rate_per_sec: f64, max_queue_ms: f64) -> LeakyBucket {
    LeakyBucket::builder().rate_per_sec(rate_per_sec).max_queue_ms(max_queue_ms).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn schedule_waits_for_its_departure() {
    let shaper = Shaper::builder(bucket(10.0, 10_000.0)).clock(ManualClock::new(0.0)).runtime(TokioRuntime).build();
    let shaper = Arc::new(shaper);
    let start = tokio::time::Instant::now();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let shaper = Arc::clone(&shaper);
            tokio::spawn(async move {
                shaper.schedule("k", 1.0).await.unwrap();
                start.elapsed().as_millis()
            })
        })
        .collect();
    let mut departures = Vec::new();
    for task in tasks {
        departures.push(task.await.unwrap());
    }
    // The timer counts whole milliseconds, rounded up.
    assert!(
        departures.iter().zip([0, 100, 200, 300, 400]).all(|(at, due)| (due..=due + 1).contains(at)),
        "{departures:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn schedule_refuses_a_full_queue_at_once() {
    let shaper = Shaper::builder(bucket(10.0, 150.0)).clock(ManualClock::new(0.0)).runtime(TokioRuntime).build();
    let start = tokio::time::Instant::now();
    shaper.schedule("k", 2.0).await.unwrap();
    let error = shaper.schedule("k", 1.0).await.unwrap_err();
    assert_eq!((error.code(), error.retry_after_ms()), ("queue_full", Some(50)));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn schedule_waits_however_long() {
    let longest = 9_007_199_254_740_991.0;
    let clock = ManualClock::new(0.0);
    let shaper = Shaper::builder(bucket(1.0, longest)).clock(clock).runtime(TokioRuntime).build();
    let start = tokio::time::Instant::now();
    // 200 years' worth of work; one sleep of tokio's ends after two.
    let secs = 200.0 * 365.0 * 86_400.0;
    shaper.schedule("k", secs).await.unwrap();
    shaper.schedule("k", 1.0).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs_f64(secs));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_waiting_schedule_gives_nothing_back() {
    let shaper = Shaper::builder(bucket(10.0, 10_000.0)).clock(ManualClock::new(0.0)).runtime(TokioRuntime).build();
    shaper.schedule("k", 1.0).await.unwrap();
    assert!(polled(shaper.schedule("k", 1.0), 1).is_none());
    assert_eq!(shaper.reserve("k", 1.0).unwrap(), Reservation { accepted: true, delay_ms: 200 });
}
