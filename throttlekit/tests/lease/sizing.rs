//! How much a limiter leases, and that a client's spender comes to the same.

use std::sync::{Arc, Mutex};

use throttlekit::lease::{EoqOptions, GrantForm, LeaseSpender, Reserve, Sizer};
use throttlekit::store::Keyspace;
use throttlekit::strategy::fixed_window::Count;

use crate::support::bed::bed;
use crate::support::held::{Held, done};
use crate::support::lease::window;

/// Says what it is told, and writes down what it sees.
#[derive(Clone)]
struct Recording {
    sizes: fn(usize) -> f64,
    seen: Arc<Mutex<Vec<f64>>>,
}

impl Sizer for Recording {
    fn size(&mut self) -> f64 {
        (self.sizes)(self.seen.lock().unwrap().len())
    }

    fn observe(&mut self, demand: f64) {
        self.seen.lock().unwrap().push(demand);
    }
}

fn recording(sizes: fn(usize) -> f64) -> (Recording, Arc<Mutex<Vec<f64>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    (Recording { sizes, seen: Arc::clone(&seen) }, seen)
}

#[test]
fn a_sizer_sees_the_demand_of_each_window() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let (sizer, seen) = recording(|_| 8.0);
        let sized = bed(window(1e6, 10_000.0), |it| it.sizer(move || sizer.clone()).window_coupled(true).grant(form));
        for (start, checks) in [(0.0, 20), (10_000.0, 5), (20_000.0, 40), (30_000.0, 13), (40_000.0, 1)] {
            (0..checks).for_each(|_| assert!(sized.check(start, 1.0).allowed));
        }
        assert_eq!(*seen.lock().unwrap(), [20.0, 5.0, 40.0, 13.0]);

        let (sizer, _) = recording(|_| 7.0);
        let constant = bed(window(1e6, 10_000.0), |it| it.sizer(move || sizer.clone()).grant(form));
        (0..20).for_each(|_| assert!(constant.check(0.0, 1.0).allowed));
        assert_eq!(constant.limiter.stats().leases, 3);

        let (sizer, _) = recording(|seen| if seen == 0 { 4.0 } else { 40.0 });
        let grows = bed(window(1e6, 10_000.0), |it| it.sizer(move || sizer.clone()).window_coupled(true).grant(form));
        (0..40).for_each(|_| assert!(grows.check(0.0, 1.0).allowed));
        assert_eq!(grows.limiter.stats().leases, 10);
        (0..40).for_each(|_| assert!(grows.check(10_000.0, 1.0).allowed));
        assert_eq!(grows.limiter.stats().leases, 11);
    }
}

#[test]
fn a_sizer_sees_what_was_asked_for_and_not_only_what_was_admitted() {
    let (sizer, seen) = recording(|_| 3.0);
    let bed = bed(window(5.0, 1_000.0), |it| it.sizer(move || sizer.clone()).window_coupled(true));
    let admitted = (0..30).filter(|_| bed.check(0.0, 1.0).allowed).count();
    assert_eq!(admitted, 5);
    assert_eq!(bed.store.calls(), 2, "denials are local");
    bed.check(1_000.0, 1.0);
    assert_eq!(*seen.lock().unwrap(), [30.0]);
}

#[test]
fn sizes_that_are_no_sizes_are_one() {
    for size in [|_| f64::NAN, |_| -3.0, |_| 0.0, |_| f64::INFINITY] {
        let (sizer, _) = recording(size);
        let bed = bed(window(1e6, 10_000.0), |it| it.sizer(move || sizer.clone()));
        bed.allows(0.0, 1.0, 0, 1);
    }
}

#[test]
fn a_size_that_is_learnt_starves_nobody() {
    for form in [GrantForm::Whole, GrantForm::Partial] {
        let learnt = EoqOptions::new(20.0, 1.0);
        let bed = bed(window(1_000.0, 60_000.0), |it| it.batch(50.0).adaptive(learnt).window_coupled(true).grant(form));
        for at in 0..6 {
            (0..300).for_each(|_| assert!(bed.check(f64::from(at) * 60_000.0, 1.0).allowed, "window {at}"));
        }
        // The batch is the size to start with: 50, then 136, then about sqrt(2 * 20 * 300).
        assert_eq!(bed.limiter.stats().leases, 6 + 3 + 3 + 3 + 3 + 3);
    }
}

/// The steps of the family's comparison of a limiter in two tiers and a spender: instants and costs.
fn steps() -> Vec<(f64, f64)> {
    let mut state = f64::from(0x0001_2345);
    let mut draw = move || {
        // Product and sum are rounded to a double, as they are where the steps were first made.
        let product: f64 = state * 1_103_515_245.0;
        let sum = product + 12_345.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let low = (sum as u64) & 0x7fff_ffff;
        state = f64::from(u32::try_from(low).unwrap());
        state / f64::from(0x7fff_ffff)
    };
    let mut now = 0.0;
    let step = |_| {
        now += (130.0 * draw()).floor();
        (now, 1.0 + (3.0 * draw()).floor())
    };
    (0..80).map(step).collect()
}

#[test]
fn a_spender_does_what_the_limiter_does() {
    let steps = steps();
    assert_eq!(steps[..6], [(38.0, 1.0), (153.0, 2.0), (193.0, 2.0), (275.0, 3.0), (367.0, 1.0), (380.0, 2.0)]);
    assert_eq!(steps[79], (5_362.0, 2.0));

    let strategy = window(20.0, 1_000.0);
    let limiter = bed(strategy, |it| it.batch(5.0).window_coupled(true).grant(GrantForm::Whole));
    let (mut spender, server) = (LeaseSpender::new(20).ttl_ms(1_000.0), Held::<Count>::new());
    let mut allowed = 0;
    for (now, cost) in &steps {
        let reserve = |wants: f64| {
            let units = wants.max(5.0);
            let decision = done(server.run("k", *now, &strategy, &units)).unwrap();
            #[allow(clippy::cast_precision_loss)]
            let granted = Reserve::Granted { capacity: units, expires_at_ms: decision.reset_at_ms as f64 };
            std::future::ready(Ok(if decision.allowed { granted } else { Reserve::Denied(decision) }))
        };
        let spent = done(spender.spend_or_refresh(*now, *cost, reserve)).unwrap();
        assert_eq!(limiter.check(*now, *cost), spent, "at {now}");
        allowed += usize::from(spent.allowed);
    }
    assert_eq!((allowed, steps.len() - allowed), (53, 27));
    assert_eq!((limiter.store.calls(), server.calls()), (49, 49));
}

#[test]
fn partial_leases_admit_the_same_with_fewer_trips() {
    let bed = bed(window(20.0, 1_000.0), |it| it.batch(5.0).window_coupled(true));
    let steps = steps();
    let allowed = steps.iter().filter(|(now, cost)| bed.check(*now, *cost).allowed).count();
    assert_eq!((allowed, steps.len() - allowed, bed.store.calls()), (53, 27, 27));
}
