//! Priorities without a queue: the lowest is shed first.

use std::sync::{Arc, Mutex};

use throttlekit::{
    Admission, Admit, Ask, Clock, Event, Gcra, Guard, GuardBuilder, Limiter, ManualClock, Observer, Permit, Priority,
    Unified,
};

/// Counts what was refused, by priority.
#[derive(Clone, Default)]
struct Shed(Arc<Mutex<[u32; 4]>>);

impl Observer for Shed {
    fn observe(&self, event: &Event<'_>) {
        if event.result.is_ok_and(|decision| !decision.allowed) {
            let index = Priority::ALL.iter().position(|priority| *priority == event.priority).unwrap();
            self.0.lock().unwrap()[index] += 1;
        }
    }
}

fn ask<C: Clock, O: Observer + Clone>(guard: &Guard<C, O>, priority: Priority) -> Admission {
    guard.admit(&Ask::new("").priority(priority)).now().unwrap().unwrap()
}

/// How many slots a priority gets of an idle guard.
fn room(guard: &Guard, priority: Priority) -> usize {
    let permits: Vec<Permit> =
        std::iter::repeat_with(|| ask(guard, priority).permit).take_while(Permit::is_held).collect();
    permits.len()
}

fn fixed(limit: u32) -> GuardBuilder {
    Guard::builder().fixed(limit)
}

#[test]
fn low_requests_leave_a_fifth_and_the_others_nothing() {
    for (limit, low) in [(1, 1), (2, 1), (4, 3), (10, 8), (100, 80), (101, 80)] {
        let guard = fixed(limit).build().unwrap();
        let rooms = Priority::ALL.map(|priority| room(&guard, priority));
        let limit = limit as usize;
        assert_eq!(rooms, [low, limit, limit, limit]);
    }
}

#[test]
fn shares_can_be_chosen_and_follow_the_higher_ones_down() {
    let guard = fixed(10).priority_share(Priority::High, 0.7).build().unwrap();
    assert_eq!(Priority::ALL.map(|priority| room(&guard, priority)), [7, 7, 7, 10]);
    let guard = fixed(100).priority_share(Priority::Low, 0.29).priority_share(Priority::Normal, 0.57).build().unwrap();
    assert_eq!(Priority::ALL.map(|priority| room(&guard, priority)), [29, 57, 100, 100]);
    let guard = fixed(10).priority_share(Priority::Low, 1.0).build().unwrap();
    assert_eq!(room(&guard, Priority::Low), 10);
}

#[test]
fn what_is_in_flight_counts_for_all() {
    let guard = fixed(10).build().unwrap();
    let held: Vec<_> = (0..8).map(|_| ask(&guard, Priority::Critical)).collect();
    let low = ask(&guard, Priority::Low).decision;
    assert_eq!((low.allowed, low.limit, low.remaining), (false, 10, 0));
    let normal = ask(&guard, Priority::Normal);
    assert_eq!((normal.decision.allowed, normal.decision.remaining), (true, 1));
    drop((held, normal));
    assert_eq!(ask(&guard, Priority::Low).decision.remaining, 7, "of its share");
}

#[test]
fn a_plain_acquire_is_a_normal_request() {
    let guard = fixed(10).priority_share(Priority::Normal, 0.5).build().unwrap();
    let held: Vec<_> = (0..10).map(|_| guard.acquire()).collect();
    assert_eq!(held.iter().filter(|permit| permit.is_held()).count(), 5);
}

#[test]
fn what_is_shed_is_told_by_priority() {
    let shed = Shed::default();
    let guard = fixed(5).clock(ManualClock::new(0.0)).observer(shed.clone()).build().unwrap();
    let mut held = Vec::new();
    for priority in [Priority::Low; 6].into_iter().chain([Priority::Normal; 3]).chain([Priority::Critical; 2]) {
        held.push(ask(&guard, priority).permit);
    }
    assert_eq!(*shed.0.lock().unwrap(), [2, 2, 0, 2]);
}

#[test]
fn beside_a_rate_events_carry_the_priority_too() {
    let (clock, shed) = (ManualClock::new(0.0), Shed::default());
    let rate = Limiter::builder(Gcra::per_minute(1).unwrap()).clock(clock.clone()).build();
    let guard = fixed(5).clock(clock.clone()).build().unwrap();
    let builder = Unified::builder().concurrency(guard).rate(rate).clock(clock);
    let unified = builder.observer(shed.clone()).build().unwrap();
    for priority in [Priority::Critical, Priority::High, Priority::Low] {
        drop(unified.admit(&Ask::new("").priority(priority)).now().unwrap().unwrap());
    }
    assert_eq!(*shed.0.lock().unwrap(), [1, 0, 1, 0], "by the rate, and named by what they asked with");
}

#[test]
fn in_shadow_the_lowest_is_told_to_be_shed_and_admitted() {
    let shed = Shed::default();
    let builder = fixed(5).shadow(true).clock(ManualClock::new(0.0));
    let guard = builder.observer(shed.clone()).build().unwrap();
    let held: Vec<_> = (0..6).map(|_| ask(&guard, Priority::Low)).collect();
    assert!(held.iter().all(|admission| admission.decision.allowed && admission.permit.is_held()));
    assert_eq!((shed.0.lock().unwrap()[0], guard.in_flight()), (2, 6));
}

#[test]
fn bad_shares_name_their_priority() {
    for share in [0.0, 0.000_9, -1.0, 1.001, f64::NAN, f64::INFINITY] {
        let error = fixed(5).priority_share(Priority::High, share).build().unwrap_err();
        assert_eq!((error.option(), error.code()), ("concurrency.priorities.high", "config_invalid"));
    }
    let crossed = fixed(5).priority_share(Priority::Low, 0.9).priority_share(Priority::Normal, 0.8).build();
    assert_eq!(
        crossed.unwrap_err().to_string(),
        "concurrency.priorities.low is 0.9: must not be above that of a higher priority"
    );
    assert!(fixed(5).priority_share(Priority::Normal, 0.001).build().is_ok());
}

#[test]
fn priorities_have_names() {
    for priority in Priority::ALL {
        assert_eq!(priority.as_str().parse::<Priority>().unwrap(), priority);
        assert_eq!(priority.to_string(), priority.as_str());
    }
    assert_eq!("urgent".parse::<Priority>().unwrap_err().code(), "invalid_argument");
    assert!(Priority::ALL.is_sorted());
}
