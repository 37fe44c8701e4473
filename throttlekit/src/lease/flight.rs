//! Work that several callers wait for, and that none of them can lose.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use super::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use crate::error::Error;
use crate::run::BoxFuture;

/// A shared future. Whoever waits polls it; if all of them go away, it stays where it is until somebody polls again.
pub(crate) struct Flight<T> {
    id: u64,
    state: Mutex<State<T>>,
    /// Whether it is worth polling: something happened since the last poll.
    rung: AtomicBool,
    done: AtomicBool,
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Option<Waker>>>,
}

enum State<T> {
    Running(BoxFuture<Result<T, Error>>),
    Done(Result<T, Error>),
}

impl<T: Copy + Send + 'static> Flight<T> {
    pub(crate) fn new(id: u64, work: BoxFuture<Result<T, Error>>) -> Arc<Self> {
        Arc::new(Self {
            id,
            state: Mutex::new(State::Running(work)),
            rung: AtomicBool::new(true),
            done: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            wakers: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Whether nobody waits for it and a poll may bring it further.
    pub(super) fn wants_driver(&self) -> bool {
        !self.is_done() && self.rung.load(Ordering::Acquire) && self.waiting.load(Ordering::Acquire) == 0
    }

    /// Whether a poll may bring it further, or has an answer.
    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire) || self.is_done()
    }

    /// Whether it goes on and nobody waits for it.
    pub(super) fn is_orphan(&self) -> bool {
        !self.is_done() && self.waiting.load(Ordering::Acquire) == 0
    }

    /// Polls once, unless somebody else is polling.
    pub(super) fn drive(self: &Arc<Self>) -> Poll<Result<T, Error>> {
        self.drive_at(None)
    }

    /// As [`drive`](Self::drive), for the one whose waker is at `place`.
    fn drive_at(self: &Arc<Self>, place: Option<usize>) -> Poll<Result<T, Error>> {
        // Either who holds the lock sees that it was rung, or it is free by now; see `leave`.
        fence(Ordering::SeqCst);
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody only looks at the answer: nobody will be woken any more.
            Err(TryLockError::WouldBlock) if self.is_done() => {
                self.state.lock().unwrap_or_else(PoisonError::into_inner)
            }
            // Who holds it wakes all who wait, when it is done or was rung meanwhile.
            Err(TryLockError::WouldBlock) => return Poll::Pending,
        };
        let State::Running(work) = &mut *state else { return state.answer() };
        if !self.rung.swap(false, Ordering::AcqRel) {
            self.leave(state);
            return Poll::Pending;
        }
        let mut work = std::mem::replace(work, Box::pin(std::future::pending()));
        // What stands if the poll panics.
        *state = State::Done(Err(Error::panicked("a lease")));
        let mut landing = Landing { flight: self, over: true, place };
        let bell = Waker::from(Arc::clone(self));
        match work.as_mut().poll(&mut Context::from_waker(&bell)) {
            Poll::Pending => {
                landing.over = false;
                *state = State::Running(work);
                self.leave(state);
                Poll::Pending
            }
            Poll::Ready(result) => {
                *state = State::Done(result);
                let answer = state.answer();
                drop(state);
                answer
            }
        }
    }

    /// Lets go of a flight that goes on. Who was woken meanwhile found it held, and is woken again: who lets go may never
    /// poll again.
    fn leave(&self, state: MutexGuard<'_, State<T>>) {
        drop(state);
        fence(Ordering::SeqCst);
        if self.rung.load(Ordering::Acquire) {
            self.wake_all(None);
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting<T> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting { flight: Arc::clone(self), place: None }
    }
}

/// Says that a flight is over, also if a poll panicked.
struct Landing<'a, T> {
    flight: &'a Flight<T>,
    over: bool,
    /// Who polls knows by itself.
    place: Option<usize>,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        if self.over {
            self.flight.done.store(true, Ordering::Release);
            self.flight.wake_all(self.place);
        }
    }
}

impl<T: Copy> State<T> {
    fn answer(&self) -> Poll<Result<T, Error>> {
        match self {
            Self::Running(_) => Poll::Pending,
            Self::Done(result) => Poll::Ready(result.clone()),
        }
    }
}

impl<T> Flight<T> {
    fn wakers(&self) -> MutexGuard<'_, Vec<Option<Waker>>> {
        // A list of wakers is whole whatever panicked.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes in the order in which they began to wait, but for the one at `place`.
    fn wake_all(&self, place: Option<usize>) {
        // Not under the lock: a waker may do anything.
        let wakers = self.wakers();
        let others = wakers.iter().enumerate().filter(|(at, _)| Some(*at) != place);
        let others: Vec<Waker> = others.filter_map(|(_, waker)| waker.clone()).collect();
        drop(wakers);
        others.iter().for_each(Waker::wake_by_ref);
    }
}

