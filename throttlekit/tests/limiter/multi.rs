//! Several dimensions admitted together, in memory and over a store.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use throttlekit::store::Remote;
use throttlekit::store::memory::Table;
use throttlekit::{
    Admit, Ask, BuildError, Clock, Decision, DimensionKeys, DynLimiter, ErrorKind, Event, ExactGcra, FixedWindow, Gcra,
    InMemory, Limiter, ManualClock, Multi, MultiBuilder, Observer,
};

use crate::support::{CasStore, CountingClock, DownStore, Recorder, Seen, allow, deny, polled};

fn gcra(limit: f64, period_ms: f64) -> Gcra {
    Gcra::builder().limit(limit).period_ms(period_ms).build().unwrap()
}

fn fixed(limit: f64, window_ms: f64) -> FixedWindow {
    FixedWindow::builder().limit(limit).window_ms(window_ms).build().unwrap()
}

/// The same limit in memory and over a store; every check is made on both.
struct Both {
    clock: ManualClock,
    store: CasStore,
    memory: Multi<InMemory, ManualClock>,
    remote: Multi<Remote, ManualClock>,
}

impl Both {
    fn new(now_ms: f64, declare: impl Fn() -> MultiBuilder) -> Self {
        let (clock, store) = (ManualClock::new(now_ms), CasStore::default());
        let memory = declare().clock(clock.clone()).build().unwrap();
        let remote = declare().store(Remote::new(store.clone())).clock(clock.clone()).build().unwrap();
        Self { clock, store, memory, remote }
    }

    fn check_cost(&self, keys: &[&str], cost: f64) -> Decision {
        let decision = self.memory.check_cost(keys, cost).unwrap();
        let remote = polled(self.remote.check_cost(keys, cost), 100).expect("nobody races").unwrap();
        assert_eq!(decision, remote);
        decision
    }

    fn check(&self, keys: &[&str]) -> Decision {
        self.check_cost(keys, 1.0)
    }
}

#[test]
fn all_of_an_address_and_a_user() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("ip", gcra(5.0, 1_000.0), 1.0).dimension("user", gcra(1.0, 1_000.0), 1.0)
    });
    assert_eq!(both.check(&["A", "u1"]), allow(1, 0, 1_000));
    assert_eq!(both.check(&["A", "u1"]), deny(1, 0, 1_000, 1_000));
    for user in ["f0", "f1", "f2"] {
        assert_eq!(both.check(&["A", user]), allow(1, 0, 1_000));
    }
    // Both have nothing left: the first one is shown.
    assert_eq!(both.check(&["A", "f3"]), allow(5, 0, 1_000));
    assert_eq!(both.check(&["A", "f9"]), deny(5, 0, 1_000, 200));
}

#[test]
fn any_of_an_address_and_a_user() {
    let both = Both::new(0.0, || {
        Multi::any().dimension("ip", gcra(1.0, 1_000.0), 1.0).dimension("user", gcra(3.0, 1_000.0), 1.0)
    });
    assert_eq!(both.check(&["A", "u"]), allow(3, 2, 334));
    assert_eq!(both.check(&["A", "u"]), allow(3, 1, 667));
    assert_eq!(both.check(&["A", "u"]), allow(3, 0, 1_000));
    assert_eq!(both.check(&["A", "u"]), deny(3, 0, 1_000, 334));
}

#[test]
fn all_of_two_strategies() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("ip", gcra(100.0, 60_000.0), 1.0).dimension("user", fixed(3.0, 1_000.0), 1.0)
    });
    for remaining in [2, 1, 0] {
        assert_eq!(both.check(&["A", "u"]), allow(3, remaining, 1_000));
    }
    assert_eq!(both.check(&["A", "u"]), deny(3, 0, 1_000, 1_000));
}

