//! Guards and tables: who is asked for them when the metrics are read.

use std::sync::{Arc, Weak};

use throttlekit::budget::{Budget, Ledger, TokenBudget};
use throttlekit::store::TableReport;
use throttlekit::store::memory::Table;
use throttlekit::{Gauges, Guard, GuardReport, GuardStats, Limiter, ManualClock, Observer};

use super::{gcra, is, metrics, scrape};

#[test]
fn guards_are_read_when_the_metrics_are() {
    let metrics = metrics();
    let (db, disk) = (Guard::fixed(8).unwrap(), Guard::fixed(2).unwrap());
    let shown = (db.clone(), disk.clone());
    metrics.guards(move |tell| {
        tell("disk", shown.1.report());
        tell("db", shown.0.report());
        // A second one of the name would make the text invalid.
        tell("db", shown.1.report());
    });
    let held = (db.acquire(), db.acquire(), disk.acquire());
    let busy = scrape(&metrics);
    is(&busy, "throttlekit_guard_inflight", &[("guard=db", 2.0), ("guard=disk", 1.0)]);
    is(&busy, "throttlekit_guard_limit", &[("guard=db", 8.0), ("guard=disk", 2.0)]);
    is(&busy, "throttlekit_guard_fenced", &[("guard=db", 0.0), ("guard=disk", 0.0)]);
    drop(held);
    is(&scrape(&metrics), "throttlekit_guard_inflight", &[("guard=db", 0.0), ("guard=disk", 0.0)]);

    // Slots that several processes share can be lost; who shares them reports so.
    metrics.guards(move |tell| {
        let mut report = db.report();
        report.fenced = true;
        tell("shared", report);
    });
    is(&scrape(&metrics), "throttlekit_guard_fenced", &[("guard=db", 0.0), ("guard=disk", 0.0), ("guard=shared", 1.0)]);
}

#[test]
fn a_reader_may_use_the_metrics_that_it_is_shown_in() {
    let (metrics, guard) = (metrics(), Guard::fixed(8).unwrap());
    let inside = metrics.clone();
    metrics.guards(move |tell| {
        inside.policy("seen");
        inside.tables(|tell| tell("late", TableReport::new(1, 2)));
        let later = guard.clone();
        inside.guards(move |tell| tell("later", later.report()));
        tell("now", guard.report());
    });
    is(&scrape(&metrics), "throttlekit_guard_limit", &[("guard=now", 8.0)]);
    let again = scrape(&metrics);
    is(&again, "throttlekit_guard_limit", &[("guard=later", 8.0), ("guard=now", 8.0)]);
    is(&again, "throttlekit_table_keys", &[("policy=late", 1.0)]);
}

/// Gauges that are gone as soon as nobody else holds their guard.
struct WhileHeld {
    guard: Weak<Guard>,
    /// Counts the gauges that are kept.
    _kept: Arc<()>,
}

impl Gauges for WhileHeld {
    fn guards(&self, tell: &mut dyn FnMut(&str, GuardReport, GuardStats)) {
        if let Some(guard) = self.guard.upgrade() {
            tell("work", guard.report(), guard.stats());
        }
    }

    fn is_gone(&self) -> bool {
        self.guard.strong_count() == 0
    }
}

#[test]
fn what_was_attached_is_forgotten_once_it_is_gone() {
    let metrics = metrics();
    let (guard, kept) = (Arc::new(Guard::fixed(3).unwrap()), Arc::new(()));
    let attach = |guard| metrics.attach(Arc::new(WhileHeld { guard, _kept: Arc::clone(&kept) }));
    attach(Arc::downgrade(&guard));
    (0..1_000).for_each(|_| attach(Weak::new()));
    assert_eq!(Arc::strong_count(&kept), 3, "this one, that of the guard, and the last that was attached");
    is(&scrape(&metrics), "throttlekit_guard_limit", &[("guard=work", 3.0)]);
    assert_eq!(Arc::strong_count(&kept), 2, "a scrape forgets it too");
    drop(guard);
    is(&scrape(&metrics), "throttlekit_guard_limit", &[]);
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn tables_are_read_when_the_metrics_are() {
    let metrics = metrics();
    let (rates, accounts) = (Table::bounded(1_000).unwrap(), Ledger::bounded(2).unwrap());
    let shown = (rates.clone(), accounts.clone());
    metrics.tables(move |tell| {
        tell("rate", TableReport::from(&shown.0));
        tell("budget", TableReport::from(&shown.1));
        tell("rate", TableReport::new(7, 7));
    });
    let clock = ManualClock::new(0.0);
    let rate = Limiter::builder(gcra(1.0)).keyspace(rates).clock(clock.clone()).build();
    let budget = Budget::builder().budget(5.0).window_ms(1e6).build().unwrap();
    let budget = TokenBudget::builder(budget).keyspace(accounts).clock(clock).build();
    for key in ["a", "b", "c", "a"] {
        rate.check(key).unwrap();
        budget.debit(key, 1).unwrap();
    }
    let scrape = scrape(&metrics);
    is(&scrape, "throttlekit_table_keys", &[("policy=budget", 2.0), ("policy=rate", 3.0)]);
    is(&scrape, "throttlekit_table_max_keys", &[("policy=budget", 2.0), ("policy=rate", 1_000.0)]);
    is(&scrape, "throttlekit_table_evictions_total", &[("policy=budget", 0.0), ("policy=rate", 0.0)]);
}
