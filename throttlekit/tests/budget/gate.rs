//! The gate: what may begin, and that each reservation is settled once.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use proptest::prelude::*;
use throttlekit::budget::{
    Budget, Gate, GateRule, Ledger, Reservation, ReservationOptions, ReservationPolicy, Reserved, Served, TokenBudget,
};
use throttlekit::store::Remote;
use throttlekit::{Admit, Ask, Axis, Error, MAX_SAFE, ManualClock, Outcome, Run};

use crate::support::{CasStore, DownStore, Mulberry, allow, deny, polled};

type Local = Gate<Ledger<Served>, ManualClock>;
type Work = Reservation<Ledger<Served>, ManualClock, ()>;
type Answer = Reserved<Ledger<Served>, ManualClock, ()>;

fn rule(budget: u64) -> Budget {
    Budget::builder().budget(budget as f64).window_ms(1_000.0).build().unwrap()
}

fn gate_of(budget: u64, policy: ReservationPolicy, rule_of: GateRule) -> (Local, ManualClock) {
    let clock = ManualClock::new(0.0);
    let meter = TokenBudget::builder(rule(budget)).clock(clock.clone()).build();
    (Gate::builder(meter, policy).rule(rule_of).ttl_ms(5_000.0).build().unwrap(), clock)
}

fn gate(budget: u64) -> (Local, ManualClock) {
    gate_of(budget, ReservationPolicy::max(100).unwrap(), GateRule::Fits)
}

fn now<T>(run: Run<Result<T, Error>>) -> T {
    run.now().ok().unwrap().unwrap()
}

fn take(gate: &Local, tokens: u64) -> Option<Work> {
    now(gate.reserve_tokens("k", tokens)).reservation
}

#[test]
fn what_is_reserved_counts_against_admission() {
    let (gate, clock) = gate(1_000);
    clock.set(100.0);
    let first = now(gate.reserve_tokens("k", 600));
    assert_eq!(first.decision, allow(1_000, 400, 1_000));
    let second = now(gate.reserve_tokens("k", 600));
    assert_eq!(second.decision, deny(1_000, 400, 1_000, 900));
    assert!(second.reservation.is_none());
    assert!(take(&gate, 400).is_some(), "dropped at once");
    assert_eq!(gate.outstanding("k"), 600);
    assert!(now(gate.reserve_tokens("other", 600)).decision.allowed);
    drop(first);
    assert_eq!(gate.outstanding("k"), 0);
    assert!(take(&gate, 1_000).is_some());
    assert!(take(&gate, 1_001).is_none());
}

#[test]
fn debits_move_tokens_from_the_reservation_to_the_meter() {
    let (gate, _) = gate(1_000);
    let work = take(&gate, 600).unwrap();
    assert_eq!(now(work.debit(200)), allow(1_000, 800, 1_000));
    assert_eq!((gate.outstanding("k"), work.debited(), work.tokens()), (400, 200, 600));
    assert!(take(&gate, 401).is_none(), "200 are counted and 400 reserved");
    assert!(take(&gate, 400).is_some());
    now(work.debit(500));
    assert_eq!((gate.outstanding("k"), work.debited()), (0, 700), "more than was reserved");
    assert_eq!(now(work.debit(400)), allow(1_000, 0, 1_000), "the debit that crosses");
    assert!(!now(work.debit(1)).allowed);
    assert_eq!(work.debited(), 1_100);
    assert!(take(&gate, 0).is_none(), "nothing is left");
    drop(work);
    assert_eq!(gate.meter().usage("k").unwrap().served, 1_100, "what was produced stays counted");
}

#[test]
fn work_in_flight_may_count_in_full() {
    let (gate, _) = gate_of(1_000, ReservationPolicy::max(100).unwrap(), GateRule::InFlight);
    let work = take(&gate, 600).unwrap();
    now(work.debit(500));
    assert_eq!(gate.outstanding("k"), 600);
    assert!(take(&gate, 401).is_none());
    let other = now(gate.reserve_tokens("k", 400));
    assert_eq!(other.decision, allow(1_000, 0, 1_000));
    drop(work);
    assert!(take(&gate, 600).is_some(), "also beyond the 500 that are left");
    drop(other);
    gate.meter().debit("k", 500).unwrap();
    assert!(take(&gate, 1).is_none());
}

