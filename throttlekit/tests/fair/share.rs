//! Shares of a window that are never lent.
#![allow(clippy::cast_precision_loss)] // small whole numbers

use proptest::prelude::*;
use throttlekit::fair::{FairShare, FairShareBuilder};
use throttlekit::{Admit, Ask, ManualClock, Meter};

use crate::support::{CountingClock, allow, deny};

fn builder(limit: f64) -> FairShareBuilder {
    FairShare::builder().limit(limit).window_ms(1_000.0)
}

#[test]
fn shares_shrink_with_each_that_comes() {
    let clock = ManualClock::new(0.0);
    let fair = builder(10.0).weights([("big", 4.0)]).clock(clock.clone()).build().unwrap();
    let check = |tenant, cost| fair.check_cost(tenant, cost).unwrap();
    assert_eq!(check("big", 6.0), allow(10, 4, 1_000));
    assert_eq!(check("small", 2.0), allow(2, 0, 1_000));
    assert_eq!(check("small", 1.0), deny(2, 0, 1_000, 1_000));
    assert_eq!(check("big", 2.0), allow(8, 0, 1_000));
    assert!(!check("big", 1.0).allowed);
    clock.set(400.0);
    assert_eq!(check("big", 1.0), deny(8, 0, 1_000, 600));
    assert_eq!(check("tiny", 1.0), deny(1, 1, 1_000, 600));
    clock.set(1_000.0);
    assert_eq!(check("x", 1.0), allow(10, 9, 2_000));
    clock.set(500.0);
    assert_eq!(check("x", 1.0), allow(10, 8, 2_000), "a clock that goes back stays in the window");
}

#[test]
fn equal_shares_by_default_and_resets() {
    let clock = ManualClock::new(0.0);
    let fair = builder(9.9).clock(clock).build().unwrap();
    assert_eq!(fair.check("a").unwrap(), allow(9, 8, 1_000));
    assert_eq!(fair.check("b").unwrap(), allow(4, 3, 1_000));
    assert_eq!(fair.check_cost("a", 4.0).unwrap(), deny(4, 3, 1_000, 1_000));
    assert_eq!(fair.check_weighted("a", 3.0, 8.0).unwrap(), allow(8, 4, 1_000));
    fair.reset("a");
    assert_eq!(fair.check_cost("b", 8.0).unwrap(), allow(9, 0, 1_000));
    fair.reset_all();
    assert_eq!(fair.check("c").unwrap(), allow(9, 8, 1_000));
}

#[test]
fn tenants_are_bounded() {
    let clock = ManualClock::new(0.0);
    let fair = builder(100.0).max_tenants(2).clock(clock.clone()).build().unwrap();
    assert!(fair.check("a").unwrap().allowed);
    assert!(fair.check("b").unwrap().allowed);
    assert_eq!(fair.check("c").unwrap(), deny(0, 0, 1_000, 1_000));
    assert_eq!(fair.check("a").unwrap().limit, 50, "who is refused does not count");
    clock.set(1_000.0);
    assert!(fair.check("c").unwrap().allowed);
}

#[test]
fn bad_arguments_are_refused_before_the_clock_is_read() {
    let clock = CountingClock::default();
    let fair = builder(10.0).weight_of(|tenant| if tenant == "odd" { 0.0 } else { 1.0 }).clock(clock.clone());
    let fair = fair.build().unwrap();
    assert_eq!(fair.check_cost("a", 0.0).unwrap_err().code(), "invalid_argument");
    assert_eq!(fair.check("odd").unwrap_err().to_string(), "weight is 0: must be a finite number above 0");
    assert_eq!(fair.check_weighted("a", 1.0, f64::NAN).unwrap_err().code(), "invalid_argument");
    assert_eq!(clock.take_readings(), 0);
    let option = |builder: FairShareBuilder| builder.build().unwrap_err().option();
    assert_eq!(option(FairShare::builder().window_ms(1.0)), "fairShare.limit");
    assert_eq!(option(builder(0.5)), "fairShare.limit");
    assert_eq!(option(FairShare::builder().limit(1.0)), "fairShare.windowMs");
    assert_eq!(option(builder(1.0).max_tenants(0)), "fairShare.maxKeys");
    let error = builder(1.0).weights([("a", 1.0), ("b", -1.0)]).build().unwrap_err();
    assert_eq!(error.to_string(), "fairShare.weights is -1: must be a finite number above 0 for the tenant `b`");
}

#[tokio::test]
async fn it_is_a_door_and_a_meter() {
    let fair = builder(2.0).clock(ManualClock::new(0.0)).build().unwrap();
    assert!(fair.admit(&Ask::new("a")).await.unwrap().decision.allowed);
    assert_eq!(fair.debit("a", 1.0).await.unwrap().remaining, 0);
    assert!(!fair.admit(&Ask::new("a")).await.unwrap().decision.allowed);
}

proptest! {
    #[test]
    fn all_together_get_at_most_the_limit(
        limit in 1_u32..60,
        steps in prop::collection::vec((0_u8..8, 1_u32..9), 1..80),
    ) {
        let fair = builder(f64::from(limit)).weight_of(|tenant| 1.0 + tenant.len() as f64).clock(ManualClock::new(0.0));
        let fair = fair.build().unwrap();
        let mut used = 0;
        for (tenant, cost) in steps {
            if fair.check_cost(&"t".repeat(usize::from(tenant) + 1), f64::from(cost)).unwrap().allowed {
                used += cost;
            }
        }
        prop_assert!(used <= limit);
    }
}
