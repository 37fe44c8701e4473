//! The published figures of leasing: what each scheme makes of the same demand.
#![allow(clippy::unwrap_used)] // a helper of a test is a test too

use bench::simulate::learners::{
    averaged, believed, best_fixed, clairvoyant, jumps, learnt, nearly, predicted, steady, waves,
};
use bench::simulate::schemes::{LIMIT, alike, batches, compared, long_step};
use bench::simulate::sharing::{Split, share};
use bench::simulate::shipped;
use bench::simulate::trace::{drift, square, stationary};
use bench::simulate::trilemma;
use bench::simulate::windows::Rules;
use throttlekit::lease::GrantForm;

#[test]
fn fixed_budgets_lose_what_they_do_not_coordinate() {
    for (nodes, limit) in [(2, 4), (3, 6), (4, 8)] {
        let (least, budgets) = trilemma::least(nodes, u32::try_from(nodes).unwrap(), limit);
        assert_eq!(least, (u32::try_from(nodes).unwrap() - 1) * limit, "at {budgets:?}");
        let equal = vec![limit / u32::try_from(nodes).unwrap(); nodes];
        let (overshoot, waste) = trilemma::fixed(&equal, limit);
        assert_eq!(overshoot + u32::try_from(nodes).unwrap() * waste, least, "the equal parts are among the best");
    }
    assert_eq!(trilemma::fixed(&[2, 2, 2, 2], 8), (0, 6));
    assert_eq!(trilemma::fixed(&[8, 8, 8, 8], 8), (24, 0));
    for (groups, limit) in [(1, 8), (2, 8), (3, 6), (4, 8)] {
        let parts = u32::try_from(groups).unwrap();
        assert_eq!(trilemma::least(groups, parts, limit).0, (parts - 1) * limit);
    }
}

#[test]
fn each_lease_buys_back_some_waste() {
    let waste = |nodes, limit, batch, leases: u32| -> Vec<u32> {
        (0..=leases).map(|leases| trilemma::waste(nodes, limit, batch, leases)).collect()
    };
    assert_eq!(waste(2, 8, 1, 8), [4, 4, 3, 3, 2, 2, 1, 1, 0]);
    assert_eq!(waste(3, 9, 1, 9), [6, 6, 5, 4, 4, 3, 2, 2, 1, 0]);
    assert_eq!(waste(2, 8, 2, 4), [4, 3, 2, 1, 1]);
    assert_eq!(waste(2, 8, 3, 4), [4, 3, 2, 2, 2]);
    assert_eq!(waste(2, 8, 4, 4), [4, 3, 3, 3, 3]);
    assert_eq!(waste(3, 9, 2, 4), [6, 5, 4, 2, 2]);
    assert_eq!(waste(3, 9, 3, 4), [6, 4, 4, 4, 4]);
    assert_eq!(waste(3, 9, 4, 4), [6, 4, 4, 4, 4]);
}

#[test]
fn traces_are_those_of_the_family() {
    assert_eq!(stationary(10, 100.0, 0.3, 7), [72.0, 82.0, 133.0, 67.0, 64.0, 176.0, 152.0, 103.0, 152.0, 131.0]);
    assert_eq!(drift(3_000, (100.0, 70.0), 4.0, 0.2, 11)[..6], [112.0, 81.0, 106.0, 106.0, 98.0, 84.0]);
    let square = square(3_000, (20.0, 180.0), 20, 0.1, 13);
    assert_eq!(square[..5], [17.0, 18.0, 17.0, 16.0, 19.0]);
    assert_eq!(square[150..155], [204.0, 226.0, 170.0, 197.0, 166.0]);
}