#[test]
fn a_charge_counts_whatever_is_left_and_a_commit_knows_of_it() {
    let (gate, _) = gate(1_000);
    let work = take(&gate, 600).unwrap();
    now(work.debit(1_000));
    assert!(!now(work.charge(50)).allowed, "nothing was left");
    assert_eq!((work.debited(), gate.outstanding("k"), gate.meter().usage("k").unwrap().served), (1_050, 0, 1_050));
    assert_eq!(now(work.commit(1_050)), None, "all of it is counted");
    assert_eq!(gate.meter().usage("k").unwrap().served, 1_050);
}

#[test]
fn a_commit_charges_or_gives_back_the_difference() {
    let (gate, clock) = gate(1_000);
    let served = || gate.meter().usage("k").unwrap().served;
    let work = take(&gate, 100).unwrap();
    assert_eq!(now(work.commit(70)), Some(allow(1_000, 930, 1_000)));
    assert_eq!((served(), gate.outstanding("k")), (70, 0));

    let work = take(&gate, 100).unwrap();
    now(work.debit(50));
    assert_eq!(now(work.commit(50)), None);
    assert_eq!(served(), 120);

    let work = take(&gate, 100).unwrap();
    now(work.debit(50));
    assert_eq!(now(work.commit(20)), Some(allow(1_000, 860, 1_000)));
    assert_eq!(served(), 140);

    // Of 30 debited before the window turned and 20 after it, 20 can be given back.
    let work = take(&gate, 100).unwrap();
    now(work.debit(30));
    clock.set(1_000.0);
    now(work.debit(20));
    now(gate.meter().run_debit("k", 5));
    now(work.commit(10));
    assert_eq!(served(), 5);

    let work = take(&gate, 100).unwrap();
    now(work.debit(30));
    clock.set(2_000.0);
    now(gate.meter().run_debit("k", 9));
    now(work.commit(0));
    assert_eq!(served(), 9, "the window that goes on has not counted it");
    assert_eq!(gate.stats().outstanding, 0);
}

#[test]
fn a_commit_gives_back_what_was_counted() {
    let (gate, _) = gate(100_000);
    gate.meter().debit("k", 99_000).unwrap();
    let work = take(&gate, 1).unwrap();
    now(work.debit(1));
    assert!(!now(work.debit(MAX_SAFE - 1)).allowed);
    assert_eq!((work.debited(), gate.meter().usage("k").unwrap().served), (1, 99_001));
    now(work.commit(0));
    assert_eq!(gate.meter().usage("k").unwrap().served, 99_000);
}

#[test]
fn a_commit_gives_back_no_debt_that_was_used() {
    let (gate, _) = gate(100);
    let served = || gate.meter().usage("k").unwrap().served;
    let work = take(&gate, 100).unwrap();
    now(work.charge(1_000));
    now(work.commit(850));
    assert_eq!(served(), 850);
    assert!(take(&gate, 1).is_none());
}

#[test]
fn the_policy_chooses_and_learns() {
    let policy = ReservationPolicy::learned(ReservationOptions::new(1.0, 4.0, 512.0)).unwrap();
    let (gate, _) = gate_of(10_000, policy, GateRule::Fits);
    let reserve = || now(gate.reserve("k", None)).reservation.unwrap();
    let tokens = |gate: &Local| gate.policy().reserve(None).amount();
    let work = reserve();
    assert_eq!(work.tokens(), 256);
    now(work.commit(100));
    assert_eq!(tokens(&gate), 128);
    let work = reserve();
    now(work.debit(400));
    work.finish();
    assert_eq!(tokens(&gate), 490, "as after 100 and 400");
    let work = reserve();
    now(work.debit(1));
    work.release();
    drop(reserve());
    assert_eq!(tokens(&gate), 490, "work that was given up teaches nothing");
}

#[test]
fn predictions_are_scored_by_the_work_they_were_for() {
    let policy = ReservationPolicy::predictive(ReservationOptions::new(1.0, 4.0, 512.0)).unwrap();
    let (gate, _) = gate_of(10_000, policy, GateRule::Fits);
    let works = [100.0, 400.0, 30.0].map(|cost| (now(gate.reserve("k", Some(cost))).reservation.unwrap(), cost));
    for (work, cost) in works {
        now(work.commit(cost as u64));
    }
    let ReservationPolicy::Predictive(predictive) = gate.policy() else { panic!("another policy") };
    assert!(predictive.weights()[0] > 0.99);
}

