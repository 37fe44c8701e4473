//! Shares that are lent as far as nobody is owed them.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small whole numbers

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use throttlekit::fair::{FairEscrow, FairEscrowBuilder};
use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote, Store};
use throttlekit::strategy::fixed_window::Count;
use throttlekit::{Admit, Ask, Decision, DynLimiter as _, Error, FixedWindow, ManualClock, Meter};

use crate::support::{CasStore, CountingClock, DownStore, Mulberry, Recorder, deny, polled};

fn builder(limit: f64) -> FairEscrowBuilder {
    FairEscrow::builder().limit(limit).window_ms(1_000.0)
}

fn fair(limit: f64, weights: &[(&'static str, f64)]) -> (FairEscrow<ManualClock>, ManualClock) {
    let clock = ManualClock::new(0.0);
    (builder(limit).weights(weights.iter().copied()).clock(clock.clone()).build().unwrap(), clock)
}

fn now(fair: &FairEscrow<ManualClock>, tenant: &str, cost: f64) -> Decision {
    fair.run_check(tenant, cost).now().ok().unwrap().unwrap()
}

/// Instant, tenant, cost; whether admitted, limit and what remains.
type Step = (f64, &'static str, f64, bool, u64, u64);

fn follows(limit: f64, weights: &[(&'static str, f64)], steps: &[Step]) {
    let (fair, clock) = fair(limit, weights);
    for (at, &(now_ms, tenant, cost, allowed, limit, remaining)) in steps.iter().enumerate() {
        clock.set(now_ms);
        let decision = fair.check_cost(tenant, cost).unwrap();
        let end = (now_ms / 1_000.0).floor() * 1_000.0 + 1_000.0;
        let retry_after_ms = if allowed { 0 } else { (end - now_ms) as u64 };
        let expected = Decision { allowed, limit, remaining, reset_at_ms: end as i64, retry_after_ms };
        assert_eq!(decision, expected, "step {at}: {tenant} asks for {cost}");
    }
}

#[test]
fn what_others_are_owed_is_not_lent() {
    let steps: [Step; 6] = [
        (0.0, "A", 2.0, true, 10, 8),
        (0.0, "B", 1.0, true, 5, 4),
        (0.0, "A", 3.0, true, 5, 0),
        (0.0, "A", 1.0, false, 5, 0),
        (0.0, "B", 4.0, true, 5, 0),
        (250.0, "B", 1.0, false, 5, 0),
    ];
    follows(10.0, &[], &steps);
}

#[test]
fn weights_and_windows() {
    let steps: [Step; 8] = [
        (0.0, "H", 1.0, true, 10, 9),
        (0.0, "L", 1.0, true, 2, 1),
        (0.0, "L", 1.0, true, 2, 0),
        (0.0, "L", 1.0, false, 2, 0),
        (0.0, "H", 7.0, true, 8, 0),
        (0.0, "H", 1.0, false, 8, 0),
        (999.0, "L", 1.0, false, 2, 0),
        (1_000.0, "L", 1.0, true, 10, 9),
    ];
    follows(10.0, &[("H", 4.0)], &steps);
}

#[test]
fn what_nobody_is_owed_is_lent() {
    let steps: [Step; 9] = [
        (0.0, "A", 1.0, true, 10, 9),
        (0.0, "B", 1.0, true, 5, 4),
        (0.0, "C", 1.0, true, 3, 2),
        (0.0, "A", 2.0, true, 3, 0),
        (0.0, "A", 1.0, true, 4, 0),
        (0.0, "B", 2.0, true, 3, 0),
        (0.0, "B", 1.0, false, 3, 0),
        (0.0, "C", 2.0, true, 3, 0),
        (0.0, "C", 1.0, false, 3, 0),
    ];
    follows(10.0, &[], &steps);
}

#[test]
fn shares_are_multiplied_before_they_are_divided() {
    let steps: [Step; 4] = [
        (0.0, "b", 1.0, true, 99, 98),
        (0.0, "a", 53.0, true, 54, 1),
        (0.0, "a", 1.0, true, 54, 0),
        (0.0, "a", 1.0, false, 54, 0),
    ];
    follows(99.0, &[("a", 6.0), ("b", 5.0)], &steps);
}

#[test]
fn fractions_are_added_up_tenant_by_tenant() {
    let (fair, _) = fair(2.0, &[]);
    let allowed =
        [("B", 0.1), ("A", 0.9), ("B", 0.2), ("B", 0.8)].map(|(tenant, cost)| now(&fair, tenant, cost).allowed);
    // 0.1 + 0.2 is more than 0.3; in the order of the requests the sum would be rounded the other way.
    assert_eq!(allowed, [true, true, true, false]);
}

#[test]
fn dropping_a_tenant_gives_nothing_back() {
    let clock = ManualClock::new(0.0);
    let fair = builder(4.0).max_tenants(1).clock(clock.clone()).build().unwrap();
    assert!(fair.check_cost("A", 4.0).unwrap().allowed);
    assert_eq!(fair.check_cost("B", 4.0).unwrap(), deny(4, 4, 1_000, 1_000));
    assert!(!fair.check_cost("A", 4.0).unwrap().allowed);
    let stats = fair.stats();
    assert_eq!((stats.total_used, stats.dropped_used, stats.pool, stats.tenants.len()), (4.0, 4.0, 0.0, 1));
    clock.set(1_000.0);
    assert!(fair.check_cost("B", 4.0).unwrap().allowed);
    assert_eq!(fair.stats().dropped_used, 0.0);
}

fn pooled(keys: &Table<Count>, quantum: f64, clock: &ManualClock) -> FairEscrow<ManualClock> {
    builder(10.0).pool(keys.clone(), quantum).clock(clock.clone()).build().unwrap()
}

#[test]
fn it_says_whether_a_store_is_asked() {
    let clock = ManualClock::new(0.0);
    let far = builder(10.0).pool(Remote::new(CasStore::default()), 5.0).clock(clock.clone()).build().unwrap();
    assert!(!far.is_immediate());
    assert!(pooled(&Table::new(), 5.0, &clock).is_immediate() && builder(10.0).build().unwrap().is_immediate());
}

#[test]
fn processes_share_a_pool() {
    let (keys, clock) = (Table::new(), ManualClock::new(0.0));
    let (first, second) = (pooled(&keys, 4.0, &clock), pooled(&keys, 4.0, &clock));
    let shown = |fair, tenant, cost| {
        let decision: Decision = now(fair, tenant, cost);
        (decision.allowed, decision.limit, decision.remaining)
    };
    assert_eq!(shown(&first, "A", 1.0), (true, 4, 3));
    assert_eq!(shown(&first, "A", 3.0), (true, 4, 0));
    assert_eq!(shown(&second, "A", 1.0), (true, 4, 3));
    assert_eq!(shown(&first, "A", 1.0), (false, 4, 0));
    assert_eq!(shown(&second, "B", 3.0), (true, 3, 0));
    clock.set(100.0);
    assert_eq!(now(&second, "A", 1.0), deny(1, 0, 1_000, 900));
    assert_eq!((first.stats().effective_limit, second.stats().pool), (4.0, 0.0));
    clock.set(1_000.0);
    assert_eq!(shown(&second, "A", 1.0), (true, 4, 3));
    assert!(first.check("A").is_err(), "with a pool an answer may have to be waited for");
}

#[test]
fn with_all_of_the_limit_as_quantum_a_pool_changes_nothing() {
    let mut random = Mulberry::new(4);
    for _ in 0..50 {
        let (keys, clock) = (Table::new(), ManualClock::new(0.0));
        let alone = builder(10.0).clock(clock.clone()).build().unwrap();
        let pooled = pooled(&keys, 10.0, &clock);
        for step in 0..80 {
            clock.advance(random.below(120.0));
            let (tenant, cost) = (["A", "B", "C"][random.below(3.0) as usize], 1.0 + random.below(5.0));
            assert_eq!(now(&alone, tenant, cost).allowed, now(&pooled, tenant, cost).allowed, "step {step}");
            assert_eq!(alone.stats().tenants, pooled.stats().tenants);
        }
    }
}

#[test]
fn resets_and_stats() {
    let (fair, clock) = fair(10.0, &[("A", 2.0)]);
    assert_eq!(fair.stats().window_start_ms, None);
    clock.set(2_500.0);
    fair.check_cost("A", 3.0).unwrap();
    fair.check_cost("B", 1.0).unwrap();
    let stats = fair.stats();
    assert_eq!((stats.window_start_ms, stats.limit, stats.effective_limit), (Some(2_000.0), 10.0, 10.0));
    assert_eq!((stats.pool, stats.total_used), (6.0, 4.0));
    let tenants: Vec<_> = stats.tenants.iter().map(|tenant| (&*tenant.tenant, tenant.weight, tenant.used)).collect();
    assert_eq!(tenants, [("A", 2.0, 3.0), ("B", 1.0, 1.0)]);
    fair.reset("A");
    assert_eq!((fair.stats().pool, fair.stats().tenants.len()), (9.0, 1));
    fair.reset_all();
    assert_eq!((fair.stats().pool, fair.stats().tenants.len(), fair.stats().window_start_ms), (10.0, 0, None));
}

#[test]
fn debug_shows_no_name_of_a_tenant() {
    let (fair, _) = fair(10.0, &[("secret-gold", 2.0)]);
    fair.check_cost("secret-gold", 3.0).unwrap();
    let text = format!("{:?} {fair:?}", fair.stats());
    assert!(text.contains("TenantStats { weight: 2.0, used: 3.0, .. }"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn arguments_are_judged_in_order_before_the_clock_is_read() {
    let clock = CountingClock::default();
    let fair = builder(10.0).weight_of(|_| f64::NAN).clock(clock.clone()).build().unwrap();
    assert!(fair.check_cost("", -1.0).unwrap_err().to_string().starts_with("the tenant is empty"));
    assert!(fair.check_cost("a", -1.0).unwrap_err().to_string().starts_with("cost is -1"));
    assert!(fair.check_cost("a", 1.0).unwrap_err().to_string().starts_with("weight is NaN"));
    assert_eq!(clock.take_readings(), 0);
    assert!(fair.run_check_weighted("a", 1.0, 2.0).now().ok().unwrap().unwrap().allowed);
    assert_eq!(clock.take_readings(), 1);
    let option = |builder: FairEscrowBuilder| builder.build().unwrap_err().option();
    assert_eq!(option(FairEscrow::builder().window_ms(1.0)), "fairEscrow.limit");
    assert_eq!(option(builder(0.5)), "fairEscrow.limit");
    assert_eq!(option(FairEscrow::builder().limit(1.0)), "fairEscrow.windowMs");
    assert_eq!(option(builder(1.0).weights([("a", 0.0)])), "fairEscrow.weights");
    assert_eq!(option(builder(1.0).max_tenants(0)), "fairEscrow.maxKeys");
    for quantum in [0.0, 1.5, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(option(builder(1.0).pool(Table::new(), quantum)), "fairEscrow.quantum", "{quantum}");
    }
}

#[tokio::test]
async fn doors_meters_and_observers() {
    let recorder = Arc::new(Recorder::default());
    let fair =
        builder(2.0).clock(ManualClock::new(0.0)).observer(Arc::clone(&recorder)).name("shared").build().unwrap();
    assert!(fair.admit(&Ask::new("a")).await.unwrap().decision.allowed);
    assert_eq!(fair.debit("a", 1.0).await.unwrap().remaining, 0);
    assert!(!fair.admit(&Ask::new("a")).await.unwrap().decision.allowed);
    let seen = recorder.take();
    assert_eq!(seen.iter().map(|seen| seen.result.unwrap().allowed).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!((seen[0].policy.as_str(), seen[0].strategy), ("shared", "fairEscrow"));
}

/// A pool over a store that waits.
fn remote(store: impl Store, limit: f64, quantum: f64, clock: &ManualClock) -> FairEscrow<ManualClock> {
    builder(limit).pool(Remote::new(store), quantum).clock(clock.clone()).build().unwrap()
}

#[tokio::test]
async fn misses_at_a_time_share_a_lease() {
    let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
    let fair = remote(store.clone(), 1_000.0, 100.0, &clock);
    let checks: Vec<_> = (0..100)
        .map(|_| {
            let fair = fair.clone();
            tokio::spawn(async move { fair.run_check("a", 1.0).await.unwrap().allowed })
        })
        .collect();
    for check in checks {
        assert!(check.await.unwrap());
    }
    assert_eq!((store.calls(), fair.stats().effective_limit), (1, 100.0));
    assert_eq!(store.text("tk:wfe:pool").unwrap(), r#"{"start":0,"count":100}"#);
}

#[tokio::test]
async fn a_refusal_is_remembered_until_the_window_turns() {
    let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
    let fair = remote(store.clone(), 10.0, 4.0, &clock);
    for _ in 0..8 {
        assert!(fair.run_check("a", 1.0).await.unwrap().allowed);
    }
    assert_eq!(store.calls(), 2);
    for _ in 0..20 {
        assert_eq!(fair.run_check("a", 1.0).await.unwrap(), deny(8, 0, 1_000, 1_000));
    }
    assert_eq!(store.calls(), 3);
    clock.set(1_000.0);
    assert!(fair.run_check("a", 1.0).await.unwrap().allowed);
}

#[tokio::test]
async fn a_lease_is_not_lost_with_who_asked_for_it() {
    for polls in 0..8 {
        let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
        let fair = remote(store.clone(), 10.0, 4.0, &clock);
        drop(polled(fair.run_check("a", 1.0), polls));
        assert!(fair.run_check("a", 1.0).await.unwrap().allowed, "after {polls} polls");
        assert_eq!(store.calls(), 1, "after {polls} polls: the next one drives it on");
        assert_eq!(fair.stats().effective_limit, 4.0);
    }
}

#[tokio::test]
async fn who_waits_is_woken_when_the_driver_is_gone() {
    let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
    let fair = remote(store, 10.0, 4.0, &clock);
    let driver = tokio::spawn({
        let fair = fair.clone();
        async move { fair.run_check("a", 1.0).await }
    });
    let waiter = tokio::spawn({
        let fair = fair.clone();
        async move { fair.run_check("b", 1.0).await.unwrap().allowed }
    });
    tokio::task::yield_now().await;
    driver.abort();
    assert!(waiter.await.unwrap());
}

/// Lets time pass between the store's answer and its arrival.
struct Slow {
    store: CasStore,
    clock: ManualClock,
    delays_ms: Mutex<Vec<f64>>,
}

impl Store for Slow {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        self.store.run(call).await?;
        let delay = self.delays_ms.lock().unwrap().pop();
        self.clock.advance(delay.unwrap_or(0.0));
        Ok(())
    }
}

#[tokio::test]
async fn a_lease_that_comes_after_the_window_is_not_used_in_the_next() {
    let (store, clock) = (CasStore::default(), ManualClock::new(900.0));
    let slow = Slow { store: store.clone(), clock: clock.clone(), delays_ms: Mutex::new(vec![0.0, 200.0]) };
    let fair = remote(slow, 10.0, 4.0, &clock);
    let decision = fair.run_check("a", 1.0).await.unwrap();
    assert_eq!((decision.allowed, decision.reset_at_ms), (true, 2_000));
    assert_eq!((store.calls(), fair.stats().effective_limit), (2, 4.0), "units of its own window");
    assert_eq!(store.text("tk:wfe:pool").unwrap(), r#"{"start":1000,"count":4}"#);

    // A window that turns on the way every time: it gives up.
    let clock = ManualClock::new(900.0);
    let slow = Slow { store: CasStore::default(), clock: clock.clone(), delays_ms: Mutex::new(vec![1_000.0; 9]) };
    let decision = remote(slow, 10.0, 4.0, &clock).run_check("a", 1.0).await.unwrap();
    assert_eq!(decision, deny(0, 0, 4_000, 1));
}

/// Judges by a clock of its own.
struct Ahead(CasStore, f64);

impl Store for Ahead {
    async fn run(&self, call: &mut Call) -> Result<(), Error> {
        let now_ms = call.now_ms() + self.1;
        self.0.run_at(call, now_ms).await
    }
}

#[tokio::test]
async fn units_of_a_window_that_the_store_is_in_already_wait_for_it() {
    let (store, clock) = (CasStore::default(), ManualClock::new(900.0));
    let fair = remote(Ahead(store.clone(), 200.0), 10.0, 4.0, &clock);
    for _ in 0..3 {
        assert_eq!(fair.run_check("a", 1.0).await.unwrap(), deny(0, 0, 1_000, 100));
    }
    assert_eq!(store.calls(), 1);
    clock.set(1_000.0);
    for _ in 0..4 {
        assert!(fair.run_check("a", 1.0).await.unwrap().allowed);
    }
    assert_eq!((store.calls(), fair.stats().effective_limit), (1, 4.0));
    clock.set(3_000.0);
    assert!(fair.run_check("a", 1.0).await.unwrap().allowed);
    assert_eq!(fair.stats().effective_limit, 4.0, "what waited is used once");
}

#[tokio::test]
async fn units_of_a_window_that_is_over_here_are_not_used() {
    let (store, clock) = (CasStore::default(), ManualClock::new(1_000.0));
    let fair = remote(Ahead(store.clone(), -200.0), 10.0, 4.0, &clock);
    assert_eq!(fair.run_check("a", 1.0).await.unwrap(), deny(0, 0, 2_000, 1));
    clock.set(1_200.0);
    assert!(fair.run_check("a", 1.0).await.unwrap().allowed);
    assert_eq!(store.text("tk:wfe:pool").unwrap(), r#"{"start":1000,"count":4}"#);
}

#[tokio::test]
async fn a_pool_that_is_out_is_an_error() {
    let fair = remote(DownStore, 10.0, 4.0, &ManualClock::new(0.0));
    assert!(fair.run_check("a", 1.0).await.unwrap_err().is_store_unavailable());
}

#[tokio::test]
async fn processes_together_use_no_more_than_the_limit() {
    let (store, clock) = (CasStore::default(), ManualClock::new(0.0));
    let processes: Vec<_> =
        [1.0, 3.0, 7.0].into_iter().map(|quantum| remote(store.clone(), 100.0, quantum, &clock)).collect();
    let mut random = Mulberry::new(11);
    let mut used: HashMap<u64, f64> = HashMap::new();
    for _ in 0..2_000 {
        clock.advance(random.below(20.0));
        let window = (clock_ms(&clock) / 1_000.0) as u64;
        let process = &processes[random.below(3.0) as usize];
        let (tenant, cost) = (["A", "B", "C", "D"][random.below(4.0) as usize], 1.0 + random.below(4.0));
        if process.run_check(tenant, cost).await.unwrap().allowed {
            *used.entry(window).or_default() += cost;
        }
    }
    assert!(used.values().all(|used| *used <= 100.0), "{used:?}");
    assert!(used.values().any(|used| *used > 80.0), "{used:?}");
}

fn clock_ms(clock: &ManualClock) -> f64 {
    throttlekit::Clock::now_ms(clock)
}

#[test]
fn threads_use_no_more_than_the_limit() {
    let (fair, _) = fair(1_000.0, &[("0", 3.0)]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fair = &fair;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    fair.check(&thread.to_string()).unwrap();
                }
            });
        }
    });
    assert_eq!(fair.stats().total_used, 1_000.0);
}

/// The rules as they are written, with every sum added afresh.
#[derive(Default)]
struct Slowly {
    tenants: Vec<(String, f64, f64)>,
    dropped: f64,
}

impl Slowly {
    fn check(&mut self, limit: f64, max: usize, tenant: &str, weight: f64, cost: f64) -> bool {
        if !self.tenants.iter().any(|(name, ..)| name == tenant) {
            if self.tenants.len() >= max {
                self.dropped += self.tenants.remove(0).2;
            }
            self.tenants.push((tenant.to_owned(), weight, 0.0));
        }
        let at = self.tenants.iter().position(|(name, ..)| name == tenant).unwrap();
        self.tenants[at].1 = weight;
        let weights: f64 = self.tenants.iter().map(|(_, weight, _)| weight).sum();
        let used: f64 = self.tenants.iter().map(|(.., used)| used).sum::<f64>() + self.dropped;
        let guaranteed = |weight: f64| (weight * limit / weights).floor();
        let rest = limit - used;
        let mine = self.tenants[at].2;
        let own = guaranteed(weight);
        let owed: f64 = (0..self.tenants.len())
            .filter(|other| *other != at)
            .map(|other| (guaranteed(self.tenants[other].1) - self.tenants[other].2).max(0.0))
            .sum();
        let lent = (mine + cost - own).min(cost).min((rest - owed).max(0.0)).min(rest);
        let allowed = cost <= rest && (mine + cost <= own || mine + cost <= own + lent);
        if allowed {
            self.tenants[at].2 += cost;
        }
        allowed
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_rules(
        limit in 1_u32..60, max_tenants in 1_usize..7, whole: bool,
        steps in prop::collection::vec((0_u8..8, 1_u32..12, 1_u32..10), 1..120),
    ) {
        let part = if whole { 1.0 } else { 0.3 };
        let clock = ManualClock::new(0.0);
        let fair = builder(f64::from(limit)).max_tenants(max_tenants).clock(clock).build().unwrap();
        let mut slow = Slowly::default();
        for (tenant, cost, weight) in steps {
            let (tenant, cost, weight) = (tenant.to_string(), f64::from(cost) * part, f64::from(weight) * part);
            let decision = fair.run_check_weighted(&tenant, cost, weight).now().ok().unwrap().unwrap();
            prop_assert_eq!(decision.allowed, slow.check(f64::from(limit), max_tenants, &tenant, weight, cost));
            let stats = fair.stats();
            prop_assert!(stats.total_used <= f64::from(limit) + if whole { 0.0 } else { 1e-9 }, "but for rounding");
            prop_assert!(stats.tenants.len() <= max_tenants);
        }
    }

    /// Whoever asks within its share after all have come gets it, whatever the others did and do.
    #[test]
    fn everybody_gets_what_is_guaranteed(
        limit in 20_u32..200, order in prop::collection::vec(0_usize..4, 1..400),
        weights in prop::collection::vec(1_u32..6, 4),
    ) {
        let clock = ManualClock::new(0.0);
        let all = weights.clone();
        let of = move |tenant: &str| f64::from(all[tenant.parse::<usize>().unwrap()]);
        let fair = builder(f64::from(limit)).weight_of(of).clock(clock).build().unwrap();
        let sum: u32 = weights.iter().sum();
        let mut used = [0; 4];
        for (tenant, used) in used.iter_mut().enumerate() {
            *used += u32::from(fair.check(&tenant.to_string()).unwrap().allowed);
        }
        for tenant in order {
            let allowed = fair.check(&tenant.to_string()).unwrap().allowed;
            prop_assert!(allowed || used[tenant] >= weights[tenant] * limit / sum);
            used[tenant] += u32::from(allowed);
        }
        prop_assert!(used.iter().sum::<u32>() <= limit);
    }
}

#[test]
fn a_pool_is_a_fixed_window_that_others_can_check() {
    let (keys, clock) = (Table::new(), ManualClock::new(0.0));
    let fair = builder(10.0).pool_at(keys.clone(), "mine", 4.0).clock(clock).build().unwrap();
    now(&fair, "A", 1.0);
    let window = FixedWindow::builder().limit(10.0).window_ms(1_000.0).build().unwrap();
    assert_eq!(keys.apply("mine", 0.0, &window, &1.0).unwrap().remaining, 5);
}
