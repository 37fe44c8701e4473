//! Every interleaving, up to two preemptions, of those who wait for a flight, leave it and land it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Mutex, Notify};
use loom::thread;

use super::flight::{Flight, Waiting};

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// What a flight waits for: whether it has happened, and whom to tell.
#[derive(Clone)]
struct Ground(Arc<Mutex<(bool, Option<Waker>)>>);

impl Ground {
    fn land(&self) {
        let waker = {
            let mut ground = self.0.lock().unwrap();
            ground.0 = true;
            ground.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn flight() -> (Arc<Flight<u8>>, Ground) {
    let ground = Ground(Arc::new(Mutex::new((false, None))));
    let own = ground.clone();
    let work = poll_fn(move |cx| {
        let mut ground = own.0.lock().unwrap();
        if ground.0 {
            return Poll::Ready(Ok(7));
        }
        ground.1 = Some(cx.waker().clone());
        Poll::Pending
    });
    (Flight::new(1, Box::pin(work)), ground)
}

struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Waits for the end. Loom takes it for a deadlock if nobody rings.
fn end(mut waiting: Waiting<u8>) -> u8 {
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        if let Poll::Ready(answer) = Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)) {
            return answer.unwrap();
        }
        bell.0.wait();
    }
}

#[test]
fn loom_nobody_who_waits_for_a_flight_is_forgotten() {
    explore(|| {
        let (flight, ground) = flight();
        let other = flight.wait();
        let other = thread::spawn(move || assert_eq!(end(other), 7));
        let lander = thread::spawn(move || ground.land());
        assert_eq!(end(flight.wait()), 7);
        other.join().unwrap();
        lander.join().unwrap();
    });
}

#[test]
fn loom_who_leaves_a_flight_leaves_it_to_the_others() {
    explore(|| {
        let (flight, ground) = flight();
        let mut leaving = flight.wait();
        let leaver = thread::spawn(move || {
            let _ = Pin::new(&mut leaving).poll(&mut Context::from_waker(Waker::noop()));
        });
        let lander = thread::spawn(move || ground.land());
        assert_eq!(end(flight.wait()), 7);
        leaver.join().unwrap();
        lander.join().unwrap();
    });
}