#[test]
fn reservations_expire_when_their_holder_has_vanished() {
    let (gate, clock) = gate(1_000);
    let lost = take(&gate, 600).unwrap();
    #[allow(clippy::mem_forget)] // so a holder vanishes
    std::mem::forget(lost);
    let used = take(&gate, 300).unwrap();
    clock.set(4_000.0);
    now(used.debit(10));
    clock.set(4_999.0);
    assert!(take(&gate, 200).is_none());
    clock.set(5_000.0);
    assert!(take(&gate, 200).is_some(), "600 came back");
    assert_eq!((gate.outstanding("k"), gate.stats().expired), (290, 1), "what is used lives on");
    clock.set(8_999.0);
    assert!(take(&gate, 711).is_none());
    clock.set(9_000.0);
    assert!(take(&gate, 711).is_some());
    assert_eq!(gate.stats().expired, 2);
    assert!(now(used.debit(5)).allowed, "the meter goes on counting");
    now(used.commit(15));
    assert_eq!((gate.stats().outstanding, gate.outstanding("k")), (0, 0));
}

#[test]
fn there_are_at_most_so_many() {
    let meter = TokenBudget::builder(rule(1_000)).clock(ManualClock::new(0.0)).build();
    let gate = Gate::builder(meter, ReservationPolicy::max(1).unwrap()).max_outstanding(2).build().unwrap();
    let held = [take(&gate, 1), take(&gate, 1)];
    let refused = now(gate.reserve_tokens("other", 1));
    assert_eq!(refused.decision, deny(1_000, 1_000, 1_000, 1));
    assert_eq!((gate.stats().outstanding, gate.stats().refused_full), (2, 1));
    drop(held);
    assert!(take(&gate, 1).is_some());
    let builder = || Gate::builder(gate.meter().clone(), ReservationPolicy::max(1).unwrap());
    assert_eq!(builder().max_outstanding(0).build().unwrap_err().option(), "gate.maxOutstanding");
    for ttl_ms in [0.0, 0.5, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(builder().ttl_ms(ttl_ms).build().unwrap_err().option(), "gate.ttlMs", "{ttl_ms}");
    }
}

#[test]
fn doors_hold_a_reservation_as_a_permit() {
    let (gate, _) = gate(1_000);
    let ask = |cost: f64| gate.admit(&Ask::new("k").cost(cost)).now().ok().unwrap();
    for outcome in [Outcome::Completed, Outcome::Dropped, Outcome::Ignored] {
        let mut admission = ask(599.5).unwrap();
        assert!(admission.decision.allowed && admission.axes.cost.is_some());
        assert_eq!(gate.outstanding("k"), 600);
        let denied = ask(600.0).unwrap();
        assert_eq!((denied.binding, denied.permit.is_held()), (Some(Axis::Cost), false));
        admission.permit.begin();
        admission.permit.settle(outcome);
        assert_eq!(gate.outstanding("k"), 0, "{outcome:?}");
    }
    drop(ask(10.0).unwrap());
    assert_eq!(gate.outstanding("k"), 0);
    assert_eq!(ask(f64::NAN).unwrap_err().code(), "invalid_argument");
}

