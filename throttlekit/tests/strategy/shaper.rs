//! The shaper: delays, waiting, and what it refuses.

use std::time::Duration;

use throttlekit::store::Remote;
use throttlekit::{ErrorKind, LeakyBucket, ManualClock, Program, Reservation, Shaper, State, Step};

use crate::properties::{GRID, MAX};
use crate::support::{CasStore, CountingClock, Mulberry, N};

fn bucket(rate_per_sec: f64, max_queue_ms: f64) -> LeakyBucket {
    LeakyBucket::builder().rate_per_sec(rate_per_sec).max_queue_ms(max_queue_ms).build().unwrap()
}

fn accepted(delay_ms: u64) -> Reservation {
    Reservation { accepted: true, delay_ms }
}

fn refused(delay_ms: u64) -> Reservation {
    Reservation { accepted: false, delay_ms }
}

/// Now, cost and answer of one step after another.
fn sequence(bucket: LeakyBucket, steps: &[(f64, f64, Reservation)]) {
    let clock = ManualClock::default();
    let shaper = Shaper::builder(bucket).clock(clock.clone()).build();
    for (now, cost, expected) in steps {
        clock.set(*now);
        assert_eq!(shaper.reserve("k", *cost).unwrap(), *expected, "at {now}");
    }
}

#[test]
fn sequences() {
    let steps = [
        (0.0, 1.0, accepted(0)),
        (0.0, 1.0, accepted(100)),
        (0.0, 3.0, accepted(200)),
        (0.0, 1.0, accepted(500)),
        (250.0, 1.0, accepted(350)),
    ];
    sequence(bucket(10.0, 10_000.0), &steps);
    let steps = [
        (0.0, 1.0, accepted(0)),
        (0.0, 1.0, accepted(100)),
        (0.0, 1.0, refused(50)),
        (50.0, 1.0, accepted(150)),
        (100.0, 1.0, refused(50)),
    ];
    sequence(bucket(10.0, 150.0), &steps);
    let steps =
        [(0.0, 1.0, accepted(0)), (0.0, 1.0, refused(1_000)), (999.0, 1.0, refused(1)), (1_000.0, 1.0, accepted(0))];
    sequence(bucket(1.0, 0.0), &steps);
    let steps = [
        (N, 1.0, accepted(0)),
        (N, 2.0, accepted(143)),
        (N + 50.0, 8.0, accepted(379)),
        (N + 50.0, 1.0, refused(22)),
        (N + 100.0, 1.0, accepted(1_472)),
    ];
    sequence(bucket(7.0, 1_500.0), &steps);
}

#[test]
fn before_the_epoch_it_delays_as_after_it() {
    for start in [-10_000.0, 10_000.0] {
        let clock = ManualClock::new(start);
        let shaper = Shaper::builder(bucket(10.0, 150.0)).clock(clock.clone()).build();
        let reserve = || shaper.reserve("k", 1.0).unwrap();
        assert_eq!([reserve(), reserve(), reserve()], [accepted(0), accepted(100), refused(50)], "{start}");
        clock.advance(50.0);
        assert_eq!(reserve(), accepted(150), "{start}");
    }
}

#[test]
fn a_huge_cost_is_accepted_when_the_queue_is_short() {
    let steps = [(0.0, 1e6, accepted(0)), (0.0, 1.0, refused(99_999_850))];
    sequence(bucket(10.0, 150.0), &steps);
}

#[test]
fn the_state_lives_until_it_no_longer_matters() {
    let ttl = |state, now, cost: f64| match bucket(7.0, 1_500.0).step(state, now, &cost) {
        Step::Write { change, ttl_ms, .. } => (State::encode(&change), ttl_ms),
        other => panic!("{other:?}"),
    };
    assert_eq!(ttl(None, N, 1.0), ("1700000000142.8572".to_owned(), 143.0));
    let state = State::decode("1700000000142.8572").unwrap();
    assert_eq!(ttl(Some(&state), N + 142.0, 0.01).1, 3.0);
    assert_eq!(ttl(None, N, 0.001).1, 1.0);
}

#[test]
fn the_text_of_a_state_is_a_bare_number() {
    use throttlekit::Departure;
    for text in ["1700000000142.8572", "0", "100"] {
        assert_eq!(Departure::decode(text).unwrap().encode(), text);
    }
    for text in ["", "x", "null", "[1]", "NaN", "inf", "1 2"] {
        assert_eq!(Departure::decode(text), None, "{text:?}");
    }
}

