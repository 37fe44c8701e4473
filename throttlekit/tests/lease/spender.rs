//! The half of a lease that is with a client: it subtracts, and never denies on its own account.

use std::future::ready;

use throttlekit::lease::{LeaseSpender, MAX_ROUNDS, Reserve};
use throttlekit::{Decision, Error};

use crate::support::held::done;

/// A spender that is given units or asked for some: `Some` is what remains, `None` that the server must be asked.
fn remaining(spender: &mut LeaseSpender, now: f64, cost: f64) -> Option<u64> {
    spender.spend(now, cost).unwrap().map(|decision| {
        assert!(decision.allowed && decision.retry_after_ms == 0);
        decision.remaining
    })
}

#[test]
fn units_are_spent_until_there_are_none() {
    let mut spender = LeaseSpender::new(5).ttl_ms(1_000.0);
    spender.apply(5.0, 1_000.0);
    for left in [4, 3, 2, 1, 0] {
        let decision = spender.spend(0.0, 1.0).unwrap().unwrap();
        assert_eq!((decision.limit, decision.remaining, decision.reset_at_ms), (5, left, 1_000));
    }
    assert_eq!(remaining(&mut spender, 0.0, 1.0), None);
}

#[test]
fn units_add_up_within_their_window() {
    let mut spender = LeaseSpender::new(100);
    spender.apply(10.0, 1_000.0);
    assert_eq!(remaining(&mut spender, 0.0, 4.0), Some(6));
    assert_eq!(remaining(&mut spender, 0.0, 6.0), Some(0));
    assert_eq!(remaining(&mut spender, 0.0, 1.0), None);
    spender.apply(5.0, 1_000.0);
    assert_eq!(remaining(&mut spender, 0.0, 8.0), None);
    spender.apply(10.0, 1_000.0);
    assert_eq!(remaining(&mut spender, 0.0, 8.0), Some(7));
    assert_eq!(remaining(&mut spender, 0.0, 8.0), None);
}

#[test]
fn units_end_with_their_lease_unless_they_may_stay() {
    let mut spender = LeaseSpender::new(5);
    spender.apply(5.0, 1_000.0);
    assert_eq!(remaining(&mut spender, 0.0, 2.0), Some(3));
    assert_eq!(remaining(&mut spender, 1_000.0, 1.0), None);
    assert_eq!((spender.credits(), spender.expires_at_ms()), (0.0, Some(1_000.0)));
    spender.apply(5.0, 2_000.0);
    assert_eq!(spender.spend(1_000.0, 1.0).unwrap().unwrap().reset_at_ms, 2_000);

    let mut spender = LeaseSpender::new(5).window_coupled(false);
    spender.apply(5.0, 1_000.0);
    assert_eq!(remaining(&mut spender, 0.0, 2.0), Some(3));
    assert_eq!(remaining(&mut spender, 2_000.0, 1.0), Some(2));
    spender.reset();
    assert_eq!((remaining(&mut spender, 2_000.0, 1.0), spender.expires_at_ms()), (None, None));
}

#[test]
fn a_cost_that_is_none_is_refused() {
    let mut spender = LeaseSpender::new(5);
    spender.apply(5.0, 1_000.0);
    for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert_eq!(spender.spend(5_000.0, cost).unwrap_err().code(), "invalid_argument");
        let server = |_| ready(Err::<Reserve, Error>(Error::store_unavailable("never asked")));
        assert_eq!(done(spender.spend_or_refresh(5_000.0, cost, server)).unwrap_err().code(), "invalid_argument");
    }
    assert_eq!(spender.credits(), 5.0, "nothing was touched");
}

/// A server that leases `capacity` whatever is asked for, and counts.
fn leasing(
    capacity: f64,
    expires_at_ms: f64,
    asked: &mut u32,
) -> impl FnMut(f64) -> std::future::Ready<Result<Reserve, Error>> {
    move |_| {
        *asked += 1;
        ready(Ok(Reserve::Granted { capacity, expires_at_ms }))
    }
}

#[test]
fn the_server_is_asked_once_for_each_lease() {
    let (mut spender, mut asked) = (LeaseSpender::new(1_000), 0);
    for _ in 0..1_000 {
        let decision = done(spender.spend_or_refresh(0.0, 1.0, leasing(100.0, 1_000.0, &mut asked))).unwrap();
        assert!(decision.allowed);
    }
    assert_eq!(asked, 10);
}

#[test]
fn a_lease_that_is_over_can_be_spent_by_the_call_that_fetched_it() {
    let (mut spender, mut asked) = (LeaseSpender::new(10), 0);
    let decision = done(spender.spend_within(1_000.0, 1.0, 8, leasing(10.0, 1_000.0, &mut asked))).unwrap();
    assert_eq!((decision.allowed, decision.remaining, decision.reset_at_ms, asked), (true, 9, 1_000, 1));
    // And by no other.
    assert_eq!(remaining(&mut spender, 1_000.0, 1.0), None);
}