#[test]
fn threads_never_reserve_more_than_there_is() {
    let (gate, _) = gate(1_000);
    let (reserved, most) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gate, reserved, most) = (&gate, &reserved, &most);
            scope.spawn(move || {
                let mut random = Mulberry::new(thread);
                for _ in 0..2_000 {
                    let tokens = 1 + random.below(500.0) as u64;
                    if let Some(work) = take(gate, tokens) {
                        let sum = reserved.fetch_add(tokens, Ordering::SeqCst) + tokens;
                        most.fetch_max(sum, Ordering::SeqCst);
                        reserved.fetch_sub(tokens, Ordering::SeqCst);
                        drop(work);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 1_000);
    assert_eq!((gate.outstanding("k"), gate.stats().outstanding), (0, 0));
}

fn fleet(store: CasStore) -> Gate<Remote, ManualClock> {
    let meter = TokenBudget::builder(rule(1_000)).keyspace(Remote::new(store)).clock(ManualClock::new(0.0)).build();
    Gate::builder(meter, ReservationPolicy::max(600).unwrap()).build().unwrap()
}

#[tokio::test]
async fn over_a_store_reservations_count_in_the_order_of_the_requests() {
    let gate = fleet(CasStore::default());
    // All three ask the store at once; the third fits beside the first.
    let asked = [600, 600, 400].map(|tokens| gate.reserve_tokens("k", tokens));
    let [first, second, third] = asked;
    let (third, second, first) = tokio::join!(third, second, first);
    assert!(first.as_ref().unwrap().decision.allowed);
    assert!(!second.unwrap().decision.allowed);
    // It came after the second, which was not refused yet when the meter answered.
    assert!(!third.unwrap().decision.allowed);
    assert!(gate.reserve_tokens("k", 400).await.unwrap().decision.allowed);
    let work = first.unwrap().reservation.unwrap();
    assert!(work.debit(100).await.unwrap().allowed);
    assert_eq!(gate.outstanding("k"), 500);
    assert_eq!(work.commit(150).await.unwrap().unwrap().remaining, 850);
    assert_eq!(gate.outstanding("k"), 0);
}

#[tokio::test]
async fn what_went_to_the_meter_meanwhile_is_not_lost() {
    let gate = fleet(CasStore::default());
    let work = gate.reserve_tokens("k", 600).await.unwrap().reservation.unwrap();
    // The store answers what was counted before; then the work debits; then the request goes on.
    let mut asked = Box::pin(gate.reserve_tokens("k", 500));
    let mut context = Context::from_waker(Waker::noop());
    assert!(asked.as_mut().poll(&mut context).is_pending(), "asks the store");
    assert!(asked.as_mut().poll(&mut context).is_pending(), "has read it");
    work.debit(600).await.unwrap();
    assert_eq!(gate.outstanding("k"), 500, "that of the request");
    assert!(!asked.await.unwrap().decision.allowed, "600 are counted");
}

#[tokio::test]
async fn a_request_that_is_given_up_reserves_nothing() {
    for polls in 0..6 {
        let gate = fleet(CasStore::default());
        drop(polled(gate.reserve_tokens("k", 600), polls));
        assert_eq!((gate.outstanding("k"), gate.stats().outstanding), (0, 0), "after {polls} polls");
        let work = gate.reserve_tokens("k", 600).await.unwrap().reservation.unwrap();
        drop(polled(work.debit(100), polls));
        drop(polled(work.commit(300), polls));
        assert_eq!((gate.outstanding("k"), gate.stats().outstanding), (0, 0), "after {polls} polls");
        let served = gate.meter().usage("k").await.unwrap().served;
        assert!([0, 100, 200, 300, 400].contains(&served), "{served} after {polls} polls");
    }
}

#[tokio::test]
async fn a_store_that_is_out_reserves_nothing() {
    let meter = TokenBudget::builder(rule(1_000)).keyspace(Remote::new(DownStore)).build();
    let gate = Gate::builder(meter, ReservationPolicy::max(600).unwrap()).build().unwrap();
    assert!(gate.reserve("k", None).await.unwrap_err().is_store_unavailable());
    assert_eq!(gate.stats().outstanding, 0);
}

/// `round(median * exp(1.4 * 4u))` with `u` the mean of three draws about 0, cut to `1..=cap`.
fn heavy_tail(n: usize, median: f64, cap: f64, seed: u32) -> Vec<f64> {
    let mut random = Mulberry::new(seed);
    (0..n)
        .map(|_| {
            let u = (random.draw() + random.draw() + random.draw()) / 3.0 - 0.5;
            (median * (1.4 * (u * 4.0)).exp()).round().clamp(1.0, cap)
        })
        .collect()
}

/// First come, first served, on some slots, a token each in every round; admitted, completed, and what was counted.
fn simulate(slots: usize, policy: ReservationPolicy, ask: impl Fn(&Local, f64) -> Answer) -> (usize, usize, u64) {
    let (gate, _) = gate_of(1_000, policy, GateRule::InFlight);
    let mut queue = heavy_tail(400, 120.0, 512.0, 7).into_iter().peekable();
    let mut running: Vec<Option<(Work, u64)>> = (0..slots).map(|_| None).collect();
    let (mut admitted, mut completed) = (0, 0);
    for round in 0..=400 {
        if round > 0 {
            for slot in &mut running {
                let Some((work, rest)) = slot else { continue };
                if !now(work.debit(1)).allowed {
                    *slot = None;
                    continue;
                }
                *rest -= 1;
                if *rest == 0 {
                    completed += 1;
                    if let Some((work, _)) = slot.take() {
                        work.finish();
                    }
                }
            }
        }
        for slot in running.iter_mut().filter(|slot| slot.is_none()) {
            let Some(&cost) = queue.peek() else { break };
            let Some(work) = ask(&gate, cost).reservation else { break };
            queue.next();
            admitted += 1;
            *slot = Some((work, cost as u64));
        }
    }
    (admitted, completed, gate.meter().usage("k").unwrap().served)
}

#[test]
fn work_is_paced_as_published() {
    let max = ReservationPolicy::max(512).unwrap();
    let mut learned = ReservationOptions::new(1.0, 4.0, 512.0).build().unwrap();
    for cost in heavy_tail(3_000, 120.0, 512.0, 99) {
        learned.observe(cost);
    }
    assert!((learned.continuous() - 263.264).abs() < 1e-3);
    let learned = ReservationPolicy::Learned(learned);
    let nothing = |gate: &Local, _| now(gate.reserve_tokens("k", 0));
    let policy = |gate: &Local, _| now(gate.reserve("k", None));
    let oracle = |gate: &Local, cost| now(gate.reserve_tokens("k", cost as u64));
    assert_eq!(simulate(8, max, nothing), (15, 8, 1_000));
    assert_eq!(simulate(16, max, nothing), (21, 5, 1_000));
    assert_eq!(simulate(8, max, policy), (5, 4, 400));
    assert_eq!(simulate(16, max, policy), (5, 4, 400));
    assert_eq!(simulate(8, learned, policy), (13, 9, 1_000));
    assert_eq!(simulate(16, learned, policy), (13, 9, 1_000));
    assert_eq!(simulate(8, max, oracle), (13, 9, 1_000));
    assert_eq!(simulate(16, max, oracle), (11, 8, 1_000));
}

proptest! {
    /// Work that costs no more than it reserved is never cut off, and leaves nothing behind.
    #[test]
    fn what_fits_is_never_cut_off(
        budget in 20_u64..300, seed: u32,
        costs in prop::collection::vec((1_u64..60, 0_u64..20), 1..60),
    ) {
        let (gate, _) = gate(budget);
        let mut random = Mulberry::new(seed);
        let mut queue = costs.into_iter();
        let mut running: Vec<(Work, u64)> = Vec::new();
        let (mut produced, mut sum) = (0, 0);
        loop {
            let start = running.is_empty() || random.draw() < 0.3;
            if start {
                let Some((cost, spare)) = queue.next() else { break };
                let answer = now(gate.reserve_tokens("k", cost + spare));
                let fits = produced + sum + cost + spare <= budget && produced < budget;
                prop_assert_eq!(answer.decision.allowed, fits);
                if let Some(work) = answer.reservation {
                    sum += cost + spare;
                    running.push((work, cost));
                }
                continue;
            }
            let at = random.below(running.len() as f64) as usize;
            let (work, rest) = &mut running[at];
            let piece = (*rest).min(1 + random.below(9.0) as u64);
            prop_assert!(now(work.debit(piece)).allowed);
            (produced, sum, *rest) = (produced + piece, sum - piece, *rest - piece);
            if *rest == 0 {
                let (work, _) = running.swap_remove(at);
                sum -= work.tokens() - work.debited();
                work.finish();
            }
            prop_assert_eq!(gate.outstanding("k"), sum);
        }
        drop(running);
        prop_assert_eq!((gate.outstanding("k"), gate.stats().outstanding), (0, 0));
        prop_assert_eq!(gate.meter().usage("k").unwrap().served, produced);
        prop_assert!(produced <= budget);
    }
}