#[test]
fn a_refusal_charges_no_dimension() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("ip", fixed(10.0, 1_000.0), 5.0).dimension("user", fixed(10.0, 1_000.0), 1.0).prefix("p")
    });
    assert_eq!(both.check(&["A", "u"]), allow(10, 5, 1_000));
    assert_eq!(both.check(&["A", "u"]), allow(10, 0, 1_000));
    assert_eq!(both.check(&["A", "u"]), deny(10, 0, 1_000, 1_000));
    assert_eq!(both.store.text("p:ip:A").as_deref(), Some(r#"{"start":0,"count":10}"#));
    assert_eq!(both.store.text("p:user:u").as_deref(), Some(r#"{"start":0,"count":2}"#));
    // The user has eight left, from other addresses.
    for address in ["B", "C", "D", "E", "F", "G", "H", "I"] {
        assert!(both.check(&[address, "u"]).allowed, "{address}");
    }
    assert_eq!(both.check(&["J", "u"]), deny(10, 0, 1_000, 1_000));
}

#[test]
fn any_charges_exactly_those_that_admit() {
    let both = Both::new(500.0, || {
        Multi::any().dimension("a", fixed(2.0, 1_000.0), 1.0).dimension("b", fixed(2.0, 3_000.0), 1.0)
    });
    assert_eq!(both.check(&["k", "k"]), allow(2, 1, 1_000));
    assert_eq!(both.check(&["k", "k"]), allow(2, 0, 1_000));
    assert_eq!(both.check(&["k", "k"]), deny(2, 0, 1_000, 500));
    both.clock.set(1_000.0);
    assert_eq!(both.check(&["k", "k"]), allow(2, 1, 2_000));
    assert_eq!(both.store.text("a:k").as_deref(), Some(r#"{"start":1000,"count":1}"#));
    assert_eq!(both.store.text("b:k").as_deref(), Some(r#"{"start":0,"count":2}"#));
}

#[test]
fn costs_and_keys_are_validated_before_the_clock_is_read() {
    let clock = CountingClock::default();
    let build = || Multi::all().dimension("a", gcra(5.0, 1_000.0), 1.0).dimension("b", gcra(5.0, 1_000.0), 4.0);
    let limit = build().clock(clock.clone()).build().unwrap();
    let store = CasStore::default();
    let remote = build().store(Remote::new(store.clone())).clock(clock.clone()).build().unwrap();
    // The last one is legal, and not in the second dimension.
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_991.0] {
        assert_eq!(limit.check_cost(&["k", "k"], cost).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let error = remote.run_check(&["k", "k"], cost).now().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    for keys in [&[] as &[&str], &["k"], &["k", "k", "k"]] {
        let error = limit.check(keys).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), format!("{} keys for 2 dimensions: must be one for each", keys.len()));
        assert_eq!(limit.reset(keys).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(clock.take_readings(), 0);
    assert_eq!(store.calls(), 0);
    limit.check(&["k", "k"]).unwrap();
    assert_eq!(clock.take_readings(), 1);
}

struct Request {
    user: Option<&'static str>,
    weight: Option<f64>,
}

impl DimensionKeys for Request {
    fn key(&self, index: usize, name: &str) -> Option<&str> {
        assert_eq!(index, usize::from(name == "user"));
        if name == "user" { self.user } else { Some("everybody") }
    }

    fn weight(&self, _index: usize, name: &str) -> Option<f64> {
        self.weight.filter(|_| name == "user")
    }
}

#[test]
fn a_request_knows_its_keys_and_weights() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("total", fixed(100.0, 1_000.0), 1.0).dimension("user", fixed(10.0, 1_000.0), 2.0)
    });
    let check = |request: &Request| {
        let decision = both.memory.check_for(request, 2.0);
        let remote = polled(both.remote.check_for(request, 2.0), 100).unwrap();
        assert_eq!(decision.as_ref().ok(), remote.as_ref().ok());
        decision
    };
    assert_eq!(check(&Request { user: Some("u"), weight: None }).unwrap().remaining, 6);
    assert_eq!(check(&Request { user: Some("u"), weight: Some(3.0) }).unwrap().remaining, 0);
    let error = check(&Request { user: None, weight: None }).unwrap_err();
    assert_eq!(error.to_string(), "the request has no key for the dimension \"user\"");
    for (weight, units) in [(0.0, "0"), (-1.0, "-2"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let error = check(&Request { user: Some("v"), weight: Some(weight) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let expected = format!(
            "the weight {weight} of the dimension \"user\" and the cost 2 ask for {units}: must be a finite number above 0 \
             and at most 9007199254740991"
        );
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(both.store.text("user:v"), None);
}

#[test]
fn two_dimensions_that_meet_on_a_key_are_refused() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("a", gcra(5.0, 1_000.0), 1.0).dimension("a:b", gcra(5.0, 1_000.0), 1.0)
    });
    let meet = ["b:c", "c"];
    let memory = both.memory.check(&meet).unwrap_err();
    let remote = polled(both.remote.check(&meet), 100).unwrap().unwrap_err();
    for error in [memory, remote] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), r#"the dimensions "a" and "a:b" resolve to the same key: must be distinct"#);
    }
    assert_eq!(both.store.calls(), 0);
    assert_eq!(both.check(&["b:c", "d"]).remaining, 4);
    assert_eq!(both.check(&["d", "e"]).remaining, 4);
}

#[test]
fn the_key_space_of_a_strategy_is_a_part_of_its_keys() {
    let exact = ExactGcra::builder().limit(5).period_ms(1_000).burst(5).build().unwrap();
    let both = Both::new(0.0, || {
        Multi::all().dimension("a", exact, 1.0).dimension("a:exact", gcra(5.0, 1_000.0), 1.0).prefix("p")
    });
    assert!(both.check(&["k", "l"]).allowed);
    assert!(both.store.text("p:a:exact:k").is_some() && both.store.text("p:a:exact:l").is_some());
    for keys in [["k", "k"], ["", ""]] {
        let memory = both.memory.check(&keys).unwrap_err();
        let remote = polled(both.remote.check(&keys), 100).unwrap().unwrap_err();
        assert_eq!((memory.kind(), remote.kind()), (ErrorKind::InvalidArgument, ErrorKind::InvalidArgument));
    }
    // With the plain strategy's name alone they would meet here.
    assert!(both.check(&["exact:m", "m"]).allowed);
}

#[test]
fn an_observer_sees_one_event_for_each_check() {
    let recorder = Arc::new(Recorder::default());
    let declare = || Multi::any().dimension("a", gcra(1.0, 1_000.0), 3.0).dimension("b", gcra(1.0, 1_000.0), 1.0);
    let seen =
        |policy: &str, strategy, result| Seen { policy: policy.into(), strategy, cost: 1.0, now_ms: 0.0, result };

    let memory = declare().clock(ManualClock::new(0.0)).observer(Arc::clone(&recorder)).build().unwrap();
    memory.check(&["k", "k"]).unwrap();
    assert_eq!(recorder.take(), [seen("any", "any", Ok(allow(1, 0, 1_000)))]);

    let down = declare().store(Remote::new(DownStore)).clock(ManualClock::new(0.0)).name("api");
    let down = down.observer(Arc::clone(&recorder)).build().unwrap();
    assert!(polled(down.check(&["k", "k"]), 100).unwrap().unwrap_err().is_store_unavailable());
    assert_eq!(recorder.take(), [seen("api", "any", Err("store_unavailable"))]);
}

#[test]
fn an_observer_sees_what_is_refused() {
    let recorder = Arc::new(Recorder::default());
    let build = || {
        let declared = Multi::all().dimension("a", gcra(5.0, 1_000.0), 1.0).dimension("a:b", gcra(5.0, 1_000.0), 2.0);
        declared.name("api").clock(ManualClock::new(0.0)).observer(Arc::clone(&recorder))
    };
    let store = CasStore::default();
    let (memory, remote) = (build().build().unwrap(), build().store(Remote::new(store.clone())).build().unwrap());
    for limit in [&memory as &dyn Admit, &remote] {
        let asks = [
            Ask::new("k").cost(0.0),
            Ask::new("k").cost(5e15),
            Ask::new("k").dimensions(&["k"]),
            Ask::new("k").dimensions(&["b:c", "c"]),
        ];
        for ask in asks {
            let error = limit.admit(&ask).now().expect("nobody is asked").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let result = Err("invalid_argument");
            let seen = Seen { policy: "api".into(), strategy: "all", cost: ask.cost, now_ms: 0.0, result };
            assert_eq!(recorder.take(), [seen]);
        }
    }
    assert_eq!(store.calls(), 0);
}

#[test]
fn its_event_has_the_key_that_all_dimensions_are_asked_for() {
    #[derive(Default)]
    struct Keys(Mutex<Vec<String>>);
    impl Observer for Keys {
        fn observe(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(event.key().to_owned());
        }
    }
    let keys = Arc::new(Keys::default());
    let build = || {
        let declared = Multi::all().dimension("a", gcra(5.0, 1_000.0), 1.0).dimension("b", gcra(5.0, 1_000.0), 1.0);
        declared.clock(ManualClock::new(0.0)).observer(Arc::clone(&keys))
    };
    let (memory, remote) = (build().build().unwrap(), build().store(Remote::new(CasStore::default())).build().unwrap());
    for limit in [&memory as &dyn Admit, &remote] {
        for ask in [Ask::new("k"), Ask::new("x").dimensions(&["l", "l"]), Ask::new("x").dimensions(&["l", "m"])] {
            assert!(polled(limit.admit(&ask), 100).unwrap().unwrap().decision.allowed);
        }
        assert!(polled(limit.admit(&Ask::new("n").cost(f64::NAN)), 100).unwrap().is_err());
        assert_eq!(*keys.0.lock().unwrap(), ["k", "l", "", "n"]);
        keys.0.lock().unwrap().clear();
    }
}

#[test]
fn it_admits_by_the_dimensions_of_an_ask() {
    let both = Both::new(0.0, || {
        Multi::all().dimension("ip", fixed(10.0, 1_000.0), 1.0).dimension("user", fixed(4.0, 1_000.0), 1.0)
    });
    for limit in [&both.memory as &dyn Admit, &both.remote] {
        let admit = |ask: Ask<'_>| polled(limit.admit(&ask), 100).unwrap();
        let admission = admit(Ask::new("x").dimensions(&["A", "u"]).cost(3.0)).unwrap();
        assert_eq!(admission.decision, allow(4, 1, 1_000));
        assert!(!admission.permit.is_held());
        assert!(!admit(Ask::new("x").dimensions(&["B", "u"]).cost(3.0)).unwrap().decision.allowed);
        assert_eq!(admit(Ask::new("same")).unwrap().decision, allow(4, 3, 1_000));
        assert_eq!(admit(Ask::new("x").dimensions(&["A"])).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(both.store.text("ip:same").is_some() && both.store.text("user:same").is_some());
}

#[test]
fn reset_forgets_every_dimension() {
    let both =
        Both::new(0.0, || Multi::all().dimension("a", gcra(1.0, 1_000.0), 1.0).dimension("b", gcra(1.0, 1_000.0), 1.0));
    both.check(&["k", "l"]);
    assert!(!both.check(&["k", "l"]).allowed);
    both.memory.reset(&["k", "l"]).unwrap();
    polled(both.remote.reset(&["k", "l"]), 100).unwrap().unwrap();
    assert!(both.check(&["k", "l"]).allowed);
}

#[test]
fn a_limiter_as_a_dimension_shares_its_keys() {
    let clock = ManualClock::new(0.0);
    let users = Limiter::builder(gcra(5.0, 1_000.0)).prefix("users").clock(clock.clone()).build();
    let limit = Multi::all()
        .dimension("total", gcra(100.0, 1_000.0), 1.0)
        .limiter("user", &users, 2.0)
        .clock(clock.clone())
        .build()
        .unwrap();
    assert_eq!(limit.check(&["", "u"]).unwrap().remaining, 3);
    assert_eq!(users.peek("u").unwrap().remaining, 3);
    assert_eq!(users.check_cost("u", 2.0).unwrap().remaining, 1);
    assert!(!limit.check(&["", "u"]).unwrap().allowed);

    let store = Remote::new(CasStore::default());
    let users = Limiter::builder(gcra(5.0, 1_000.0)).keyspace(store.clone()).clock(clock.clone()).build();
    let limit = Multi::all().limiter("user", &users, 2.0).store(store).clock(clock).build().unwrap();
    assert_eq!(polled(limit.check(&["u"]), 100).unwrap().unwrap().remaining, 3);
    assert_eq!(polled(users.peek("u"), 100).unwrap().unwrap().remaining, 3);
}

#[test]
fn refused_sets_of_dimensions() {
    let one = || gcra(5.0, 1_000.0);
    let empty = Multi::all().build().unwrap_err();
    assert_eq!((empty.option(), empty.code()), ("multi.dimensions", "throttlekit_error"));
    assert_eq!(Multi::any().store(Remote::new(DownStore)).build().unwrap_err().code(), "throttlekit_error");

    let refused = |error: BuildError, value: &str| {
        assert_eq!((error.option(), error.value(), error.code()), ("multi.dimensions", Some(value), "config_invalid"));
    };
    refused(Multi::all().dimension("", one(), 1.0).build().unwrap_err(), r#""""#);
    refused(Multi::all().dimension("a", one(), 1.0).dimension("a", one(), 1.0).build().unwrap_err(), r#""a""#);
    let many =
        |count: u32| (0..count).fold(Multi::all(), |multi, index| multi.dimension(index.to_string(), one(), 1.0));
    refused(many(17).build().unwrap_err(), "17");
    assert_eq!(many(16).build().unwrap().dimensions().count(), 16);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 9_007_199_254_740_992.0] {
        let error = Multi::all().dimension("a", one(), weight).build().unwrap_err();
        assert_eq!((error.option(), error.value()), ("multi.weight", Some(weight.to_string().as_str())));
        let allowed = "must be a finite number above 0 and at most 9007199254740991 for the dimension \"a\"";
        assert_eq!(error.allowed(), allowed);
    }
    assert!(Multi::all().dimension("a", one(), 9_007_199_254_740_991.0).build().is_ok());

    let table = Table::new();
    let on_table = |prefix: &str| Limiter::builder(one()).keyspace(table.clone()).prefix(prefix).build();
    let (a, b) = (on_table("a"), on_table("b"));
    refused(Multi::all().limiter("a", &a, 1.0).limiter("b", &b, 1.0).build().unwrap_err(), r#""b""#);
    let stored = Limiter::builder(one()).keyspace(Remote::new(DownStore)).build();
    refused(Multi::all().limiter("s", &stored, 1.0).build().unwrap_err(), r#""s""#);
    let elsewhere = Multi::all().limiter("s", &stored, 1.0).store(Remote::new(DownStore));
    refused(elsewhere.build().unwrap_err(), r#""s""#);
    let in_memory = Multi::all().limiter("a", &a, 1.0).store(Remote::new(DownStore));
    refused(in_memory.build().unwrap_err(), r#""a""#);
}

/// Threads charge both dimensions together, in either order of declaration, while others charge one alone.
#[test]
fn threads_never_see_half_a_charge() {
    const THREADS: usize = 8;
    const CHECKS: usize = 10_000;
    let clock = ManualClock::new(0.0);
    let limiter = |limit| Limiter::builder(fixed(limit, 1e9)).clock(clock.clone()).build();
    let (ip, user) = (limiter(700.0), limiter(1_000.0));
    let joint = |one: &dyn DynLimiter, other: &dyn DynLimiter| {
        Multi::all().limiter("one", one, 1.0).limiter("other", other, 1.0).clock(clock.clone()).build().unwrap()
    };
    let (forward, backward) = (joint(&ip, &user), joint(&user, &ip));
    let start = Barrier::new(THREADS);
    let allowed = |limit: &dyn Fn() -> bool| {
        start.wait();
        (0..CHECKS).filter(|_| limit()).count()
    };
    let (together, alone) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (forward, backward, user, allowed) = (&forward, &backward, &user, &allowed);
                scope.spawn(move || match thread % 4 {
                    0 => (0, allowed(&|| user.check("k").unwrap().allowed)),
                    1 => (allowed(&|| forward.check(&["k", "k"]).unwrap().allowed), 0),
                    _ => (allowed(&|| backward.check(&["k", "k"]).unwrap().allowed), 0),
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.fold((0, 0), |(together, alone), (more, other)| (together + more, alone + other))
    });
    let used = |limiter: &dyn DynLimiter, limit: u64| {
        usize::try_from(limit - limiter.peek("k").now().unwrap().unwrap().remaining).unwrap()
    };
    assert_eq!(used(&ip, 700), together);
    assert_eq!(used(&user, 1_000), together + alone);
    // Far more checks than the limits of 700 and 1000 admit: one of the two is used up.
    assert!(together == 700 || together + alone == 1_000, "{together} {alone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_over_a_store_never_see_half_a_charge() {
    let store = CasStore::default();
    let limit = Multi::all()
        .dimension("ip", fixed(100.0, 1e9), 1.0)
        .dimension("user", fixed(40.0, 1e9), 1.0)
        .store(Remote::new(store.clone()))
        .clock(ManualClock::new(0.0))
        .build()
        .unwrap();
    let limit = Arc::new(limit);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let limit = Arc::clone(&limit);
            tokio::spawn(async move { limit.check(&["A", "u"]).await.unwrap().allowed })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += u32::from(task.await.unwrap());
    }
    assert_eq!(allowed, 40);
    assert_eq!(store.text("ip:A").as_deref(), Some(r#"{"start":0,"count":40}"#));
    assert_eq!(store.text("user:u").as_deref(), Some(r#"{"start":0,"count":40}"#));
}

#[test]
fn a_check_over_a_store_that_is_dropped_leaves_no_half_charge() {
    for polls in 0..8 {
        let clock = ManualClock::new(0.0);
        let store = CasStore::default();
        let limit = Multi::all()
            .dimension("a", fixed(9.0, 1_000.0), 1.0)
            .dimension("b", fixed(9.0, 1_000.0), 1.0)
            .store(Remote::new(store.clone()))
            .clock(clock)
            .build()
            .unwrap();
        let answer = polled(limit.check(&["k", "k"]), polls);
        assert_eq!(store.text("a:k"), store.text("b:k"), "after {polls} polls");
        assert_eq!(answer.is_some(), store.text("a:k").is_some(), "after {polls} polls");
        assert!(polled(limit.check(&["k", "k"]), 100).unwrap().unwrap().allowed);
    }
}

#[test]
fn it_shows_its_parts_and_no_keys() {
    let limit = Multi::all().dimension("ip", gcra(5.0, 1_000.0), 1.0).name("login").clock(ManualClock::new(3.0));
    let limit = limit.build().unwrap();
    limit.check(&["secret-key"]).unwrap();
    assert_eq!((limit.name(), limit.clock().now_ms()), ("login", 3.0));
    let text = format!("{limit:?}");
    assert!(text.contains("login") && text.contains("ip") && !text.contains("secret-key"), "{text}");
}
