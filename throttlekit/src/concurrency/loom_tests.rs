//! Every interleaving, up to three preemptions, of taking, giving back, changing the limit, waiting and leaving.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::builder::Algorithm;
use super::guard::Guard;
use super::keyed::KeyedGuard;
use super::queue::Queue;
use super::share::Share;
use super::word::Word;
use crate::admit::{Admission, Admit, Ask};
use crate::clock::ManualClock;
use crate::error::Error;
use crate::permit::Outcome;
use crate::run::{BoxFuture, Run};
use crate::runtime::{Runtime, TaskHandle};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn loom_no_more_than_the_limit_is_in_flight_and_all_comes_back() {
    explore(|| {
        let word = Arc::new(Word::new(1));
        let workers = [(); 2].map(|()| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Ok(view) = word.take(Share::ALL) {
                        assert!(view.in_flight() <= view.limit(), "a slot beyond the limit");
                        word.give();
                    }
                }
            })
        });
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!((word.view().in_flight(), word.view().generation()), (0, 0));
    });
}

#[test]
fn loom_a_change_of_the_limit_loses_no_slot() {
    explore(|| {
        let word = Arc::new(Word::new(2));
        let workers = [(); 2].map(|()| {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                if let Ok(view) = word.take(Share::ALL) {
                    assert!(view.in_flight() <= view.limit(), "a slot beyond the limit of that moment");
                    word.give();
                }
            })
        });
        word.install(1, None);
        word.install(3, Some(1));
        for worker in workers {
            worker.join().unwrap();
        }
        let view = word.view();
        assert_eq!((view.in_flight(), view.limit(), view.probing(), view.generation()), (0, 3, true, 2));
    });
}

#[test]
fn loom_a_report_counts_every_slot_of_an_earlier_generation() {
    explore(|| {
        let word = Arc::new(Word::new(2));
        let worker = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.take(Share::ALL).map(super::word::View::generation).ok())
        };
        // Once a generation is installed, a slot that was given under an earlier one is in the count of any report.
        word.install(1, None);
        let report = word.view();
        assert_eq!(report.generation(), 1);
        let generation = worker.join().unwrap();
        if generation == Some(0) {
            assert_eq!(report.in_flight(), 1, "the report tears");
        }
    });
}

#[test]
fn loom_what_was_done_under_a_slot_is_seen_by_who_takes_it_next() {
    explore(|| {
        let word = Arc::new(Word::new(1));
        let done = Arc::new(AtomicBool::new(false));
        assert!(word.take(Share::ALL).is_ok());
        let next = {
            let (word, done) = (Arc::clone(&word), Arc::clone(&done));
            // Relaxed: that it is seen must come from the slot.
            thread::spawn(move || word.take(Share::ALL).is_err() || done.load(Ordering::Relaxed))
        };
        done.store(true, Ordering::Relaxed);
        word.give();
        assert!(next.join().unwrap());
    });
}

/// A runtime in which no deadline ever comes.
struct Patient;

impl Runtime for Patient {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        TaskHandle::new(|| ())
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

fn poll(run: &mut Run<Result<Admission, Error>>, waker: &Waker) -> Option<Admission> {
    match Pin::new(run).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(answer) => Some(answer.unwrap()),
        Poll::Pending => None,
    }
}

/// Waits for the answer. Loom takes it for a deadlock if nobody rings.
fn wait(guard: &impl Admit) -> Admission {
    wait_as(guard, "")
}

fn wait_as(guard: &impl Admit, key: &str) -> Admission {
    let bell = std::sync::Arc::new(Bell(Notify::new()));
    let waker = Waker::from(std::sync::Arc::clone(&bell));
    let mut run = guard.admit(&Ask::new(key));
    loop {
        if let Some(admission) = poll(&mut run, &waker) {
            return admission;
        }
        bell.0.wait();
    }
}

fn guard(limit: u32) -> Guard<ManualClock> {
    let builder = Guard::builder().fixed(limit).queue(Queue::new(4, 1.0), Patient);
    builder.clock(ManualClock::new(0.0)).build().unwrap()
}

fn is_idle(guard: &Guard<ManualClock>) -> bool {
    let idle = guard.in_flight() == 0 && guard.waiting() == 0;
    // The mark that somebody waits is gone too.
    idle && guard.acquire().is_held()
}

#[test]
fn loom_nobody_who_waits_is_forgotten() {
    explore(|| {
        let guard = guard(1);
        let workers = [(); 2].map(|()| {
            let guard = guard.clone();
            thread::spawn(move || {
                let admission = wait(&guard);
                assert!(admission.permit.is_held() && guard.in_flight() == 1);
            })
        });
        drop(wait(&guard));
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(is_idle(&guard));
    });
}

#[test]
fn loom_one_that_leaves_passes_on_what_it_was_handed() {
    explore(|| {
        let guard = guard(1);
        let mut held = guard.acquire();
        let leaver = {
            let guard = guard.clone();
            thread::spawn(move || {
                let mut run = guard.admit(&Ask::new(""));
                drop(poll(&mut run, Waker::noop()));
            })
        };
        let stayer = {
            let guard = guard.clone();
            thread::spawn(move || assert!(wait(&guard).permit.is_held()))
        };
        held.settle(Outcome::Ignored);
        leaver.join().unwrap();
        stayer.join().unwrap();
        assert!(is_idle(&guard));
    });
}