/// `x` rounded to six digits.
fn six(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

#[test]
fn the_schemes_have_their_published_figures() {
    let expected = [
        (51_186, 0, 1.0),
        (0, 0, 0.445_888),
        (14_444, 10, 1.002_816),
        (9_669, 28, 1.006_765),
        (7_310, 38, 1.006_624),
        (17_178, 0, 0.955_029),
        (17_039, 0, 0.863_575),
        (33_702, 0, 0.445_888),
        (12_731, 0, 0.961_960),
        (12_630, 0, 0.960_750),
        (17_981, 0, 0.789_492),
        (11_746, 0, 0.951_302),
        (13_542, 0, 0.977_499),
        (5_580, 0, 0.960_750),
        (5_301, 0, 0.960_750),
        (5_741, 0, 0.961_960),
        (5_459, 0, 0.961_960),
    ];
    let rows = compared().unwrap();
    assert_eq!(rows.len(), expected.len());
    for ((name, outcome), expected) in rows.iter().zip(expected) {
        assert_eq!(outcome.demand, 51_186);
        assert_eq!((outcome.trips, outcome.overshoot(), six(outcome.utilisation)), expected, "{name}");
    }
}

#[test]
fn what_is_carried_over_grows_with_the_fleet() {
    for (nodes, overshoot) in [(2, 15), (4, 19), (8, 24), (16, 25)] {
        let demand = alike(nodes);
        assert_eq!(batches(Rules::carried(LIMIT), 10.0, &demand).overshoot(), overshoot, "{nodes} nodes");
        assert_eq!(batches(Rules::coupled(LIMIT), 10.0, &demand).overshoot(), 0, "{nodes} nodes");
    }
}

#[test]
fn a_weighted_drip_is_fair_and_wastes_nothing() {
    let guaranteed = share(Split::Guaranteed).unwrap();
    assert_eq!((six(guaranteed.utilisation), guaranteed.violations, guaranteed.spread), (0.875_893, 0, 0.0));
    let drip = share(Split::Drip).unwrap();
    assert_eq!((drip.utilisation, drip.violations, drip.asked), (1.0, 320, 1_520));
    assert_eq!((drip.spread, drip.given), (13.5, 28_000.0));
    for split in [Split::WeightedDrip, Split::Shipped] {
        let weighted = share(split).unwrap();
        assert_eq!((weighted.utilisation, weighted.violations), (1.0, 0), "{split:?}");
        assert_eq!((weighted.spread, weighted.given), (1.0, 28_000.0), "{split:?}");
    }
}

/// `x` rounded to four digits.
fn four(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

#[test]
fn the_regret_of_the_size_learner_falls() {
    let published = [
        (Some(long_step()), [18.5635, 4.7352, 1.2848, 0.4035], 62.5957),
        (None, [46.3726, 11.5957, 2.9104, 0.7352], 62.1288),
    ];
    for (step, regrets, last) in published {
        for (windows, regret) in [100, 400, 1_600, 6_400].into_iter().zip(regrets) {
            let trace = steady(windows);
            let (spent, sizer) = learnt(&trace, step).unwrap();
            assert_eq!(four((spent - best_fixed(&trace)) / f64::from(windows)), regret, "{windows} windows, {step:?}");
            if windows == 6_400 {
                assert_eq!(four(sizer.continuous()), last);
            }
        }
    }
}

#[test]
fn the_size_learner_follows_what_changes() {
    for (trace, default, long) in [(waves(), 1.0069, 0.9807), (jumps(), 0.9174, 0.9046)] {
        let fixed = best_fixed(&trace);
        assert_eq!(four(learnt(&trace, None).unwrap().0 / fixed), default);
        assert_eq!(four(learnt(&trace, Some(long_step())).unwrap().0 / fixed), long);
    }
    let thousandths = |x: f64| (x * 1e3).round() / 1e3;
    let costs =
        |trace: Vec<f64>| (thousandths(averaged(&trace).unwrap()), thousandths(learnt(&trace, None).unwrap().0));
    assert_eq!(costs(waves()), (182_983.144, 190_645.583));
    assert_eq!(costs(jumps()), (171_150.960, 174_174.037));
}

#[test]
fn predictions_help_and_do_not_hurt() {
    let trace = waves();
    let best = clairvoyant(&trace);
    let robust = learnt(&trace, None).unwrap().0;
    assert_eq!((four(best), four(robust)), (181_850.358_5, 190_645.582_7));
    let (perfect, weight) = predicted(&trace, &trace).unwrap();
    assert_eq!(four(perfect), 181_866.308);
    assert!(weight > 0.99);
    let ratio = |x: f64| (x * 1e5).round() / 1e5;
    assert_eq!(ratio(perfect / best), 1.000_09);
    let (noisy, weight) = predicted(&trace, &nearly(&trace)).unwrap();
    assert_eq!(ratio(noisy / best), 1.001_39);
    assert!(weight > 0.99);
    let constant = vec![5.0; trace.len()];
    let (wrong, weight) = predicted(&trace, &constant).unwrap();
    assert_eq!((ratio(wrong / robust), four(wrong / believed(&trace, &constant).unwrap())), (1.000_22, 0.4258));
    assert!(weight > 0.99);
}

/// Not one trip more or fewer than the window-by-window simulation in which short grants are remembered.
#[test]
fn the_shipped_limiter_is_as_good_as_its_simulation() {
    let figures = |step| {
        let outcome = shipped::run(GrantForm::Partial, step).unwrap();
        (outcome.trips, outcome.overshoot, six(outcome.utilisation))
    };
    assert_eq!(figures(None), (5_301, 0, 0.960_750));
    assert_eq!(figures(Some(long_step())), (5_459, 0, 0.961_960));
    let whole = shipped::run(GrantForm::Whole, None).unwrap();
    assert!(whole.overshoot == 0 && whole.utilisation < 0.91, "whole leases strand what is left: {whole:?}");
}
