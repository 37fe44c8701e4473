//! Many threads on one limiter in two tiers: nothing is spent twice, nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use throttlekit::lease::TwoTier;
use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::{Error, ManualClock};

use crate::support::lease::window;

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn threads_share_the_units_of_a_table() {
    let (admitted, limiters) = (AtomicU64::new(0), {
        let table = Table::new();
        let limiter = |batch| {
            let builder = TwoTier::builder(window(20_000.0, 1_000.0)).keyspace(table.clone());
            builder.clock(ManualClock::new(0.0)).batch(batch).window_coupled(true).low_water(2.0).build().unwrap()
        };
        [limiter(7.0), limiter(16.0)]
    });
    thread::scope(|scope| {
        for at in 0..4 {
            let (limiter, admitted) = (&limiters[at % 2], &admitted);
            scope.spawn(move || {
                for _ in 0..8_000 {
                    let decision = block_on(limiter.check("k")).unwrap();
                    admitted.fetch_add(u64::from(decision.allowed), Ordering::Relaxed);
                }
            });
        }
    });
    // What one holds and does not need is all that can be left.
    let mut left = 0;
    for limiter in &limiters {
        while limiter.try_check("k", 1.0).unwrap().is_some_and(|decision| decision.allowed) {
            left += 1;
        }
    }
    assert_eq!(admitted.load(Ordering::Relaxed) + left, 20_000);
}

/// A table behind a queue that another thread serves: answers come from elsewhere.
#[derive(Clone)]
struct Served(std::sync::mpsc::Sender<(Call, Arc<Slot>)>);

#[derive(Default)]
struct Slot {
    answer: std::sync::Mutex<(Option<Call>, Option<Waker>)>,
}

impl Store for Served {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let slot = Arc::new(Slot::default());
        let asked = std::mem::replace(call, Call::new(0.0, throttlekit::store::Rule::Each));
        self.0.send((asked, Arc::clone(&slot))).map_err(Error::store_unavailable)?;
        *call = std::future::poll_fn(|cx| {
            let mut answer = slot.answer.lock().unwrap();
            answer.1 = Some(cx.waker().clone());
            answer.0.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        Ok(())
    }
}

/// Serves calls one after the other, from texts by key.
fn serve(calls: std::sync::mpsc::Receiver<(Call, Arc<Slot>)>) {
    let mut texts = std::collections::HashMap::<String, String>::new();
    for (mut call, slot) in calls {
        let states: Vec<_> = call.keys().iter().map(|key| texts.get(key).cloned()).collect();
        let now_ms = call.now_ms();
        for write in call.step(&states, now_ms).unwrap() {
            let key = call.keys()[write.key].clone();
            match write.state {
                Some((text, _)) => texts.insert(key, text),
                None => texts.remove(&key),
            };
        }
        let mut answer = slot.answer.lock().unwrap();
        answer.0 = Some(call);
        if let Some(waker) = answer.1.take() {
            waker.wake();
        }
    }
}

#[test]
fn threads_that_wait_are_all_woken() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = thread::spawn(move || serve(receiver));
    let builder = TwoTier::builder(window(3_000.0, 1_000.0)).keyspace(Remote::new(Served(sender)));
    let limiter = builder.clock(ManualClock::new(0.0)).batch(3.0).window_coupled(true).build().unwrap();
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..700 {
                    let decision = block_on(limiter.check("k")).unwrap();
                    admitted.fetch_add(u64::from(decision.allowed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 3_000, "of 4,200");
    drop(limiter);
    server.join().unwrap();
}