#[test]
fn loom_trying_overtakes_nobody_and_loses_nothing() {
    explore(|| {
        let guard = guard(1);
        let trier = {
            let guard = guard.clone();
            thread::spawn(move || {
                let mut permit = guard.acquire();
                assert!(guard.in_flight() <= 1);
                permit.settle(Outcome::Completed);
            })
        };
        let waiter = {
            let guard = guard.clone();
            thread::spawn(move || assert!(wait(&guard).permit.is_held()))
        };
        drop(guard.acquire());
        trier.join().unwrap();
        waiter.join().unwrap();
        assert!(is_idle(&guard));
    });
}

/// A guard that learns: one more with each good sample, half with each drop.
fn learning(initial: f64) -> Guard<ManualClock> {
    let builder = Guard::builder().algorithm(Algorithm::Aimd).backoff_ratio(0.5).min_limit(1.0);
    let builder = builder.max_limit(64.0).initial_limit(initial).queue(Queue::new(4, 1.0), Patient);
    builder.clock(ManualClock::new(0.0)).build().unwrap()
}

#[test]
fn loom_a_rising_limit_lets_in_all_who_fit() {
    explore(|| {
        let guard = learning(1.0);
        let mut held = guard.acquire();
        let both = Arc::new(Notify::new());
        let (first, second) = (guard.clone(), guard.clone());
        let one = {
            let both = Arc::clone(&both);
            // Gives its slot back only when the other one has got on as well.
            thread::spawn(move || {
                let admission = wait(&first);
                both.wait();
                drop(admission);
            })
        };
        let other = thread::spawn(move || {
            let admission = wait(&second);
            both.notify();
            drop(admission);
        });
        held.settle(Outcome::Completed);
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!(guard.limit(), 2);
        assert!(is_idle(&guard));
    });
}

#[test]
fn loom_a_falling_limit_forgets_nobody() {
    explore(|| {
        let guard = learning(2.0);
        let mut held = [guard.acquire(), guard.acquire()];
        let waiter = {
            let guard = guard.clone();
            thread::spawn(move || assert!(wait(&guard).permit.is_held()))
        };
        let [mut one, other] = held.each_mut().map(std::mem::take);
        let dropping = thread::spawn(move || one.settle(Outcome::Dropped));
        drop(other);
        dropping.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(guard.limit(), 1);
        assert!(is_idle(&guard));
    });
}

#[test]
fn loom_a_busy_learner_is_skipped_and_no_drop_is_lost() {
    explore(|| {
        let guard = learning(64.0);
        let workers = [(); 2].map(|()| {
            let mut permit = guard.acquire();
            thread::spawn(move || permit.settle(Outcome::Dropped))
        });
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(guard.stats().dropped, 2);
        // What was owed is made up for with the next sample.
        guard.acquire().settle(Outcome::Dropped);
        assert_eq!((guard.limit(), guard.in_flight()), (8, 0));
    });
}

/// For tenants, with that limit to start with; learning as above.
fn keyed(initial: f64) -> KeyedGuard<ManualClock> {
    let builder = Guard::builder().algorithm(Algorithm::Aimd).backoff_ratio(0.5).min_limit(1.0).max_limit(64.0);
    let builder = builder.initial_limit(initial).queue(Queue::new(4, 1.0), Patient).clock(ManualClock::new(0.0));
    KeyedGuard::builder(builder).build().unwrap()
}

fn no_tenant_holds(guard: &KeyedGuard<ManualClock>) -> bool {
    let held = guard.in_flight_of("a") + guard.in_flight_of("b") + guard.in_flight();
    held == 0 && guard.waiting() == 0 && guard.acquire("c").is_held()
}

#[test]
fn loom_no_tenant_that_waits_is_forgotten() {
    explore(|| {
        let guard = keyed(1.0);
        let mut held = guard.acquire("a");
        let workers = ["a", "b"].map(|key| {
            let guard = guard.clone();
            thread::spawn(move || {
                let admission = wait_as(&guard, key);
                assert!(admission.permit.is_held() && guard.in_flight() == 1);
            })
        });
        held.settle(Outcome::Ignored);
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(no_tenant_holds(&guard));
    });
}

#[test]
fn loom_a_tenant_that_leaves_passes_on_what_it_was_handed() {
    explore(|| {
        let guard = keyed(1.0);
        let mut held = guard.acquire("a");
        let leaver = {
            let guard = guard.clone();
            thread::spawn(move || {
                let mut run = guard.admit(&Ask::new("b"));
                drop(poll(&mut run, Waker::noop()));
            })
        };
        let stayer = {
            let guard = guard.clone();
            thread::spawn(move || assert!(wait_as(&guard, "a").permit.is_held()))
        };
        held.settle(Outcome::Ignored);
        leaver.join().unwrap();
        stayer.join().unwrap();
        assert!(no_tenant_holds(&guard));
    });
}

#[test]
fn loom_a_rising_limit_lets_in_all_tenants_that_fit() {
    explore(|| {
        let guard = keyed(1.0);
        let mut held = guard.acquire("a");
        let both = Arc::new(Notify::new());
        let (first, second) = (guard.clone(), guard.clone());
        let one = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let admission = wait_as(&first, "a");
                both.wait();
                drop(admission);
            })
        };
        let other = thread::spawn(move || {
            let admission = wait_as(&second, "b");
            both.notify();
            drop(admission);
        });
        held.settle(Outcome::Completed);
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!(guard.limit(), 2);
        assert!(no_tenant_holds(&guard));
    });
}
