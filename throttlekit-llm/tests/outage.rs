//! Tokens that a limit in memory counted while the store of the meter was out.
#![allow(clippy::unwrap_used)] // a failing unwrap is a failing test

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use throttlekit::budget::{Budget, TokenBudget};
use throttlekit::store::{Call, Remote, Store};
use throttlekit::{Error, Fallback, ManualClock, Meter, Outage};
use throttlekit_llm::{Account, MeterAccount};

/// A store in memory that can be switched off.
#[derive(Clone, Default)]
struct Switched {
    rows: Arc<Mutex<HashMap<String, String>>>,
    off: Arc<AtomicBool>,
}

impl Store for Switched {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        if self.off.load(Ordering::Relaxed) {
            return Err(Error::store_unavailable("it is switched off"));
        }
        let mut rows = self.rows.lock().unwrap();
        let states: Vec<_> = call.keys().iter().map(|key| rows.get(key).cloned()).collect();
        for write in call.step(&states, call.now_ms())? {
            let key = call.keys()[write.key].clone();
            match write.state {
                Some((text, _)) => rows.insert(key, text),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

/// A budget of 1000 in a store, and as much in memory while that is out.
struct Setup {
    store: Switched,
    meter: Arc<dyn Meter>,
}

fn setup() -> Setup {
    let store = Switched::default();
    let budget = Budget::builder().budget(1_000.0).window_ms(60_000.0).build().unwrap();
    let clock = ManualClock::new(0.0);
    let shared = TokenBudget::builder(budget).keyspace(Remote::new(store.clone())).clock(clock.clone()).build();
    let meter = Fallback::new(shared, &Outage::new(), move || {
        Ok(Arc::new(TokenBudget::builder(budget).clock(clock.clone()).build()))
    });
    Setup { store, meter: Arc::new(meter) }
}

impl Setup {
    fn set_out(&self, out: bool) {
        self.store.off.store(out, Ordering::Relaxed);
    }

    /// Takes one token more, to see how many are left.
    fn left(&self) -> u64 {
        self.meter.debit("k", 1.0).now_or_never().unwrap().unwrap().remaining
    }

    fn account(&self) -> MeterAccount {
        MeterAccount::new(self.meter.clone(), "k")
    }
}

fn reserve(account: &mut MeterAccount, tokens: u64) {
    assert!(account.reserve_up_to(tokens).now_or_never().unwrap().unwrap().unwrap().allowed);
}

fn settle(account: MeterAccount, tokens: u64) {
    Box::new(account).settle(tokens).now_or_never().unwrap().unwrap();
}

#[test]
fn the_store_is_not_given_what_it_did_not_count() {
    let setup = setup();
    assert!(setup.meter.debit("k", 990.0).now_or_never().unwrap().unwrap().allowed);
    setup.set_out(true);
    let mut account = setup.account();
    reserve(&mut account, 500);
    setup.set_out(false);
    settle(account, 20);
    assert_eq!(setup.left(), 9);
}

#[test]
fn what_is_used_is_of_the_store_as_far_as_that_counted() {
    for (used, left) in [(0, 999), (30, 969), (100, 899), (400, 899), (600, 899), (650, 849)] {
        let setup = setup();
        let mut account = setup.account();
        reserve(&mut account, 100);
        setup.set_out(true);
        reserve(&mut account, 600);
        assert_eq!(account.prepaid(), 600);
        setup.set_out(false);
        settle(account, used);
        assert_eq!(setup.left(), left, "{used} used");
    }
}

#[test]
fn what_the_store_counted_after_an_outage_it_gets_back() {
    let setup = setup();
    setup.set_out(true);
    setup.left();
    setup.set_out(false);
    setup.left();
    let mut account = setup.account();
    reserve(&mut account, 500);
    settle(account, 20);
    assert_eq!(setup.left(), 1_000 - 1 - 20 - 1);
}
