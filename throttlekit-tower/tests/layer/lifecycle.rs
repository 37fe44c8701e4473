//! Whatever becomes of requests, each that was admitted gives its slot back once, and none that was denied does.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::future::{Either, Pending, pending};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use proptest::prelude::*;
use throttlekit::{Guard, ManualClock, Outcome, Run};
use throttlekit_tower::{ResponseBody, ThrottleLayer};
use tower::{Layer as _, Service as _, service_fn};

use crate::common::{Script, request};
use crate::permits::{Frames, Ledger};

type Answer = Result<Response<Frames>, &'static str>;

/// What the service does with a request, which carries it.
#[derive(Clone, Copy, Debug)]
enum Work {
    Answers { status: u16, frames: usize, fails: bool, knows_its_end: bool },
    Fails,
    NeverAnswers,
}

fn serve(request: &Request<()>) -> Either<Ready<Answer>, Pending<Answer>> {
    match *request.extensions().get::<Work>().expect("each has work") {
        Work::Answers { status, frames: left, fails, knows_its_end } => {
            let mut response = Response::new(Frames { left, fails, knows_its_end });
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            Either::Left(ready(Ok(response)))
        }
        Work::Fails => Either::Left(ready(Err("broken"))),
        Work::NeverAnswers => Either::Right(pending()),
    }
}

fn asking_for(work: Work, method: Method) -> Request<()> {
    let mut request = request();
    request.extensions_mut().insert(work);
    *request.method_mut() = method;
    request
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Read {
    More,
    Ended,
    Broke,
}

fn read(body: &mut ResponseBody<Frames>) -> Read {
    match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(_))) => Read::Broke,
        Poll::Ready(Some(Ok(_))) if !body.is_end_stream() => Read::More,
        Poll::Ready(_) => Read::Ended,
        Poll::Pending => panic!("these bodies do not wait"),
    }
}

/// How a client takes a response of two frames.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// To the end, which the body knows, or says when it is asked.
    Whole { knows_its_end: bool },
    /// Until it breaks off.
    Broken,
    /// As many frames, and then the client is gone.
    Part(usize),
}

