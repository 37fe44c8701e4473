//! Gateways that lease from one budget and debit in process.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // small whole numbers

use proptest::prelude::*;
use throttlekit::budget::{Budget, Served, TokenBudget};
use throttlekit::lease::{Sizer, TwoTier};
use throttlekit::store::Remote;
use throttlekit::store::memory::Table;
use throttlekit::{ManualClock, Meter};

use crate::support::{CasStore, Mulberry};

fn budget(units: u64) -> Budget {
    Budget::builder().budget(units as f64).window_ms(1_000.0).build().unwrap()
}

type Gateway = TwoTier<Budget, Table<Served>, ManualClock>;

fn gateway(units: u64, batch: u64, keys: &Table<Served>, clock: &ManualClock) -> Gateway {
    budget(units).leased().batch(batch as f64).keyspace(keys.clone()).clock(clock.clone()).build().unwrap()
}

fn debit(gateway: &Gateway, tokens: u64) -> bool {
    gateway.run_check("k", tokens as f64).now().ok().unwrap().unwrap().allowed
}

#[test]
fn a_batch_takes_one_trip() {
    let (keys, clock) = (Table::new(), ManualClock::new(0.0));
    let leased = gateway(1_000, 100, &keys, &clock);
    let plain = TokenBudget::builder(budget(1_000)).keyspace(keys.clone()).clock(clock.clone()).build();
    assert!((0..100).all(|_| debit(&leased, 1)));
    assert_eq!(plain.usage("k").unwrap().served, 100);
    assert!(debit(&leased, 1));
    assert_eq!(plain.usage("k").unwrap().served, 200);
    assert!(plain.debit("k", 795).unwrap().allowed);
    assert_eq!((0..200).filter(|_| debit(&leased, 1)).count(), 99 + 5, "what is left of the batch and of the budget");
    assert!(!plain.debit("k", 1).unwrap().allowed);
    clock.set(1_000.0);
    assert!(debit(&leased, 1));
}

#[test]
fn a_chunk_never_crosses_the_budget() {
    let (keys, clock) = (Table::new(), ManualClock::new(0.0));
    let leased = gateway(20, 8, &keys, &clock);
    assert!(debit(&leased, 7) && debit(&leased, 7));
    assert!(!debit(&leased, 7), "6 are left");
    assert!(debit(&leased, 6), "and are there for a smaller one");
    assert!(!debit(&leased, 1));
}

/// Sizes that are not whole.
struct Half;

impl Sizer for Half {
    fn size(&mut self) -> f64 {
        2.5
    }

    fn observe(&mut self, _demand: f64) {}
}

#[test]
fn leases_are_of_whole_tokens() {
    let error = budget(20).leased().batch(1.5).build().unwrap_err();
    let allowed = "must be a whole number, since nothing less than a unit is counted";
    assert_eq!(error.to_string(), format!("twoTier.batch is 1.5: {allowed}"));

    let (keys, clock) = (Table::new(), ManualClock::new(0.0));
    let leased = budget(20).leased().sizer(|| Half).keyspace(keys.clone()).clock(clock.clone()).build().unwrap();
    assert!(debit(&leased, 1));
    let plain = TokenBudget::builder(budget(20)).keyspace(keys).clock(clock).build();
    assert_eq!(plain.usage("k").unwrap().served, 2);
}

#[tokio::test]
async fn over_a_store_it_is_a_meter() {
    let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
    let gateway = || {
        let leased = budget(100).leased().batch(20.0).keyspace(Remote::new(store.clone())).prefix("b");
        leased.clock(clock.clone()).build().unwrap()
    };
    let gateways = [gateway(), gateway()];
    let mut debited = 0;
    for step in 0..150 {
        debited += u64::from(gateways[step % 2].debit("k", 1.0).await.unwrap().allowed);
    }
    assert_eq!(debited, 100);
    assert_eq!(store.text("b:k").as_deref(), Some(r#"{"w":0,"s":100}"#));
    assert!(store.calls() <= 8, "{} trips", store.calls());
}

#[test]
fn a_budget_that_carries_debt_is_not_coupled() {
    let builder = Budget::builder().budget(10.0).window_ms(1_000.0).carry_debt(true);
    let leased = builder.build().unwrap().leased().batch(5.0);
    assert!(leased.clock(ManualClock::new(0.0)).build().is_ok());
    let coupled = builder.build().unwrap().leased().batch(5.0).window_coupled(true);
    assert!(coupled.build().is_err());
}

proptest! {
    /// Any gateways, batches, chunks and times.
    #[test]
    fn all_together_debit_at_most_the_budget(
        units in 5_u64..200, batches in prop::collection::vec(1_u64..40, 1..6), chunk in 1_u64..12, seed: u32,
    ) {
        let (keys, clock) = (Table::new(), ManualClock::new(0.0));
        let gateways: Vec<_> = batches.iter().map(|batch| gateway(units, *batch, &keys, &clock)).collect();
        let mut random = Mulberry::new(seed);
        for _window in 0..5 {
            let mut debited = 0;
            for _step in 0..100 {
                clock.advance(random.below(10.0));
                let gateway = &gateways[random.below(gateways.len() as f64) as usize];
                let tokens = 1 + random.below(chunk as f64) as u64;
                debited += if debit(gateway, tokens) { tokens } else { 0 };
            }
            prop_assert!(debited <= units, "{} of {}", debited, units);
            clock.set((throttlekit::Clock::now_ms(&clock) / 1_000.0).floor() * 1_000.0 + 1_000.0);
        }
    }
}
