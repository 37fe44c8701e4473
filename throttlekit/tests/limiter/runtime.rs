//! Background work ends with its owner.
#![cfg(feature = "tokio")]

use std::time::Duration;

use throttlekit::{Runtime, TaskHandle, TokioRuntime};
use tokio::sync::oneshot;

#[tokio::test]
async fn a_task_runs_while_its_handle_is_kept() {
    let (done, answer) = oneshot::channel();
    let handle = TokioRuntime.spawn(Box::pin(async move {
        let _ = done.send(7);
    }));
    assert_eq!(answer.await, Ok(7));
    drop(handle);
}

#[tokio::test]
async fn a_task_ends_with_its_handle() {
    let (alive, dropped) = oneshot::channel::<()>();
    let handle = TokioRuntime.spawn(Box::pin(async move {
        std::future::pending::<()>().await;
        drop(alive);
    }));
    drop(handle);
    // The sender is dropped with the task; a task that went on would hold it for ever.
    assert!(dropped.await.is_err());
}

#[test]
fn a_handle_ends_its_task_once() {
    let (tell, told) = std::sync::mpsc::channel();
    let handle = TaskHandle::new(move || tell.send(()).unwrap());
    assert!(told.try_recv().is_err());
    drop(handle);
    assert_eq!(told.iter().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_lasts_as_long_as_it_is_told() {
    for span in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(10 * 365 * 86_400 + 1)] {
        let start = tokio::time::Instant::now();
        TokioRuntime.sleep(span).await;
        let slept = start.elapsed();
        // The timer counts whole milliseconds.
        assert!(slept >= span && slept <= span + Duration::from_millis(20), "{span:?} took {slept:?}");
    }
}
