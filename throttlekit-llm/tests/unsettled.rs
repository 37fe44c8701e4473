//! Who hears of answers that could not be settled.

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use support::streams::chat;
use support::{Slow, Tasks, meter_of, policy, poll};
use throttlekit::{BoxFuture, Error, Runtime, TaskHandle};
use throttlekit_llm::{BytesPerToken, Framing, MeterAccount, StreamPolicyBuilder};

/// One byte of text is a token.
fn bytewise() -> StreamPolicyBuilder {
    policy().counter(|| BytesPerToken::new(1.0).expect("in range"))
}

fn chunks(bytes: &[u8], size: usize) -> impl Iterator<Item = Bytes> + use<> {
    let chunks: Vec<_> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    chunks.into_iter()
}

/// A runtime that panics where it is not there, as tokio's does.
struct Elsewhere;

impl Runtime for Elsewhere {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        panic!("there is no runtime here")
    }

    fn sleep(&self, _span: std::time::Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn dropped_outside_of_its_runtime_nothing_panics() {
    let (meter, _) = meter_of(1_000);
    let slow = Slow::new(&meter);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let hook = move |error: &Error| log.lock().expect("whole").push(error.code());
    let policy = bytewise().granularity(10).runtime(Elsewhere).on_unsettled(hook).build().expect("good options");
    for unwinds in [false, true] {
        slow.allow(1);
        let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
        let mut chunks = chunks(&chat(&["12345"; 5], None), 500);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _ = poll(&mut answer, &mut chunks);
            assert!(!unwinds, "while a panic unwinds");
        }));
        assert_eq!(ended.is_err(), unwinds);
    }
    assert_eq!(*heard.lock().expect("whole"), ["throttlekit_error"; 2]);
}

#[test]
fn who_wants_to_know_hears_of_what_nobody_settles() {
    // Without a runtime, and with one that has as much to do as it may.
    for (runtime, answers, unsettled) in [(false, 3, 3), (true, 1_024, 0), (true, 1_026, 2)] {
        let (meter, _) = meter_of(100_000);
        let (slow, tasks, heard) = (Slow::new(&meter), Tasks::default(), Arc::new(Mutex::new(Vec::new())));
        let log = heard.clone();
        let policy =
            bytewise().granularity(10).on_unsettled(move |error| log.lock().expect("whole").push(error.code()));
        let policy = if runtime { policy.runtime(tasks.clone()) } else { policy }.build().expect("good options");
        for _ in 0..answers {
            let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
            slow.allow(1);
            let mut stream = chunks(&chat(&["12345"], None), 10_000);
            assert!(matches!(poll(&mut answer, &mut stream), Poll::Ready(Some(_))));
            drop(answer);
        }
        assert_eq!(*heard.lock().expect("whole"), vec!["throttlekit_error"; unsettled], "of {answers}");
        slow.allow(10_000);
        assert_eq!(tasks.run(), 0);
    }
}

#[test]
fn who_wants_to_know_hears_of_what_could_not_be_settled() {
    for runtime in [false, true] {
        let (meter, _) = meter_of(1_000);
        let (slow, tasks, heard) = (Slow::new(&meter), Tasks::default(), Arc::new(Mutex::new(Vec::new())));
        let log = heard.clone();
        let policy = bytewise().granularity(1_000).on_unsettled(move |error| {
            log.lock().expect("whole").push(error.code());
            panic!("of the hook's own");
        });
        let policy = if runtime { policy.runtime(tasks.clone()) } else { policy }.build().expect("good options");
        let mut answer = policy.start(Framing::Sse, MeterAccount::new(Arc::new(slow.clone()), "k"));
        let mut stream = chunks(&chat(&["12345"; 5], None), 100);
        // The debit works, and what gives the rest back does not: at the end of the answer, or where it is dropped.
        slow.allow(1);
        let debited = || slow.store.calls.load(Ordering::Relaxed) > 0;
        while !(runtime && debited()) && matches!(poll(&mut answer, &mut stream), Poll::Ready(Some(_))) {}
        slow.store.down.store(true, Ordering::Relaxed);
        slow.allow(1);
        let over = poll(&mut answer, &mut stream);
        assert_eq!(over == Poll::Ready(None), !runtime);
        drop(answer);
        assert_eq!(tasks.run(), 0);
        assert_eq!(*heard.lock().expect("whole"), ["store_unavailable"]);
    }
}