impl<T: Send + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A store would do, but loom lets the swap that it meets overlook one.
        self.rung.swap(true, Ordering::AcqRel);
        self.wake_all(None);
    }
}

/// One who waits for a flight.
pub(crate) struct Waiting<T> {
    flight: Arc<Flight<T>>,
    place: Option<usize>,
}

impl<T> Waiting<T> {
    pub(super) fn flight(&self) -> &Arc<Flight<T>> {
        &self.flight
    }
}

impl<T: Copy + Send + 'static> Future for Waiting<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        {
            let mut wakers = this.flight.wakers();
            match this.place.and_then(|place| wakers.get_mut(place)) {
                Some(Some(waker)) => waker.clone_from(cx.waker()),
                Some(place) => *place = Some(cx.waker().clone()),
                None => {
                    this.place = Some(wakers.len());
                    wakers.push(Some(cx.waker().clone()));
                }
            }
        }
        // After the waker is in its place: what happens from here on wakes it.
        this.flight.drive_at(this.place)
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let mut wakers = self.flight.wakers();
        if let Some(waker) = self.place.and_then(|place| wakers.get_mut(place)) {
            *waker = None;
        }
        while wakers.last().is_some_and(Option::is_none) {
            wakers.pop();
        }
        drop(wakers);
        self.flight.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Flight, Waiting};
    use crate::error::Error;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(waiting: &mut Waiting<u8>, count: &Arc<Count>) -> Poll<Result<u8, Error>> {
        Future::poll(std::pin::Pin::new(waiting), &mut Context::from_waker(&Waker::from(Arc::clone(count))))
    }

    type Place = Arc<Mutex<Option<Waiting<u8>>>>;

    /// A flight that, while it is polled, lets another caller begin to wait; and that caller, with its waker.
    fn polled_by_two(answers: bool) -> (Arc<Flight<u8>>, Place, Arc<Count>) {
        let (second, count) = (Arc::new(Mutex::new(None)), Arc::new(Count::default()));
        let (place, woken, own) = (Arc::clone(&second), Arc::clone(&count), Arc::new(Mutex::new(None)));
        let flight = {
            let own: Arc<Mutex<Option<Arc<Flight<u8>>>>> = Arc::clone(&own);
            let work = std::future::poll_fn(move |cx| {
                let Some(flight) = own.lock().map_or(None, |mut own| own.take()) else { return Poll::Pending };
                let mut waiting = flight.wait();
                assert!(poll(&mut waiting, &woken).is_pending(), "somebody else is polling");
                if let Ok(mut place) = place.lock() {
                    *place = Some(waiting);
                }
                cx.waker().wake_by_ref();
                if answers { Poll::Ready(Ok(7)) } else { Poll::Pending }
            });
            Flight::new(1, Box::pin(work))
        };
        if let Ok(mut own) = own.lock() {
            *own = Some(Arc::clone(&flight));
        }
        (flight, second, count)
    }

    #[test]
    fn who_comes_while_it_lands_is_woken() {
        let (flight, second, count) = polled_by_two(true);
        assert!(matches!(flight.drive(), Poll::Ready(Ok(7))));
        // Once by what the flight waited for, and once because it has landed.
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        let second = second.lock().map_or(None, |mut second| second.take());
        assert!(second.is_some_and(|mut second| matches!(poll(&mut second, &count), Poll::Ready(Ok(7)))));
    }

    #[test]
    fn who_is_woken_while_another_one_polls_once_is_woken_again() {
        let (flight, _second, count) = polled_by_two(false);
        assert!(flight.drive().is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn who_lands_it_is_not_woken() {
        let flight = Flight::new(1, Box::pin(async { Ok(7) }));
        let (mut first, mut second) = (flight.wait(), flight.wait());
        let (one, other) = (Arc::new(Count::default()), Arc::new(Count::default()));
        assert!(poll(&mut first, &one).is_ready());
        assert!(poll(&mut second, &other).is_ready());
        assert_eq!((one.0.load(Ordering::SeqCst), other.0.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn a_panic_ends_it_for_all() {
        let flight = Flight::<u8>::new(1, Box::pin(async { panic!("this flight fails") }));
        let mut waiting = flight.wait();
        let count = Arc::new(Count::default());
        let polled = std::panic::AssertUnwindSafe(|| poll(&mut waiting, &count));
        assert!(std::panic::catch_unwind(polled).is_err());
        assert!(flight.is_done());
        assert!(matches!(poll(&mut flight.wait(), &count), Poll::Ready(Err(_))));
    }
}