#[test]
fn refused_options_are_named() {
    let build = |rate: f64, queue: f64| LeakyBucket::builder().rate_per_sec(rate).max_queue_ms(queue).build();
    for rate in [0.0, -1.0, 1e-13, 5e-324, 100_000.1, 1e300, f64::NAN, f64::INFINITY] {
        let error = build(rate, 0.0).unwrap_err();
        assert_eq!((error.option(), error.value()), ("leakyBucket.ratePerSec", Some(rate.to_string().as_str())));
    }
    for queue in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e16] {
        let error = build(1.0, queue).unwrap_err();
        assert_eq!((error.option(), error.value()), ("leakyBucket.maxQueueMs", Some(queue.to_string().as_str())));
    }
    assert_eq!(LeakyBucket::builder().max_queue_ms(1.0).build().unwrap_err().option(), "leakyBucket.ratePerSec");
    assert_eq!(LeakyBucket::builder().rate_per_sec(1.0).build().unwrap_err().option(), "leakyBucket.maxQueueMs");
    assert!(build(100_000.0, 9_007_199_254_740_991.0).is_ok());
    let spans = LeakyBucket::builder().rate_per_sec(1.0).max_queue(Duration::from_micros(1_500)).build().unwrap();
    assert_eq!(spans.max_queue_ms(), 1.5);
}

#[test]
fn buckets_of_the_grid_are_refused_or_sane() {
    let queues = || GRID.into_iter().chain([0.0]);
    let builders = GRID.into_iter().flat_map(|rate| queues().map(move |queue| (rate, queue)));
    let builders = builders.map(|(rate, queue)| LeakyBucket::builder().rate_per_sec(rate).max_queue_ms(queue));
    let built: Vec<_> = builders.filter_map(|builder| builder.build().ok()).collect();
    assert_eq!(built.len(), 10, "of rates 1 and 60000 with any queue but 1e300");
    for bucket in built {
        for start in [0.0, N, MAX] {
            let mut next = None;
            for cost in [1.0, 0.5, MAX, 1e-300, 7.0, 5e-324, 1.0] {
                for now in [start, (start - 1.0).max(0.0), start + 1.0, start] {
                    let at = format!("{cost} of {bucket:?} at {now} after {next:?}");
                    match bucket.step(next.as_ref(), now, &cost) {
                        Step::Write { change, ttl_ms, outcome } => {
                            assert!(ttl_ms.is_finite() && ttl_ms >= 1.0, "{at}: {ttl_ms}");
                            assert!(outcome.accepted && outcome.delay_ms < 1 << 53, "{at}: {outcome:?}");
                            assert_eq!(State::decode(&change.encode()), Some(change), "{at}");
                            next = Some(change);
                        }
                        Step::Keep(outcome) => {
                            assert!(
                                !outcome.accepted && (1..u64::MAX).contains(&outcome.delay_ms),
                                "{at}: {outcome:?}"
                            );
                        }
                        Step::Fail(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{at}"),
                        Step::Remove(outcome) => panic!("{at}: {outcome:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_cost_is_validated_before_the_clock_is_read() {
    let clock = CountingClock::default();
    clock.time.set(N);
    let shaper = Shaper::builder(bucket(10.0, 0.0)).clock(clock.clone()).build();
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(shaper.reserve("k", cost).unwrap_err().kind(), ErrorKind::InvalidArgument, "{cost}");
    }
    assert_eq!(clock.take_readings(), 0);
    // Legal, and too small to move a departure of today.
    assert_eq!(shaper.reserve("k", 1e-9).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(shaper.reserve("k", 1.0).unwrap(), accepted(0));
    assert_eq!(clock.take_readings(), 2);
}

#[test]
fn keys_prefixes_and_reset() {
    let shaper = Shaper::builder(bucket(1.0, 0.0)).clock(ManualClock::new(0.0)).build();
    let scoped = Shaper::builder(bucket(1.0, 0.0))
        .keyspace(shaper.keyspace().clone())
        .clock(ManualClock::new(0.0))
        .prefix("mail")
        .build();
    assert_eq!(shaper.reserve("k", 1.0).unwrap(), accepted(0));
    assert_eq!(scoped.reserve("k", 1.0).unwrap(), accepted(0));
    assert_eq!(shaper.reserve("k", 1.0).unwrap(), refused(1_000));
    shaper.reset("k").unwrap();
    assert_eq!(shaper.reserve("k", 1.0).unwrap(), accepted(0));
    assert_eq!(scoped.reserve("k", 1.0).unwrap(), refused(1_000));
}

#[tokio::test]
async fn over_a_store_it_is_the_same() {
    let clock = ManualClock::new(N);
    let store = CasStore::default();
    let memory = Shaper::builder(bucket(7.0, 1_500.0)).clock(clock.clone()).build();
    let remote = Shaper::builder(bucket(7.0, 1_500.0))
        .keyspace(Remote::new(store.clone()))
        .clock(clock.clone())
        .prefix("shape")
        .build();
    let mut random = Mulberry::new(7);
    for _ in 0..300 {
        clock.advance(random.below(400.0));
        let cost = 1.0 + random.below(3.0);
        assert_eq!(remote.reserve("k", cost).await.unwrap(), memory.reserve("k", cost).unwrap());
    }
    assert!(store.text("shape:k").is_some());
    remote.reset("k").await.unwrap();
    assert_eq!(store.text("shape:k"), None);
}
