//! All rivals answer alike, or the figures would compare unlike work.

use bench::clock::GovernorClock;
use bench::keys::KeyText;
use bench::rival::{
    Batched, Floor, Limit, Rival, Sharded, SipBuilder, States, ThroughAdmit, ThroughLimiter, ThroughTable,
    governor_with,
};
use fastrand::Rng;
use throttlekit::{Decision, ManualClock};

const LIMIT: Limit = Limit { interval_ms: 250.0, burst: 3.0 };

/// The answers of one rival to a fixed stream over seven keys, on a clock of its own.
fn stream<R: Rival>(make: impl FnOnce(ManualClock) -> R) -> Vec<R::Answer> {
    let clock = ManualClock::new(1_760_000_000_000.0);
    let rival = make(clock.clone());
    let mut session = R::Session::default();
    let mut rng = Rng::with_seed(11);
    let mut next = || {
        clock.advance(f64::from(rng.u32(0..40)));
        rival.check(&mut session, KeyText::new(rng.u64(..7)).as_str())
    };
    (0..5_000).map(|_| next()).collect()
}

fn allowed<R: Rival>(make: impl FnOnce(ManualClock) -> R) -> Vec<bool> {
    stream(make).iter().map(R::allowed).collect()
}

fn ours() -> Vec<Decision> {
    let table = |clock| ThroughTable::new(States::new(), LIMIT, clock).expect("the limit is valid");
    stream(table).into_iter().map(|answer| answer.expect("the cost is valid")).collect()
}

#[test]
fn the_stream_has_both_answers() {
    let admitted = ours().iter().filter(|decision| decision.allowed).count();
    assert!((1_000..4_500).contains(&admitted), "{admitted} of 5000 are admitted");
}

#[test]
fn the_floor_and_the_plain_table_decide_as_the_strategy_does() {
    assert_eq!(stream(|clock| Floor::new(7, LIMIT, clock)), ours());
    assert_eq!(stream(|clock| Sharded::new(LIMIT, clock)), ours());
}

#[test]
fn governor_admits_the_same_requests() {
    let admitted: Vec<bool> = ours().iter().map(|decision| decision.allowed).collect();
    assert_eq!(allowed(|clock| governor_with::<SipBuilder, _>(LIMIT, GovernorClock(clock))), admitted);
}

#[test]
fn every_level_of_this_project_decides_alike() {
    let limiter = stream(|clock| ThroughLimiter::new(States::new(), LIMIT, clock).unwrap());
    assert_eq!(limiter.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ours());
    let admit = stream(|clock| ThroughAdmit::new(States::new(), LIMIT, clock).unwrap());
    assert_eq!(admit.into_iter().map(|answer| answer.unwrap().0).collect::<Vec<_>>(), ours());
}

#[test]
fn a_batch_admits_as_many_as_one_by_one() {
    let clock = ManualClock::new(1_760_000_000_000.0);
    let batched = Batched::new(States::new(), LIMIT, clock.clone()).unwrap();
    let single = ThroughLimiter::new(States::new(), LIMIT, clock).unwrap();
    let texts: Vec<KeyText> = (0..200).map(|n| KeyText::new(n % 7)).collect();
    let keys: Vec<&str> = texts.iter().map(KeyText::as_str).collect();
    assert_eq!(batched.run(&mut (), &keys), 21);
    assert_eq!(single.run(&mut (), &keys), 21);
}