#[test]
fn leases_add_up_to_a_cost_within_the_rounds() {
    let (mut spender, mut asked) = (LeaseSpender::new(10), 0);
    let decision = done(spender.spend_within(0.0, 25.0, 3, leasing(10.0, 1_000.0, &mut asked))).unwrap();
    assert_eq!((decision.remaining, asked), (5, 3));
    let (mut spender, mut asked) = (LeaseSpender::new(10), 0);
    let error = done(spender.spend_within(0.0, 35.0, 3, leasing(10.0, 1_000.0, &mut asked))).unwrap_err();
    assert_eq!((error.code(), asked, spender.credits()), ("state_invalid", 3, 30.0));
    let (mut spender, mut asked) = (LeaseSpender::new(10), 0);
    assert!(done(spender.spend_or_refresh(0.0, 1e9, leasing(1.0, 1_000.0, &mut asked))).is_err());
    assert_eq!(asked, MAX_ROUNDS);
}

#[test]
fn what_the_server_denies_or_fails_is_the_answer() {
    let mut spender = LeaseSpender::new(10);
    let denial = Decision { allowed: false, limit: 9, remaining: 2, reset_at_ms: 70, retry_after_ms: 5 };
    let answer = done(spender.spend_or_refresh(0.0, 1.0, |_| ready(Ok(Reserve::Denied(denial)))));
    assert_eq!(answer.unwrap(), denial);
    let down = |_| ready(Err(Error::store_unavailable("down")));
    assert!(done(spender.spend_or_refresh(0.0, 1.0, down)).unwrap_err().is_store_unavailable());
    for capacity in [0.0, -1.0, f64::NAN] {
        let none = |_| ready(Ok(Reserve::Granted { capacity, expires_at_ms: 1_000.0 }));
        assert_eq!(done(spender.spend_or_refresh(0.0, 1.0, none)).unwrap_err().code(), "state_invalid");
    }
    assert_eq!(spender.credits(), 0.0);
}

/// It would pass without end.
#[test]
fn a_cost_that_is_lost_beside_what_is_held_is_refused() {
    let mut spender = LeaseSpender::new(10);
    spender.apply(4.0, 1_000.0);
    assert!(spender.spend(0.0, 1.0).unwrap().is_some());
    for cost in [1e-17, 5e-324] {
        let error = spender.spend(0.0, cost).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().contains("too small to be counted"), "{error}");
    }
    assert_eq!(spender.credits(), 3.0);
}

#[test]
fn a_grant_that_is_no_number_gives_nothing() {
    for capacity in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0] {
        let mut spender = LeaseSpender::new(10);
        spender.apply(2.0, 1_000.0);
        spender.apply(capacity, 1_000.0);
        assert_eq!((spender.credits(), remaining(&mut spender, 0.0, 3.0)), (2.0, None), "{capacity}");
        assert_eq!(remaining(&mut spender, 0.0, 2.0), Some(0));
    }
    for end in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut spender = LeaseSpender::new(10);
        spender.apply(2.0, end);
        assert_eq!((remaining(&mut spender, 0.0, 1.0), spender.expires_at_ms()), (None, None), "until {end}");
        let mut spender = LeaseSpender::new(10).ttl_ms(50.0).window_coupled(false);
        spender.apply(2.0, end);
        assert_eq!(spender.spend(0.0, 1.0).unwrap().unwrap().reset_at_ms, 50, "units that stay need no end");
    }
    let mut spender = LeaseSpender::new(10);
    spender.apply(2.0, 1_000.0);
    assert_eq!(remaining(&mut spender, f64::NAN, 1.0), None);
}

#[test]
fn a_server_that_grants_what_is_no_number_is_an_error() {
    for (capacity, expires_at_ms) in [
        (f64::NAN, 1_000.0),
        (f64::INFINITY, 1_000.0),
        (f64::NEG_INFINITY, 1_000.0),
        (5.0, f64::NAN),
        (5.0, f64::INFINITY),
        (0.0, 1_000.0),
        (-5.0, 1_000.0),
    ] {
        let mut spender = LeaseSpender::new(10);
        let server = |_| ready(Ok(Reserve::Granted { capacity, expires_at_ms }));
        let error = done(spender.spend_or_refresh(0.0, 1.0, server)).unwrap_err();
        assert_eq!((error.code(), spender.credits()), ("state_invalid", 0.0), "{capacity} until {expires_at_ms}");
    }
}
