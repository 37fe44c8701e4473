//! A slot is given back exactly once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use throttlekit::{Admission, Axes, Outcome, Permit, Settle, Slot};

#[derive(Default)]
struct Ledger(Mutex<Vec<(Slot, Outcome)>>);

impl Ledger {
    fn settled(&self) -> Vec<(Slot, Outcome)> {
        self.0.lock().unwrap().clone()
    }
}

impl Settle for Ledger {
    fn settle(&self, slot: Slot, outcome: Outcome) {
        self.0.lock().unwrap().push((slot, outcome));
    }
}

const SLOT: Slot = Slot { taken_at: 17, detail: 4 };

fn held() -> (Arc<Ledger>, Permit) {
    let ledger = Arc::new(Ledger::default());
    let owner: Arc<dyn Settle> = Arc::<Ledger>::clone(&ledger);
    (ledger, Permit::new(owner, SLOT))
}

#[test]
fn dropped_before_the_work_begins_nothing_was_learnt() {
    let (ledger, permit) = held();
    assert!(permit.is_held());
    drop(permit);
    assert_eq!(ledger.settled(), [(SLOT, Outcome::Ignored)]);
}

#[test]
fn dropped_after_the_work_began_it_was_cut_off() {
    let (ledger, mut permit) = held();
    permit.begin();
    permit.begin();
    drop(permit);
    assert_eq!(ledger.settled(), [(SLOT, Outcome::Dropped)]);
}

#[test]
fn the_first_settling_counts() {
    for outcome in [Outcome::Completed, Outcome::Dropped, Outcome::Ignored] {
        let (ledger, mut permit) = held();
        permit.begin();
        permit.settle(outcome);
        assert!(!permit.is_held());
        permit.settle(Outcome::Completed);
        permit.begin();
        drop(permit);
        assert_eq!(ledger.settled(), [(SLOT, outcome)]);
    }
}

#[test]
fn a_panic_of_the_work_gives_the_slot_back() {
    let (ledger, mut permit) = held();
    let work = catch_unwind(AssertUnwindSafe(move || {
        permit.begin();
        panic!("the work failed");
    }));
    assert!(work.is_err());
    assert_eq!(ledger.settled(), [(SLOT, Outcome::Dropped)]);
}

#[test]
fn it_can_be_settled_on_another_thread() {
    let (ledger, mut permit) = held();
    std::thread::spawn(move || permit.settle(Outcome::Completed)).join().unwrap();
    assert_eq!(ledger.settled(), [(SLOT, Outcome::Completed)]);
}

#[test]
fn an_admission_that_is_dropped_gives_its_slot_back() {
    let (ledger, permit) = held();
    drop(Admission::from_axes(Axes::default(), permit));
    assert_eq!(ledger.settled(), [(SLOT, Outcome::Ignored)]);
}

#[test]
fn moving_it_settles_nothing() {
    let (ledger, permit) = held();
    let boxed = Box::new(permit);
    let mut permits = vec![*boxed];
    let permit = permits.pop().unwrap();
    assert_eq!(ledger.settled(), []);
    drop(permit);
    assert_eq!(ledger.settled().len(), 1);
}

#[test]
fn an_empty_permit_settles_nothing() {
    let mut permit = Permit::default();
    assert!(!permit.is_held());
    permit.begin();
    permit.settle(Outcome::Completed);
    drop(permit);
    assert_eq!(format!("{:?}", Permit::none()), "Permit { held: false, begun: false, .. }");
}
