//! An observer that the layer is given is told what it had been told if the file had been loaded with it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use throttlekit::ManualClock;
use throttlekit::policy::{LoadOptions, Policies};
use throttlekit_tower::{Admitted, PeerAddr, ThrottleLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::story::Story;
use crate::support::{Mood, Opener};

const IN_MEMORY: &str = "
limiters:
  api: { strategy: fixedWindow, limit: 3, period: 1m }
  wide: { strategy: gcra, limit: 100, period: 1s }
  tokens: { tokenBudget: { budget: 10, windowMs: 60000 } }
  work: { concurrency: { limit: 1 } }
  patient: { concurrency: { limit: 1, queue: { max: 1, timeoutMs: 50 } } }
  tenants: { concurrency: { limit: 2, keyed: {} } }
  both: { strategy: fixedWindow, limit: 2, period: 1m, concurrency: { limit: 4 } }
  fair: { fairEscrow: { limit: 2, windowMs: 60000 } }
  pages: { strategy: fixedWindow, limit: 2, period: 1m, screen: { threshold: 1 } }
  feed: { sketch: { limit: 2, windowMs: 60000 } }
  login: { strategy: fixedWindow, limit: 1, period: 1m, denyList: { denials: 1, ttlMs: 3600000 } }
http:
  rules:
    - { path: /api, policy: api }
    - { path: /joint, policies: [api, wide], costs: { wide: 2 } }
    - { path: /apart, policies: [tokens, api], costs: { tokens: 4 } }
    - { path: /work, policy: work }
    - { path: /patient, policy: patient }
    - { path: /tenants, policy: tenants }
    - { path: /both, policy: both }
    - { path: /all, policies: [wide, work, tokens] }
    - { path: /fair, policy: fair }
    - { path: /pages, policy: pages }
    - { path: /feed, policy: feed }
    - { path: /login, policies: [login, work] }
    - path: /planned
      policy: api
      plans: { from: { trustedHeader: x-plan }, table: { pro: { policies: [wide, work] } } }
    - { path: /debit, policy: wide }
";

const STORED: &str = "
store: { redis: { url: redis://cache }, breaker: { failures: 100 } }
limiters:
  api: { strategy: fixedWindow, limit: 3, period: 1m, failMode: { local: { share: 0.5 } } }
  wide: { strategy: gcra, limit: 100, period: 1s }
  leased: { strategy: fixedWindow, limit: 9, period: 1m, twoTier: { batch: 2 } }
  fleet: { fleetBudget: { budget: 9, windowMs: 60000 } }
  work: { concurrency: { limit: 2 } }
http:
  rules:
    - { path: /api, policy: api }
    - { path: /joint, policies: [api, wide] }
    - { path: /apart, policies: [leased, api] }
    - { path: /leased, policy: leased }
    - { path: /fleet, policy: fleet }
    - { path: /all, policies: [wide, work, fleet] }
    - { path: /debit, policy: wide }
";

/// A layer over a file, and what it is told to.
struct Door {
    layer: ThrottleLayer,
    policies: Policies,
    clock: ManualClock,
    opener: Opener,
}

/// The same file behind two layers: one is loaded with an observer, and the layer of the other is given one.
struct Doors([(Door, Story); 2]);

fn load(text: &str, observer: Option<&Story>) -> Door {
    let clock = ManualClock::new(600_000.0);
    let opener = Opener::new(&clock);
    let options = LoadOptions::new().clock(clock.clone()).connector(opener.clone()).runtime(opener.runtime.clone());
    let options = match observer {
        Some(observer) => options.observer(observer.clone()),
        None => options,
    };
    let policies = Policies::load(text, options).expect("a good text");
    let layer = ThrottleLayer::from_config(&policies).expect("rules").share(true);
    Door { layer, policies, clock, opener }
}

/// Polls once.
fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until there is an answer.
fn done<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut polls = (0..100).map(|_| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    let answer = polls.find_map(|poll| if let Poll::Ready(answer) = poll { Some(answer) } else { None });
    answer.expect("nothing is to wait for")
}

type Answer = Response<throttlekit_tower::ResponseBody<Full<Bytes>>>;

impl Door {
    /// The answer to a request, and what it holds.
    fn call(&self, path: &str, plan: Option<&str>) -> impl Future<Output = Answer> + 'static {
        let service = self.layer.layer(service_fn(|request: Request<()>| async move {
            if request.uri().path() == "/debit" {
                // A store that is out has admitted nothing.
                if let Some(meter) = request.extensions().get::<Admitted>().and_then(|it| it.meters().next()) {
                    drop(meter.debit(2.0).await);
                }
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("x")))
        }));
        let mut request = Request::builder().uri(path).body(()).expect("a good request");
        request.extensions_mut().insert(PeerAddr(([203, 0, 113, 5], 41_000).into()));
        if let Some(plan) = plan {
            request.headers_mut().insert("x-plan", plan.parse().expect("a value"));
        }
        async move {
            match service.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }

    /// The statuses of some requests, of which the first holds what it has until the end.
    fn some(&self, path: &str, plan: Option<&str>) -> Vec<u16> {
        let held = done(self.call(path, plan));
        let mut statuses = vec![held.status().as_u16()];
        statuses.extend((0..3).map(|_| done(self.call(path, plan)).status().as_u16()));
        statuses
    }
}

impl Doors {
    fn over(text: &str) -> Self {
        let (first, second) = (Story::default(), Story::default());
        let before = load(text, Some(&first));
        let mut later = load(text, None);
        later.layer = later.layer.observer(second.clone());
        Self([(before, first), (later, second)])
    }

    fn each(&self, act: impl Fn(&Door)) {
        self.0.iter().for_each(|(door, _)| act(door));
    }

    /// What both are told of what happens in `act`, and that it is the same.
    #[track_caller]
    fn told<T: PartialEq + std::fmt::Debug>(&self, act: impl Fn(&Door) -> T) -> Vec<String> {
        let [(before, first), (later, second)] = &self.0;
        assert_eq!(act(before), act(later));
        let told = first.take();
        assert_eq!(told, second.take());
        assert!(!told.is_empty());
        told
    }
}

const PATHS: [&str; 13] = [
    "/api", "/joint", "/apart", "/work", "/tenants", "/both", "/all", "/fair", "/pages", "/feed", "/login", "/planned",
    "/debit",
];

#[test]
fn of_every_kind_of_rule_in_memory() {
    let doors = Doors::over(IN_MEMORY);
    for path in PATHS {
        doors.told(|door| door.some(path, None));
    }
    let told = doors.told(|door| door.some("/planned", Some("pro")));
    assert!(told.iter().any(|line| line.starts_with("admitted wide+work")), "{told:?}");
    let told = doors.told(|door| door.some("/debit", None));
    assert!(told.iter().any(|line| line.contains(": 2 ")), "{told:?}");
}

#[test]
fn of_those_who_wait_for_a_slot_or_go_away() {
    let doors = Doors::over(IN_MEMORY);
    let told = doors.told(|door| {
        let held = done(door.call("/patient", None));
        let mut waits = Box::pin(door.call("/patient", None));
        assert!(poll(&mut waits).is_pending());
        door.clock.advance(60.0);
        assert_eq!(poll(&mut waits).map(|response| response.status().as_u16()), Poll::Ready(429));
        let mut gone = Box::pin(door.call("/patient", None));
        assert!(poll(&mut gone).is_pending());
        drop((gone, held));
    });
    let starting = |with: &str| told.iter().filter(|line| line.starts_with(with)).count();
    assert_eq!((starting("waited patient"), starting("gone patient"), starting("admitted")), (2, 2, 2), "{told:?}");
}

#[test]
fn of_every_kind_of_rule_over_a_store_also_while_it_is_out() {
    let doors = Doors::over(STORED);
    for mood in [Mood::Up, Mood::Down, Mood::Up, Mood::Down] {
        doors.each(|door| door.opener.store.set(mood));
        for path in ["/api", "/joint", "/apart", "/leased", "/fleet", "/all", "/debit"] {
            doors.told(|door| door.some(path, None));
        }
    }
}

#[test]
fn of_what_a_reload_brings() {
    let doors = Doors::over(IN_MEMORY);
    let text = IN_MEMORY.replace("limit: 3,", "limit: 5,").replace("path: /api", "path: /other");
    doors.each(|door| assert!(door.policies.reload(&text).expect("a good text").is_changed()));
    let told = doors.told(|door| door.some("/other", None));
    assert!(told[0].contains("Ok((true, 4))"), "{told:?}");
    for path in &PATHS[1..] {
        doors.told(|door| door.some(path, None));
    }
}

#[test]
fn a_file_with_an_observer_keeps_it_and_tells_it_once() {
    let (own, other) = (Story::default(), Story::default());
    let door = load(IN_MEMORY, Some(&own));
    let door = Door { layer: door.layer.clone().observer(other.clone()), ..door };
    let reference = Doors::over(IN_MEMORY);
    for path in PATHS {
        door.some(path, None);
        let mut told = own.take();
        // Clients that go away are the layer's to tell of.
        told.extend(other.take());
        let mut expected = reference.told(|door| door.some(path, None));
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }
    door.policies.reload(&IN_MEMORY.replace("limit: 3,", "limit: 5,")).expect("a good text");
    door.some("/api", None);
    assert_eq!((own.take().len(), other.take().len()), (4, 0));
}

#[test]
fn the_last_observer_counts_and_other_layers_have_their_own() {
    let [first, second, third] = [(); 3].map(|()| Story::default());
    let door = load(IN_MEMORY, None);
    let bare = door.layer.clone();
    let one = Door { layer: bare.clone().observer(first.clone()).observer(second.clone()), ..door };
    done(one.call("/api", None));
    let other = Door { layer: bare.clone().observer(third.clone()), ..one };
    done(other.call("/api", None));
    let unobserved = Door { layer: bare, ..other };
    assert_eq!(done(unobserved.call("/api", None)).status(), 200);
    assert_eq!(done(unobserved.call("/api", None)).status(), 429, "the limit is one");
    assert_eq!([&first, &second, &third].map(|story| story.take().len()), [0, 1, 1]);
}
