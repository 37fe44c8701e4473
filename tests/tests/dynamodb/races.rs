//! Many at once: tasks, handles, and futures that are dropped.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::join_all;
use tests::dynamodb::Verdict;
use throttlekit::store::Remote;
use throttlekit::{FixedWindow, Limiter, ManualClock};
use throttlekit_dynamodb::DynamoDbStore;

use crate::support::{Table, add};

/// Fifty in a minute that stands still.
fn fifty(store: DynamoDbStore) -> Limiter<FixedWindow, Remote, ManualClock> {
    let strategy = FixedWindow::builder().limit(50.0).window_ms(60_000.0).build().unwrap();
    Limiter::builder(strategy).keyspace(Remote::new(store)).clock(ManualClock::new(0.0)).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_share_a_limit_of_50() {
    let table = Table::new("tasks").await;
    let limiters: Vec<_> = (0..4).map(|_| fifty(table.builder().max_retries(100).build().unwrap())).collect();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let limiter = limiters[n % 4].clone();
            tokio::spawn(async move { limiter.check("k").await.unwrap().allowed })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += usize::from(task.await.unwrap());
    }
    assert_eq!(allowed, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_meet_lose_no_update() {
    let table = Table::new("handles").await;
    let stores: Vec<_> = (0..2).map(|_| table.builder().max_retries(200).build().unwrap()).collect();
    let work = stores.iter().map(|store| async move {
        for _ in 0..50 {
            add(store, "k", 0.0, 1.0).await.unwrap();
        }
    });
    join_all(work).await;
    assert_eq!(table.text("k").await.as_deref(), Some("100"));
}

/// Polls `future` once, which sends it on its way, and drops it.
fn drop_begun<F: Future>(future: F) {
    assert!(pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// Whatever a dropped call did, its key is whole and free, and it was counted once or not at all.
#[tokio::test]
async fn dropped_calls_leave_nothing_behind() {
    let table = Table::new("dropped").await;
    // Before the read is sent, before it is answered, before the write is answered; on a key in use too.
    for (requests, is_new) in [(0, true), (1, true), (2, true), (0, false), (1, false)] {
        let store = table.store();
        let key = format!("k{requests}{is_new}");
        let before = if is_new { 0.0 } else { add(&store, &key, 0.0, 1.0).await.unwrap() };
        table.proxy.take();
        let mut call = Box::pin(add(&store, &key, 0.0, 1.0));
        let begun = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        while table.proxy.count() < requests {
            tokio::task::yield_now().await;
        }
        assert!(begun.is_pending());
        drop(call);
        let sum = add(&store, &key, 0.0, 1.0).await.unwrap() - before;
        assert!([1.0, 2.0].contains(&sum), "{key}: {sum}");
        // Nothing comes of it later.
        assert_eq!(add(&table.store(), &key, 0.0, 0.0).await.unwrap() - before, sum, "{key}");
    }
}

/// A joint call that is dropped charges both keys or neither.
#[tokio::test]
async fn a_dropped_joint_call_is_not_half_made() {
    let table = Table::new("dropped-joint").await;
    for requests in 0..3 {
        let store = table.store();
        let window = || FixedWindow::builder().limit(9.0).window_ms(1_000.0).build().unwrap();
        let both = throttlekit::Multi::all().dimension("a", window(), 1.0).dimension("b", window(), 1.0);
        let both = both.store(Remote::new(store.clone())).clock(ManualClock::new(0.0)).build().unwrap();
        let key = format!("k{requests}");
        table.proxy.take();
        let keys = [key.as_str(), key.as_str()];
        let mut call = Box::pin(both.check(&keys));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        while table.proxy.count() < requests {
            tokio::task::yield_now().await;
        }
        drop(call);
        let left = both.check(&keys).await.unwrap().remaining;
        assert!([7, 8].contains(&left), "{left}");
        assert_eq!(table.text(&format!("a:{key}")).await, table.text(&format!("b:{key}")).await);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_takes_nothing() {
    let table = Table::new("dropped-waiting").await;
    let store = table.store();
    // The first is under way; the others wait for it.
    let mut first = pin!(add(&store, "k", 0.0, 1.0));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // On a runtime of one thread nothing goes on between these.
    for _ in 0..10 {
        drop_begun(add(&store, "k", 0.0, 100.0));
    }
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 2.0);
    assert_eq!(first.await.unwrap(), 1.0);
}

/// A future that is kept and not polled, as one branch of a `select`, must not hold up others on its key.
#[tokio::test]
async fn a_call_that_is_not_polled_holds_up_nobody() {
    let table = Table::new("not-polled").await;
    let store = table.store();
    let mut kept = pin!(add(&store, "k", 0.0, 1.0));
    assert!(kept.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut waits = pin!(add(&store, "k", 0.0, 1.0));
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(add(&store, "k", 0.0, 1.0).await.unwrap(), 3.0);
    assert_eq!((kept.await.unwrap(), waits.await.unwrap()), (1.0, 2.0));
}

#[tokio::test]
async fn work_ends_with_the_store() {
    let table = Table::new("ends").await;
    table.proxy.set_rule(|_, _| Verdict::Hang);
    let store = table.store();
    drop_begun(add(&store, "k", 0.0, 1.0));
    let metrics = tokio::runtime::Handle::current().metrics();
    assert!(metrics.num_alive_tasks() > 0);
    drop(store);
    while metrics.num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_store_outlives_the_runtimes_that_use_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let table = first.block_on(Table::new("runtimes"));
    let store = table.store();
    first.block_on(async {
        drop_begun(add(&store, "k", 0.0, 1.0));
    });
    // The work is under way there, and ends with it.
    drop(first);
    let sum = runtime().block_on(add(&store, "k", 0.0, 1.0)).unwrap();
    assert!([1.0, 2.0].contains(&sum), "{sum}");
}

#[test]
fn elsewhere_than_on_a_runtime_it_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = runtime.block_on(Table::new("elsewhere"));
    let store = table.store();
    let mut call = pin!(add(&store, "k", 0.0, 1.0));
    let Poll::Ready(Err(error)) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it must answer at once");
    };
    assert_eq!(error.kind(), throttlekit::ErrorKind::Unsupported);
    assert!(error.to_string().contains("tokio"), "{error}");
}
