//! Limits that tell what becomes of their slots, and requests.
#![allow(dead_code)] // each test file uses a part

use std::sync::{Arc, Mutex};

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use actix_web::test::TestRequest;
use throttlekit::{Admission, Admit, Ask, Axes, Decision, Error, ManualClock, Outcome, Permit, Run, Settle, Slot};
use throttlekit_actix::Throttle;

pub(crate) const ALLOWED: Decision =
    Decision { allowed: true, limit: 100, remaining: 50, reset_at_ms: 30_000, retry_after_ms: 0 };
pub(crate) const DENIED: Decision =
    Decision { allowed: false, limit: 100, remaining: 0, reset_at_ms: 30_000, retry_after_ms: 2_400 };

/// Admits everything with a slot, and writes down how each was given back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Book>);

#[derive(Debug, Default)]
struct Book(Mutex<Vec<Outcome>>);

impl Settle for Book {
    fn settle(&self, _slot: Slot, outcome: Outcome) {
        self.0.lock().expect("no panic").push(outcome);
    }
}

impl Ledger {
    pub(crate) fn admission(&self) -> Admission {
        Admission::from_axes(Axes::rate(ALLOWED), Permit::new(self.0.clone(), Slot { taken_at: 0, detail: 0 }))
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.0.0.lock().expect("no panic").clone()
    }

    pub(crate) fn throttle(&self) -> Throttle {
        let ledger = self.clone();
        asking(move || Run::ready(Ok(ledger.admission())))
    }
}

impl<F: Fn() -> Run<Result<Admission, Error>> + Send + Sync + 'static> Admit for Answers<F> {
    fn admit(&self, _ask: &Ask<'_>) -> Run<Result<Admission, Error>> {
        (self.0)()
    }
}

struct Answers<F>(F);

/// Limits that answer what `answer` gives, at time 0.
pub(crate) fn asking(answer: impl Fn() -> Run<Result<Admission, Error>> + Send + Sync + 'static) -> Throttle {
    Throttle::builder_for(Answers(answer), ManualClock::default()).build().expect("good options")
}

/// A request from the peer that most tests use.
pub(crate) fn get(path: &str) -> TestRequest {
    TestRequest::with_uri(path).peer_addr(([203, 0, 113, 5], 41_000).into())
}

/// The header field as text; empty if it is not there.
pub(crate) fn field<'a, B>(response: &'a ServiceResponse<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// The whole body as text.
pub(crate) async fn text<B: MessageBody>(response: ServiceResponse<B>) -> String {
    let bytes = actix_web::body::to_bytes(response.into_body()).await.ok().expect("a whole body");
    String::from_utf8(bytes.to_vec()).expect("text")
}