#[test]
fn each_status_and_ending_counts_once_as_it_should() {
    let endings = [
        Taken::Whole { knows_its_end: true },
        Taken::Whole { knows_its_end: false },
        Taken::Broken,
        Taken::Part(0),
        Taken::Part(1),
    ];
    let disconnects = [Outcome::Dropped, Outcome::Ignored];
    let manners = [false, true].into_iter().flat_map(|drop_on_5xx| disconnects.map(|gone| (drop_on_5xx, gone)));
    for (drop_on_5xx, on_disconnect) in manners {
        for (status, taken) in (100..=599).flat_map(|status| endings.map(|taken| (status, taken))) {
            let ledger = Arc::new(Ledger::default());
            let script = Script::new([Run::ready(Ok(ledger.admission()))]);
            let layer = ThrottleLayer::builder_for(script, ManualClock::default());
            let layer = layer.drop_on_5xx(drop_on_5xx).on_disconnect(on_disconnect).build().expect("good options");
            let knows_its_end = matches!(taken, Taken::Whole { knows_its_end: true });
            let work = Work::Answers { status, frames: 2, fails: matches!(taken, Taken::Broken), knows_its_end };
            let mut service = layer.layer(service_fn(|request: Request<()>| serve(&request)));
            let mut call = Box::pin(service.call(asking_for(work, Method::GET)));
            let Poll::Ready(Ok(response)) = poll(call.as_mut()) else { panic!("it answers") };
            let mut body = response.into_body();
            match taken {
                Taken::Whole { .. } | Taken::Broken => while read(&mut body) == Read::More {},
                Taken::Part(frames) => (0..frames).for_each(|_| assert_eq!(read(&mut body), Read::More)),
            }
            drop(body);
            let completed = if drop_on_5xx && status >= 500 { Outcome::Dropped } else { Outcome::Completed };
            let expected = match taken {
                _ if matches!(status, 100..=199 | 204 | 304) => completed,
                Taken::Whole { .. } => completed,
                Taken::Broken => Outcome::Dropped,
                Taken::Part(_) => on_disconnect,
            };
            assert_eq!(ledger.outcomes(), [expected], "{status} {taken:?} {drop_on_5xx} {on_disconnect:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Comes(Work, Method),
    /// One of those that are there reads on.
    Reads(prop::sample::Index),
    /// One of those that are there goes away.
    Goes(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop_oneof![4 => Just(200_u16), 1 => Just(204), 1 => Just(304), 1 => Just(404), 2 => Just(503)];
    let answers = (status, 0..4_usize, any::<bool>(), any::<bool>()).prop_map(|(status, frames, fails, knows)| {
        Work::Answers { status, frames, fails, knows_its_end: knows && !fails }
    });
    let work = prop_oneof![6 => answers, 1 => Just(Work::Fails), 1 => Just(Work::NeverAnswers)];
    let method = prop_oneof![5 => Just(Method::GET), 1 => Just(Method::HEAD)];
    prop_oneof![
        3 => (work, method).prop_map(|(work, method)| Step::Comes(work, method)),
        4 => any::<prop::sample::Index>().prop_map(Step::Reads),
        1 => any::<prop::sample::Index>().prop_map(Step::Goes),
    ]
}

/// A request that is there: it waits for its response, or reads it.
enum There<F> {
    Waits(#[allow(dead_code)] Pin<Box<F>>),
    /// Which counts as so much dropped work if it is taken to the end.
    Reads(ResponseBody<Frames>, u64),
}

proptest! {
    #[test]
    fn in_any_workload_all_slots_come_back(
        steps in prop::collection::vec(step(), 0..60),
        limit in 1..4_u32,
        drop_on_5xx: bool,
    ) {
        let guard = Guard::builder().fixed(limit).clock(ManualClock::default()).build().expect("good options");
        let layer = ThrottleLayer::builder_for(guard.clone(), ManualClock::default()).drop_on_5xx(drop_on_5xx);
        let layer = layer.build().expect("good options");
        let (mut there, mut dropped) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Comes(work, method) => {
                    let before = there.len();
                    // Each comes on a connection of its own.
                    let mut service = layer.layer(service_fn(|request: Request<()>| serve(&request)));
                    let mut call = Box::pin(service.call(asking_for(work, method.clone())));
                    match poll(call.as_mut()) {
                        Poll::Pending => there.push(There::Waits(call)),
                        Poll::Ready(Err(_)) => dropped += 1,
                        Poll::Ready(Ok(denied)) if denied.status() == StatusCode::TOO_MANY_REQUESTS => {
                            prop_assert_eq!(before, limit as usize);
                        }
                        Poll::Ready(Ok(response)) => {
                            prop_assert!(before < limit as usize);
                            let failed = u64::from(drop_on_5xx && response.status() == 503);
                            let bodiless = method == Method::HEAD || matches!(response.status().as_u16(), 204 | 304);
                            let body = response.into_body();
                            if bodiless || body.is_end_stream() {
                                dropped += failed;
                            } else {
                                there.push(There::Reads(body, failed));
                            }
                        }
                    }
                }
                Step::Reads(index) if !there.is_empty() => {
                    let index = index.index(there.len());
                    if let There::Reads(body, failed) = &mut there[index] {
                        let end = match read(body) {
                            Read::More => None,
                            Read::Ended => Some(*failed),
                            Read::Broke => Some(1),
                        };
                        if let Some(counts) = end {
                            dropped += counts;
                            there.swap_remove(index);
                        }
                    }
                }
                Step::Goes(index) if !there.is_empty() => {
                    there.swap_remove(index.index(there.len()));
                    dropped += 1;
                }
                Step::Reads(_) | Step::Goes(_) => {}
            }
            prop_assert_eq!((guard.in_flight() as usize, guard.stats().dropped), (there.len(), dropped));
        }
        drop(there);
        prop_assert_eq!(guard.in_flight(), 0);
    }
}
